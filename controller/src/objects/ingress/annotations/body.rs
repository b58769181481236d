//! Size and buffering of request bodies.

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
const BUFFERING: &str = "proxy-request-buffering";

impl Family for Body {
    const NAMES: &'static [&'static str] = &[SIZE, BUFFER, BUFFERING];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        // ingress-nginx does not apply an Ingress with an invalid value.
        let buffer = written.value(BUFFER).map(|text| {
            let why = || format!("{} {}", quoted(text), values::NO_SIZE);
            values::size(text).ok_or_else(|| Denied { name: BUFFER, why: why() })
        });
        Ok(Self {
            size: written.parse(SIZE, checks, |text| values::size(text).ok_or(values::NO_SIZE)),
            buffer: buffer.transpose()?,
            buffering: written.parse(BUFFERING, checks, values::on_or_off),
        })
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
        assert_eq!(family(&[], |annotations| annotations.body), (Body::default(), 0));
    }

    #[test]
    fn a_buffer_is_a_size_and_without_one_the_ingress_is_refused() {
        let read = |value| family(&[(BUFFER, value)], |annotations| annotations.body.buffer);
        assert_eq!(read("16k"), (Some(16 << 10), 0));
        assert!(refused(&[(BUFFER, "x")]).contains("is not a number of bytes"));
    }

    #[test]
    fn bodies_are_received_as_a_whole_or_streamed() {
        for (value, want) in [("on", Some(true)), ("off", Some(false)), ("maybe", None), ("", None)] {
            let (read, warnings) = family(&[(BUFFERING, value)], |annotations| annotations.body.buffering);
            assert_eq!((read, warnings), (want, usize::from(want.is_none())), "{value:?}");
        }
    }
}
