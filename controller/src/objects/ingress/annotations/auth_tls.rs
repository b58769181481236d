//! Client certificates.

use portcullis_routing::{pattern::Source, step::Demand};

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::AuthTls,
    objects::{checks::Checks, names::quoted},
};

const SECRET: &str = "auth-tls-secret";
const VERIFY: &str = "auth-tls-verify-client";
const DEPTH: &str = "auth-tls-verify-depth";
const SUBJECT: &str = "auth-tls-match-cn";
const ERROR_PAGE: &str = "auth-tls-error-page";
const PASS: &str = "auth-tls-pass-certificate-to-upstream";

const DEFAULT_DEPTH: u8 = 1;

impl Family for Option<AuthTls> {
    const NAMES: &'static [&'static str] = &[SECRET, VERIFY, DEPTH, SUBJECT, ERROR_PAGE, PASS];

    /// Without a Secret, the others have no effect.
    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let subject = subject(written)?;
        let error_page = error_page(written)?;
        let pass = written.required_switch(PASS)?.unwrap_or_default();
        let demand = written.parse(VERIFY, checks, demand).unwrap_or(Demand::Valid);
        let depth = written.parse(DEPTH, checks, |text| {
            text.parse::<u64>()
                .map(|depth| u8::try_from(depth).unwrap_or(u8::MAX))
                .map_err(|_| "is not a number")
        });
        let Some(secret) = written.value(SECRET) else {
            for name in Self::NAMES.iter().filter(|name| written.value(name).is_some()) {
                written.without_effect(name, &format!("there is no {SECRET}"), checks);
            }
            return Ok(None);
        };
        Ok(Some(AuthTls {
            secret: values::namespaced_name(secret),
            demand,
            // nginx allows one intermediate certificate regardless of the depth.
            depth: depth.unwrap_or(DEFAULT_DEPTH).max(1),
            subject,
            error_page,
            pass,
        }))
    }
}

fn demand(text: &str) -> Result<Demand, &'static str> {
    match text {
        "on" => Ok(Demand::Valid),
        "off" => Ok(Demand::Nothing),
        "optional" => Ok(Demand::ValidIfAny),
        "optional_no_ca" => Ok(Demand::Any),
        _ => Err("is not one of on, off, optional, optional_no_ca; on applies"),
    }
}

/// What the subject must contain. As in ingress-nginx, it begins with `CN=` and can match anywhere in the name.
fn subject(written: Written<'_>) -> Result<Option<Source>, Denied> {
    let Some(text) = written.value(SUBJECT).filter(|text| !text.is_empty()) else { return Ok(None) };
    let denied =
        |why: &dyn std::fmt::Display| Denied { name: SUBJECT, why: format!("{} {why}", quoted(text)) };
    if !text.starts_with("CN=") {
        return Err(denied(&"does not begin with CN="));
    }
    let anywhere = format!("(?s:.*)(?:{text})(?s:.*)");
    Source::parse(&anywhere).map(Some).map_err(|error| denied(&format!("cannot be used: {error}")))
}

/// A URL. With a path, clients without a certificate would receive a page of the backend.
fn error_page(written: Written<'_>) -> Result<Option<Box<str>>, Denied> {
    let Some(text) = written.value(ERROR_PAGE).filter(|text| !text.is_empty()) else { return Ok(None) };
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    match is_url && values::is_plain_url(text) {
        true => Ok(Some(text.into())),
        false => {
            let why = format!("{} is not a URL of letters, digits and -._~/:", quoted(text));
            Err(Denied { name: ERROR_PAGE, why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::{Kind, ObjectKey},
        objects::ingress::annotations::tests::{closed, family},
    };

    const CA: (&str, &str) = (SECRET, "shop/ca");

    fn auth_tls(annotations: &[(&str, &str)]) -> (Option<AuthTls>, usize) {
        family(annotations, |annotations| annotations.auth_tls.clone())
    }

    #[test]
    fn what_is_asked_for_is_read() {
        for (value, want, warnings) in [
            ("on", Demand::Valid, 0),
            ("off", Demand::Nothing, 0),
            ("optional", Demand::ValidIfAny, 0),
            ("optional_no_ca", Demand::Any, 0),
            ("maybe", Demand::Valid, 1),
        ] {
            let (read, warned) = auth_tls(&[CA, (VERIFY, value)]);
            assert_eq!((read.unwrap().demand, warned), (want, warnings), "{value}");
        }
        for (value, want, warnings) in
            [("0", 1, 0), ("1", 1, 0), ("3", 3, 0), ("999", 255, 0), ("deep", 1, 1)]
        {
            let (read, warned) = auth_tls(&[CA, (DEPTH, value)]);
            assert_eq!((read.unwrap().depth, warned), (want, warnings), "{value}");
        }
        let (read, _) =
            auth_tls(&[CA, (SUBJECT, "CN=(alice|bob)"), (ERROR_PAGE, "https://e.test/x"), (PASS, "true")]);
        let read = read.unwrap();
        assert_eq!(read.secret, Some(ObjectKey::new(Kind::Secret, "shop", "ca")));
        assert!(
            read.pass && read.subject.is_some() && read.error_page.as_deref() == Some("https://e.test/x")
        );
    }

    #[test]
    fn without_a_secret_nothing_is_asked_for() {
        assert_eq!(auth_tls(&[(VERIFY, "on"), (DEPTH, "2")]), (None, 2));
    }

    #[test]
    fn a_secret_that_is_not_named_with_its_namespace_verifies_nobody() {
        assert_eq!(auth_tls(&[(SECRET, "ca")]).0.unwrap().secret, None);
    }

    #[test]
    fn what_is_wrong_closes() {
        for (name, value) in [
            (SUBJECT, "alice"),
            (SUBJECT, "CN=(alice"),
            (ERROR_PAGE, "/error.html"),
            (ERROR_PAGE, "https://e.test/?a"),
            (PASS, "maybe"),
        ] {
            assert!(closed(&[CA, (name, value)]).contains(name), "{name}: {value}");
        }
    }
}
