//! Variables, and their values for a request.

use std::{borrow::Cow, net::IpAddr};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderName, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::InvalidTemplate;
use crate::Headers;

/// Characters that are escaped in a URL that is a query argument of another URL.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Padding is optional, as in nginx.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `$1` to `$9`: a group of the regular expression that matched the path.
    Group(u8),
    /// A named group of it.
    NamedGroup(Box<str>),
    /// `$host`: lower case, without port.
    Host,
    /// `$http_host`, `$best_http_host`: as the client sent it, with the port.
    SentHost,
    /// `$request_uri`: path and query as the client sent them.
    RequestUri,
    /// `$escaped_request_uri`: the same, escaped for a query.
    EscapedRequestUri,
    /// `$uri`, `$document_uri`: the path, decoded.
    Path,
    /// `$args`, `$query_string`.
    Query,
    /// `$is_args`: `?` if there is a query.
    QuestionMark,
    /// `$scheme`, `$pass_access_scheme`.
    Scheme,
    /// `$request_method`.
    Method,
    /// `$remote_addr`, `$the_real_ip`, `$realip_remote_addr`, `$binary_remote_addr`: the client's address.
    Client,
    /// `$server_port`, `$pass_server_port`: the port that the client connected to.
    Port,
    /// `$remote_user`: the user of Basic credentials (RFC 7617), whether they are valid or not.
    User,
    /// `$http_name`: the first value of a header.
    Header(HeaderName),
    /// `$cookie_name`: its name, in lower case.
    Cookie(Box<str>),
    /// `$arg_name`: its name, in lower case.
    Argument(Box<str>),
}

/// The values of variables.
#[expect(missing_debug_implementations, reason = "headers of a carrier are not Debug")]
#[derive(Clone, Copy)]
pub struct Values<'r> {
    /// See [`Variable::Host`].
    pub host: &'r str,
    /// See [`Variable::SentHost`].
    pub sent_host: &'r str,
    /// See [`Variable::Path`].
    pub path: &'r str,
    /// The path as the client sent it.
    pub sent_path: &'r str,
    /// The query, without `?`.
    pub query: Option<&'r str>,
    /// See [`Variable::Scheme`].
    pub scheme: &'r str,
    /// See [`Variable::Method`].
    pub method: &'r str,
    /// See [`Variable::Client`].
    pub client: IpAddr,
    /// See [`Variable::Port`].
    pub port: u16,
    /// The headers.
    pub headers: &'r dyn Headers,
    /// The groups of the regular expression that matched the path.
    pub groups: &'r dyn Groups,
}

/// The groups of a match.
pub trait Groups {
    /// The text of a group by its number; `None` if it did not match.
    fn number(&self, number: usize) -> Option<&str>;
    /// The same by its name.
    fn name(&self, name: &str) -> Option<&str>;
}

/// No groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGroups;

impl Groups for NoGroups {
    fn number(&self, _: usize) -> Option<&str> {
        None
    }

