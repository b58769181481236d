//! Selection of endpoints by the hash of a key.

use std::num::NonZeroUsize;

use portcullis_routing::Template;

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::Hashing,
    objects::{checks::Checks, names::quoted},
};

const BY: &str = "upstream-hash-by";
const SUBSET: &str = "upstream-hash-by-subset";
const SIZE: &str = "upstream-hash-by-subset-size";

/// The default size of a subset.
const DEFAULT_SIZE: NonZeroUsize = NonZeroUsize::new(3).expect("it is 3");

impl Family for Hashing {
    const NAMES: &'static [&'static str] = &[BY, SUBSET, SIZE];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let is_subset = written.required_switch(SUBSET)?.unwrap_or_default();
        let size = size(written, checks)?;
        let Some(text) = written.value(BY).map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_${} ".contains(&byte)) {
            let why = format!("{} has characters other than letters, digits and -_${{}}", quoted(text));
            return Err(Denied { name: BY, why });
        }
        let read = |text: &str| Template::parse(text, &[]).map_err(|error| error.to_string());
        // Groups of a path are not available when an endpoint is selected.
        let without_groups = |text: &str| match read(text)? {
            template if template.has_groups() => Err("groups of the path cannot be hashed".to_owned()),
            template => Ok(template),
        };
        match without_groups(text) {
            Ok(by) => Ok(Self { by: Some(by), subset: is_subset.then_some(size) }),
            Err(why) => {
                written.without_effect(BY, &format!("{}: {why}", quoted(text)), checks);
                Ok(Self::default())
            }
        }
    }
}

fn size(written: Written<'_>, checks: &mut Checks) -> Result<NonZeroUsize, Denied> {
    let Some(text) = written.value(SIZE).map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_SIZE);
    };
    match values::integer(text) {
        None => Err(Denied { name: SIZE, why: format!("{} is not a number", quoted(text)) }),
        Some(0) => Ok(DEFAULT_SIZE),
        Some(number) => Ok(usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or_else(|| {
            written.without_effect(SIZE, &format!("{number} is negative"), checks);
            DEFAULT_SIZE
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    fn hashing(annotations: &[(&str, &str)]) -> (Option<String>, Option<usize>, usize) {
        let (read, warnings) = family(annotations, |annotations| annotations.hashing.clone());
        (read.by.map(|by| by.to_string()), read.subset.map(NonZeroUsize::get), warnings)
    }

    #[test]
    fn a_text_with_variables_is_hashed() {
        for (annotations, by, subset, warnings) in [
            (&[(BY, "$request_uri")][..], Some("$request_uri"), None, 0),
            (&[(BY, "${request_uri}-$http_x_user")], Some("${request_uri}-$http_x_user"), None, 0),
            (&[(BY, "constant")], Some("constant"), None, 0),
            (&[(BY, "")], None, None, 0),
            (&[(BY, "$nothing")], None, None, 1),
            (&[(BY, "$1")], None, None, 1),
            (&[(BY, "$host"), (SUBSET, "true")], Some("$host"), Some(3), 0),
            (&[(BY, "$host"), (SUBSET, "true"), (SIZE, "5")], Some("$host"), Some(5), 0),
            (&[(BY, "$host"), (SUBSET, "true"), (SIZE, "0")], Some("$host"), Some(3), 0),
            (&[(BY, "$host"), (SUBSET, "true"), (SIZE, "-1")], Some("$host"), Some(3), 1),
            (&[(BY, "$host"), (SUBSET, "false"), (SIZE, "5")], Some("$host"), None, 0),
            (&[(SUBSET, "true")], None, None, 0),
        ] {
            assert_eq!(hashing(annotations), (by.map(Into::into), subset, warnings), "{annotations:?}");
        }
    }

    #[test]
    fn an_invalid_text_refuses_the_ingress() {
        for (annotation, why) in [
            ((BY, "$request_uri;"), "has characters other than"),
            ((BY, "a/b"), "has characters other than"),
            ((SUBSET, "yes"), "is neither true nor false"),
            ((SIZE, "many"), "is not a number"),
        ] {
            assert!(refused(&[annotation]).contains(why), "{annotation:?}");
        }
    }
}
