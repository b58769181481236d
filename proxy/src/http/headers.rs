//! pingora's headers, as we add to them and as the filters of a route change them.
//!
//! Six headers are added to each request and a dozen are asked for, so this file minds what that takes: pingora parses
//! and copies each name that is set, and every look-up hashes its name.

use std::{mem, ops::ControlFlow};

use http::{HeaderMap, HeaderName, HeaderValue, Request as HttpRequest, header};
use pingora_error::{ErrorType, OrErr as _, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use portcullis_routing::{Headers, HeadersMut};

use crate::HeaderNames;

/// A header that we set.
#[derive(Debug)]
pub(crate) struct Name {
    /// As HTTP/1 backends see it. A literal, for which nothing is allocated.
    spelt: &'static str,
    /// As it is looked up.
    pub(crate) name: HeaderName,
}

impl Name {
    /// Both spellings of a name.
    pub(crate) const fn new(spelt: &'static str, lower: &'static str) -> Self {
        Self { spelt, name: HeaderName::from_static(lower) }
    }

    /// As HTTP/1 backends see it.
    pub(crate) fn spelt(&self) -> &'static str {
        self.spelt
    }
}

/// Headers of a request for a backend, to be added to.
pub(crate) trait Fields: HeadersMut {
    fn map(&self) -> &HeaderMap;

    /// Replaces all values of a header.
    ///
    /// # Errors
    /// Where there are too many headers already.
    fn put(&mut self, name: &Name, value: HeaderValue) -> Result<()>;
}

impl Fields for Request<'_> {
    fn map(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn put(&mut self, name: &Name, value: HeaderValue) -> Result<()> {
        self.0.insert_header(name.spelt, value)
    }
}

impl Fields for HeaderMap {
    fn map(&self) -> &HeaderMap {
        self
    }

    fn put(&mut self, name: &Name, value: HeaderValue) -> Result<()> {
        let put = self.try_insert(name.name.clone(), value).map(drop);
        put.or_err(ErrorType::InvalidHTTPHeader, "too many headers")
    }
}

/// What is added to a request's headers by `fill`, and room for a few that filters add.
const ROOM: usize = 10;

/// Drops pingora's second map where it says nothing: names in lower case have no spelling to keep. Many clients and most
/// proxies write them so, and half of what headers take is that map.
pub(crate) fn forget_spelling(request: &mut RequestHeader) {
    let is_spelt = |name: &[u8]| name.iter().any(u8::is_ascii_uppercase);
    let mut names = request.case_header_iter().map(|(name, _)| name.as_slice());
    if request.has_case() && is_path(request) && !names.any(is_spelt) {
        drop(names);
        with_map(request, |_| ());
    }
}

/// Whether a header of an HTTP/2 request has a name that HTTP/1 cannot express: the type of names permits quotation marks, which
/// are no token characters (RFC 9110, 5.6.2).
pub(crate) fn has_invalid_name(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| memchr::memchr(b'"', name.as_str().as_bytes()).is_some())
}

/// Cuts the blanks around values, which HTTP/1 parsers cut, and which an h2 client must not send (RFC 9113, 8.2.1) but may:
/// what is matched is what an HTTP/1 backend will read.
pub(crate) fn trim(request: &mut RequestHeader) {
    let is_padded = |value: &HeaderValue| {
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        blank(value.as_bytes().first()) || blank(value.as_bytes().last())
    };
    if !request.headers.values().any(is_padded) {
        return;
    }
    with_map(request, |headers| {
        for value in headers.values_mut().filter(|value| is_padded(value)) {
            if let Ok(mut trimmed) = HeaderValue::from_bytes(value.as_bytes().trim_ascii()) {
                trimmed.set_sensitive(value.is_sensitive());
                *value = trimmed;
            }
        }
    });
}

/// Adds headers to a request that pingora has copied for a backend. `fill` is called once, on the request itself or,
/// where pingora keeps nothing beside them, on its headers alone.
///
/// # Errors
/// Those of filling.
pub(crate) fn add(request: &mut RequestHeader, fill: impl Fill) -> Result<()> {
    if request.has_case() || !is_path(request) {
        return fill.fill(&mut Request(request));
    }
    with_map(request, |headers| {
        // Where there are too many already, the first that is put says so.
        let _ = headers.try_reserve(ROOM);
        fill.fill(headers)
    })
}

/// Whether the target is a path, which the URI has as it came. Any other stands beside the URI.
fn is_path(request: &RequestHeader) -> bool {
    let path = request.uri.path_and_query().map(|path| path.as_str().as_bytes());
    path.is_some_and(|path| std::ptr::eq(path, request.raw_path()))
}

