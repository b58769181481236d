//! The labels that the metrics of ingress-nginx have for the requests of an Ingress.

use std::{borrow::Cow, sync::Arc};

/// The labels of a path of an Ingress. All of them come from objects, none from requests.
///
/// The controller creates equal labels once, so that the counters of a path outlive changes of its rule.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IngressLabels {
    /// The namespace of the Ingress.
    pub namespace: Box<str>,
    /// The name of the Ingress.
    pub ingress: Box<str>,
    /// The host of the rule; `_` if it has none.
    pub host: Box<str>,
    /// The path as written in the Ingress; `/` for requests that no path matches.
    pub path: Box<str>,
    /// The Service of the path; empty if there is none.
    pub service: Box<str>,
    /// The labels of all requests of the Ingress for which there is no room under the labels of their paths.
    pub of_ingress: Option<Arc<IngressLabels>>,
}

/// The maximum length of a label from an object, in bytes.
const MAX_LABEL: usize = 256;
/// What a label ends in that would be longer.
const CUT: &str = "...";

/// A text of an object as a label: its beginning if it is long. Paths and certificates can be as large as an object.
pub fn bounded_label(text: &str) -> Cow<'_, str> {
    match text.len() {
        0..=MAX_LABEL => text.into(),
        _ => format!("{}{CUT}", &text[..text.floor_char_boundary(MAX_LABEL - CUT.len())]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_label_is_cut_between_two_characters() {
        for (text, want) in [
            ("a".repeat(256), "a".repeat(256)),
            ("a".repeat(257), "a".repeat(253) + "..."),
            ("a".to_owned() + &"\u{e9}".repeat(200), "a".to_owned() + &"\u{e9}".repeat(126) + "..."),
            ("\u{e9}".repeat(200), "\u{e9}".repeat(126) + "..."),
        ] {
            assert_eq!(bounded_label(&text), want);
        }
    }
}
