//! External authentication.

use super::family::{Denied, Family, Written};
use crate::{
    ir::ingress::{AuthOptions, ExternalAuth},
    objects::{auth_values as values, checks::Checks, names::quoted},
};

const URL: &str = "auth-url";
const METHOD: &str = "auth-method";
const SIGN_IN: &str = "auth-signin";
const SIGN_IN_PARAMETER: &str = "auth-signin-redirect-param";
const ANSWER_HEADERS: &str = "auth-response-headers";
const REDIRECT: &str = "auth-request-redirect";
const ALWAYS_SET_COOKIE: &str = "auth-always-set-cookie";
const CACHE_KEY: &str = "auth-cache-key";
const CACHE_TIMES: &str = "auth-cache-duration";
const SET_HEADERS: &str = "auth-proxy-set-headers";
const GLOBAL: &str = "enable-global-auth";

impl Family for ExternalAuth {
    const NAMES: &'static [&'static str] = &[
        URL,
        METHOD,
        SIGN_IN,
        SIGN_IN_PARAMETER,
        ANSWER_HEADERS,
        REDIRECT,
        ALWAYS_SET_COOKIE,
        CACHE_KEY,
        CACHE_TIMES,
        SET_HEADERS,
        GLOBAL,
    ];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let without_global = written.switch(GLOBAL, checks) == Some(false);
        let Some(url) = valid(written, URL, values::url)? else {
            let is_option = |name: &&str| ![URL, GLOBAL].contains(name);
            let names = Self::NAMES.iter().copied();
            for name in names.filter(is_option).filter(|name| written.value(name).is_some()) {
                written.without_effect(name, "there is no auth-url", checks);
            }
            return Ok(Self { own: None, without_global });
        };
        let options = AuthOptions {
            method: valid(written, METHOD, values::method)?.flatten(),
            sign_in: written.parse(SIGN_IN, checks, values::sign_in),
            sign_in_parameter: written.parse(SIGN_IN_PARAMETER, checks, values::parameter),
            answer_headers: valid(written, ANSWER_HEADERS, values::answer_headers)?.unwrap_or_default(),
            redirect: valid(written, REDIRECT, values::redirect)?.flatten(),
            always_set_cookie: written.required_switch(ALWAYS_SET_COOKIE)?.unwrap_or_default(),
            cache_key: written.parse(CACHE_KEY, checks, values::cache_key).flatten(),
            cache_times: valid(written, CACHE_TIMES, values::cache_times)?.flatten(),
            set_headers: written.value(SET_HEADERS).map(|name| name.trim().into()),
        };
        Ok(Self { own: Some(Box::new((url, options))), without_global })
    }
}

/// The value of an annotation that must be valid: without it, the check would not be the intended one.
fn valid<T>(
    written: Written<'_>,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Denied> {
    let parsed = written
        .value(name)
        .map(|text| parse(text).map_err(|why| Denied { name, why: format!("{} {why}", quoted(text)) }));
    parsed.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, ingress};

    const SERVICE: (&str, &str) = (URL, "http://auth.test/check");

    fn auth(annotations: &[(&str, &str)]) -> (ExternalAuth, usize) {
        family(annotations, |annotations| annotations.external_auth.clone())
    }

    fn closed(annotations: &[(&str, &str)]) -> Option<String> {
        let named: Vec<_> = annotations
            .iter()
            .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), *value))
            .collect();
        let named: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        ingress(&named).annotations.unserved.closed_by(false)
    }

    /// Including values with which ingress-nginx does not check requests.
    #[test]
    fn a_value_that_would_change_the_check_closes_the_paths() {
        for (name, value) in [
            (URL, ""),
            (URL, "auth.test"),
            (URL, "http://a..b"),
            (URL, "http://a/;b"),
            (URL, "http://a/%41"),
            (URL, "http://$http_x/"),
            (METHOD, "get"),
            (METHOD, "CONNECT"),
            (ANSWER_HEADERS, "X User"),
            (ANSWER_HEADERS, "Host"),
            (REDIRECT, "$nothing"),
            (ALWAYS_SET_COOKIE, "yes"),
            (ALWAYS_SET_COOKIE, ""),
            (CACHE_TIMES, "5x"),
        ] {
            let annotations = if name == URL { vec![(name, value)] } else { vec![SERVICE, (name, value)] };
            assert_eq!(closed(&annotations).as_deref(), Some(name), "{value:?}");
        }
    }

    #[test]
    fn a_value_that_does_not_matter_to_the_check_has_no_effect() {
        for (name, value) in [
            (SIGN_IN, "http://login.test/%41"),
            (SIGN_IN_PARAMETER, "bad;param"),
            (CACHE_KEY, "a b"),
            (CACHE_KEY, "$nothing"),
            ("auth-keepalive", "x"),
            ("auth-keepalive-share-vars", "w"),
            (GLOBAL, "perhaps"),
        ] {
            let (read, warnings) = auth(&[SERVICE, (name, value)]);
            let plain = auth(&[SERVICE]).0;
            assert_eq!((read, warnings), (plain, 1), "{name}: {value}");
        }
    }

    #[test]
    fn options_without_a_url_ask_for_nothing() {
        for (name, value) in [(SIGN_IN, "http://login.test"), (METHOD, "get"), (ALWAYS_SET_COOKIE, "yes")] {
            assert_eq!(auth(&[(name, value)]), (ExternalAuth::default(), 1), "{name}");
        }
    }

    #[test]
    fn the_global_check_holds_unless_it_is_switched_off() {
        for (value, want) in [("true", false), ("false", true), ("0", true), ("no", false), ("", false)] {
            assert_eq!(auth(&[(GLOBAL, value)]).0.without_global, want, "{value}");
        }
    }
}
