use super::{Document, MAX_DOCUMENT, MAX_FILE, documents};
use crate::objects::{Decoded, decode_document};

fn route(name: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: {name}\nspec: {{}}\n"
    )
}

/// `line name` of each document; `line !key` where it cannot be read.
fn outline(text: &str, file: &str) -> Vec<String> {
    let one = |d: &Document<'_>| match &d.content {
        Ok(value) => format!("{} {}", d.place.line, value["metadata"]["name"].as_str().unwrap_or_default()),
        Err(problem) => {
            let line = problem.place.as_ref().unwrap().line;
            let key = decode_document(d.clone()).key.map(|key| key.to_string()).unwrap_or_default();
            format!("{line} !{key}")
        }
    };
    documents(text, file).map(|document| one(&document)).collect()
}

fn message(text: &str, file: &str) -> String {
    let mut documents: Vec<_> = documents(text, file).collect();
    assert_eq!(documents.len(), 1);
    documents.remove(0).content.expect_err("cannot be read").message.into()
}

#[test]
fn a_file_has_several_documents() {
    let (a, b) = (route("a"), route("b"));
    for (text, want) in [
        (String::new(), &[][..]),
        ("# nothing\n\n---\n---\n# nothing\n".to_owned(), &[]),
        (a.clone(), &["1 a"]),
        (format!("---\n{a}"), &["2 a"]),
        (format!("\u{feff}{a}"), &["1 a"]),
        (format!("{a}---\n{b}"), &["1 a", "7 b"]),
        (format!("{a}--- # b\n{b}...\n"), &["1 a", "7 b"]),
        (format!("# first\n{a}\n---\n\n---\n{b}"), &["2 a", "11 b"]),
        (format!("%YAML 1.2\n---\n{a}...\n%YAML 1.2\n---\n{b}"), &["3 a", "11 b"]),
        (format!("{a}---\n{b}").replace('\n', "\r\n"), &["1 a", "7 b"]),
        (format!("{}  description: |\n    ----\n    ---x\n", a.replace(" {}", "")), &["1 a"]),
    ] {
        assert_eq!(outline(&text, "in.yaml"), want, "{text}");
    }
}

#[test]
fn a_syntax_error_costs_its_document() {
    let (a, b, broken) = (route("a"), route("b"), "  rules: [\n  x: }\n");
    let text = format!("{a}---\n{}{broken}---\n{b}", route("c").replace("spec: {}", "spec:"));
    assert_eq!(outline(&text, "in.yaml"), ["1 a", "12 !HTTPRoute default/c", "15 b"]);
}

#[test]
fn what_is_no_yaml_says_why() {
    for (text, want) in [
        ("a: 1\nb: 2\na: 3\n", "duplicate"),
        ("a:\n\tb: 1\n", "tab"),
        ("a: [", "this is not valid YAML"),
        ("a: *nothing\n", "this is not valid YAML"),
        ("a: {{ .Values.a }}\n", "this is not valid YAML"),
    ] {
        let message = message(text, "in.yaml");
        assert!(message.to_lowercase().contains(&want.to_lowercase()), "{text}: {message}");
    }
}

#[test]
fn yaml_is_read_as_the_api_servers_tools_read_it() {
    let documents = documents("a: yes\nb: 0755\nc: 1e3\nd: '1'\ne: ~\nf: 2026-01-01\ng: 0x10\n", "in.yaml")
        .collect::<Vec<_>>();
    let value = documents[0].content.as_ref().unwrap();
    let want = serde_json::json!({"a": true, "b": 493, "c": 1000.0, "d": "1", "e": null, "f": "2026-01-01", "g": 16});
    assert_eq!(*value, want);
}

#[test]
fn anchors_are_for_sharing_not_for_bombs() {
    let shared = "a: &x {b: c}\nd: *x\ne: {<<: *x, f: g}\n";
    let value = documents(shared, "in.yaml").next().unwrap().content.unwrap();
    assert_eq!(value, serde_json::json!({"a": {"b": "c"}, "d": {"b": "c"}, "e": {"b": "c", "f": "g"}}));
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    message(&laughs, "in.yaml");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 5_000].join(", "));
    message(&long, "in.yaml");
}

#[test]
fn many_small_bombs_are_one_bomb() {
    let bomb = format!("a: &a {}\nb: [{}]\n", "x".repeat(10_000), vec!["*a"; 99].join(", "));
    let text = vec![bomb; 100].join("---\n");
    let documents: Vec<_> = documents(&text, "in.yaml").collect();
    assert!(documents.len() < 30, "{}", documents.len());
    let last = documents.last().unwrap().content.as_ref().expect_err("is too much");
    assert!(last.message.contains("expand to more than"), "{last}");
}

#[test]
fn depth_and_size_are_bounded() {
    for (text, file) in [
        (format!("a: {}1{}", "[".repeat(5_000), "]".repeat(5_000)), "in.yaml"),
        (format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)), "in.json"),
        ((0..5_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect(), "in.yaml"),
    ] {
        message(&text, file);
    }
    let large = format!("a: {}", "x".repeat(MAX_DOCUMENT));
    assert!(message(&large, "in.yaml").contains("more than 1572864"));
    assert!(message(&" ".repeat(MAX_FILE + 1), "in.yaml").contains("more than 16777216"));
}

#[test]
fn a_list_has_an_entry_for_each_item() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: a\n  spec:\n    ports: []\n- kind: Service\n  apiVersion: v1\n  metadata:\n    name: b\n  spec:\n    ports:\n    - port: 0\n";
    assert_eq!(outline(text, "in.yaml"), ["4 a", "10 b"]);
    let lines: Vec<_> = documents(text, "in.yaml").map(decode_document).map(|d| line(&d)).collect();
    assert_eq!(lines, [9, 16]);
    let typed = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRouteList\nitems: [{metadata: {name: a}, spec: {}}]\n";
    let decoded = decode_document(documents(typed, "in.yaml").next().unwrap());
    assert_eq!(decoded.key.unwrap().to_string(), "HTTPRoute default/a");
    assert!(decoded.object.is_some());
}

#[test]
fn a_json_file_has_documents_one_after_the_other() {
    let a = "{\"metadata\": {\"name\": \"a\"}}";
    assert_eq!(outline(&format!("{a}\n\n{a}"), "in.json"), ["1 a", "3 a"]);
    assert_eq!(outline(&format!("{a}\n{{"), "in.json"), ["1 a", "2 !"]);
    assert_eq!(outline("", "in.json"), [""; 0]);
    assert!(message("{\"a\": 1,\n \"a\": 2}", "in.json").contains("\"a\" stands twice"));
    let service = "{\"apiVersion\": \"v1\",\n \"kind\": \"Service\",\n \"metadata\": {\"name\": \"a\"},\n \"spec\": {\"ports\": [\n  {\"port\": 0}]}}";
    for file in ["in.json", "in.yaml"] {
        assert_eq!(line(&decode_document(documents(service, file).next().unwrap())), 5, "{file}");
    }
}

fn line(decoded: &Decoded) -> u32 {
    decoded.problems[0].place.as_ref().unwrap().line
}
