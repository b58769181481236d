//! For the tables of the tests: a document in, what is wrong with it out.

use super::{Decoded, decode_document};
use crate::{ir::Object, problem::Severity, yaml::documents};

/// Reads a text of one document.
pub(crate) fn decode_text(text: &str) -> Decoded {
    let mut documents: Vec<_> = documents(text, "in.yaml").collect();
    assert_eq!(documents.len(), 1, "{text}");
    decode_document(documents.remove(0))
}

/// The object of a text that is accepted.
pub(crate) fn object(text: &str) -> Object {
    let decoded = decode_text(text);
    decoded.object.unwrap_or_else(|| panic!("{text}\n{:#?}", decoded.problems))
}

/// `field: message` of each problem of that severity, a line each.
pub(crate) fn problems(decoded: &Decoded, severity: Severity) -> String {
    let of = decoded.problems.iter().filter(|p| p.severity == severity);
    of.map(|p| format!("{}: {}\n", p.field, p.message)).collect()
}

/// Each row is accepted where it wants nothing, and else refused for what it wants: `field: message`, or their
/// beginning.
pub(crate) fn holds(rows: &[(&str, &str)], document: impl Fn(&str) -> String) {
    for (part, want) in rows {
        let text = document(part);
        let decoded = decode_text(&text);
        let errors = problems(&decoded, Severity::Error);
        match *want {
            "" => assert!(decoded.object.is_some() && errors.is_empty(), "{part}\nrefused: {errors}"),
            want => {
                assert!(decoded.object.is_none(), "{part}\naccepted, want {want}");
                let said = errors.lines().any(|line| line.starts_with(want));
                assert!(said, "{part}\nwant: {want}\nsays: {errors}");
            }
        }
    }
}

/// Each row is accepted with a warning: `field: message`, or its beginning.
pub(crate) fn warns(rows: &[(&str, &str)], document: impl Fn(&str) -> String) {
    for (part, want) in rows {
        let decoded = decode_text(&document(part));
        let warnings = problems(&decoded, Severity::Warning);
        assert!(decoded.object.is_some(), "{part}\n{:#?}", decoded.problems);
        assert!(
            warnings.lines().any(|line| line.starts_with(want)),
            "{part}\nwant: {want}\nsays: {warnings}"
        );
    }
}
