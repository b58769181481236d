//! Values of annotations and settings for external authentication. Each error is the predicate of a sentence, such as
//! "`is not a URL`".

use std::{net::IpAddr, time::Duration};

use http::{HeaderName, Method};
use portcullis_routing::{
    Template,
    step::{CacheTime, Change},
    template::Variable,
};

use crate::ir::ingress::{CONSTANTS, ServiceTarget};

/// A URL of `auth-url` or `mirror-target`. ingress-nginx does not allow other characters.
pub(super) fn url(text: &str) -> Result<ServiceTarget, String> {
    let text = text.trim();
    if !text.bytes().all(is_of_url) {
        return Err("has characters other than letters, digits and -._~/:?&=$,".into());
    }
    let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
    let tls = match &*scheme.to_ascii_lowercase() {
        "http" => false,
        "https" => true,
        _ => return Err("is not a URL of http or https".into()),
    };
    // These variables begin with a slash.
    let begins = ["/", "?"].iter().chain(&PATHS).filter_map(|begin| rest.find(begin));
    let end = begins.min().unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let (host, port) = match authority.rsplit_once(':') {
        None => (authority, if tls { 443 } else { 80 }),
        Some((host, port)) => {
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse::<u16>().ok().filter(|port| is_number && *port > 0);
            (host, port.ok_or("has no valid port")?)
        }
    };
    check_host(host)?;
    template(target)?;
    let is_path = target.starts_with('/') || PATHS.iter().any(|path| target.starts_with(path));
    let slash = if is_path { "" } else { "/" };
    Ok(ServiceTarget { tls, host: host.into(), port, target: format!("{slash}{target}").into() })
}

/// Variables that are a path.
const PATHS: [&str; 4] = ["$request_uri", "$uri", "$document_uri", "$location_path"];

/// Whether the host depends on nothing but the request's host, which is one of the Ingress.
fn check_host(text: &str) -> Result<(), String> {
    let parsed = template(text)?;
    if !parsed.variables().all(|variable| matches!(variable, Variable::Host | Variable::SentHost)) {
        return Err(
            "has a variable other than $host in its host, which would let clients choose the service".into(),
        );
    }
    // A placeholder for the variable.
    let name = text.replace('$', "");
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_dotted = !name.starts_with('.') && !name.contains("..");
    match is_name && is_dotted && (!name.is_empty() || text.parse::<IpAddr>().is_ok()) {
        true => Ok(()),
        false => Err("has no valid host".into()),
    }
}

fn is_of_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/:?&=$,".contains(&byte)
}

/// A text with variables.
fn template(text: &str) -> Result<Template, String> {
    let constants = CONSTANTS.map(|name| (name, "x"));
    let template =
        Template::parse_with(text, &[], &constants).map_err(|why| format!("cannot be used: {why}"))?;
    match template.has_groups() {
        false => Ok(template),
        true => Err("refers to a capture group of the path, which is not available here".into()),
    }
}

/// A method; the default is GET.
pub(super) fn method(text: &str) -> Result<Option<Method>, String> {
    match text.trim() {
        "" => Ok(None),
        text @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "TRACE") => {
            Ok(Method::from_bytes(text.as_bytes()).ok())
        }
        _ => Err("is not GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or TRACE".into()),
    }
}

/// A sign-in page: a URL, or a path of the same host.
pub(super) fn sign_in(text: &str) -> Result<Box<str>, String> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(is_of_url) {
        return Err("has characters other than letters, digits and -._~/:?&=$,".into());
    }
    template(text).map(|_| text.into())
}

/// The name of a parameter.
pub(super) fn parameter(text: &str) -> Result<Box<str>, String> {
    let text = text.trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_name) {
        true => Ok(text.into()),
        false => Err("is not the name of a parameter".into()),
    }
}

/// Names of headers, separated by commas.
pub(super) fn answer_headers(text: &str) -> Result<Box<[HeaderName]>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(header_name).collect()
}

/// The name of a header that can be set and removed.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let name = HeaderName::try_from(text).ok().filter(|_| is_name);
    let name = name.ok_or_else(|| format!("has {text:?}, which is not the name of a header"))?;
    let check = Change::Set.check(&name).and_then(|()| Change::Remove.check(&name));
    check.map(|()| name).map_err(|why| format!("cannot be used: {why}"))
}

