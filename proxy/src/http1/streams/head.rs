//! Heads and trailers of HTTP/1 answers in the form that HTTP/2 clients get.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    http::context::Context,
    http1::{
        answer::AnswerHead,
        fields::unfolded,
        name::{Kind, kind},
    },
};

/// The headers of an answer as an HTTP/2 client gets them; `None` if HTTP/2 cannot express one of them. `request` are those
/// of the request.
pub(super) fn answer_headers(
    head: &AnswerHead<'_, '_>,
    context: &Context,
    request: &HeaderMap,
) -> Option<HeaderMap> {
    let mut headers = headers(head)?;
    if let Some(length) = head.length() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(route) = &context.route {
        let edits = route.answer_edits(head.status, request);
        match edits.rewrites() {
            true => edits.rewrite_and_apply(&headers.clone(), &mut headers),
            false => edits.apply(&mut headers),
        }
    }
    Some(headers)
}

/// The headers that are passed on; `None` if HTTP/2 cannot express one of them.
pub(super) fn headers(head: &AnswerHead<'_, '_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(12);
    // One allocation for all values.
    let bytes = Bytes::copy_from_slice(head.bytes());
    for header in head.passed() {
        let value = match head.place(header.value) {
            _ if head.folded && header.value.contains(&b'\n') => {
                HeaderValue::from_bytes(&unfolded(header.value))
            }
            Some(place) => HeaderValue::from_maybe_shared(bytes.slice(place)),
            None => HeaderValue::from_bytes(header.value),
        };
        headers.try_append(HeaderName::from_bytes(header.name.as_bytes()).ok()?, value.ok()?).ok()?;
    }
    Some(headers)
}

/// The fields of a trailer section without those that must not stand in one (RFC 9110, 6.5.1).
pub(super) fn trailers(lines: &[u8]) -> HeaderMap {
    let fields = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let may_stand = matches!(kind(name), Kind::Other | Kind::Date | Kind::Origin | Kind::RequestId);
        let (name, value) = (HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        may_stand.then_some((name, value))
    });
    let mut trailers = HeaderMap::new();
    fields.for_each(|(name, value)| {
        trailers.append(name, value);
    });
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_frame_nothing() {
        let got = trailers(
            b"X-Sum: 1\r\nContent-Length: 5\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Sum:2\r\n",
        );
        assert_eq!(got.len(), 2);
        assert_eq!(got.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
