//! URLRewrite: another host, another path towards the backend.

use std::{borrow::Cow, sync::Arc};

use crate::PathMatch;

/// What is changed on the way to the backend (HTTPURLRewriteFilter).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlRewrite {
    /// The new Host.
    pub hostname: Option<HostRewrite>,
    /// The new path.
    pub path: Option<PathRewrite>,
}

/// The Host that the backend sees.
pub type HostRewrite = Arc<str>;

/// A new path (HTTPPathModifier); redirects use it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// ReplaceFullPath.
    Full(Arc<str>),
    /// ReplacePrefixMatch: what takes the place of the matched prefix; held without a last `/`.
    Prefix(Arc<str>),
}

impl PathRewrite {
    /// The new path of a request whose `path` was matched by `matched`.
    pub fn apply<'p>(&'p self, path: &'p str, matched: &PathMatch) -> Cow<'p, str> {
        match (self, matched) {
            (Self::Full(full), _) => Cow::Borrowed(full),
            (Self::Prefix(replacement), PathMatch::Prefix(prefix)) => {
                let rest = path.strip_prefix(&**prefix).unwrap_or(path);
                match (replacement.is_empty(), rest.is_empty()) {
                    (true, true) => Cow::Borrowed("/"),
                    (true, false) => Cow::Borrowed(rest),
                    (false, true) => Cow::Borrowed(replacement),
                    (false, false) => Cow::Owned(format!("{replacement}{rest}")),
                }
            }
            (Self::Prefix(_), _) => Cow::Borrowed(path),
        }
    }
}
