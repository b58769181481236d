//! SessionPersistence: of an XBackend, and of a rule of a route.

use std::time::Duration;

use http::HeaderName;
use portcullis_routing::step::Change;
use serde::Deserialize;

use super::{
    checks::{Checks, Path},
    http_route::api_duration,
    invalid::{not_served, unknown_here},
    names::{self, quoted},
};
use crate::ir::{
    route::InvalidRule,
    x_backend::{PersistenceToken, SessionPersistence},
};

/// `sessionPersistence` as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    absolute_timeout: Option<String>,
    r#type: Option<String>,
    cookie: Option<Cookie>,
    header: Option<Header>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cookie {
    name: Option<String>,
    path: Option<String>,
    lifetime_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Header {
    name: String,
}

/// Reads it.
///
/// # Errors
/// If the API accepts it and it cannot be carried out.
pub(crate) fn read(
    Written { absolute_timeout, r#type, cookie, header }: Written,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<SessionPersistence, InvalidRule> {
    let at_timeout = at.field("absoluteTimeout");
    let timeout = absolute_timeout.as_deref().map(|text| {
        api_duration(text).unwrap_or_else(|| {
            checks.error(&at_timeout, format!("{} must be a duration such as 1h or 10s", quoted(text)));
            Duration::ZERO
        })
    });
    let lifetime =
        timeout.map(|timeout| u64::try_from(timeout.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX));
    let (at_cookie, at_header) = (at.field("cookie"), at.field("header"));
    let token = match r#type.as_deref().unwrap_or("Cookie") {
        "Cookie" => {
            checks.require(header.is_none(), &at_header, "is for type Header");
            checks.require(cookie.is_some(), &at_cookie, "is required for type Cookie");
            of_cookie(cookie.unwrap_or_default(), lifetime.is_some(), checks, &at_cookie)
        }
        "Header" => {
            checks.require(cookie.is_none(), &at_cookie, "is for type Cookie");
            checks.require(header.is_some(), &at_header, "is required for type Header");
            of_header(header.map(|header| header.name).unwrap_or_default(), checks, &at_header.field("name"))
        }
        other => {
            unknown_here(&at.field("type"), format!("{} is not one of Cookie, Header", quoted(other)), checks)
        }
    };
    Ok(SessionPersistence { token: token?, lifetime })
}

fn of_cookie(
    Cookie { name, path, lifetime_type }: Cookie,
    has_lifetime: bool,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<PersistenceToken, InvalidRule> {
    checks.optional_form(name.as_deref(), names::COOKIE_NAME, &at.field("name"));
    let (at_path, at_lifetime) = (at.field("path"), at.field("lifetimeType"));
    let path = path.unwrap_or_else(|| "/".to_owned());
    checks.length(&path, 0..=1024, &at_path);
    let is_permanent = match lifetime_type.as_deref().unwrap_or("Session") {
        "Session" => false,
        "Permanent" => {
            checks.require(has_lifetime, &at_lifetime, "Permanent requires absoluteTimeout");
            true
        }
        other => {
            let message = format!("{} is not one of Permanent, Session", quoted(other));
            return unknown_here(&at_lifetime, message, checks);
        }
    };
    // RFC 6265, 4.1.1: anything but control characters and semicolons; beyond ASCII it would be read differently.
    if !path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';') {
        return not_served(&at_path, "must be printable ASCII without ';'", checks);
    }
    Ok(PersistenceToken::Cookie { name: name.map(Into::into), path: path.into(), is_permanent })
}

fn of_header(name: String, checks: &mut Checks, at: &Path<'_>) -> Result<PersistenceToken, InvalidRule> {
    checks.form(&name, names::HEADER_NAME, at);
    match HeaderName::try_from(&name) {
        Ok(header) if is_free(&header) => Ok(PersistenceToken::Header(header)),
        Ok(_) => not_served(at, "is a header that has another meaning", checks),
        Err(_) => not_served(at, "is not a valid header name", checks),
    }
}

/// Whether a header may carry sessions: not one that frames messages, belongs to a connection, names the host or has cookies.
fn is_free(name: &HeaderName) -> bool {
    let has_meaning = [http::header::HOST, http::header::COOKIE, http::header::SET_COOKIE];
    Change::Add.check(name).is_ok() && !has_meaning.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Object,
        objects::testing::{holds, object, warns},
    };

    fn document(persistence: &str) -> String {
        format!(
            "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\nmetadata: {{name: web}}\n\
             spec: {{type: EndpointSelector, port: {{number: 80}}, endpointSelector: {{matchLabels: {{app: web}}}}, \
             sessionPersistence: {{{persistence}}}}}\n"
        )
    }

    fn read(persistence: &str) -> SessionPersistence {
        let Object::XBackend(backend) = object(&document(persistence)) else { panic!("no XBackend") };
        backend.spec.clone().unwrap().persistence.unwrap()
    }

    fn cookie(
        name: Option<&str>,
        path: &str,
        is_permanent: bool,
        lifetime: Option<u64>,
    ) -> SessionPersistence {
        let token = PersistenceToken::Cookie { name: name.map(Into::into), path: path.into(), is_permanent };
        SessionPersistence { token, lifetime }
    }

    #[test]
    fn defaults_are_those_of_the_api() {
        let header = PersistenceToken::Header("x-session".parse().unwrap());
        for (written, want) in [
            ("cookie: {}", cookie(None, "/", false, None)),
            (
                "type: Cookie, cookie: {name: a, path: /b, lifetimeType: Session}",
                cookie(Some("a"), "/b", false, None),
            ),
            ("absoluteTimeout: 1h, cookie: {lifetimeType: Permanent}", cookie(None, "/", true, Some(3_600))),
            ("absoluteTimeout: 1s1h, cookie: {}", cookie(None, "/", false, Some(3_601))),
            ("absoluteTimeout: 1500ms, cookie: {}", cookie(None, "/", false, Some(2))),
            ("type: Header, header: {name: X-Session}", SessionPersistence { token: header, lifetime: None }),
        ] {
            assert_eq!(read(written), want, "{written}");
        }
    }

    #[test]
    fn what_the_api_refuses_is_refused() {
        let at = "spec.sessionPersistence";
        for (written, want) in [
            ("", format!("{at}.cookie: is required for type Cookie")),
            ("cookie: {lifetimeType: Permanent}", format!("{at}.cookie.lifetimeType: Permanent requires")),
            ("cookie: {lifetimeType: Always}", format!("{at}.cookie.lifetimeType: \"Always\" is not")),
            ("cookie: {name: 'a b'}", format!("{at}.cookie.name: ")),
            ("cookie: {name: ''}", format!("{at}.cookie.name: ")),
            ("absoluteTimeout: 1d, cookie: {}", format!("{at}.absoluteTimeout: \"1d\" must be")),
            ("cookie: {}, header: {name: a}", format!("{at}.header: is for type Header")),
            ("type: Header", format!("{at}.header: is required for type Header")),
            ("type: Header, header: {name: a}, cookie: {}", format!("{at}.cookie: is for type Cookie")),
            ("type: Header, header: {name: 'a:b'}", format!("{at}.header.name: ")),
            ("type: Query, cookie: {}", format!("{at}.type: \"Query\" is not one of")),
        ] {
            holds(&[(written, &want)], document);
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_said() {
        for (written, want) in [
            ("cookie: {path: '/;Domain=a'}", "spec.sessionPersistence.cookie.path: must be printable"),
            (r#"cookie: {path: "/\r\nX: y"}"#, "spec.sessionPersistence.cookie.path: must be printable"),
            ("type: Header, header: {name: Host}", "spec.sessionPersistence.header.name: is a header that"),
            ("type: Header, header: {name: Connection}", "spec.sessionPersistence.header.name: is a header"),
            ("cookie: {}, idleTimeout: 1h", "spec.sessionPersistence.idleTimeout: is not a field"),
        ] {
            warns(&[(written, want)], document);
        }
    }
}
