//! The bodies of requests.

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::Body,
    objects::{checks::Checks, names::quoted},
};

const SIZE: &str = "proxy-body-size";
const BUFFER: &str = "client-body-buffer-size";

impl Family for Body {
    const NAMES: &'static [&'static str] = &[SIZE];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        // It has no effect here, but ingress-nginx does not apply an Ingress with a wrong one.
        if let Some(text) = written.value(BUFFER)
            && values::size(text).is_none()
        {
            return Err(Denied { name: BUFFER, why: format!("{} {}", quoted(text), values::NO_SIZE) });
        }
        Ok(Self { size: written.parse(SIZE, checks, |text| values::size(text).ok_or(values::NO_SIZE)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        for (value, want) in [
            ("0", Some(0)),
            ("3", Some(3)),
            ("1k", Some(1 << 10)),
            ("1K", Some(1 << 10)),
            (" 8m ", Some(8 << 20)),
            ("2G", Some(2 << 30)),
            ("3b", None),
            ("1mb", None),
            ("1.5m", None),
            ("-1", None),
            ("10 m", None),
            ("", None),
            ("m", None),
            ("99999999999999999999", None),
            ("99999999999g", None),
        ] {
            let (read, warnings) = family(&[(SIZE, value)], |annotations| annotations.body);
            assert_eq!((read.size, warnings), (want, usize::from(want.is_none())), "{value:?}");
        }
        assert_eq!(family(&[], |annotations| annotations.body), (Body { size: None }, 0));
    }

    #[test]
    fn a_buffer_has_no_effect_but_where_it_is_wrong() {
        let (_, warnings) = family(&[(BUFFER, "16k")], |_| ());
        assert_eq!(warnings, 1, "a notice");
        assert!(refused(&[(BUFFER, "x")]).contains("is not a number of bytes"));
    }
}