    fn name(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Variable {
    pub(super) fn named(name: &str, group_names: &[&str]) -> Result<Self, InvalidTemplate> {
        if let Ok(number @ 1..=9) = name.parse::<u8>() {
            return Ok(Self::Group(number));
        }
        if group_names.contains(&name) {
            return Ok(Self::NamedGroup(name.into()));
        }
        let unknown = || InvalidTemplate::UnknownVariable(name.into());
        Ok(match name {
            "host" => Self::Host,
            "http_host" | "best_http_host" => Self::SentHost,
            "request_uri" => Self::RequestUri,
            "escaped_request_uri" => Self::EscapedRequestUri,
            "uri" | "document_uri" => Self::Path,
            "args" | "query_string" => Self::Query,
            "is_args" => Self::QuestionMark,
            "scheme" | "pass_access_scheme" => Self::Scheme,
            "request_method" => Self::Method,
            "remote_addr" | "the_real_ip" | "realip_remote_addr" | "binary_remote_addr" => Self::Client,
            "server_port" | "pass_server_port" => Self::Port,
            "remote_user" => Self::User,
            "content_type" => Self::Header(header::CONTENT_TYPE),
            "content_length" => Self::Header(header::CONTENT_LENGTH),
            _ => match name.split_once('_') {
                Some(("http", header)) if !header.is_empty() => {
                    let header = header.to_ascii_lowercase().replace('_', "-");
                    Self::Header(HeaderName::try_from(header).map_err(|_| unknown())?)
                }
                Some(("cookie", cookie)) if !cookie.is_empty() => Self::Cookie(cookie.to_lowercase().into()),
                Some(("arg", argument)) if !argument.is_empty() => {
                    Self::Argument(argument.to_lowercase().into())
                }
                _ => return Err(unknown()),
            },
        })
    }

    /// The value for a request; empty if there is none.
    pub fn value<'r>(&self, values: &Values<'r>) -> Cow<'r, str> {
        match self {
            Self::Group(number) => values.groups.number(usize::from(*number)).unwrap_or_default().into(),
            Self::NamedGroup(name) => values.groups.name(name).unwrap_or_default().into(),
            Self::Host => values.host.into(),
            Self::SentHost => values.sent_host.into(),
            Self::RequestUri => values.request_uri(),
            Self::EscapedRequestUri => {
                utf8_percent_encode(&values.request_uri(), IN_QUERY).to_string().into()
            }
            Self::Path => values.path.into(),
            Self::Query => values.query.unwrap_or_default().into(),
            Self::QuestionMark => {
                if values.query.is_some_and(|query| !query.is_empty()) { "?" } else { "" }.into()
            }
            Self::Scheme => values.scheme.into(),
            Self::Method => values.method.into(),
            Self::Client => values.client.to_string().into(),
            Self::Port => values.port.to_string().into(),
            Self::User => user(values.headers).unwrap_or_default().into(),
            Self::Header(name) => {
                values.headers.first(name).map_or(Cow::Borrowed(""), |value| String::from_utf8_lossy(value))
            }
            Self::Cookie(name) => cookie(values.headers, name).unwrap_or_default(),
            Self::Argument(name) => argument(values.query.unwrap_or_default(), name).into(),
        }
    }
}

impl<'r> Values<'r> {
    /// Path and query as the client sent them.
    pub fn request_uri(&self) -> Cow<'r, str> {
        match self.query {
            Some(query) => Cow::Owned(format!("{}?{query}", self.sent_path)),
            None => Cow::Borrowed(self.sent_path),
        }
    }
}

/// The user of Basic credentials.
fn user(headers: &dyn Headers) -> Option<String> {
    let (scheme, encoded) = headers.first(&header::AUTHORIZATION)?.split_at_checked(6)?;
    let credentials =
        scheme.eq_ignore_ascii_case(b"basic ").then(|| BASE64.decode(encoded.trim_ascii()))?.ok()?;
    let end = credentials.iter().position(|byte| *byte == b':')?;
    Some(String::from_utf8_lossy(&credentials[..end]).into_owned())
}

/// The value of a cookie; its name is case-insensitive, as in nginx.
pub fn cookie<'r>(headers: &'r dyn Headers, name: &str) -> Option<Cow<'r, str>> {
    let mut found = None;
    headers.each(&header::COOKIE, &mut |line| {
        for pair in line.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            if let Some(at) = pair.iter().position(|byte| *byte == b'=')
                && pair[..at].eq_ignore_ascii_case(name.as_bytes())
            {
                found = Some(String::from_utf8_lossy(&pair[at + 1..]));
                return std::ops::ControlFlow::Break(());
            }
        }
        std::ops::ControlFlow::Continue(())
    });
    found
}

/// The first value of an argument of the query, as it was sent.
fn argument<'q>(query: &'q str, name: &str) -> &'q str {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn the_user_is_that_of_basic_credentials() {
        for (authorization, want) in [
            ("Basic am86c2VjcmV0", Some("jo")),
            ("Basic  am86", Some("jo")),
            ("Basic am86Og==", Some("jo")),
            ("Basic OnNlY3JldA==", Some("")),
            ("Basic am8=", None),
            ("Basic am8", None),
            ("Basic am86c2VjcmV0MQ", Some("jo")),
            ("Basic am86c", None),
            ("Basic %%%%", None),
            ("Basic ", None),
            ("Basic", None),
            ("Bearer am86c2VjcmV0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", HeaderValue::from_static(authorization));
            assert_eq!(user(&headers).as_deref(), want, "{authorization}");
        }
    }
}
