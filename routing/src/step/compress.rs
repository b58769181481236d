//! Compression of responses of an Ingress's backends (`use-gzip`, `enable-brotli` and the keys beside them of ingress-nginx's
//! ConfigMap): which responses are compressed, and what this changes in their headers.

use std::{fmt, ops::ControlFlow};

use http::{HeaderName, HeaderValue, header};

use super::{InvalidMapKey, MapKeys};
use crate::{Headers, HeadersMut};

/// Which responses are compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compress {
    /// `use-gzip` and `gzip-*`.
    pub gzip: CodingSettings,
    /// `enable-brotli` and `brotli-*`. Takes precedence over gzip if the client accepts both.
    pub brotli: CodingSettings,
    /// `gzip-disable`: clients that do not receive gzip.
    pub not_gzip: UserAgents,
}

/// The highest level of Brotli. Those above need up to 32 MiB of memory for each response, and a hundred times as long.
pub const MAX_BROTLI_LEVEL: u8 = 6;

/// The settings of one coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodingSettings {
    /// Whether responses are compressed in this coding.
    pub is_on: bool,
    /// How much time is spent on compression: 1 to 9 for gzip, 0 to [`MAX_BROTLI_LEVEL`] for Brotli.
    pub level: u8,
    /// The minimum Content-Length. Responses without one are compressed regardless of their length.
    pub min_length: u64,
    /// The media types that are compressed, in addition to `text/html`.
    pub types: MediaTypes,
}

/// A list of media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaTypes {
    /// `*`.
    Any,
    /// These, and `text/html`.
    Listed(Box<[Box<str>]>),
}

/// Clients, by their `User-Agent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAgents {
    pattern: MapKeys,
    /// Internet Explorer 4 to 6, except 6 SV1.
    msie6: bool,
}

/// A coding of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip {
        /// 1 to 9.
        level: u8,
    },
    /// RFC 7932.
    Brotli {
        /// 0 to [`MAX_BROTLI_LEVEL`].
        level: u8,
    },
}

/// The codings that a client accepts, of those that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    gzip: bool,
    brotli: bool,
}

/// The compression of a response. Its headers depend on the codings that the client accepts, even if it accepts none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The coding; `None` if the client accepts none that applies.
    pub coding: Option<Coding>,
    /// The length of the body, if it is known.
    pub length: Option<u64>,
}

/// The media types that both codings have by default.
const TYPES: [&str; 17] = [
    "application/atom+xml",
    "application/javascript",
    "application/json",
    "application/rss+xml",
    "application/vnd.ms-fontobject",
    "application/x-font-ttf",
    "application/x-javascript",
    "application/x-web-app-manifest+json",
    "application/xhtml+xml",
    "application/xml",
    "font/opentype",
    "image/svg+xml",
    "image/x-icon",
    "text/css",
    "text/javascript",
    "text/plain",
    "text/x-component",
];

impl Default for Compress {
    fn default() -> Self {
        let settings = |level, min_length, own: &[&str]| {
            let types = TYPES.iter().chain(own).map(|name| Box::from(*name)).collect();
            CodingSettings { is_on: false, level, min_length, types: MediaTypes::Listed(types) }
        };
        Self {
            gzip: settings(1, 256, &[]),
            brotli: settings(4, 20, &["application/xml+rss"]),
            not_gzip: UserAgents::default(),
        }
    }
}

impl Compress {
    /// Returns whether any responses are compressed.
    pub fn is_on(&self) -> bool {
        self.gzip.is_on || self.brotli.is_on
    }

    /// Returns the codings that a client accepts, by the headers of its request.
    pub(crate) fn accepted(&self, request: &dyn Headers) -> Accepted {
        Accepted {
            brotli: self.brotli.is_on && accepts(request, "br"),
            gzip: self.gzip.is_on && accepts(request, "gzip") && !self.not_gzip.hold(request),
        }
    }

