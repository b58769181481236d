//! What a route asks of a request, and how closely it fits.

mod location;

use std::{cmp::Reverse, fmt, ops::ControlFlow, sync::Arc};

use crate::{Headers, Pattern, path::RequestPath};
use http::{HeaderName, Method};
pub use location::Location;
pub(crate) use location::decoded;
use percent_encoding::percent_decode_str;

/// What the table reads of a request.
#[derive(Clone, Copy)]
pub struct RequestView<'r> {
    /// The request's method.
    pub method: &'r Method,
    /// The path, in each of its readings.
    pub path: &'r RequestPath<'r>,
    /// The query, without `?`, as it came.
    pub query: Option<&'r str>,
    /// The request's headers.
    pub headers: &'r dyn Headers,
}

/// What matching reads of a request, in one reading of its path.
#[derive(Clone, Copy)]
pub struct RequestHead<'r> {
    /// The request's method.
    pub method: &'r Method,
    /// The path in the form of the listener's [`Reading`](crate::path::Reading), without query.
    pub path: &'r str,
    /// The query, without `?`, as it came.
    pub query: Option<&'r str>,
    /// The request's headers.
    pub headers: &'r dyn Headers,
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(self.path.canonical()).fmt(f)
    }
}

impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, query, headers: _ } = self;
        f.debug_struct("RequestHead")
            .field("method", method)
            .field("path", path)
            .field("query", query)
            .finish()
    }
}

impl<'r> RequestView<'r> {
    /// The request with this form of its path.
    pub(crate) fn head<'h>(&self, path: &'h str) -> RequestHead<'h>
    where
        'r: 'h,
    {
        let Self { method, path: _, query, headers } = *self;
        RequestHead { method, path, query, headers }
    }
}

/// One match of a rule: all of its conditions hold, or it does not match. `P` is what stands for a regular expression
/// before it is compiled.
#[derive(Clone, Debug)]
pub struct RouteMatch<P = Pattern> {
    /// The path's condition.
    pub path: PathMatch<P>,
    /// The method, where one is asked for: seldom, and it is three times as large as the pointer.
    pub method: Option<Box<Method>>,
    /// All of these headers; names are unique.
    pub headers: Box<[HeaderMatch<P>]>,
    /// All of these query parameters; names are unique.
    pub query: Box<[QueryMatch<P>]>,
}

/// A condition on the path.
#[derive(Clone, Debug)]
pub enum PathMatch<P = Pattern> {
    /// The whole path.
    Exact(Arc<str>),
    /// Whole segments from the start; held without a last `/`, so that the empty text is every path.
    Prefix(Arc<str>),
    /// A regular expression over the whole path.
    Regex(P),
    /// A path of an Ingress on a host whose paths are regular expressions.
    Location(Location<P>),
    /// A gRPC method of any service: the second of exactly two segments.
    GrpcMethod(Arc<str>),
}

/// A condition on a header.
#[derive(Clone, Debug)]
pub struct HeaderMatch<P = Pattern> {
    /// The header's name.
    pub name: HeaderName,
    /// What one of its values (or their list joined by `,`) must be.
    pub value: ValueMatch<P>,
}

/// A condition on a query parameter.
#[derive(Clone, Debug)]
pub struct QueryMatch<P = Pattern> {
    /// The parameter's name, decoded; case matters.
    pub name: Box<str>,
    /// What its first value, decoded, must be.
    pub value: ValueMatch<P>,
}

/// A condition on a text.
#[derive(Clone, Debug)]
pub enum ValueMatch<P = Pattern> {
    /// The whole text.
    Exact(Box<str>),
    /// A regular expression over the whole text.
    Regex(P),
}

