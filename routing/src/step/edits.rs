//! Merges the header changes of all steps of a request, so that a carrier applies them in one pass.
//!
//! For each header of the message, a carrier checks whether a step [replaces](RequestEdits::replaces) it, and if so omits
//! it. After the remaining headers, the carrier writes the headers that the steps add.

use std::{
    borrow::{Borrow, Cow},
    ops::ControlFlow,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    AnswerCookie, AnswerRewrite, BackendConnection, Cors, HeaderModifier, IngressCors, Step, cors::Allowed,
    ingress_cors::Granted,
};
use crate::{Headers, HeadersMut, template::Values};

/// The header changes of the steps of a rule, or of one of its backends.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepEdits {
    request: HeaderEdits,
    answer: HeaderEdits,
    /// For every response, including those of the proxy itself.
    every_answer: HeaderEdits,
    /// A cookie for the client.
    cookie: Option<Box<AnswerCookie>>,
    connection: Option<BackendConnection>,
    rewrite: Option<Box<AnswerRewrite>>,
    /// Whether steps set headers to values of the request, so that the changes are merged for each request.
    has_templates: bool,
}

/// Several [`HeaderModifier`]s, applied one after the other, merged into one change for each header.
#[derive(Clone, Debug, Default)]
struct HeaderEdits {
    /// Each header once, in the order of the modifiers.
    headers: Box<[HeaderEdit]>,
    /// The [`bit`]s of the names of all headers that are replaced or removed.
    replaced: u64,
    /// The headers that are added, as lines of HTTP/1.
    lines: Box<[u8]>,
    /// The value that Host is set to, in requests.
    host: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
struct HeaderEdit {
    name: HeaderName,
    /// Whether the existing values of the header are removed.
    replaces: bool,
    added: Vec<HeaderValue>,
}

/// The edits of rules whose responses have headers that depend on the request (CORS, HSTS), and that change nothing else.
static ONLY_OF_REQUESTS: LazyLock<Arc<StepEdits>> = LazyLock::new(Arc::default);

impl StepEdits {
    /// Returns the edits as a rule holds them: thousands of rules change no header by themselves, and share theirs.
    pub(crate) fn shared(self) -> Arc<Self> {
        let Self { request, answer, every_answer, cookie, connection, rewrite, has_templates } = &self;
        let headers = [request, answer, every_answer].into_iter().all(HeaderEdits::is_empty);
        match headers && cookie.is_none() && connection.is_none() && rewrite.is_none() && !has_templates {
            true => Arc::clone(&ONLY_OF_REQUESTS),
            false => Arc::new(self),
        }
    }

    /// Returns whether the connection to the backend can be reused, if the steps define this.
    pub(crate) fn connection(&self) -> Option<BackendConnection> {
        self.connection
    }

