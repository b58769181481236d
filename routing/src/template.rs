//! Texts with variables of nginx in annotations of Ingresses: `/$1`, `$request_uri`, `$http_x_user`.
//!
//! Source of the names: nginx's index of variables, and those that ingress-nginx sets for every location.

use std::{borrow::Cow, fmt, net::IpAddr};

use http::{HeaderName, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Headers;

/// Characters that are escaped in a URL that is an argument of another one.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The maximum number of variables in a text, including those that are the same for all requests.
pub const MAX_VARIABLES: usize = 32;
/// The maximum length of a text whose variables are replaced, in bytes.
pub const MAX_FILLED: usize = 32 << 10;

/// A text with variables, which are replaced by the values of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

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

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It contains a variable that nginx does not have, or that is not supported.
    #[error("the variable ${0} is not served")]
    UnknownVariable(Box<str>),
    /// A `${` without its `}`.
    #[error("a variable lacks its closing brace")]
    Unclosed,
    /// It has more than [`MAX_VARIABLES`].
    #[error("the text has more than {MAX_VARIABLES} variables")]
    TooManyVariables,
    /// It is longer than [`MAX_FILLED`].
    #[error("the text is longer than {MAX_FILLED} bytes")]
    TooLong,
}

/// The values of a request are too long for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::WHY)]
pub struct FilledTooLong;

impl FilledTooLong {
    /// The text for the client.
    pub const WHY: &'static str = "the request is too large for the variables of the rule";
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

impl Template {
    /// Parses a text. `group_names` are the named groups that it can refer to.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn parse(text: &str, group_names: &[&str]) -> Result<Self, InvalidTemplate> {
        Self::parse_with(text, group_names, &[])
    }

