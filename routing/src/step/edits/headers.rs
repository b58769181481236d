//! Changes of headers, merged into one for each header.

use http::{HeaderName, HeaderValue, header};

use crate::{HeadersMut, step::HeaderModifier};

/// Several [`HeaderModifier`]s, applied one after the other, merged into one change for each header.
#[derive(Clone, Debug, Default)]
pub(super) struct HeaderEdits {
    /// Each header once, in the order of the modifiers.
    headers: Box<[HeaderEdit]>,
    /// The [`bit`]s of the names of all headers that are replaced or removed.
    replaced: u64,
    /// The headers that are added, as lines of HTTP/1.
    lines: Box<[u8]>,
    /// The value that Host is set to, in requests.
    pub(super) host: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
pub(super) struct HeaderEdit {
    name: HeaderName,
    /// Whether the existing values of the header are removed.
    pub(super) replaces: bool,
    pub(super) added: Vec<HeaderValue>,
}

impl HeaderEdits {
    /// Merges these modifiers. If they are `of_request`, Host is stored separately, because a rewrite takes precedence over it.
    pub(super) fn of<'m>(modifiers: impl Iterator<Item = &'m HeaderModifier>, of_request: bool) -> Self {
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

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.host.is_none()
    }

    pub(super) fn replaces(&self, name: &[u8]) -> bool {
        self.replaced & bit(name) != 0
            && self
                .headers
                .iter()
                .any(|edit| edit.replaces && name.eq_ignore_ascii_case(edit.name.as_str().as_bytes()))
    }

    pub(super) fn of_name(&self, name: &HeaderName) -> Option<&HeaderEdit> {
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

    pub(super) fn apply(&self, headers: &mut impl HeadersMut) {
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

pub(super) fn put_line(lines: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

/// The edits of checks, of a rule, and of its backend. Later ones are more specific, so they take precedence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain<'r>(pub(super) [Option<&'r HeaderEdits>; 3]);

impl<'r> Chain<'r> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.0, [None, None, None])
    }

    #[inline]
    pub(super) fn replaces(&self, name: &[u8]) -> bool {
        self.links().any(|edits| edits.replaces(name))
    }

    #[inline]
    pub(super) fn links(&self) -> impl Iterator<Item = &'r HeaderEdits> {
        self.0.iter().copied().flatten()
    }

    /// Writes the added headers as lines of HTTP/1, except those for which `is_left_out` returns true.
    pub(super) fn write(&self, is_left_out: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
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

    pub(super) fn apply(&self, headers: &mut impl HeadersMut) {
        self.links().for_each(|edits| edits.apply(headers));
    }
}