/// The value of `X-Auth-Request-Redirect`.
pub(super) fn redirect(text: &str) -> Result<Option<Box<str>>, String> {
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has characters that cannot be sent".into());
    }
    template(text).map(|_| (!text.is_empty()).then(|| text.into()))
}

/// The key under which responses are cached.
pub(super) fn cache_key(text: &str) -> Result<Option<Box<str>>, String> {
    let text = text.trim();
    let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_${}".contains(&byte);
    if !text.bytes().all(is_of_key) {
        return Err("has characters other than letters, digits and -_${}".into());
    }
    template(text).map(|_| (!text.is_empty()).then(|| text.into()))
}

/// How long responses are cached, by status: `200 202 401 5m, 204 1h 30m`.
pub(super) fn cache_times(text: &str) -> Result<Option<Box<[CacheTime]>>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let times = entries.map(cache_time).collect::<Result<Box<[_]>, _>>()?;
    Ok((!times.is_empty()).then_some(times))
}

fn cache_time(text: &str) -> Result<CacheTime, String> {
    let wrong = || format!("has {text:?}, which is not a list of statuses and a time, such as 200 401 5m");
    let (mut statuses, mut time, mut is_any) = (Vec::new(), None, false);
    for word in text.split_ascii_whitespace() {
        let is_status = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        match (is_status, time) {
            (true, None) => statuses.push(word.parse::<u16>().map_err(|_| wrong())?),
            (false, None) if word == "any" => is_any = true,
            (_, before) => {
                let more = duration(word).ok_or_else(wrong)?;
                time = Some(before.unwrap_or(Duration::ZERO).checked_add(more).ok_or_else(wrong)?);
            }
        }
    }
    let time = time.ok_or_else(wrong)?;
    let statuses = match (is_any, statuses.is_empty()) {
        (true, _) => None,
        // As in nginx.
        (false, true) => Some([200].into()),
        (false, false) => Some(statuses.into()),
    };
    Ok(CacheTime { statuses, time })
}