    /// Parses a text with some variables that are the same for all requests: `constants` are their names and values.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn parse_with(
        text: &str,
        group_names: &[&str],
        constants: &[(&str, &str)],
    ) -> Result<Self, InvalidTemplate> {
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let (mut rest, mut variables, mut len) = (text, 0, 0);
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            let (name, behind) = name_of(after)?;
            rest = behind;
            if name.is_empty() {
                plain.push('$');
                continue;
            }
            variables += 1;
            if variables > MAX_VARIABLES {
                return Err(InvalidTemplate::TooManyVariables);
            }
            if let Some((_, value)) = constants.iter().find(|(constant, _)| *constant == name) {
                plain.push_str(value);
                continue;
            }
            let variable = Variable::named(name, group_names)?;
            if !plain.is_empty() {
                len += plain.len();
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Variable(variable));
        }
        plain.push_str(rest);
        if len + plain.len() > MAX_FILLED {
            return Err(InvalidTemplate::TooLong);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The same with other variables.
    #[must_use]
    pub fn map(mut self, replace: impl Fn(Variable) -> Variable) -> Self {
        let part = |part| match part {
            Part::Variable(variable) => Part::Variable(replace(variable)),
            text => text,
        };
        self.parts = self.parts.into_iter().map(part).collect();
        self
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, if it has no variables.
    pub fn fixed(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Text(_) => None,
        })
    }

    /// Whether it refers to groups of a regular expression.
    pub fn has_groups(&self) -> bool {
        self.variables().any(|variable| matches!(variable, Variable::Group(_) | Variable::NamedGroup(_)))
    }

    /// The text for a request. A variable without a value is empty.
    ///
    /// # Errors
    /// The text is longer than [`MAX_FILLED`].
    pub fn fill(&self, values: &Values<'_>) -> Result<String, FilledTooLong> {
        self.fill_within(MAX_FILLED, values)
    }

    /// The same with another maximum length.
    ///
    /// # Errors
    /// The text is longer.
    pub fn fill_within(&self, most: usize, values: &Values<'_>) -> Result<String, FilledTooLong> {
        let mut text = String::with_capacity(most.min(self.text.len() + 32));
        let mut push = |part: &str| {
            if part.len() > most - text.len() {
                return Err(FilledTooLong);
            }
            text.push_str(part);
            Ok(())
        };
        for part in &self.parts {
            match part {
                Part::Text(part) => push(part)?,
                Part::Variable(variable) => push(&variable.value(values))?,
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name of the variable at the start of a text, and the rest.
fn name_of(text: &str) -> Result<(&str, &str), InvalidTemplate> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').ok_or(InvalidTemplate::Unclosed);
    }
    // `$10` is `$1` and a 0.
    let len = match text.bytes().next() {
        Some(b'0'..=b'9') => 1,
        _ => text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count(),
    };
    Ok(text.split_at(len))
}

impl Variable {
    fn named(name: &str, group_names: &[&str]) -> Result<Self, InvalidTemplate> {
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
    let credentials = scheme.eq_ignore_ascii_case(b"basic ").then(|| base64(encoded.trim_ascii()))??;
    let end = credentials.iter().position(|byte| *byte == b':')?;
    Some(String::from_utf8_lossy(&credentials[..end]).into_owned())
}

/// Decodes base64 (RFC 4648, section 4).
fn base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let digits = encoded.strip_suffix(b"==").or_else(|| encoded.strip_suffix(b"=")).unwrap_or(encoded);
    let mut decoded = Vec::with_capacity(encoded.len() / 4 * 3 + 2);
    for four in digits.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            let digit = four.get(at).map_or(Some(0), |digit| match digit {
                b'A'..=b'Z' => Some(digit - b'A'),
                b'a'..=b'z' => Some(digit - b'a' + 26),
                b'0'..=b'9' => Some(digit - b'0' + 52),
                b'+' => Some(62),
                b'/' => Some(63),
                _ => None,
            });
            bits = bits << 6 | u32::from(digit?);
        }
        decoded.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(decoded)
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
    use std::net::Ipv4Addr;

    use http::{HeaderMap, HeaderValue};

    use super::*;

    struct Two;

    impl Groups for Two {
        fn number(&self, number: usize) -> Option<&str> {
            ["all", "one", "two"].get(number).copied()
        }

        fn name(&self, name: &str) -> Option<&str> {
            (name == "who").then_some("bob")
        }
    }

    fn filled(text: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("ann"));
        headers.append("cookie", HeaderValue::from_static("a=b; Sid=7=8"));
        headers.append("authorization", HeaderValue::from_static("BASIC am86c2VjcmV0"));
        let values = Values {
            host: "a.test",
            sent_host: "A.test:80",
            path: "/a b",
            sent_path: "/a%20b",
            query: Some("x=1&Y=2"),
            scheme: "http",
            method: "GET",
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            port: 80,
            headers: &headers,
            groups: &Two,
        };
        Template::parse_with(text, &["who"], &[("namespace", "shop")]).unwrap().fill(&values).unwrap()
    }

    #[test]
    fn the_user_is_that_of_basic_credentials() {
        for (authorization, want) in [
            ("Basic am86c2VjcmV0", Some("jo")),
            ("Basic  am86", Some("jo")),
            ("Basic am86Og==", Some("jo")),
            ("Basic OnNlY3JldA==", Some("")),
            ("Basic am8=", None),
            ("Basic am8", None),
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

    #[test]
    fn variables_are_replaced_by_what_a_request_has() {
        for (text, want) in [
            ("", ""),
            ("/plain", "/plain"),
            ("/$1/$2/$3", "/one/two/"),
            ("/$10", "/one0"),
            ("/${1}0", "/one0"),
            ("/$who/x", "/bob/x"),
            ("$", "$"),
            ("a$/b", "a$/b"),
            ("$scheme://$host$uri", "http://a.test/a b"),
            ("$http_host", "A.test:80"),
            ("$request_uri", "/a%20b?x=1&Y=2"),
            ("$escaped_request_uri", "%2Fa%2520b%3Fx%3D1%26Y%3D2"),
            ("$is_args$args", "?x=1&Y=2"),
            ("$arg_y|$arg_z", "2|"),
            ("$cookie_sid|$cookie_b", "7=8|"),
            ("$http_x_user|$http_none", "ann|"),
            ("$remote_addr:$server_port $request_method", "192.0.2.1:80 GET"),
            ("$remote_user", "jo"),
            ("[$content_type]", "[]"),
            ("$namespace/${namespace}s", "shop/shops"),
        ] {
            assert_eq!(filled(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for (text, want) in [
            ("$nothing", "the variable $nothing is not served"),
            ("$http_", "the variable $http_ is not served"),
            ("$0", "the variable $0 is not served"),
            ("${host", "a variable lacks its closing brace"),
        ] {
            assert_eq!(Template::parse(text, &[]).unwrap_err().to_string(), want, "{text}");
        }
    }

    /// One header of a tenant must not cost hundreds of megabytes for a request with a long query.
    #[test]
    fn the_number_of_variables_is_limited() {
        for (text, is_valid) in [
            ("$args".repeat(MAX_VARIABLES), true),
            ("$args".repeat(MAX_VARIABLES + 1), false),
            ("$long".repeat(MAX_VARIABLES + 1), false),
        ] {
            let read = Template::parse_with(&text, &[], &[("long", "x")]);
            assert_eq!(read.is_ok(), is_valid, "{}", text.len());
        }
        let long = "x".repeat(MAX_FILLED);
        let constants = [("long", &*long)];
        assert_eq!(Template::parse_with("$long", &[], &constants).map(|_| ()), Ok(()));
        let message = Template::parse_with("$long$long", &[], &constants).unwrap_err().to_string();
        assert_eq!(message, "the text is longer than 32768 bytes");
    }
}