    /// Returns the compression of a response with this status and these headers, which are those that the client would
    /// receive otherwise; `None` if it is not compressed for any client.
    pub(crate) fn compression(
        &self,
        accepted: Accepted,
        status: u16,
        headers: &dyn Headers,
    ) -> Option<Compression> {
        let is_coded = headers.first(&header::CONTENT_ENCODING).is_some_and(|value| !value.is_empty());
        if !matches!(status, 200 | 403 | 404) || is_coded || is_fixed(headers) {
            return None;
        }
        let brotli = (&self.brotli, accepted.brotli, Coding::Brotli { level: self.brotli.level });
        let gzip = (&self.gzip, accepted.gzip, Coding::Gzip { level: self.gzip.level });
        let length = headers.first(&header::CONTENT_LENGTH);
        let length = length.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
        let mut compression = None;
        for (settings, is_accepted, coding) in [brotli, gzip] {
            if settings.apply_to(headers, length) {
                let chosen: &mut Compression =
                    compression.get_or_insert(Compression { coding: None, length });
                chosen.coding = chosen.coding.or(is_accepted.then_some(coding));
            }
        }
        compression
    }
}

impl CodingSettings {
    /// Whether a response with these headers is compressed for clients that accept the coding. `length`: of its body, if it
    /// is known.
    fn apply_to(&self, headers: &dyn Headers, length: Option<u64>) -> bool {
        self.is_on
            && length.is_none_or(|length| length >= self.min_length)
            && headers.first(&header::CONTENT_TYPE).is_some_and(|value| self.types.hold(value))
    }
}

impl MediaTypes {
    /// Reads a list of media types, separated by white space; `*` stands for all.
    ///
    /// # Errors
    /// The first word that is not a media type.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let is_token = |text: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !text.is_empty() && text.bytes().all(is_allowed)
        };
        let is_type =
            |word: &str| word.split_once('/').is_some_and(|(of, sub)| is_token(of) && is_token(sub));
        if let Some(word) = text.split_whitespace().find(|word| *word != "*" && !is_type(word)) {
            return Err(word);
        }
        if text.split_whitespace().any(|word| word == "*") {
            return Ok(Self::Any);
        }
        Ok(Self::Listed(text.split_whitespace().map(Into::into).collect()))
    }

    /// Whether a Content-Type is one of them, regardless of its parameters. The messages of gRPC have a compression of their
    /// own, and are never compressed.
    fn hold(&self, content_type: &[u8]) -> bool {
        const GRPC: &[u8] = b"application/grpc";
        let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
        let name = content_type.split_at_checked(end).map_or(content_type, |(name, _)| name).trim_ascii();
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let is_grpc = name.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
        !is_grpc
            && match self {
                Self::Any => true,
                Self::Listed(types) => is("text/html") || types.iter().any(|other| is(other)),
            }
    }
}

impl UserAgents {
    /// Reads a regular expression that ignores case and can match anywhere, or `msie6`, which has a meaning of its own as in
    /// nginx.
    ///
    /// # Errors
    /// [`InvalidMapKey`], if the regular expression cannot be used.
    pub fn parse(text: &str) -> Result<Self, InvalidMapKey> {
        match text {
            "" => Ok(Self::default()),
            "msie6" => Ok(Self { msie6: true, ..Self::default() }),
            pattern => {
                let key = format!("~*{pattern}");
                Ok(Self { pattern: MapKeys::parse([&*key].into_iter())?, msie6: false })
            }
        }
    }

    /// Whether the client that sent these headers is one of them.
    fn hold(&self, request: &dyn Headers) -> bool {
        if self.pattern.is_empty() && !self.msie6 {
            return false;
        }
        let Some(agent) = request.first(&header::USER_AGENT) else { return false };
        let agent = String::from_utf8_lossy(agent);
        self.pattern.hold(&agent) || (self.msie6 && is_msie6(&agent))
    }
}

impl Coding {
    /// The name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli { .. } => "br",
        }
    }
}

