//! Matching and rewriting of paths.

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::Rewrite,
    objects::{checks::Checks, names::quoted},
};

const USE_REGEX: &str = "use-regex";
const TARGET: &str = "rewrite-target";
const FORWARDED_PREFIX: &str = "x-forwarded-prefix";

impl Family for Rewrite {
    const NAMES: &'static [&'static str] = &[USE_REGEX, TARGET, FORWARDED_PREFIX];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let forwarded_prefix = written.value(FORWARDED_PREFIX).filter(|prefix| !prefix.is_empty());
        if let Some(prefix) = forwarded_prefix.filter(|prefix| !values::is_plain_url(prefix)) {
            let why = format!("{} has characters other than letters, digits and -._~/:", quoted(prefix));
            return Err(Denied { name: FORWARDED_PREFIX, why });
        }
        Ok(Self {
            use_regex: written.switch(USE_REGEX, checks).unwrap_or_default(),
            target: written.parse(TARGET, checks, target).flatten(),
            forwarded_prefix: forwarded_prefix.map(Into::into),
        })
    }
}

fn target(text: &str) -> Result<Option<Box<str>>, &'static str> {
    match values::is_path_with_groups(text) {
        true => Ok(Some(text).filter(|text| !text.is_empty()).map(Into::into)),
        false => Err("has characters other than letters, digits and -._~/:$"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    #[test]
    fn a_target_has_groups_and_variables_and_no_query() {
        for (value, want) in [
            ("/$1", Some("/$1")),
            ("/$host/x", Some("/$host/x")),
            ("https://b.test/$1", Some("https://b.test/$1")),
            ("", None),
            ("/a?b", None),
            ("/a;b", None),
            ("/${1}", None),
        ] {
            let (read, warnings) = family(&[(TARGET, value)], |annotations| annotations.rewrite.clone());
            assert_eq!(read.target.as_deref(), want, "{value}");
            assert_eq!(warnings, usize::from(want.is_none() && !value.is_empty()), "{value}");
        }
    }

    #[test]
    fn a_prefix_that_is_wrong_refuses_the_ingress() {
        assert!(refused(&[(FORWARDED_PREFIX, "/a b")]).contains("has characters other than"));
        let (read, _) = family(&[(FORWARDED_PREFIX, "/a")], |annotations| annotations.rewrite.clone());
        assert_eq!(read.forwarded_prefix.as_deref(), Some("/a"));
    }
}
