//! What a client can ask of the answer, in the query.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use percent_encoding::percent_decode_str;

const MAX_SIZE: u64 = 1 << 30;
const MAX_CHUNKS: u64 = 100_000;
const MAX_DELAY: Duration = Duration::from_secs(600);

/// What the answer is to be like.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Knobs {
    /// `?status=503`.
    pub(super) status: Option<StatusCode>,
    /// `?delay=200ms`: a pause before the answer.
    pub(super) delay: Duration,
    /// `?header=name:value`, as often as it stands there.
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

/// What the body is to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Content {
    /// The description of the request.
    #[default]
    Description,
    /// `?size=102400`, `?chunks=5`, `?interval=100ms`: letters of our own.
    Pattern { size: u64, chunks: Option<u64>, interval: Duration },
    /// `?echo`: the request's body as it comes.
    RequestBody,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("?{name}={value}: {expected}")]
pub(super) struct InvalidKnob {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl Knobs {
    /// Reads a query. Names that are no knob are not ours to judge.
    pub(super) fn parse(query: &str) -> Result<Self, InvalidKnob> {
        let mut knobs = Self::default();
        let (mut size, mut chunks, mut interval, mut echo) = (None, None, Duration::ZERO, false);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = &*percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned();
            match name {
                "status" => knobs.status = Some(status(value)?),
                "delay" => knobs.delay = duration("delay", value)?,
                "interval" => interval = duration("interval", value)?,
                "size" => size = Some(number("size", value, MAX_SIZE, "bytes, at most 1 GiB")?),
                "chunks" => {
                    let count = number("chunks", value, MAX_CHUNKS, "a number from 1 to 100000")?;
                    chunks = Some(count.max(1));
                }
                "echo" => echo = true,
                "header" => {
                    let (name, value) = header(value)?;
                    knobs.headers.append(name, value);
                }
                _ => {}
            }
        }
        knobs.content = match (echo, size, chunks) {
            (true, _, _) => Content::RequestBody,
            (false, None, None) => Content::Description,
            // Chunks without a size are one alphabet each.
            (false, None, Some(count)) => Content::Pattern { size: count * 26, chunks, interval },
            (false, Some(size), _) => Content::Pattern { size, chunks, interval },
        };
        Ok(knobs)
    }
}

fn status(value: &str) -> Result<StatusCode, InvalidKnob> {
    let code = value.parse().ok().filter(|code| (200..600).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| invalid("status", value, "a status from 200 to 599"))
}

fn number(name: &'static str, value: &str, most: u64, expected: &'static str) -> Result<u64, InvalidKnob> {
    value.parse().ok().filter(|n| *n <= most).ok_or_else(|| invalid(name, value, expected))
}

fn duration(name: &'static str, value: &str) -> Result<Duration, InvalidKnob> {
    let parsed = match (value.strip_suffix("ms"), value.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().ok().map(Duration::from_millis),
        (None, Some(seconds)) => seconds.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    parsed
        .filter(|d| *d <= MAX_DELAY)
        .ok_or_else(|| invalid(name, value, "milliseconds (200ms) or seconds (2s), at most 600s"))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), InvalidKnob> {
    let parsed = text.split_once(':').and_then(|(name, value)| {
        Some((name.parse::<HeaderName>().ok()?, value.trim_matches(' ').parse::<HeaderValue>().ok()?))
    });
    parsed
        // The framing of the message is the server's.
        .filter(|(name, _)| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING)
        .ok_or_else(|| invalid("header", text, "name:value, and not of the message's framing"))
}

fn invalid(name: &'static str, value: &str, expected: &'static str) -> InvalidKnob {
    InvalidKnob { name, value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_for_a_body() {
        let pattern =
            |size, chunks, millis| Content::Pattern { size, chunks, interval: Duration::from_millis(millis) };
        for (query, want) in [
            ("", Content::Description),
            ("q=portcullis&page=2", Content::Description),
            ("size=10", pattern(10, None, 0)),
            ("size=0", pattern(0, None, 0)),
            ("chunks=3", pattern(78, Some(3), 0)),
            ("chunks=0", pattern(26, Some(1), 0)),
            ("size=10&chunks=5&interval=100ms", pattern(10, Some(5), 100)),
            ("echo", Content::RequestBody),
            ("size=10&echo=1", Content::RequestBody),
        ] {
            assert_eq!(Knobs::parse(query).unwrap().content, want, "{query}");
        }
    }

    #[test]
    fn a_query_asks_for_status_delay_and_headers() {
        let knobs = Knobs::parse("status=503&delay=2s&header=X-A:1&header=x-a:%20b+c").unwrap();
        assert_eq!(knobs.status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(knobs.delay, Duration::from_secs(2));
        assert_eq!(knobs.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "b c"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (query, want) in [
            ("status=101", "?status=101: a status from 200 to 599"),
            ("status=no", "?status=no: a status from 200 to 599"),
            ("size=1073741825", "?size=1073741825: bytes, at most 1 GiB"),
            ("chunks=-1", "?chunks=-1: a number from 1 to 100000"),
            ("delay=5", "?delay=5: milliseconds (200ms) or seconds (2s), at most 600s"),
            ("delay=601s", "?delay=601s: milliseconds (200ms) or seconds (2s), at most 600s"),
            ("header=none", "?header=none: name:value, and not of the message's framing"),
            (
                "header=content-length:1",
                "?header=content-length:1: name:value, and not of the message's framing",
            ),
            ("header=a:%0d%0a", "?header=a:\r\n: name:value, and not of the message's framing"),
        ] {
            let error = Knobs::parse(query).unwrap_err().to_string();
            assert_eq!(error, want, "{query}");
        }
    }
}