    /// Merges the header changes of these steps. Returns `None` if no step changes headers.
    pub(crate) fn of(steps: &[impl Borrow<Step>]) -> Option<Self> {
        let steps = || steps.iter().map(Borrow::borrow);
        let request = steps().filter_map(|step| match step {
            Step::RequestHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let answer = steps().filter_map(|step| match step {
            Step::ResponseHeaders(modifier) | Step::AnswerHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let every_answer = steps().filter_map(|step| match step {
            Step::AnswerHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let connection = steps().find_map(|step| match step {
            Step::Connection(connection) => Some(*connection),
            _ => None,
        });
        let rewrite = steps().find_map(|step| match step {
            Step::AnswerRewrite(rewrite) => Some(rewrite.clone()),
            _ => None,
        });
        let cookie = steps().find_map(|step| match step {
            Step::AnswerCookie(cookie) => Some(cookie.clone()),
            _ => None,
        });
        let (request, answer) = (HeaderEdits::of(request, true), HeaderEdits::of(answer, false));
        let every_answer = HeaderEdits::of(every_answer, false);
        let is_template = |step: &Step| matches!(step, Step::RequestTemplates(_) | Step::AnswerTemplates(_));
        let has_templates = steps().any(is_template);
        let edits = Self { request, answer, every_answer, cookie, connection, rewrite, has_templates };
        let changes = steps().any(|step| {
            matches!(
                step,
                Step::RequestHeaders(_)
                    | Step::RequestTemplates(_)
                    | Step::AnswerTemplates(_)
                    | Step::ResponseHeaders(_)
                    | Step::AnswerCookie(_)
                    | Step::AnswerRewrite(_)
                    | Step::AnswerHeaders(_)
                    | Step::Connection(_)
                    | Step::Cors(_)
                    | Step::IngressCors(_)
                    | Step::Hsts(_)
            )
        });
        changes.then_some(edits)
    }

    /// Merges the header changes of these steps, with the headers that are set to values of a request.
    pub(crate) fn filled<'s>(steps: &'s [Step], values: &Values<'_>) -> Option<Self> {
        let fill = |step: &'s Step| match step {
            Step::RequestTemplates(templates) => Cow::Owned(Step::RequestHeaders(templates.fill(values))),
            Step::AnswerTemplates(templates) => Cow::Owned(Step::AnswerHeaders(templates.fill(values))),
            step => Cow::Borrowed(step),
        };
        Self::of(&steps.iter().map(fill).collect::<Vec<Cow<'_, Step>>>())
    }

    /// Returns only the changes to the request, including that of Host.
    pub(crate) fn of_request(&self) -> RequestEdits<'_> {
        RequestEdits::of([Some(self), None, None], None)
    }

    /// Returns whether steps set headers to values of the request.
    pub(crate) fn has_templates(&self) -> bool {
        self.has_templates
    }

    /// Returns the rewrites in responses of backends.
    pub(crate) fn rewrite(&self) -> Option<&AnswerRewrite> {
        self.rewrite.as_deref()
    }

    /// Returns the cookie that is added to a response with this status.
    pub(crate) fn cookie(&self, status: u16) -> Option<&HeaderValue> {
        self.cookie.as_ref().filter(|cookie| cookie.is_with(status)).map(|cookie| &cookie.value)
    }

    /// Returns the headers of a request as they are after the changes, except Host.
    pub(crate) fn over<'r>(&'r self, headers: &'r dyn Headers) -> EditedHeaders<'r> {
        EditedHeaders { headers, edits: &self.request }
    }
}

/// The headers of a request as they are after changes. Nothing is copied.
#[derive(Clone, Copy)]
pub(crate) struct EditedHeaders<'r> {
    headers: &'r dyn Headers,
    edits: &'r HeaderEdits,
}

impl Headers for EditedHeaders<'_> {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        let Some(edit) = self.edits.of_name(name) else { return self.headers.first(name) };
        let kept = if edit.replaces { None } else { self.headers.first(name) };
        kept.or_else(|| edit.added.first().map(HeaderValue::as_bytes))
    }

    fn each<'h>(&'h self, name: &HeaderName, visit: &mut dyn FnMut(&'h [u8]) -> ControlFlow<()>) {
        let Some(edit) = self.edits.of_name(name) else { return self.headers.each(name, visit) };
        let mut flow = ControlFlow::Continue(());
        if !edit.replaces {
            self.headers.each(name, &mut |value| {
                flow = visit(value);
                flow
            });
        }
        if flow.is_continue() {
            let _ = edit.added.iter().try_for_each(|value| visit(value.as_bytes()));
        }
    }
}

impl HeaderEdits {
    /// Merges these modifiers. If they are `of_request`, Host is stored separately, because a rewrite takes precedence over it.
    fn of<'m>(modifiers: impl Iterator<Item = &'m HeaderModifier>, of_request: bool) -> Self {
        let (mut headers, mut host) = (Vec::<HeaderEdit>::new(), None);
        let mut edit = |name: &HeaderName, replaces: bool, value: Option<&HeaderValue>| {
            if of_request && name == header::HOST {
                host = value.cloned();
                return;
            }
            let place = headers.iter().position(|edit| edit.name == name).unwrap_or_else(|| {
                headers.push(HeaderEdit { name: name.clone(), replaces: false, added: Vec::new() });
                headers.len() - 1
            });
            let edit = &mut headers[place];
            if replaces {
                edit.replaces = true;
                edit.added.clear();
            }
            edit.added.extend(value.cloned());
        };
        for modifier in modifiers {
            modifier.set().iter().for_each(|(name, value)| edit(name, true, Some(value)));
            modifier.add().iter().for_each(|(name, value)| edit(name, false, Some(value)));
            modifier.remove().iter().for_each(|name| edit(name, true, None));
        }
        let replaced = headers.iter().filter(|edit| edit.replaces);
        let replaced = replaced.fold(0, |bits, edit| bits | bit(edit.name.as_str().as_bytes()));
        let mut edits = Self { headers: headers.into(), replaced, lines: Box::default(), host };
        edits.lines = edits.lines_except(|_| false).into();
        edits
    }

    fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.host.is_none()
    }

    fn replaces(&self, name: &[u8]) -> bool {
        self.replaced & bit(name) != 0
            && self
                .headers
                .iter()
                .any(|edit| edit.replaces && name.eq_ignore_ascii_case(edit.name.as_str().as_bytes()))
    }

    fn of_name(&self, name: &HeaderName) -> Option<&HeaderEdit> {
        self.headers.iter().find(|edit| edit.name == *name)
    }

    fn adds(&self, is_meant: impl Fn(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|edit| !edit.added.is_empty() && is_meant(edit.name.as_str().as_bytes()))
    }

    /// Returns the headers that are added, as lines of HTTP/1, without those for which `is_left_out` is true.
    fn lines_except(&self, is_left_out: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut lines = Vec::new();
        for HeaderEdit { name, added, .. } in &self.headers {
            if !is_left_out(name.as_str().as_bytes()) {
                added.iter().for_each(|value| put_line(&mut lines, name, value));
            }
        }
        lines
    }

    fn apply(&self, headers: &mut impl HeadersMut) {
        for HeaderEdit { name, replaces, added } in &self.headers {
            match (replaces, &**added) {
                (true, []) => headers.remove(name),
                (true, [first, rest @ ..]) => {
                    headers.set(name, first);
                    rest.iter().for_each(|value| headers.add(name, value));
                }
                (false, added) => added.iter().for_each(|value| headers.add(name, value)),
            }
        }
    }
}

/// Returns one of 64 bits for a header name in upper or lower case. Most other names have another bit, so this bit
/// alone rules them out.
fn bit(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    1 << ((usize::from(first) + 5 * name.len()) % 64)
}

fn put_line(lines: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

/// The edits of checks, of a rule, and of its backend. Later ones are more specific, so they take precedence.
#[derive(Clone, Copy, Debug, Default)]
struct Chain<'r>([Option<&'r HeaderEdits>; 3]);

impl<'r> Chain<'r> {
    #[inline]
    fn is_empty(&self) -> bool {
        matches!(self.0, [None, None, None])
    }

    #[inline]
    fn replaces(&self, name: &[u8]) -> bool {
        self.links().any(|edits| edits.replaces(name))
    }

    #[inline]
    fn links(&self) -> impl Iterator<Item = &'r HeaderEdits> {
        self.0.iter().copied().flatten()
    }

    /// Writes the headers that are added, as lines of HTTP/1, without those for which `is_left_out` is true.
    fn write(&self, is_left_out: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
        for (at, link) in self.0.iter().enumerate() {
            let Some(edits) = link else { continue };
            let later = || self.0[at + 1..].iter().flatten();
            let is_left_out = |name: &[u8]| is_left_out(name) || later().any(|edits| edits.replaces(name));
            match edits.adds(is_left_out) {
                true => out.extend_from_slice(&edits.lines_except(is_left_out)),
                false => out.extend_from_slice(&edits.lines),
            }
        }
    }

    fn apply(&self, headers: &mut impl HeadersMut) {
        self.links().for_each(|edits| edits.apply(headers));
    }
}

/// The changes that the steps of a request make to its headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestEdits<'r> {
    chain: Chain<'r>,
    host: Option<&'r [u8]>,
    connection: Option<BackendConnection>,
}