/// Which of the entries of a hostname that match a request takes it; the greatest wins.
///
/// The hostname that a route itself names comes before all this: each has a table of its own
/// ([`HttpRoutes::hosts`](crate::HttpRoutes::hosts)), so that nothing here depends on it and one table can serve many.
///
/// The fields stand in the order of the Gateway API's tie-breaks (HTTPRouteRule `matches`, GRPCRouteRule
/// `matches`); the age, the name and the position are reversed, since the oldest and first one wins. One order
/// serves all kinds of routes:
///
/// ```text
/// HTTPRoute     exact | regex | longest prefix  method  headers  query   oldest  name  first
/// GRPCRoute     service, then method                    headers          oldest  name  first
///               = exact /service/method | prefix /service, the longest | method, the longest | neither
/// Ingress       exact | longest prefix                                   oldest  name  first
///               = longest location, where the paths of a host are regular expressions
/// ```
///
/// Of the matches of a gRPC call, those with an exact service have the same number of characters there; so
/// those with the method too come first, as an exact path does. The place of regular expressions is ours to
/// choose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    /// Exact, then regular expression, then prefix, then gRPC method alone, then every path.
    pub path_kind: u8,
    /// Characters in the path's condition.
    pub path_len: u32,
    /// Whether a method is asked for.
    pub method: bool,
    /// How many headers are asked for.
    pub headers: u32,
    /// How many query parameters are asked for.
    pub query: u32,
    /// The route's creation, in seconds since 1970.
    pub age: Reverse<i64>,
    /// `namespace/name` of the route.
    pub name: Reverse<Arc<str>>,
    /// The rule's and the match's place in the route.
    pub position: Reverse<(u32, u32)>,
}

impl Precedence {
    /// The precedence of one match of a route.
    pub fn of(route_match: &RouteMatch, age: i64, name: Arc<str>, position: (usize, usize)) -> Self {
        let (path_kind, path_len) = match &route_match.path {
            PathMatch::Exact(path) => (4, path.len()),
            PathMatch::Regex(regex) => (3, regex.as_str().len()),
            PathMatch::Location(location) => (3, location.text.len()),
            PathMatch::Prefix(prefix) if !prefix.is_empty() => (2, prefix.len()),
            PathMatch::GrpcMethod(method) => (1, method.len()),
            PathMatch::Prefix(_) => (0, 0),
        };
        Self {
            path_kind,
            path_len: small(path_len),
            method: route_match.method.is_some(),
            headers: small(route_match.headers.len()),
            query: small(route_match.query.len()),
            age: Reverse(age),
            name: Reverse(name),
            position: Reverse((small(position.0), small(position.1))),
        }
    }
}

/// Texts and lists of objects are far shorter than what this can tell apart, and entries are many.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl<P> RouteMatch<P> {
    /// The same with its regular expressions compiled.
    ///
    /// # Errors
    /// The first one that `compile` has.
    pub fn compiled<Q, E>(&self, compile: &mut impl FnMut(&P) -> Result<Q, E>) -> Result<RouteMatch<Q>, E> {
        let path = match &self.path {
            PathMatch::Exact(path) => PathMatch::Exact(Arc::clone(path)),
            PathMatch::Prefix(path) => PathMatch::Prefix(Arc::clone(path)),
            PathMatch::GrpcMethod(method) => PathMatch::GrpcMethod(Arc::clone(method)),
            PathMatch::Regex(regex) => PathMatch::Regex(compile(regex)?),
            PathMatch::Location(location) => PathMatch::Location(location.compiled(compile)?),
        };
        let headers = self.headers.iter().map(|header| {
            Ok(HeaderMatch { name: header.name.clone(), value: header.value.compiled(compile)? })
        });
        let headers = headers.collect::<Result<_, E>>()?;
        let query = self
            .query
            .iter()
            .map(|query| Ok(QueryMatch { name: query.name.clone(), value: query.value.compiled(compile)? }));
        Ok(RouteMatch { path, method: self.method.clone(), headers, query: query.collect::<Result<_, E>>()? })
    }
}

impl<P> ValueMatch<P> {
    fn compiled<Q, E>(&self, compile: &mut impl FnMut(&P) -> Result<Q, E>) -> Result<ValueMatch<Q>, E> {
        Ok(match self {
            Self::Exact(text) => ValueMatch::Exact(text.clone()),
            Self::Regex(regex) => ValueMatch::Regex(compile(regex)?),
        })
    }
}

impl RouteMatch {
    /// Whether all conditions hold.
    pub fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.path.matches(request.path) && self.matches_beside_path(request)
    }

    /// Whether all conditions but the path's hold.
    pub fn matches_beside_path(&self, request: &RequestHead<'_>) -> bool {
        self.method.as_deref().is_none_or(|m| m == request.method)
            && self.headers.iter().all(|h| h.matches(request.headers))
            && self.query.iter().all(|q| q.matches(request.query.unwrap_or_default()))
    }
}

