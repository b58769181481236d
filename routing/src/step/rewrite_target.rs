//! `rewrite-target` of Ingresses: a path with groups of a regular expression, and with variables.

use std::sync::Arc;

use http::StatusCode;

use crate::{
    path,
    pattern::GroupPattern,
    template::{FilledTooLong, NoGroups, Template, Values},
};

/// Replaces the path (nginx' `rewrite`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteTarget {
    /// The regular expression for the decoded path; `None` if the target has no groups.
    pub pattern: Option<Arc<GroupPattern>>,
    /// The new path, or the URL to which the client is redirected.
    pub target: Template,
}

impl RewriteTarget {
    /// Returns the path for the backend, encoded. `values` are those of the request without groups.
    ///
    /// # Errors
    /// The path would be too long.
    pub fn path(&self, values: &Values<'_>) -> Result<String, FilledTooLong> {
        let filled = self.fill(values)?;
        // Without a slash, it would not be a valid request target.
        let slash = if filled.starts_with('/') { "" } else { "/" };
        Ok(format!("{slash}{}", path::encode(&filled)))
    }

    /// Returns the URL to which the client is redirected, if the target is a URL.
    ///
    /// # Errors
    /// The URL would be too long.
    pub fn redirect(&self, values: &Values<'_>) -> Result<Option<(StatusCode, String)>, FilledTooLong> {
        let text = self.target.as_str();
        if !["http://", "https://", "$scheme"].iter().any(|start| text.starts_with(start)) {
            return Ok(None);
        }
        let query = values.query.map_or(String::new(), |query| format!("?{query}"));
        Ok(Some((StatusCode::FOUND, format!("{}{query}", self.fill(values)?))))
    }

    fn fill(&self, values: &Values<'_>) -> Result<String, FilledTooLong> {
        match self.pattern.as_ref().and_then(|pattern| pattern.find(values.path)) {
            Some(groups) => self.target.fill(&Values { groups: &groups, ..*values }),
            None => self.target.fill(&Values { groups: &NoGroups, ..*values }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::HeaderMap;

    use super::*;

    fn rewritten(pattern: &str, target: &str, path: &str) -> (String, Option<String>) {
        let pattern = GroupPattern::compile(pattern).unwrap();
        let target = Template::parse(target, &pattern.names()).unwrap();
        let headers = HeaderMap::new();
        let values = Values {
            host: "a.test",
            sent_host: "a.test",
            path,
            sent_path: path,
            query: Some("q=1"),
            scheme: "http",
            method: "GET",
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 80,
            headers: &headers,
            groups: &NoGroups,
        };
        let rewrite = RewriteTarget { pattern: Some(Arc::new(pattern)), target };
        (rewrite.path(&values).unwrap(), rewrite.redirect(&values).unwrap().map(|(_, location)| location))
    }

    #[test]
    fn the_new_path_has_the_groups_and_is_encoded() {
        for (pattern, target, path, want) in [
            ("/foo(/|$)(.*)", "/$2", "/foo/bar", "/bar"),
            ("/foo(/|$)(.*)", "/$2", "/foo", "/"),
            ("/foo(/|$)(.*)", "/$2", "/FOO/a b/?", "/a%20b/%3F"),
            ("/foo", "/bar/$1", "/foo/x", "/bar/"),
            ("/n/(?<who>.*)", "/$who/$host", "/n/bob", "/bob/a.test"),
            ("/foo/(.*)", "$1", "/foo/bar", "/bar"),
            ("/foo/(.*)", "$1", "/foo/", "/"),
        ] {
            assert_eq!(rewritten(pattern, target, path), (want.into(), None), "{target} of {path}");
        }
    }

    #[test]
    fn a_url_is_where_the_client_is_sent() {
        let (_, location) = rewritten("/(.*)", "https://b.test/$1", "/x");
        assert_eq!(location.as_deref(), Some("https://b.test/x?q=1"));
        let (_, location) = rewritten("/(.*)", "$scheme://b.test/$1", "/x");
        assert_eq!(location.as_deref(), Some("http://b.test/x?q=1"));
    }
}
