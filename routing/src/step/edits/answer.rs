//! The changes to a response.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    StepEdits,
    headers::{Chain, put_line},
};
use crate::{
    Headers, HeadersMut,
    step::{AnswerRewrite, Cors, IngressCors, cors::Allowed, ingress_cors::Granted},
};

/// The changes that the steps of a request make to the headers of its response.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerEdits<'r> {
    chain: Chain<'r>,
    /// Whether the response depends on the request's origin.
    varies: bool,
    /// The result of CORS, if the request has an `Origin` header. Its headers replace those that other steps set.
    cors: Option<Allowed<'r>>,
    /// The same for an Ingress.
    ingress_cors: Option<Granted<'r>>,
    /// Strict-Transport-Security, which takes precedence as well.
    hsts: Option<&'r HeaderValue>,
    /// The rewrites, and the prefix that makes a path an absolute URL.
    rewrite: Option<(&'r AnswerRewrite, &'r str)>,
    /// The header that starts a session. If it is a cookie, it is added to those of the response.
    session: Option<(&'r HeaderName, &'r HeaderValue)>,
    /// The cookie that a check sets. It is added to those of the response.
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

    /// Writes the added headers as lines of HTTP/1.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(|name| self.sets_itself(name), out);
        self.each_of_its_own(|name, value| put_line(out, name, value));
    }

    /// Rewrites existing headers, and then applies the other changes.
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
mod tests {
    use super::*;
    use crate::step::{HeaderModifier, Step};

    #[test]
    fn every_change_of_a_response_counts_as_one() {
        let value = HeaderValue::from_static("a");
        let steps = StepEdits::of(&[Step::ResponseHeaders(
            HeaderModifier::new([], [], [HeaderName::from_static("x-a")]).unwrap(),
        )]);
        let none = AnswerEdits::default();
        assert!(!none.change_headers());
        for (edits, what) in [
            (none.with([None, steps.as_ref(), None]), "a step"),
            (AnswerEdits { varies: true, ..none }, "CORS for other origins"),
            (AnswerEdits { hsts: Some(&value), ..none }, "HSTS"),
            (none.with_session(Some((&header::SET_COOKIE, &value))), "a session"),
            (none.with_cookie(Some(&value)), "a cookie"),
        ] {
            assert!(edits.change_headers(), "{what}");
        }
    }
}
