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
    // With room for a few that are added.
    let mut headers = HeaderMap::with_capacity(head.count() + 3);
    // One allocation for all values.
    let bytes = Bytes::copy_from_slice(head.bytes());
    for (kind, header) in head.passed() {
        let value = match head.place(header.value) {
            _ if head.folded && header.value.contains(&b'\n') => {
                HeaderValue::from_bytes(&unfolded(header.value))
            }
            Some(place) => HeaderValue::from_maybe_shared(bytes.slice(place)),
            None => HeaderValue::from_bytes(header.value),
        };
        let name = match kind {
            Kind::ContentType => header::CONTENT_TYPE,
            Kind::Date => header::DATE,
            _ => HeaderName::from_bytes(header.name.as_bytes()).ok()?,
        };
        headers.try_append(name, value.ok()?).ok()?;
    }
    if let Some(length) = head.length() {
        let place = head.plain_length().and_then(|value| head.place(value));
        let value = place.and_then(|place| HeaderValue::from_maybe_shared(bytes.slice(place)).ok());
        headers.insert(header::CONTENT_LENGTH, value.unwrap_or_else(|| HeaderValue::from(length)));
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
    use crate::http1::fields::Room;

    #[test]
    fn a_length_is_passed_on_once_and_in_plain_digits() {
        for (lines, want) in [
            ("Content-Length: 5\r\n", Some("5")),
            ("Content-Length: 0\r\n", Some("0")),
            ("Content-Length: 10\r\n", Some("10")),
            ("Content-Length: 007\r\n", Some("7")),
            ("Content-Length: 00\r\n", Some("0")),
            ("Content-Length: 5,5\r\n", Some("5")),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Some("5")),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
            ("", None),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\nX-A: b\r\n{lines}\r\n");
            let mut room = Room::new();
            let headers = headers(&room.read_answer(text.as_bytes()).unwrap().unwrap()).unwrap();
            let lengths: Vec<_> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
            assert_eq!(lengths, want.into_iter().collect::<Vec<_>>(), "{lines:?}");
        }
    }

    #[test]
    fn trailers_frame_nothing() {
        let got = trailers(
            b"X-Sum: 1\r\nContent-Length: 5\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Sum:2\r\n",
        );
        assert_eq!(got.len(), 2);
        assert_eq!(got.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