impl<'r> RequestEdits<'r> {
    /// Chains the changes of checks, of a rule, and of the selected backend. `host` is the value to which a rewrite sets
    /// Host.
    pub(crate) fn of(links: [Option<&'r StepEdits>; 3], host: Option<&'r str>) -> Self {
        if let [None, None, None] = links {
            return Self { host: host.map(str::as_bytes), ..Self::default() };
        }
        let chain = Chain(links.map(|link| link.map(|edits| &edits.request)));
        let set = || chain.links().filter_map(|edits| edits.host.as_ref()).last();
        let host = host.map(str::as_bytes).or_else(|| set().map(HeaderValue::as_bytes));
        let connection = links.into_iter().flatten().find_map(StepEdits::connection);
        Self { chain, host, connection }
    }

    /// Returns whether there are changes of headers other than Host. If not, no header is replaced.
    #[inline]
    pub fn change_headers(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Returns whether the request's headers of this name, in upper or lower case, are not forwarded. Host is not
    /// covered here; see [`Self::host`].
    #[inline]
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.chain.replaces(name)
    }

    /// Returns the value that replaces the request's Host.
    pub fn host(&self) -> Option<&'r [u8]> {
        self.host
    }

    /// Returns whether the connection to the backend can be reused for other requests, if the rule defines this.
    pub fn connection(&self) -> Option<BackendConnection> {
        self.connection
    }

    /// Writes the headers that are added, except Host, as lines of HTTP/1.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(|_| false, out);
    }

    /// Applies the changes, including that of Host.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        self.chain.apply(headers);
        if let Some(host) = self.host.and_then(|host| HeaderValue::from_bytes(host).ok()) {
            headers.set(&header::HOST, &host);
        }
    }
}

/// The changes that the steps of a request make to the headers of its response.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerEdits<'r> {
    chain: Chain<'r>,
    /// Whether the response depends on the request's origin.
    varies: bool,
    /// The result of CORS, if the request has an origin. Its headers take precedence over those of the other steps.
    cors: Option<Allowed<'r>>,
    /// The same for an Ingress.
    ingress_cors: Option<Granted<'r>>,
    /// Strict-Transport-Security, which takes precedence as well.
    hsts: Option<&'r HeaderValue>,
    /// The rewrites, and the prefix that makes a path an absolute URL.
    rewrite: Option<(&'r AnswerRewrite, &'r str)>,
    /// The header that starts a session. A cookie is added to those of the response.
    session: Option<(&'r HeaderName, &'r HeaderValue)>,
    /// The cookie of a check, which is added as well.
    cookie: Option<&'r HeaderValue>,
}

impl<'r> AnswerEdits<'r> {
    /// Adds the changes of checks, of a rule, and of the selected backend, which only apply to responses of a backend.
    pub(crate) fn with(self, links: [Option<&'r StepEdits>; 3]) -> Self {
        Self { chain: Chain(links.map(|link| link.map(|edits| &edits.answer))), ..self }
    }

    /// Adds the changes for the request and of the rule that apply to every response. Those for responses of a backend
    /// include them.
    pub(crate) fn with_every_answer(self, links: [Option<&'r StepEdits>; 2]) -> Self {
        let [request, rule] = links.map(|link| link.map(|edits| &edits.every_answer));
        Self { chain: Chain([request, rule, None]), ..self }
    }

    /// Adds the rewrites of the rule in responses of a backend.
    pub(crate) fn rewriting(self, rule: Option<&'r StepEdits>, base: &'r str) -> Self {
        Self { rewrite: rule.and_then(StepEdits::rewrite).map(|rewrite| (rewrite, base)), ..self }
    }

    /// Returns whether there are rewrites.
    pub fn rewrites(&self) -> bool {
        self.rewrite.is_some()
    }

    /// Returns the new value of a header with this name, in upper or lower case; `None` if it is unchanged.
    #[inline]
    pub fn rewritten(&self, name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let (rewrite, base) = self.rewrite?;
        rewrite.value(name, value, base)
    }

    /// Returns the changes that apply to every response, including those of the proxy itself.
    pub(crate) fn of_every_answer(
        cors: impl Iterator<Item = &'r Cors>,
        hsts: Option<&'r HeaderValue>,
        request: &'r dyn Headers,
    ) -> Self {
        let mut edits = Self { hsts, ..Self::default() };
        for cors in cors {
            edits.varies |= !cors.is_public();
            edits.cors = request.first(&header::ORIGIN).map(|origin| cors.allowed(origin));
        }
        edits
    }

    /// Returns the same changes without those of CORS, which the response to a preflight already contains, or which is
    /// applied after the step that responds.
    pub fn without_cors(self) -> Self {
        Self { varies: false, cors: None, ingress_cors: None, ..self }
    }

    /// Adds the header that starts a session.
    pub(crate) fn with_session(self, session: Option<(&'r HeaderName, &'r HeaderValue)>) -> Self {
        Self { session, ..self }
    }

    /// Adds the cookie of a check.
    pub(crate) fn with_cookie(self, cookie: Option<&'r HeaderValue>) -> Self {
        Self { cookie, ..self }
    }

    /// The header that starts a session, unless it is a cookie.
    fn session_header(&self) -> Option<&'r HeaderName> {
        self.session.map(|(name, _)| name).filter(|name| **name != header::SET_COOKIE)
    }

    /// Adds the headers of an Ingress's CORS.
    pub(crate) fn with_ingress_cors(self, cors: Option<&'r IngressCors>, request: &'r dyn Headers) -> Self {
        Self { ingress_cors: cors.and_then(|cors| cors.granted(request)), ..self }
    }

    /// Returns whether there are any changes. Most responses have none.
    #[inline]
    pub fn change_headers(&self) -> bool {
        let Self { chain, varies, cors, ingress_cors, hsts, rewrite, session, cookie } = self;
        let own = cors.is_some() || ingress_cors.is_some() || hsts.is_some() || session.is_some();
        !chain.is_empty() || *varies || own || rewrite.is_some() || cookie.is_some()
    }

    /// Returns whether the response's headers of this name, in upper or lower case, are not forwarded.
    #[inline]
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.chain.replaces(name) || self.sets_itself(name)
    }

