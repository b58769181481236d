//! Edits of headers in a snippet, as equivalent filters of an HTTPRoute.

/// The edits of a message.
#[derive(Debug, Default)]
struct Modifier {
    set: Vec<(String, String)>,
    remove: Vec<String>,
}

/// The edits of requests and of responses.
#[derive(Debug, Default)]
pub(super) struct Edits {
    request: Modifier,
    response: Modifier,
}

impl Edits {
    /// Adds a directive, and returns whether a filter can express it. Variables cannot be expressed.
    pub(super) fn take(&mut self, name: &str, arguments: &[&str]) -> bool {
        if arguments.iter().any(|argument| argument.contains('$')) {
            return false;
        }
        match (name, arguments) {
            ("add_header", [header, value] | [header, value, "always"]) => self.response.set(header, value),
            ("more_set_headers", headers) => return self.response.set_all(headers),
            ("more_set_input_headers", headers) => return self.request.set_all(headers),
            ("more_clear_headers" | "proxy_hide_header", headers) => self.response.remove(headers),
            ("more_clear_input_headers", headers) => self.request.remove(headers),
            ("proxy_set_header" | "grpc_set_header", [header, ""]) => self.request.remove(&[header]),
            ("proxy_set_header" | "grpc_set_header", [header, value]) if is_own(header) => {
                self.request.set(header, value);
            }
            _ => return false,
        }
        true
    }

    /// The filters; empty without an edit.
    pub(super) fn filters(&self) -> Vec<String> {
        let filter = |of: &Modifier, kind: &str, field: &str| {
            let inside = of.fields();
            (!inside.is_empty())
                .then(|| format!("in an HTTPRoute: filters: [{{type: {kind}, {field}: {{{inside}}}}}]"))
        };
        [
            filter(&self.request, "RequestHeaderModifier", "requestHeaderModifier"),
            filter(&self.response, "ResponseHeaderModifier", "responseHeaderModifier"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Whether a request header is specific to the application: others have an annotation, or are always sent.
fn is_own(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    !matches!(header.as_str(), "host" | "upgrade" | "connection" | "x-forwarded-prefix")
}

impl Modifier {
    fn set(&mut self, name: &str, value: &str) {
        self.set.push((name.to_owned(), value.to_owned()));
    }

    /// `more_set_headers "A: b" "C: d"`; with an option, it depends on more than the header.
    fn set_all(&mut self, headers: &[&str]) -> bool {
        let pairs = headers.iter().map(|header| header.split_once(':')).collect::<Option<Vec<_>>>();
        let Some(pairs) = pairs.filter(|_| !headers.iter().any(|header| header.starts_with('-'))) else {
            return false;
        };
        for (name, value) in pairs {
            match value.trim() {
                "" => self.remove.push(name.trim().to_owned()),
                value => self.set(name.trim(), value),
            }
        }
        true
    }

    fn remove(&mut self, names: &[&str]) {
        self.remove.extend(names.iter().map(|name| (*name).to_owned()));
    }

    fn fields(&self) -> String {
        let set = self.set.iter().map(|(name, value)| format!("{{name: {name}, value: {value:?}}}"));
        let set = set.collect::<Vec<_>>().join(", ");
        let mut fields = Vec::new();
        if !set.is_empty() {
            fields.push(format!("set: [{set}]"));
        }
        if !self.remove.is_empty() {
            fields.push(format!("remove: [{}]", self.remove.join(", ")));
        }
        fields.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::instead;

    #[test]
    fn headers_become_filters_of_a_route() {
        let response = |fields: &str| {
            format!(
                "in an HTTPRoute: filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{{fields}}}}}]"
            )
        };
        let request = |fields: &str| {
            format!(
                "in an HTTPRoute: filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{fields}}}}}]"
            )
        };
        for (snippet, want) in [
            ("add_header X-A b always;", vec![response("set: [{name: X-A, value: \"b\"}]")]),
            (
                "more_set_headers 'X-A: b' \"X-C: d\"; proxy_hide_header X-Powered-By;",
                vec![response(
                    "set: [{name: X-A, value: \"b\"}, {name: X-C, value: \"d\"}], remove: [X-Powered-By]",
                )],
            ),
            ("more_clear_input_headers X-User;", vec![request("remove: [X-User]")]),
            ("proxy_set_header X-User '';", vec![request("remove: [X-User]")]),
            (
                "proxy_set_header X-Kind a; add_header X-B c;",
                vec![
                    request("set: [{name: X-Kind, value: \"a\"}]"),
                    response("set: [{name: X-B, value: \"c\"}]"),
                ],
            ),
            ("add_header X-A $request_id;", vec!["add_header X-A $request_id: no equivalent".to_owned()]),
            (
                "more_set_headers -s 404 'X-A: b';",
                vec!["more_set_headers -s 404 X-A: b: no equivalent".to_owned()],
            ),
        ] {
            assert_eq!(instead("configuration-snippet", snippet), want, "{snippet}");
        }
    }
}
