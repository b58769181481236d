//! Keys of ingress-nginx's ConfigMap for external authentication of all Ingresses.
//!
//! An invalid value closes the Ingresses that would be checked: ingress-nginx would not check requests, or would check them
//! differently.

use super::{Read, Wrong, boolean};
use crate::{
    ir::live_settings::{GlobalAuth, LiveSettings},
    objects::auth_values as values,
};

const URL: &str = "global-auth-url";

/// All of these keys.
pub(super) const KEYS: &[(&str, Read)] = &[
    (URL, |to, text, _, _| {
        let read = |text: &str| if text.trim().is_empty() { Ok(None) } else { values::url(text).map(Some) };
        or_closed(to, URL, text, read, |auth, read| auth.url = read)
    }),
    ("global-auth-method", |to, text, _, _| {
        or_closed(to, "global-auth-method", text, values::method, |auth, read| auth.options.method = read)
    }),
    ("global-auth-signin", |to, text, _, _| {
        or_default(to, text, values::sign_in, |auth, read| auth.options.sign_in = Some(read))
    }),
    ("global-auth-signin-redirect-param", |to, text, _, _| {
        or_default(to, text, values::parameter, |auth, read| auth.options.sign_in_parameter = Some(read))
    }),
    ("global-auth-response-headers", |to, text, _, _| {
        let name = "global-auth-response-headers";
        or_closed(to, name, text, values::answer_headers, |auth, read| auth.options.answer_headers = read)
    }),
    ("global-auth-request-redirect", |to, text, _, _| {
        let name = "global-auth-request-redirect";
        or_closed(to, name, text, values::redirect, |auth, read| auth.options.redirect = read)
    }),
    ("global-auth-snippet", |to, text, _, _| {
        let refuse = |text: &str| match text.trim() {
            "" => Ok(()),
            _ => Err("is a snippet of nginx configuration, which is not supported".to_owned()),
        };
        or_closed(to, "global-auth-snippet", text, refuse, |_, ()| ())
    }),
    ("global-auth-cache-key", |to, text, _, _| {
        or_default(to, text, values::cache_key, |auth, read| auth.options.cache_key = read)
    }),
    ("global-auth-cache-duration", |to, text, _, _| {
        or_default(to, text, values::cache_times, |auth, read| auth.options.cache_times = read)
    }),
    ("global-auth-always-set-cookie", |to, text, _, _| {
        let read = |text: &str| boolean(text).map_err(|_| "is neither true nor false".to_owned());
        or_default(to, text, read, |auth, read| auth.options.always_set_cookie = read)
    }),
    ("no-auth-locations", |to, text, _, _| {
        let paths = text.split(',').map(str::trim).filter(|path| !path.is_empty());
        to.ingress.auth.exempt = paths.map(Into::into).collect();
        Ok(())
    }),
];

/// Applies a value. An invalid one has no effect.
fn or_default<T>(
    to: &mut LiveSettings,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
    set: impl FnOnce(&mut GlobalAuth, T),
) -> Result<(), Wrong> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let read = parse(text).map_err(|why| Wrong::new(format!("{text:?} {why}"), "it has no effect"))?;
    set(&mut to.ingress.auth, read);
    Ok(())
}

/// Applies a value. An invalid one closes the Ingresses that would be checked.
fn or_closed<T>(
    to: &mut LiveSettings,
    name: &'static str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
    set: impl FnOnce(&mut GlobalAuth, T),
) -> Result<(), Wrong> {
    match parse(text) {
        Ok(read) => {
            set(&mut to.ingress.auth, read);
            Ok(())
        }
        Err(why) => {
            // Without a URL, requests may not be checked at all; with an invalid one, they would be.
            let first = to.ingress.auth.unusable.filter(|_| name != URL);
            to.ingress.auth.unusable = first.or(Some(name));
            Err(Wrong::new(format!("{text:?} {why}"), "Ingresses that would be checked are closed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::{
            ConfigMap, Kind, Meta, ObjectKey,
            live_settings::{GlobalAuth, LiveSettings},
        },
        objects::live_settings::{LastGood, read},
    };

    fn auth(data: &[(&str, &str)]) -> (GlobalAuth, usize) {
        let key = ObjectKey::new(Kind::ConfigMap, "edge", "settings");
        let meta = Meta { key, uid: None, generation: 1, version: 0, created: 0, warnings: Box::default() };
        let data = data.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
        let (settings, problems) =
            read(&LiveSettings::default(), &ConfigMap { meta, data }, &mut LastGood::default());
        (settings.ingress.auth, problems.len())
    }

    const SERVICE: (&str, &str) = ("global-auth-url", "http://auth.test/check");

    #[test]
    fn a_value_that_cannot_be_used_closes_what_would_be_checked() {
        for (key, text) in [
            ("global-auth-url", "auth.test"),
            ("global-auth-url", "http://$http_x/"),
            ("global-auth-method", "get"),
            ("global-auth-response-headers", "X User"),
            ("global-auth-request-redirect", "$nothing"),
            ("global-auth-snippet", "proxy_set_header X-A b;"),
        ] {
            let data = if key == SERVICE.0 { vec![(key, text)] } else { vec![SERVICE, (key, text)] };
            let (read, problems) = auth(&data);
            assert_eq!((read.unusable, problems), (Some(key), 1), "{text}");
            assert_eq!(read.url.is_some(), key != SERVICE.0);
        }
        // Whichever is read first.
        let (read, problems) = auth(&[("global-auth-method", "get"), ("global-auth-url", "auth.test")]);
        assert_eq!((read.unusable, problems), (Some("global-auth-url"), 2));
    }

    #[test]
    fn other_values_have_no_effect_and_empty_ones_are_none() {
        for (key, text, problems) in [
            ("global-auth-signin", "a b", 1),
            ("global-auth-signin-redirect-param", "a;b", 1),
            ("global-auth-cache-key", "$nothing", 1),
            ("global-auth-cache-duration", "5x", 1),
            ("global-auth-always-set-cookie", "yes", 1),
            ("global-auth-signin", "", 0),
            ("global-auth-method", "", 0),
            ("global-auth-response-headers", "", 0),
            ("global-auth-snippet", "", 0),
        ] {
            assert_eq!(auth(&[SERVICE, (key, text)]), (auth(&[SERVICE]).0, problems), "{key}: {text}");
        }
        assert_eq!(auth(&[("global-auth-url", "")]), (GlobalAuth::default(), 0));
        let exempt = |text| auth(&[("no-auth-locations", text)]).0.exempt;
        assert_eq!(*exempt("/a, /b"), ["/a".into(), "/b".into()]);
        assert!(exempt("").is_empty());
    }
}