impl Compression {
    /// Changes the headers of the response. Its framing is left to the carrier, except for Content-Length, which is removed if
    /// there is a coding.
    pub fn apply(self, headers: &mut (impl Headers + HeadersMut)) {
        if !has_any(headers, &header::VARY, &["accept-encoding", "*"]) {
            headers.add(&header::VARY, &HeaderValue::from_static("Accept-Encoding"));
        }
        let Some(coding) = self.coding else { return };
        headers.set(&header::CONTENT_ENCODING, &HeaderValue::from_static(coding.name()));
        headers.remove(&header::CONTENT_LENGTH);
        // Ranges would be those of the compressed bytes, which differ from response to response.
        headers.remove(&header::ACCEPT_RANGES);
        let etag = headers.first(&header::ETAG).map(weak);
        match etag {
            Some(Some(etag)) => headers.set(&header::ETAG, &etag),
            // It is not an entity tag.
            Some(None) => headers.remove(&header::ETAG),
            None => {}
        }
    }
}

/// The weak form of an entity tag (RFC 9110, 8.8.3): the compressed bytes are not the same each time.
fn weak(etag: &[u8]) -> Option<HeaderValue> {
    match etag {
        [b'W', b'/', ..] => HeaderValue::from_bytes(etag).ok(),
        [b'"', ..] => HeaderValue::from_bytes(&[b"W/", etag].concat()).ok(),
        _ => None,
    }
}

/// Whether `Accept-Encoding` has this coding with a weight above 0. As in nginx, `*` does not stand for it.
fn accepts(request: &dyn Headers, coding: &str) -> bool {
    let mut accepted = None;
    request.each(&header::ACCEPT_ENCODING, &mut |value| {
        accepted = value.split(|byte| *byte == b',').find_map(|entry| weighs(entry, coding));
        if accepted.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    accepted.unwrap_or(false)
}

/// Whether an entry of `Accept-Encoding` accepts this coding; `None` if it is an entry of another one.
fn weighs(entry: &[u8], coding: &str) -> Option<bool> {
    let mut parts = entry.splitn(2, |byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    if !name.eq_ignore_ascii_case(coding.as_bytes()) {
        return None;
    }
    // RFC 9110, 12.4.2.
    Some(match parts.next() {
        None | Some([]) => true,
        Some([b'q' | b'Q', b'=', b'1']) => true,
        Some([b'q' | b'Q', b'=', b'1', b'.', digits @ ..]) => {
            digits.len() <= 3 && digits.iter().all(|d| *d == b'0')
        }
        Some([b'q' | b'Q', b'=', b'0', b'.', digits @ ..]) => {
            digits.len() <= 3
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().any(|digit| *digit != b'0')
        }
        Some(_) => false,
    })
}

/// Whether a response must not be transformed (RFC 9111, 5.2.2.6).
fn is_fixed(headers: &dyn Headers) -> bool {
    has_any(headers, &header::CACHE_CONTROL, &["no-transform"])
}

/// Whether a header has one of these members in its lists, ignoring case.
fn has_any(headers: &dyn Headers, name: &HeaderName, members: &[&str]) -> bool {
    let mut found = false;
    headers.each(name, &mut |value| {
        let mut parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        found = parts.any(|part| members.iter().any(|member| part.eq_ignore_ascii_case(member.as_bytes())));
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

/// Whether it is the `User-Agent` of Internet Explorer 4 to 6, except 6 SV1.
fn is_msie6(agent: &str) -> bool {
    let Some((_, version)) = agent.split_once("MSIE ") else { return false };
    match version.as_bytes() {
        [b'4' | b'5', b'.', ..] => true,
        [b'6', b'.', ..] => !version.contains("SV1"),
        _ => false,
    }
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("compress")?;
        for (name, settings) in [("br", &self.brotli), ("gzip", &self.gzip)] {
            if settings.is_on {
                write!(f, " {name} {}", settings.level)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