/// Gives the headers of a request to somebody. What pingora keeps beside them and the URI gets lost.
fn with_map<T>(request: &mut RequestHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> T {
    let ends_with_head = request.send_end_stream();
    let nothing = RequestHeader::from(HttpRequest::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(mem::replace(request, nothing));
    let changed = change(&mut parts.headers);
    *request = RequestHeader::from(parts);
    if let Some(ends_with_head) = ends_with_head {
        request.set_send_end_stream(ends_with_head);
    }
    changed
}

/// Adds headers, whatever they are in.
pub(crate) trait Fill {
    fn fill(self, headers: &mut impl Fields) -> Result<()>;
}

/// Which of the headers that are asked for a request may have. One walk along all names takes less than a look-up for
/// each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Has(u16);

impl Has {
    pub(crate) const UPGRADE: Self = Self(1);
    pub(crate) const CONTENT_TYPE: Self = Self(1 << 1);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 2);
    pub(crate) const COOKIE: Self = Self(1 << 3);
    pub(crate) const EXPECT: Self = Self(1 << 4);
    pub(crate) const FORWARDED: Self = Self(1 << 5);
    /// A name that may have to end here: that of `Proxy`, one that says something of the client, one with another character
    /// than letters, digits and dashes.
    pub(crate) const SUSPECT: Self = Self(1 << 6);
    pub(crate) const REQUEST_ID: Self = Self(1 << 7);
    /// `X-Scheme` or `X-Forwarded-Scheme`.
    pub(crate) const SCHEME: Self = Self(1 << 8);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 9);
    pub(crate) const PROXY_AUTHORIZATION: Self = Self(1 << 10);

    /// `X-Forwarded-For`, `X-Forwarded-Host`, or what backends of Ingresses get of these.
    pub(crate) const FORWARDED_BY: Self = Self(1 << 11);

    /// Looks through the headers of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |has, name| has | Self::of_name(name).0))
    }

    /// Whether it may have one of these.
    pub(crate) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// There are none of these any more.
    pub(crate) fn forget(&mut self, of: Self) {
        self.0 &= !of.0;
    }

    fn of_name(name: &HeaderName) -> Self {
        match *name {
            header::UPGRADE => Self::UPGRADE,
            header::CONTENT_TYPE => Self::CONTENT_TYPE,
            header::CONTENT_LENGTH => Self::CONTENT_LENGTH,
            header::COOKIE => Self::COOKIE,
            header::EXPECT => Self::EXPECT,
            header::FORWARDED => Self::FORWARDED,
            header::TRANSFER_ENCODING => Self::TRANSFER_ENCODING,
            header::PROXY_AUTHORIZATION => Self::PROXY_AUTHORIZATION,
            // Most headers of most requests. Other names are compared with many, letter by letter.
            header::ACCEPT
            | header::ACCEPT_ENCODING
            | header::ACCEPT_LANGUAGE
            | header::AUTHORIZATION
            | header::CACHE_CONTROL
            | header::HOST
            | header::IF_MODIFIED_SINCE
            | header::IF_NONE_MATCH
            | header::ORIGIN
            | header::PRAGMA
            | header::RANGE
            | header::REFERER
            | header::TE
            | header::UPGRADE_INSECURE_REQUESTS
            | header::USER_AGENT => Self::default(),
            _ => match name.as_str() {
                "x-request-id" => Self::REQUEST_ID,
                "x-scheme" | "x-forwarded-scheme" => Self::SCHEME,
                // These are replaced.
                "x-forwarded-for" | "x-forwarded-host" => Self::FORWARDED_BY,
                "x-forwarded-port" | "x-forwarded-proto" => Self::default(),
                "x-original-forwarded-for" | "x-original-forwarded-host" => {
                    Self(Self::FORWARDED_BY.0 | Self::SUSPECT.0)
                }
                "proxy" | "x-portcullis-checked" => Self::SUSPECT,
                name if name.starts_with("x-forwarded-") || name.starts_with("x-original-forwarded-") => {
                    Self::SUSPECT
                }
                name if !HeaderNames::Plain.allow(name.as_bytes()) => Self::SUSPECT,
                _ => Self::default(),
            },
        }
    }
}

/// The size of header fields as HTTP/1 has them.
pub(crate) fn fields_len(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

/// The size of the head of a response with these headers as HTTP/1 has it.
pub(crate) fn answer_len(headers: &HeaderMap) -> usize {
    "HTTP/1.1 200 OK\r\n\r\n".len() + fields_len(headers)
}

/// Whether a message is in the one transfer coding that is read and written here.
pub(crate) fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    chunked && codings.next().is_none()
}

/// A request's headers.
#[derive(Debug)]
pub(crate) struct Request<'r>(pub(crate) &'r mut RequestHeader);

/// A response's headers.
#[derive(Debug)]
pub(crate) struct Response<'r>(pub(crate) &'r mut ResponseHeader);

impl Headers for Response<'_> {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.0.headers.first(name)
    }

    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> ControlFlow<()>) {
        self.0.headers.each(name, visit);
    }
}

// Setting a header fails only past 32768 headers; pingora's parser stops at 256.
macro_rules! headers_mut {
    ($type:ident) => {
        impl HeadersMut for $type<'_> {
            fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
                let _ = self.0.insert_header(name, value.clone());
            }

            fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
                let _ = self.0.append_header(name, value.clone());
            }

            fn remove(&mut self, name: &HeaderName) {
                self.0.remove_header(name);
            }
        }
    };
}

headers_mut!(Request);
headers_mut!(Response);
