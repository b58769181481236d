//! Canaries: Ingresses with a Service that receives some of the requests of another one.

use http::HeaderName;

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::{Canary, CanaryHeader},
    objects::checks::Checks,
};

const CANARY: &str = "canary";
const WEIGHT: &str = "canary-weight";
const TOTAL: &str = "canary-weight-total";
const HEADER: &str = "canary-by-header";
const VALUE: &str = "canary-by-header-value";
const PATTERN: &str = "canary-by-header-pattern";
const COOKIE: &str = "canary-by-cookie";

/// The minimum and the default of the total weight.
const LEAST_TOTAL: u64 = 100;

/// The canary of an Ingress; the default, `None`, is an Ingress that is not a canary.
impl Family for Option<Canary> {
    const NAMES: &'static [&'static str] = &[CANARY, WEIGHT, TOTAL, HEADER, VALUE, PATTERN, COOKIE];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let is_canary = written.switch(CANARY, checks).unwrap_or_default();
        let others = Self::NAMES.iter().filter(|name| **name != CANARY);
        if !is_canary {
            for name in others.filter(|name| written.value(name).is_some()) {
                written.without_effect(name, "the Ingress has no annotation canary: \"true\"", checks);
            }
            return Ok(None);
        }
        let number = |text: &str| values::integer(text.trim()).ok_or("is not a number");
        let weight = written.parse(WEIGHT, checks, number).unwrap_or_default();
        let total = written.parse(TOTAL, checks, number).unwrap_or_default();
        let positive = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(Some(Canary {
            weight: positive(weight),
            total: positive(total).max(LEAST_TOTAL),
            header: header(written, checks),
            cookie: written.parse(COOKIE, checks, plain).flatten(),
        }))
    }
}

fn header(written: Written<'_>, checks: &mut Checks) -> Option<(HeaderName, CanaryHeader)> {
    let name = written.parse(HEADER, checks, |text| {
        let text = text.trim();
        // nginx reads headers as variables, with `_` for `-`.
        HeaderName::try_from(text.replace('_', "-")).map_err(|_| "is not the name of a header")
    })?;
    let value = written.parse(VALUE, checks, plain).flatten();
    let pattern = written.parse(PATTERN, checks, pattern).flatten();
    let test = match (value, pattern) {
        (Some(value), _) => CanaryHeader::Value(value),
        (None, Some(pattern)) => CanaryHeader::Pattern(pattern),
        (None, None) => CanaryHeader::Word,
    };
    Some((name, test))
}

fn plain(text: &str) -> Result<Option<Box<str>>, &'static str> {
    let text = text.trim();
    // Spaces are removed before the characters are checked.
    match text.split(' ').all(values::is_plain_url) {
        true => Ok(Some(text).filter(|text| !text.is_empty()).map(Into::into)),
        false => Err("has characters other than letters, digits and -._~/:"),
    }
}

fn pattern(text: &str) -> Result<Option<Box<str>>, &'static str> {
    let text = text.trim();
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:^$[](){}*+?|&=\\".contains(&byte);
    match text.bytes().all(is_allowed) {
        true => Ok(Some(text).filter(|text| !text.is_empty()).map(Into::into)),
        false => Err("has characters that are not allowed in a regular expression"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::family;

    const ON: (&str, &str) = (CANARY, "true");

    fn canary(annotations: &[(&str, &str)]) -> (Option<Canary>, usize) {
        family(annotations, |annotations| annotations.canary.clone())
    }

    #[test]
    fn a_canary_says_so_itself() {
        let plain = Canary { weight: 0, total: 100, header: None, cookie: None };
        assert_eq!(canary(&[ON]), (Some(plain), 0));
        for (annotations, warnings) in [
            (&[][..], 0),
            (&[(CANARY, "false")], 0),
            (&[(CANARY, "yes")], 1),
            (&[(CANARY, "false"), (WEIGHT, "100")], 1),
            (&[(HEADER, "X-Canary"), (COOKIE, "can")], 2),
        ] {
            assert_eq!(canary(annotations), (None, warnings), "{annotations:?}");
        }
    }

    #[test]
    fn weights_are_numbers_and_a_total_is_at_least_100() {
        for (annotations, want, warnings) in [
            (&[(WEIGHT, "30")][..], (30, 100), 0),
            (&[(WEIGHT, "-1")], (0, 100), 0),
            (&[(WEIGHT, "half")], (0, 100), 1),
            (&[(WEIGHT, "50"), (TOTAL, "50")], (50, 100), 0),
            (&[(WEIGHT, "50"), (TOTAL, "1000")], (50, 1000), 0),
            (&[(WEIGHT, "50"), (TOTAL, "x")], (50, 100), 1),
        ] {
            let (read, warned) = canary(&[&[ON], annotations].concat());
            let read = read.unwrap();
            assert_eq!(((read.weight, read.total), warned), (want, warnings), "{annotations:?}");
        }
    }

    #[test]
    fn a_header_decides_by_its_value_or_a_pattern_or_two_words() {
        for (annotations, want, warnings) in [
            (&[(HEADER, "X-Canary")][..], Some(CanaryHeader::Word), 0),
            (&[(HEADER, "X_Canary")], Some(CanaryHeader::Word), 0),
            (&[(HEADER, "X-Canary"), (VALUE, "yes")], Some(CanaryHeader::Value("yes".into())), 0),
            (&[(HEADER, "X-Canary"), (VALUE, "y;")], Some(CanaryHeader::Word), 1),
            (&[(HEADER, "X-Canary"), (PATTERN, "a|b")], Some(CanaryHeader::Pattern("a|b".into())), 0),
            (&[(HEADER, "X-Canary"), (PATTERN, "a;b")], Some(CanaryHeader::Word), 1),
            (
                &[(HEADER, "X-Canary"), (VALUE, "yes"), (PATTERN, "a|b")],
                Some(CanaryHeader::Value("yes".into())),
                0,
            ),
            (&[(HEADER, "X Canary")], None, 1),
            (&[(VALUE, "yes")], None, 0),
        ] {
            let (read, warned) = canary(&[&[ON], annotations].concat());
            let header = read.unwrap().header;
            assert!(header.iter().all(|(name, _)| name == "x-canary"));
            assert_eq!((header.map(|(_, test)| test), warned), (want, warnings), "{annotations:?}");
        }
    }
}
