//! Whatever a document says, reading it ends with an object or with a reason.

use std::sync::LazyLock;

use portcullis_controller::{Severity, objects::decode, objects::decode_document, yaml::documents};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One document of each kind, with as many fields as there are.
const WHOLE: &str = include_str!("../testdata/check/whole.yaml");

fn whole() -> &'static [Value] {
    static PARSED: LazyLock<Vec<Value>> =
        LazyLock::new(|| documents(WHOLE, "whole.yaml").map(|d| d.content.expect("is YAML")).collect());
    &PARSED
}

#[test]
fn the_whole_documents_are_accepted() {
    for document in whole() {
        let decoded = decode(document.clone(), None);
        assert!(decoded.object.is_some(), "{:#?}", decoded.problems);
        assert!(decoded.problems.is_empty(), "{:#?}", decoded.problems);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_spoilt_document_is_an_object_or_a_reason(
        which in any::<prop::sample::Index>(),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), spoil()), 1..4),
    ) {
        let documents = whole();
        let mut document = documents[which.index(documents.len())].clone();
        for (place, spoil) in spoils {
            let count = count(&document);
            apply(&mut document, &mut place.index(count), &spoil);
        }
        holds(document)?;
    }

    #[test]
    fn any_json_is_an_object_or_a_reason(spec in value(), kind in kind()) {
        let (api_version, kind) = kind;
        holds(json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "a" }, "spec": spec }))?;
    }

    #[test]
    fn any_text_is_documents_or_a_reason(text in "[-a-z:\\[\\]{}&*#%|>'\"!?, \\n\\t0-9.~\u{e4}]{0,200}") {
        for file in ["in.yaml", "in.json"] {
            documents(&text, file).map(decode_document).for_each(drop);
        }
    }

    #[test]
    fn a_spoilt_text_is_documents_or_a_reason(
        at in any::<prop::sample::Index>(),
        length in 0usize..60,
        with in "[-:\\[\\]{}&*#%|>'\"!? \\n\\t]{0,6}",
    ) {
        let text: Vec<char> = WHOLE.chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        let spoilt: String = text[..start].iter().copied().chain(with.chars()).chain(text[end..].iter().copied()).collect();
        for document in documents(&spoilt, "in.yaml") {
            let is_read = document.content.is_ok();
            let decoded = decode_document(document);
            prop_assert!(decoded.object.is_some() || !decoded.problems.is_empty());
            prop_assert!(is_read || decoded.object.is_none());
        }
    }
}

fn holds(document: Value) -> Result<(), TestCaseError> {
    let decoded = decode(document, None);
    let has_error = decoded.problems.iter().any(|p| p.severity == Severity::Error);
    prop_assert!(!(has_error && decoded.object.is_some()), "{:#?}", decoded.problems);
    prop_assert!(decoded.object.is_some() || !decoded.problems.is_empty());
    Ok(())
}

#[derive(Clone, Debug)]
enum Spoil {
    Delete,
    Replace(Value),
    Repeat(usize),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        Just(Spoil::Delete),
        value().prop_map(Spoil::Replace),
        (1usize..70).prop_map(Spoil::Repeat),
        ("[%/.*a(){,}|+\\\\?\\[\\] #\u{e4}\u{0}]{0,20}").prop_map(|text| Spoil::Replace(text.into())),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        (0usize..5_000).prop_map(|n| "a".repeat(n).into()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let name = prop::sample::select(vec![
            "rules",
            "name",
            "matches",
            "path",
            "type",
            "value",
            "port",
            "ports",
            "listeners",
            "tls",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

fn kind() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("gateway.networking.k8s.io/v1", "GatewayClass"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ("gateway.networking.k8s.io/v1", "GRPCRoute"),
        ("gateway.networking.k8s.io/v1", "TLSRoute"),
        ("gateway.networking.k8s.io/v1", "TCPRoute"),
        ("gateway.networking.k8s.io/v1", "UDPRoute"),
        ("gateway.networking.k8s.io/v1", "ReferenceGrant"),
        ("networking.k8s.io/v1", "Ingress"),
        ("networking.k8s.io/v1", "IngressClass"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
        ("v1", "Service"),
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("v1", "Namespace"),
    ])
}

/// How many values a document has, itself too.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Object(fields) => fields.values().map(count).sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

/// Spoils the value that is `left` values further on.
fn apply(value: &mut Value, left: &mut usize, spoil: &Spoil) -> bool {
    if *left == 0 {
        match spoil {
            Spoil::Delete => *value = Value::Null,
            Spoil::Replace(with) => *value = with.clone(),
            Spoil::Repeat(times) => {
                *value = match value.take() {
                    Value::Array(items) => {
                        Value::Array(items.iter().cycle().take(items.len() * times).cloned().collect())
                    }
                    Value::String(text) => text.repeat(*times).into(),
                    other => Value::Array(vec![other; *times]),
                };
            }
        }
        return true;
    }
    *left -= 1;
    match value {
        Value::Object(fields) => fields.values_mut().any(|v| apply(v, left, spoil)),
        Value::Array(items) => items.iter_mut().any(|v| apply(v, left, spoil)),
        _ => false,
    }
}
