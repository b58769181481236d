//! Default backends and error pages.

use super::family::{Denied, Family, Written};
use crate::{
    ir::ingress::Errors,
    objects::{
        checks::Checks,
        names::{self, quoted},
    },
};

const STATUSES: &str = "custom-http-errors";
const DEFAULT_BACKEND: &str = "default-backend";
const DISABLE: &str = "disable-proxy-intercept-errors";

impl Family for Errors {
    const NAMES: &'static [&'static str] = &[STATUSES, DEFAULT_BACKEND, DISABLE];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let value = |name| written.value(name).filter(|value| !value.is_empty());
        let denied = |name, value: &str, why: &str| Denied { name, why: format!("{} {why}", quoted(value)) };
        let statuses = value(STATUSES).map(|text| statuses(text).map_err(|why| denied(STATUSES, text, why)));
        let default_backend = match value(DEFAULT_BACKEND) {
            Some(name) if names::LABEL_1035.fits(name) => Some(name.into()),
            Some(name) => return Err(denied(DEFAULT_BACKEND, name, "is not the name of a Service")),
            None => None,
        };
        let passes_backends = written.switch(DISABLE, checks);
        Ok(Self { statuses: statuses.transpose()?, default_backend, passes_backends })
    }
}

/// Statuses of errors, separated by commas.
///
/// # Errors
/// The reason why it is invalid, as in "`4xx` is not a list".
pub(in crate::objects) fn statuses(text: &str) -> Result<Box<[u16]>, &'static str> {
    let read = |entry: &str| {
        let entry = entry.trim();
        let status = entry.parse().ok().filter(|status| (400..600).contains(status));
        status.filter(|_| entry.len() == 3).ok_or("is not a list of statuses from 400 to 599")
    };
    let mut statuses = text.split(',').map(read).collect::<Result<Vec<u16>, _>>()?;
    statuses.sort_unstable();
    statuses.dedup();
    Ok(statuses.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    fn errors(annotations: &[(&str, &str)]) -> (Errors, usize) {
        family(annotations, |annotations| annotations.errors.clone())
    }

    #[test]
    fn statuses_are_those_of_errors() {
        for (value, want) in [
            ("404", Some(&[404][..])),
            ("503,404", Some(&[404, 503])),
            (" 404 , 503 ", Some(&[404, 503])),
            ("404,404", Some(&[404])),
            ("", None),
        ] {
            let (read, warnings) = errors(&[(STATUSES, value)]);
            assert_eq!((read.statuses.as_deref(), warnings), (want, 0), "{value:?}");
        }
        for value in
            ["4xx", "302", "302,404", "200", "399", "600", "abc", "404;503", "0404", "+404", "404,", "-1"]
        {
            assert!(refused(&[(STATUSES, value)]).contains("is not a list of statuses"), "{value:?}");
        }
    }

    #[test]
    fn a_default_backend_is_a_service_of_the_namespace() {
        for (value, want) in [("errs", Some("errs")), ("", None)] {
            let (read, warnings) = errors(&[(DEFAULT_BACKEND, value)]);
            assert_eq!((read.default_backend.as_deref(), warnings), (want, 0), "{value:?}");
        }
        for value in ["Bad_Name!", "other/errs", "errs:80", "-a", " errs"] {
            assert!(refused(&[(DEFAULT_BACKEND, value)]).contains("is not the name"), "{value:?}");
        }
    }

    #[test]
    fn answers_of_backends_may_be_passed() {
        for (value, want, warned) in [("true", Some(true), 0), ("false", Some(false), 0), ("yes", None, 1)] {
            let (read, warnings) = errors(&[(DISABLE, value)]);
            assert_eq!((read.passes_backends, warnings), (want, warned), "{value}");
        }
    }
}