impl RouteMatch {
    /// The conditions that do not hold, in words.
    pub(crate) fn missing(&self, request: &RequestHead<'_>) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.path.matches(request.path) {
            missing.push(format!("the path is not {}", self.path));
        }
        if let Some(method) = self.method.as_deref().filter(|method| *method != request.method) {
            missing.push(format!("the method is not {method}"));
        }
        let headers = self.headers.iter().filter(|header| !header.matches(request.headers));
        missing
            .extend(headers.map(|header| format!("the header {}{} is not there", header.name, header.value)));
        let query = self.query.iter().filter(|query| !query.matches(request.query.unwrap_or_default()));
        missing.extend(
            query.map(|query| format!("the query parameter {}{} is not there", query.name, query.value)),
        );
        missing
    }
}

impl PathMatch {
    /// Whether the canonical path fits.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path),
            Self::Location(location) => location.matches(path),
            Self::GrpcMethod(method) => path
                .strip_prefix('/')
                .and_then(|p| p.split_once('/'))
                .is_some_and(|(service, m)| !service.is_empty() && *m == **method),
        }
    }
}

impl HeaderMatch {
    /// Whether one of the header's values fits, or all of them as the one list that they stand for
    /// (RFC 9110, 5.3).
    fn matches(&self, headers: &dyn Headers) -> bool {
        let (mut found, mut values) = (false, 0);
        headers.each(&self.name, &mut |value| {
            values += 1;
            found = self.value.matches_bytes(value);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found || (values > 1 && self.matches_joined(headers))
    }

    fn matches_joined(&self, headers: &dyn Headers) -> bool {
        // Cookies alone are not a list of commas (RFC 9113, 8.2.3).
        let separator = if self.name == http::header::COOKIE { "; " } else { "," };
        match &self.value {
            ValueMatch::Exact(text) => is_list_of(text.as_bytes(), headers, &self.name, separator.as_bytes()),
            // Only here does a lookup allocate: a repeated header, asked for by a regular expression.
            ValueMatch::Regex(regex) => {
                let mut values = Vec::new();
                headers.each(&self.name, &mut |value| {
                    values.push(String::from_utf8_lossy(value));
                    ControlFlow::Continue(())
                });
                regex.is_match(&values.join(separator))
            }
        }
    }
}

impl QueryMatch {
    /// Whether the parameter's first value fits; HTTPQueryParamMatch recommends the first.
    fn matches(&self, query: &str) -> bool {
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(name, _)| form_decoded(name).eq(self.name.bytes()))
            .is_some_and(|(_, value)| self.value.matches_form(value))
    }
}

impl ValueMatch {
    /// Whether the text fits.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    /// Header values are bytes; a regular expression sees what is not UTF-8 as U+FFFD.
    fn matches_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == bytes,
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(bytes)),
        }
    }

    /// Whether an encoded value of a query fits once decoded.
    fn matches_form(&self, encoded: &str) -> bool {
        match self {
            Self::Exact(exact) => form_decoded(encoded).eq(exact.bytes()),
            Self::Regex(regex) if encoded.contains(['%', '+']) => {
                let decoded: Vec<u8> = form_decoded(encoded).collect();
                regex.is_match(&String::from_utf8_lossy(&decoded))
            }
            Self::Regex(regex) => regex.is_match(encoded),
        }
    }
}

/// Whether `text` is the values of a header with the separator between them; a space after it does not matter.
fn is_list_of(text: &[u8], headers: &dyn Headers, name: &HeaderName, separator: &[u8]) -> bool {
    let (mut left, mut first) = (Some(text), true);
    headers.each(name, &mut |value| {
        if !std::mem::take(&mut first) {
            left = left.and_then(|l| l.strip_prefix(separator)).map(|l| l.strip_prefix(b" ").unwrap_or(l));
        }
        left = left.and_then(|l| l.strip_prefix(value));
        if left.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    left.is_some_and(<[u8]>::is_empty)
}

/// The bytes of a name or value in a query (URL standard, `application/x-www-form-urlencoded`).
fn form_decoded(encoded: &str) -> impl Iterator<Item = u8> {
    let mut pieces = encoded.split('+').map(percent_decode_str);
    pieces.next().into_iter().flatten().chain(pieces.flat_map(|piece| std::iter::once(b' ').chain(piece)))
}

#[cfg(test)]
mod tests;