/// A duration in nginx syntax: `90`, `1h30m`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[..digits].parse::<u64>().ok()?;
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let one = match &rest[digits..digits + letters] {
            "ms" => Duration::from_millis(1),
            "" | "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            "w" => Duration::from_secs(7 * 86_400),
            "M" => Duration::from_secs(30 * 86_400),
            "y" => Duration::from_secs(365 * 86_400),
            _ => return None,
        };
        total = total.checked_add(one.checked_mul(u32::try_from(number).ok()?)?)?;
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ingress::AuthOptions;

    #[test]
    fn a_url_has_a_scheme_a_host_and_maybe_a_port() {
        for (text, want) in [
            ("http://auth.test", Ok((false, "auth.test", 80, "/"))),
            ("https://auth.test/a?b=$host", Ok((true, "auth.test", 443, "/a?b=$host"))),
            ("HTTP://10.0.0.1:8080?x", Ok((false, "10.0.0.1", 8080, "/?x"))),
            (" http://auth/ ", Ok((false, "auth", 80, "/"))),
            ("https://$host/oauth2/auth", Ok((true, "$host", 443, "/oauth2/auth"))),
            ("http://auth.$namespace.svc:81/", Ok((false, "auth.$namespace.svc", 81, "/"))),
            ("http://$http_host/a", Ok((false, "$http_host", 80, "/a"))),
            ("http://auth:81$request_uri", Ok((false, "auth", 81, "$request_uri"))),
            ("http://auth$uri?a", Ok((false, "auth", 80, "$uri?a"))),
            ("", Err("is not a URL")),
            ("auth.test", Err("is not a URL")),
            ("auth.test/a", Err("is not a URL")),
            ("//auth.test", Err("is not a URL")),
            ("http://", Err("has no valid host")),
            ("http:///a", Err("has no valid host")),
            ("http://:80", Err("has no valid host")),
            ("http://a..b", Err("has no valid host")),
            ("http://.a", Err("has no valid host")),
            ("http://a:0", Err("has no valid port")),
            ("http://a:65536", Err("has no valid port")),
            ("http://a:+1", Err("has characters other than letters, digits and -._~/:?&=$,")),
            ("http://a:b", Err("has no valid port")),
            ("http://a:", Err("has no valid port")),
            ("ftp://a", Err("is not a URL of http or https")),
            ("unix://a", Err("is not a URL of http or https")),
            ("http://a/%41", Err("has characters other than letters, digits and -._~/:?&=$,")),
            ("http://a/;x", Err("has characters other than letters, digits and -._~/:?&=$,")),
            ("http://a/{x}", Err("has characters other than letters, digits and -._~/:?&=$,")),
            ("http://a/b c", Err("has characters other than letters, digits and -._~/:?&=$,")),
            ("http://a/\nb", Err("has characters other than letters, digits and -._~/:?&=$,")),
            ("http://a/$nothing", Err("cannot be used: the variable $nothing is not served")),
            ("http://a/$1", Err("refers to a capture group of the path, which is not available here")),
        ] {
            let read = url(text);
            let got = read.as_ref().map(|url| (url.tls, &*url.host, url.port, &*url.target));
            assert_eq!(got.map_err(String::as_str), want, "{text:?}");
        }
    }

    /// A client that can select the authorization service can bypass it.
    #[test]
    fn clients_do_not_choose_who_checks_them() {
        for variable in ["$http_x", "$arg_a", "$cookie_a", "$args", "$remote_user"] {
            for text in [format!("http://{variable}/"), format!("http://a.{variable}:80/")] {
                assert!(url(&text).unwrap_err().contains("let clients choose the service"), "{text}");
            }
            assert!(url(&format!("http://a/{variable}")).is_ok(), "{variable}");
        }
    }

    /// The host ends before a variable that is a path.
    #[test]
    fn a_path_does_not_choose_the_host() {
        for variable in PATHS {
            let read = url(&format!("http://a{variable}.test:80/")).unwrap();
            assert_eq!((&*read.host, read.port), ("a", 80), "{variable}");
            assert!(url(&format!("http://{variable}/")).is_err(), "{variable}");
        }
    }

    #[test]
    fn times_are_read_as_nginx_does() {
        let some = |statuses: &[u16], time| CacheTime { statuses: Some(statuses.into()), time };
        let secs = Duration::from_secs;
        for (text, want) in [
            ("", Ok(None)),
            (" , ", Ok(None)),
            ("200 202 401 5m", Ok(Some(vec![some(&[200, 202, 401], secs(300))]))),
            ("5m", Ok(Some(vec![some(&[200], secs(300))]))),
            ("any 10", Ok(Some(vec![CacheTime { statuses: None, time: secs(10) }]))),
            ("200 1h30m,401 500ms", Ok(Some(vec![some(&[200], secs(5400)), some(&[401], secs(1) / 2)]))),
            ("200 1h 30m", Ok(Some(vec![some(&[200], secs(5400))]))),
            ("200", Err(())),
            ("5m 200 x", Err(())),
            ("200 5x", Err(())),
            ("200 -5m", Err(())),
            ("20 5m", Ok(Some(vec![some(&[200], secs(320))]))),
            ("200 99999999999y", Err(())),
            ("OK 5m", Err(())),
        ] {
            let got = cache_times(text).map_err(drop);
            assert_eq!(got, want.map(|times: Option<Vec<_>>| times.map(Vec::into_boxed_slice)), "{text:?}");
        }
        assert_eq!(cache_times("200 202 401 5m").unwrap(), Some(AuthOptions::default().cache_times()));
    }

    #[test]
    fn other_values_are_of_their_kind() {
        assert_eq!(method("POST").unwrap(), Some(Method::POST));
        assert!(method("get").is_err() && method("CONNECT").is_err() && method("POST;").is_err());
        assert_eq!(answer_headers("X-User, x-role,").unwrap().len(), 2);
        for text in ["X User", "x:y", "Connection", "Content-Length", "Host", "X-User;"] {
            assert!(answer_headers(text).is_err(), "{text}");
        }
        assert_eq!(
            redirect("https://front.test$request_uri").unwrap().as_deref(),
            Some("https://front.test$request_uri")
        );
        assert!(redirect("$nothing").is_err() && redirect("a b").is_err() && redirect("a\r\nb").is_err());
        assert_eq!(
            cache_key("$remote_user$http_authorization").unwrap().as_deref(),
            Some("$remote_user$http_authorization")
        );
        assert!(cache_key("$nothing").is_err() && cache_key("a b").is_err() && cache_key("$1").is_err());
        assert!(sign_in("/start?x=$host").is_ok() && sign_in("a%20").is_err() && sign_in("").is_err());
        assert!(parameter("rd").is_ok() && parameter("bad;param").is_err() && parameter("").is_err());
    }
}
