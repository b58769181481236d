//! Mirrored requests.

use super::family::{Denied, Family, Written};
use crate::{
    ir::ingress::{Mirroring, ServiceTarget},
    objects::{auth_values, checks::Checks},
};

const TARGET: &str = "mirror-target";
const HOST: &str = "mirror-host";
const BODY: &str = "mirror-request-body";

impl Family for Option<Mirroring> {
    const NAMES: &'static [&'static str] = &[TARGET, HOST, BODY];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let Some(target) = written.parse(TARGET, checks, target) else {
            if written.value(TARGET).is_none() {
                for name in [HOST, BODY].iter().filter(|name| written.value(name).is_some()) {
                    written.without_effect(name, "there is no mirror-target", checks);
                }
            }
            return Ok(None);
        };
        let body = written.parse(BODY, checks, |value| match value {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err("is neither on nor off"),
        });
        let host = written.parse(HOST, checks, host);
        Ok(Some(Mirroring { target, host, body: body.unwrap_or(true) }))
    }
}

/// A URL. As in nginx, one without variables gets the query of the request.
fn target(text: &str) -> Result<ServiceTarget, String> {
    let mut url = auth_values::url(text)?;
    if !text.contains('$') {
        let has_path = text.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']));
        url.target = match (has_path, url.target.contains('?')) {
            (false, _) => "$request_uri".into(),
            (true, false) => format!("{}$is_args$args", url.target).into(),
            (true, true) => format!("{}&$args", url.target).into(),
        };
    }
    Ok(url)
}

fn host(text: &str) -> Result<Box<str>, &'static str> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_host) {
        true => Ok(text.into()),
        false => Err("is not a host, with or without a port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::family;

    fn mirroring(annotations: &[(&str, &str)]) -> (Option<Mirroring>, usize) {
        family(annotations, |annotations| annotations.mirroring.clone())
    }

    #[test]
    fn a_target_is_a_url() {
        for (value, want) in [
            ("http://m.test$request_uri", (false, "m.test", 80, "$request_uri")),
            ("https://m.test/$request_uri", (true, "m.test", 443, "/$request_uri")),
            ("http://10.0.0.1:8080$request_uri", (false, "10.0.0.1", 8080, "$request_uri")),
            ("http://m.test:81$uri?a=b", (false, "m.test", 81, "$uri?a=b")),
            ("http://m.$namespace.svc/x$args", (false, "m.$namespace.svc", 80, "/x$args")),
            ("http://$host:81", (false, "$host", 81, "/")),
            ("http://m.test/fixed", (false, "m.test", 80, "/fixed$is_args$args")),
            ("http://m.test/fixed?a", (false, "m.test", 80, "/fixed?a&$args")),
            ("http://m.test/", (false, "m.test", 80, "/$is_args$args")),
            ("http://m.test", (false, "m.test", 80, "$request_uri")),
        ] {
            let (read, warnings) = mirroring(&[(TARGET, value)]);
            let ServiceTarget { tls, host, port, target } = read.expect(value).target;
            assert_eq!(((tls, &*host, port, &*target), warnings), (want, 0), "{value}");
        }
    }

    /// Including values with which ingress-nginx sends each request to the backend twice.
    #[test]
    fn one_that_is_not_copies_nothing() {
        for value in [
            "",
            "m.test",
            "ftp://m.test",
            "http://",
            "http://m.test:0/",
            "http://$http_x/",
            "http://m.test/$nothing",
            "http://m.test/$1",
            "http://m.test/a b",
            "http://m.test/;x",
            "http://m.test/%41",
        ] {
            assert_eq!(mirroring(&[(TARGET, value)]), (None, 1), "{value:?}");
        }
        assert_eq!(mirroring(&[(HOST, "a.test"), (BODY, "off")]), (None, 2));
    }

    #[test]
    fn options_that_are_wrong_have_no_effect() {
        let target = (TARGET, "http://m.test$request_uri");
        for (name, value, host, body, warned) in [
            (HOST, "a.test", Some("a.test"), true, 0),
            (HOST, "a.test:80", Some("a.test:80"), true, 0),
            (HOST, "a b", None, true, 1),
            (HOST, "", None, true, 1),
            (HOST, "a\r\nb: c", None, true, 1),
            (BODY, "off", None, false, 0),
            (BODY, "on", None, true, 0),
            (BODY, "false", None, true, 1),
            (BODY, "", None, true, 1),
        ] {
            let (read, warnings) = mirroring(&[target, (name, value)]);
            let read = read.expect("a target");
            assert_eq!(
                (read.host.as_deref(), read.body, warnings),
                (host, body, warned),
                "{name}: {value:?}"
            );
        }
    }
}
