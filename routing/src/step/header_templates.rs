//! Headers with variables: `custom-headers` of an Ingress, `add-headers` and `proxy-set-headers` of ingress-nginx.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::{Change, ForbiddenHeader, HeaderModifier};
use crate::template::{FilledTooLong, Template, Values};

/// The maximum length of a value, in bytes.
const MAX_VALUE: usize = 8 << 10;
/// The maximum length of all values of a list of headers, in bytes.
const MAX_VALUES: usize = 64 << 10;

/// The values of a list of headers for a request, which are limited together.
pub(super) struct ValueBudget(usize);

impl Default for ValueBudget {
    fn default() -> Self {
        Self(MAX_VALUES)
    }
}

impl ValueBudget {
    /// The next value.
    ///
    /// # Errors
    /// The value, or all values together, are too long.
    pub(super) fn fill(&mut self, template: &Template, values: &Values<'_>) -> Result<String, FilledTooLong> {
        let value = template.fill_within(MAX_VALUE.min(self.0), values)?;
        self.0 -= value.len();
        Ok(value)
    }
}

/// Headers that are set to values of the request. A header with an empty value is removed, as in nginx. A pointer, so that
/// [`Step`](super::Step) is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTemplates(Arc<Vec<(HeaderName, Template)>>);

impl HeaderTemplates {
    /// Headers with these values.
    ///
    /// # Errors
    /// The first header that cannot be changed.
    pub fn new(headers: impl Into<Vec<(HeaderName, Template)>>) -> Result<Self, ForbiddenHeader> {
        let headers = headers.into();
        headers.iter().try_for_each(|(name, _)| Change::Set.check(name))?;
        Ok(Self(Arc::new(headers)))
    }

    /// The headers.
    pub fn all(&self) -> &[(HeaderName, Template)] {
        &self.0
    }

    /// The changes for a request. A value that no header can have, such as one with a line break, counts as empty, and so
    /// does one that is too long.
    pub(crate) fn fill(&self, values: &Values<'_>) -> HeaderModifier {
        let (mut set, mut remove, mut budget) = (Vec::new(), Vec::new(), ValueBudget::default());
        for (name, template) in &*self.0 {
            let value =
                budget.fill(template, values).ok().and_then(|value| HeaderValue::try_from(value).ok());
            match value.filter(|value| !value.is_empty()) {
                Some(value) => set.push((name.clone(), value)),
                None if *name == header::HOST => {}
                None => remove.push(name.clone()),
            }
        }
        // Their names were checked.
        HeaderModifier::new(set, [], remove).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::HeaderMap;

    use super::*;
    use crate::template::NoGroups;

    #[test]
    fn a_header_has_the_values_of_a_request_or_is_removed() {
        let headers = HeaderMap::new();
        let values = Values {
            host: "a.example",
            sent_host: "a.example",
            path: "/a\nb",
            sent_path: "/a%0Ab",
            query: None,
            scheme: "https",
            method: "GET",
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 443,
            headers: &headers,
            groups: &NoGroups,
        };
        let templates = [
            ("x-scheme", "by $scheme"),
            ("x-none", "$arg_none"),
            ("x-line", "$uri"),
            ("host", "$arg_none"),
            ("x-method", "$request_method"),
        ];
        let parsed = templates.map(|(name, text)| {
            (HeaderName::from_static(name), Template::parse(text, &[]).expect("a template"))
        });
        let modifier = HeaderTemplates::new(parsed).expect("they can be changed").fill(&values);
        let set: Vec<_> =
            modifier.set().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(set, [("x-scheme", &b"by https"[..]), ("x-method", b"GET")]);
        let removed: Vec<_> = modifier.remove().iter().map(HeaderName::as_str).collect();
        assert_eq!(removed, ["x-none", "x-line"]);
    }

    #[test]
    fn what_frames_a_message_has_no_template() {
        let template = Template::parse("$host", &[]).expect("a template");
        assert!(HeaderTemplates::new([(header::CONTENT_LENGTH, template)]).is_err());
    }

    #[test]
    fn values_are_limited_for_each_header_and_for_all_of_them() {
        let headers = HeaderMap::new();
        let query = "a".repeat(6 << 10);
        let values = Values {
            host: "a.example",
            sent_host: "a.example",
            path: "/",
            sent_path: "/",
            query: Some(&query),
            scheme: "https",
            method: "GET",
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 443,
            headers: &headers,
            groups: &NoGroups,
        };
        for (text, number, set) in [("$args", 1, 1), ("$args$args", 1, 0), ("$args", 40, 10)] {
            let templates = (0..number).map(|at| {
                let name = HeaderName::try_from(format!("x-{at}")).expect("a name");
                (name, Template::parse(text, &[]).expect("a template"))
            });
            let templates = HeaderTemplates::new(templates.collect::<Vec<_>>()).expect("they can be changed");
            let modifier = templates.fill(&values);
            assert_eq!(
                (modifier.set().len(), modifier.remove().len()),
                (set, number - set),
                "{number} of {text}"
            );
        }
    }
}
