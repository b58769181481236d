//! URLRewrite: another host or path in the request to the backend.

use std::{borrow::Cow, sync::Arc};

use crate::PathMatch;

/// The changes to a request before it is forwarded (HTTPURLRewriteFilter).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlRewrite {
    /// The new Host.
    pub hostname: Option<HostRewrite>,
    /// The new path.
    pub path: Option<PathRewrite>,
}

/// The Host that the backend receives.
pub type HostRewrite = Arc<str>;

/// A new path (HTTPPathModifier); redirects use it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// ReplaceFullPath.
    Full(Arc<str>),
    /// ReplacePrefixMatch: the replacement of the matched prefix, without a trailing `/`.
    Prefix(Arc<str>),
}

impl PathRewrite {
    /// The new path of a request with a `path` that `matched` has matched.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_by_whole_segments() {
        // HTTPPathModifier `replacePrefixMatch`, all rows.
        for (path, prefix, replacement, want) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/", "/", "/", "/"),
        ] {
            let rewrite = PathRewrite::Prefix(replacement.trim_end_matches('/').into());
            let matched = PathMatch::Prefix(prefix.trim_end_matches('/').into());
            assert_eq!(rewrite.apply(path, &matched), want, "{path} under {prefix} to {replacement}");
        }
    }

    #[test]
    fn only_a_matched_prefix_is_replaced() {
        let rewrite = PathRewrite::Prefix("/xyz".into());
        assert_eq!(rewrite.apply("/foo", &PathMatch::Exact("/foo".into())), "/foo");
    }

    #[test]
    fn the_whole_path_is_replaced_whatever_matched() {
        let rewrite = PathRewrite::Full("/one".into());
        for matched in [PathMatch::Exact("/foo/bar".into()), PathMatch::Prefix("/foo".into())] {
            assert_eq!(rewrite.apply("/foo/bar", &matched), "/one", "{matched:?}");
        }
    }
}
