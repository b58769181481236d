//! What all steps of a request do to headers, ready to be carried out in one pass.
//!
//! A carrier asks of each header that it has whether a step [replaces](RequestEdits::replaces) it, and leaves it out; after the
//! others it writes what the steps add.

use http::{HeaderName, HeaderValue, header};

use super::{Cors, HeaderModifier, Step, cors::Allowed};
use crate::{Headers, HeadersMut};

/// What the steps of a rule, or of one of its backends, do to headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepEdits {
    request: HeaderEdits,
    answer: HeaderEdits,
}

/// Several [`HeaderModifier`]s, one after the other, as one change of each header.
#[derive(Clone, Debug, Default)]
struct HeaderEdits {
    /// Each header once, in the order in which the modifiers name them.
    headers: Box<[HeaderEdit]>,
    /// For each of those that are replaced, the [`bit`] of its name.
    replaced: u64,
    /// What is added, as lines of HTTP/1.
    lines: Box<[u8]>,
    /// What Host is set to, in requests.
    host: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
struct HeaderEdit {
    name: HeaderName,
    /// Whether the values that are there are removed.
    replaces: bool,
    added: Vec<HeaderValue>,
}

impl StepEdits {
    /// `None` if no step changes headers.
    pub(crate) fn of(steps: &[Step]) -> Option<Self> {
        let request = steps.iter().filter_map(|step| match step {
            Step::RequestHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let answer = steps.iter().filter_map(|step| match step {
            Step::ResponseHeaders(modifier) => Some(modifier),
            _ => None,
        });
        let edits = Self { request: HeaderEdits::of(request, true), answer: HeaderEdits::of(answer, false) };
        let changes = steps
            .iter()
            .any(|step| matches!(step, Step::RequestHeaders(_) | Step::ResponseHeaders(_) | Step::Cors(_)));
        changes.then_some(edits)
    }
}

impl HeaderEdits {
    /// `of_request`: Host is set apart, since a rewrite goes before it.
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

    fn replaces(&self, name: &[u8]) -> bool {
        self.replaced & bit(name) != 0
            && self
                .headers
                .iter()
                .any(|edit| edit.replaces && name.eq_ignore_ascii_case(edit.name.as_str().as_bytes()))
    }

    fn adds(&self, is_meant: impl Fn(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|edit| !edit.added.is_empty() && is_meant(edit.name.as_str().as_bytes()))
    }

    /// What is added, without the headers of these names.
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

/// One of 64 bits for a name in any spelling: most names that are not meant have another one.
fn bit(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    1 << ((usize::from(first) + 5 * name.len()) % 64)
}

fn put_line(lines: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

/// The edits of a rule and then those of its backend, so that the more specific ones have the last word.
#[derive(Clone, Copy, Debug, Default)]
struct Chain<'r> {
    rule: Option<&'r HeaderEdits>,
    backend: Option<&'r HeaderEdits>,
}

impl Chain<'_> {
    #[inline]
    fn replaces(&self, name: &[u8]) -> bool {
        self.rule.is_some_and(|edits| edits.replaces(name))
            || self.backend.is_some_and(|edits| edits.replaces(name))
    }

    /// Writes what is added as lines of HTTP/1, without the headers of these names.
    fn write(&self, is_left_out: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
        let mut write =
            |edits: &HeaderEdits, is_left_out: &dyn Fn(&[u8]) -> bool| match edits.adds(is_left_out) {
                true => out.extend_from_slice(&edits.lines_except(is_left_out)),
                false => out.extend_from_slice(&edits.lines),
            };
        if let Some(rule) = self.rule {
            match self.backend.filter(|backend| backend.replaced != 0) {
                Some(backend) => write(rule, &|name| is_left_out(name) || backend.replaces(name)),
                None => write(rule, &is_left_out),
            }
        }
        if let Some(backend) = self.backend {
            write(backend, &is_left_out);
        }
    }

    fn apply(&self, headers: &mut impl HeadersMut) {
        self.rule.into_iter().chain(self.backend).for_each(|edits| edits.apply(headers));
    }
}

/// What the steps of a request do to its headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestEdits<'r> {
    chain: Chain<'r>,
    host: Option<&'r [u8]>,
}

impl<'r> RequestEdits<'r> {
    /// Of the steps of a rule and of the backend that was chosen. `host`: what a rewrite puts in place of Host.
    pub(crate) fn of(
        rule: Option<&'r StepEdits>,
        backend: Option<&'r StepEdits>,
        host: Option<&'r str>,
    ) -> Self {
        let chain =
            Chain { rule: rule.map(|edits| &edits.request), backend: backend.map(|edits| &edits.request) };
        let set = |edits: Option<&'r HeaderEdits>| edits?.host.as_ref().map(HeaderValue::as_bytes);
        let host = host.map(str::as_bytes).or_else(|| set(chain.backend)).or_else(|| set(chain.rule));
        Self { chain, host }
    }

    /// Whether a header of this name, in any spelling, is not passed on. Host is another matter.
    #[inline]
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.chain.replaces(name)
    }

    /// What takes the place of Host.
    pub fn host(&self) -> Option<&'r [u8]> {
        self.host
    }

    /// Writes the headers that are added, but for Host, as lines of HTTP/1.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(|_| false, out);
    }

    /// Carries out the changes.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        self.chain.apply(headers);
        if let Some(host) = self.host.and_then(|host| HeaderValue::from_bytes(host).ok()) {
            headers.set(&header::HOST, &host);
        }
    }
}

/// What the steps of a request do to the headers of its answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerEdits<'r> {
    chain: Chain<'r>,
    /// Whether the answer depends on the request's origin.
    varies: bool,
    /// What CORS says, if the request has an origin. It has the last word on its headers.
    cors: Option<Allowed<'r>>,
}

impl<'r> AnswerEdits<'r> {
    /// Of the steps of a rule and of the backend that was chosen.
    pub(crate) fn of(
        rule: Option<&'r StepEdits>,
        backend: Option<&'r StepEdits>,
        cors: impl Iterator<Item = &'r Cors>,
        request: &'r dyn Headers,
    ) -> Self {
        let chain =
            Chain { rule: rule.map(|edits| &edits.answer), backend: backend.map(|edits| &edits.answer) };
        Self { chain, ..Self::of_cors(cors, request) }
    }

    /// Of CORS alone.
    pub(crate) fn of_cors(cors: impl Iterator<Item = &'r Cors>, request: &'r dyn Headers) -> Self {
        let mut edits = Self::default();
        for cors in cors {
            edits.varies |= !cors.is_public();
            edits.cors = request.first(&header::ORIGIN).map(|origin| cors.allowed(origin));
        }
        edits
    }

    /// Whether a header of this name, in any spelling, is not passed on.
    #[inline]
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.chain.replaces(name) || (self.cors.is_some() && Allowed::sets(name))
    }

    /// Writes the headers that are added as lines of HTTP/1.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.chain.write(|name| self.cors.is_some() && Allowed::sets(name), out);
        self.each_of_cors(|name, value| put_line(out, name, value));
    }

    /// Carries out the changes.
    pub fn apply(&self, headers: &mut impl HeadersMut) {
        self.chain.apply(headers);
        if self.cors.is_some() {
            Allowed::NAMES.iter().for_each(|name| headers.remove(name));
        }
        self.each_of_cors(|name, value| headers.add(name, value));
    }

    fn each_of_cors(&self, mut visit: impl FnMut(&HeaderName, &HeaderValue)) {
        if self.varies {
            visit(&header::VARY, &HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = &self.cors {
            allowed.each(visit);
        }
    }
}

#[cfg(test)]
mod tests;
