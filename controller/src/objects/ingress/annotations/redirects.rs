//! Redirects.

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::Redirects,
    objects::{checks::Checks, names::quoted},
};

const SSL: &str = "ssl-redirect";
const FORCE_SSL: &str = "force-ssl-redirect";
const KEEP_SLASH: &str = "preserve-trailing-slash";
const PERMANENT: &str = "permanent-redirect";
const PERMANENT_CODE: &str = "permanent-redirect-code";
const TEMPORAL: &str = "temporal-redirect";
const TEMPORAL_CODE: &str = "temporal-redirect-code";
const APP_ROOT: &str = "app-root";
const FROM_TO_WWW: &str = "from-to-www-redirect";
const RELATIVE: &str = "relative-redirects";
const WITH_PORT: &str = "use-port-in-redirects";

impl Family for Redirects {
    const NAMES: &'static [&'static str] = &[
        SSL,
        FORCE_SSL,
        KEEP_SLASH,
        PERMANENT,
        PERMANENT_CODE,
        TEMPORAL,
        TEMPORAL_CODE,
        APP_ROOT,
        FROM_TO_WWW,
        RELATIVE,
        WITH_PORT,
    ];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let temporal = fixed(written, TEMPORAL, TEMPORAL_CODE, 302, 307)?;
        let permanent = fixed(written, PERMANENT, PERMANENT_CODE, 301, 308)?;
        let is_relative = written.required_switch(RELATIVE)?;
        Ok(Self {
            ssl: written.switch(SSL, checks),
            force_ssl: written.switch(FORCE_SSL, checks),
            keep_slash: written.switch(KEEP_SLASH, checks),
            fixed: temporal.or(permanent),
            app_root: written.parse(APP_ROOT, checks, app_root),
            from_to_www: written.required_switch(FROM_TO_WWW)?.unwrap_or_default(),
            is_relative,
            with_port: written.switch(WITH_PORT, checks),
        })
    }
}

/// A redirect of every request: its status and its URL. A status outside 300 to `most` is replaced by `default`.
fn fixed(
    written: Written<'_>,
    name: &'static str,
    code_name: &'static str,
    default: u16,
    most: u16,
) -> Result<Option<(u16, Box<str>)>, Denied> {
    let denied = |name, text: &str, why| Denied { name, why: format!("{} {why}", quoted(text)) };
    let code = match written.value(code_name) {
        None => default,
        Some(text) => {
            text.parse::<i64>().map_err(|_| denied(code_name, text, "is not a number")).map(|code| {
                match u16::try_from(code) {
                    Ok(code) if (300..=most).contains(&code) => code,
                    _ => default,
                }
            })?
        }
    };
    match written.value(name).filter(|to| !to.is_empty()) {
        None => Ok(None),
        Some(to) if values::is_plain_url(to) => Ok(Some((code, to.into()))),
        Some(to) => Err(denied(name, to, "has characters other than letters, digits and -._~/:")),
    }
}

fn app_root(text: &str) -> Result<Box<str>, &'static str> {
    match text.starts_with('/') && values::is_plain_url(text) {
        true => Ok(text.into()),
        false => Err("is not a path of letters, digits and -._~/:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    fn redirects(annotations: &[(&str, &str)]) -> (Redirects, usize) {
        family(annotations, |annotations| annotations.redirects.clone())
    }

    #[test]
    fn switches_are_read_as_go_does() {
        for (value, want, warnings) in [
            ("true", Some(true), 0),
            ("false", Some(false), 0),
            ("True", Some(true), 0),
            ("0", Some(false), 0),
            ("yes", None, 1),
            ("true ", None, 1),
            ("", None, 1),
        ] {
            let (read, warned) = redirects(&[(SSL, value)]);
            assert_eq!((read.ssl, warned), (want, warnings), "{value:?}");
        }
        let (read, _) = redirects(&[(FORCE_SSL, "t"), (KEEP_SLASH, "1"), (WITH_PORT, "true")]);
        assert!(
            read.force_ssl == Some(true) && read.keep_slash == Some(true) && read.with_port == Some(true)
        );
    }

    #[test]
    fn a_redirect_of_everything_has_a_place_and_a_status() {
        const URL: &str = "https://b.test/x";
        for (annotations, want) in [
            (&[(PERMANENT, URL)][..], Some((301, URL))),
            (&[(PERMANENT, URL), (PERMANENT_CODE, "308")], Some((308, URL))),
            (&[(PERMANENT, URL), (PERMANENT_CODE, "309")], Some((301, URL))),
            (&[(PERMANENT, URL), (PERMANENT_CODE, "-1")], Some((301, URL))),
            (&[(TEMPORAL, URL), (TEMPORAL_CODE, "307")], Some((307, URL))),
            (&[(TEMPORAL, URL), (TEMPORAL_CODE, "308")], Some((302, URL))),
            (&[(TEMPORAL, "/t"), (PERMANENT, "/p")], Some((302, "/t"))),
            (&[(PERMANENT_CODE, "308")], None),
            (&[(PERMANENT, "")], None),
        ] {
            let want = want.map(|(code, to)| (code, to.into()));
            assert_eq!(redirects(annotations), (Redirects { fixed: want, ..Default::default() }, 0));
        }
        for (annotations, why) in [
            (&[(PERMANENT, "https://b.test/?a")][..], "has characters other than"),
            (&[(TEMPORAL, "https://b.test$request_uri")], "has characters other than"),
            (&[(PERMANENT_CODE, "permanent")], "is not a number"),
            (&[(FROM_TO_WWW, "yes")], "is neither true nor false"),
            (&[(RELATIVE, "yes")], "is neither true nor false"),
        ] {
            assert!(refused(annotations).contains(why), "{annotations:?}");
        }
    }

    #[test]
    fn the_root_of_an_application_is_a_path() {
        for (value, want) in
            [("/app", Some("/app")), ("app", None), ("https://a.test/", None), ("/a?b", None), ("/a b", None)]
        {
            let (read, warnings) = redirects(&[(APP_ROOT, value)]);
            assert_eq!((read.app_root.as_deref(), warnings), (want, usize::from(want.is_none())), "{value}");
        }
    }
}
