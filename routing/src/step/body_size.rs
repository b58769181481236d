//! The maximum size of request bodies.

use http::header;

use crate::Headers;

/// The maximum size of a request body, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySize(pub u64);

impl BodySize {
    /// Returns whether the request announces a larger body. Carriers have checked the header's form, and that several
    /// lengths are equal (RFC 9110, section 8.6).
    pub fn is_exceeded_by(self, request: &dyn Headers) -> bool {
        let Some(value) = request.first(&header::CONTENT_LENGTH) else { return false };
        let first = value.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        let digits = first.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(first).ok()).flatten();
        // A length that is too long for a number is longer than any limit.
        digits.is_some_and(|digits| digits.parse().unwrap_or(u64::MAX) > self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn an_announced_length_is_compared() {
        for (length, want) in [
            (None, false),
            (Some("0"), false),
            (Some("1024"), false),
            (Some("1025"), true),
            (Some("1025, 1025"), true),
            (Some("0001"), false),
            (Some("99999999999999999999999"), true),
            (Some("-1"), false),
        ] {
            let value = length.map(|length| (header::CONTENT_LENGTH, HeaderValue::from_static(length)));
            let headers: HeaderMap = value.into_iter().collect();
            assert_eq!(BodySize(1024).is_exceeded_by(&headers), want, "{length:?}");
        }
    }
}