    /// Returns whether CORS, HSTS or a session sets a header of this name, in upper or lower case.
    #[inline]
    fn sets_itself(&self, name: &[u8]) -> bool {
        (self.cors.is_some() && Allowed::sets(name))
            || self.ingress_cors.is_some_and(|cors| cors.sets(name))
            || (self.hsts.is_some()
                && name.eq_ignore_ascii_case(header::STRICT_TRANSPORT_SECURITY.as_str().as_bytes()))
            || self
                .session_header()
                .is_some_and(|session| name.eq_ignore_ascii_case(session.as_str().as_bytes()))
    }

    /// Writes the headers that are added, as lines of HTTP/1.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(|name| self.sets_itself(name), out);
        self.each_of_its_own(|name, value| put_line(out, name, value));
    }

    /// Applies the changes, after the rewrites of existing headers.
    pub fn rewrite_and_apply(&self, before: &HeaderMap, headers: &mut impl HeadersMut) {
        if let Some((rewrite, base)) = self.rewrite {
            for (name, values) in rewrite.changed(before, base) {
                headers.remove(&name);
                values.iter().for_each(|value| headers.add(&name, value));
            }
        }
        self.apply(headers);
    }

    /// Applies the changes, except the rewrites.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        self.chain.apply(headers);
        if self.cors.is_some() {
            Allowed::NAMES.iter().for_each(|name| headers.remove(name));
        }
        if let Some(cors) = &self.ingress_cors {
            cors.each(|name, _| headers.remove(name));
        }
        if self.hsts.is_some() {
            headers.remove(&header::STRICT_TRANSPORT_SECURITY);
        }
        self.session_header().into_iter().for_each(|name| headers.remove(name));
        self.each_of_its_own(|name, value| headers.add(name, value));
    }

    fn each_of_its_own(&self, mut visit: impl FnMut(&HeaderName, &HeaderValue)) {
        if self.varies {
            visit(&header::VARY, &HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = &self.cors {
            allowed.each(&mut visit);
        }
        if let Some(granted) = &self.ingress_cors {
            granted.each(&mut visit);
        }
        if let Some(hsts) = self.hsts {
            visit(&header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        self.session.into_iter().for_each(|(name, value)| visit(name, value));
        self.cookie.into_iter().for_each(|cookie| visit(&header::SET_COOKIE, cookie));
    }
}

#[cfg(test)]
mod tests;
