use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings {
        ingress_controller: "k8s.io/ingress-nginx".into(),
        ingress_class: "nginx".into(),
        ..Settings::default()
    }
}

fn ingress(name: &str, annotations: &[(&str, &str)], path: &str) -> String {
    let annotations: BTreeMap<_, _> = annotations
        .iter()
        .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), value))
        .collect();
    serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "namespace": "shop", "name": name, "annotations": annotations },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": "a.example", "http": { "paths": [{
            "path": path, "pathType": "ImplementationSpecific",
            "backend": { "service": { "name": "web", "port": { "number": 80 } } },
        }] } }] },
    })
    .to_string()
        + "\n---\n"
}

fn report_of(text: &str) -> Report {
    let mut objects = Objects::default();
    objects.read(text, "in.yaml");
    report(&objects, &settings())
}

#[test]
fn an_annotation_has_a_verdict_by_its_value() {
    for (name, value, want) in [
        ("ssl-redirect", "false", Verdict::Same),
        ("ssl-redirect", "yes", Verdict::NoEffectThere),
        ("proxy-body-size", "8m", Verdict::Same),
        ("proxy-body-size", "8mb", Verdict::NoEffectThere),
        ("proxy-buffering", "on", Verdict::Same),
        ("auth-type", "digest", Verdict::Refused),
        ("backend-protocol", "GRPC", Verdict::Different),
        ("backend-protocol", "HTTPS", Verdict::Same),
        ("backend-protocol", "FCGI", Verdict::Refused),
        ("upstream-hash-by", "$request_uri", Verdict::Different),
        ("server-alias", "b.example", Verdict::Same),
        ("server-alias", "~^b", Verdict::Different),
        ("proxy-ssl-verify", "on", Verdict::Refused),
        ("enable-modsecurity", "true", Verdict::Refused),
        ("enable-modsecurity", "false", Verdict::Same),
        ("enable-rewrite-log", "true", Verdict::Different),
        ("enable-rewrite-log", "false", Verdict::Same),
        ("configuration-snippet", "deny all;", Verdict::Refused),
        ("configuration-snippet", "add_header A b;", Verdict::Different),
        ("configuration-snippet", "# nothing", Verdict::Same),
        ("connection-proxy-header", "keep-alive", Verdict::Different),
        ("proxy-cookie-path", "/old /new", Verdict::Same),
        ("proxy-cookie-path", "~/old /new", Verdict::Different),
        ("proxy-cookie-domain", "~a b", Verdict::Different),
        ("proxy-redirect-from", "~http://a", Verdict::Different),
        ("secure-backends", "true", Verdict::NoEffectThere),
        ("no-such-name", "true", Verdict::NoEffectThere),
    ] {
        let report = report_of(&ingress("web", &[(name, value)], "/"));
        let [ingress] = report.ingresses.as_slice() else { panic!("{name}: {report}") };
        let [annotation] = ingress.annotations.as_slice() else { panic!("{name}: {report}") };
        assert_eq!(annotation.verdict, want, "{name}: {value}\n{report}");
    }
}

#[test]
fn ingresses_of_other_classes_are_left_out() {
    let text = ingress("web", &[], "/") + &ingress("other", &[], "/").replace("\"nginx\"", "\"traefik\"");
    let names: Vec<_> = report_of(&text).ingresses.into_iter().map(|ingress| ingress.name).collect();
    assert_eq!(names, ["web"]);
}

#[test]
fn a_host_with_regular_expressions_has_them_for_all_its_ingresses() {
    let text = ingress("a", &[("use-regex", "true")], "/(?!api)(.*)") + &ingress("b", &[], "/b");
    let report = report_of(&text);
    let note = |ingress: usize| &report.ingresses[ingress].notes[0];
    assert_eq!(note(0).verdict, Verdict::Refused, "{report}");
    assert_eq!(note(0).instead, ["path: /((?:$|[^a]|a(?:$|[^p]|p(?:$|[^i]))).*)"]);
    assert!(note(1).text.contains("are regular expressions because of Ingress shop/a"), "{report}");
    assert_eq!(report.ingresses[1].verdict, Verdict::Same);
    assert_eq!(report.verdict(), Verdict::Refused);
}

#[test]
fn paths_whose_expressions_are_too_large_are_refused_once_with_an_alternative() {
    let rewrite = [("use-regex", "true"), ("rewrite-target", "/$1")];
    let long = format!("/a(.*){}", "x".repeat(portcullis_routing::pattern::MAX_PATTERN));
    for (path, budget, instead) in [
        (r"/a(b)(c)(\w{9})", 64 << 20, "a path with fewer groups, and "),
        ("/a(.*)", 0, "fewer regular expressions, or "),
        (r"/a(.*)\pL{900}", 64 << 20, "smaller repetitions and classes "),
        (r"/a(.*)\p{nothing}", 64 << 20, "a separate longer path "),
        (long.as_str(), 64 << 20, "several shorter paths"),
    ] {
        let mut objects = Objects::default();
        objects.read(&ingress("web", &rewrite, path), "in.yaml");
        let report = report(&objects, &Settings { pattern_budget: budget, ..settings() });
        let notes = report.ingresses[0].notes.iter().filter(|note| note.verdict == Verdict::Refused);
        let notes: Vec<_> = notes.collect();
        let [note] = notes.as_slice() else { panic!("{path}\n{report}") };
        assert!(note.instead.concat().starts_with(instead), "{path}: {note:?}");
    }
}

#[test]
fn names_that_lead_to_other_namespaces_are_refused_unless_they_may() {
    let service = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: web}}, spec: {{type: ExternalName, \
             externalName: {name}}}}}"
        )
    };
    for (name, refused) in [
        ("web.other.svc.cluster.local", true),
        ("web.other.svc", true),
        ("web.shop.svc.cluster.local", false),
        ("www.example.org", false),
    ] {
        let report = report_of(&(ingress("web", &[], "/") + &service(name)));
        assert_eq!(report.verdict() == Verdict::Refused, refused, "{name}\n{report}");
    }
    let mut objects = Objects::default();
    objects.read(&(ingress("web", &[], "/") + &service("web.other.svc")), "in.yaml");
    let permitted = Settings { external_names: portcullis_routing::ExternalNames::Ingress, ..settings() };
    assert_eq!(report(&objects, &permitted).verdict(), Verdict::Same);
}

#[test]
fn keys_of_the_config_map_are_compared() {
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: ingress-nginx, name: ingress-nginx-controller}, data: \
               {ssl-redirect: 'false', worker-processes: '4', no-such-key: a, denylist-source-range: x, hsts: maybe, \
               main-snippet: 'load_module x;', bind-address: 192.0.2.1}}";
    let report = report_of(map);
    let settings = report.settings.expect("found by its name");
    let verdicts: Vec<_> = settings.keys.iter().map(|key| (key.key.as_str(), key.verdict)).collect();
    let want = [
        ("bind-address", Verdict::Different),
        ("denylist-source-range", Verdict::Refused),
        ("hsts", Verdict::Different),
        ("main-snippet", Verdict::Refused),
        ("no-such-key", Verdict::NoEffectThere),
        ("ssl-redirect", Verdict::Same),
        ("worker-processes", Verdict::Same),
    ];
    assert_eq!(verdicts, want);
}

#[test]
fn entries_of_tcp_and_udp_services_are_compared() {
    let map = |name: &str, data: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{namespace: ingress-nginx, name: {name}}}, data: {{{data}}}}}\n---\n"
        )
    };
    let text = map(
        "tcp-services",
        "'80': shop/db:5432, '5432': 'shop/db:5432:PROXY', db: shop/db:5432, '81': a not found; b",
    ) + &map("ingress-nginx-udp", "'53': dns/absent:53")
        + &map("udp-services", "'x': y");
    let report = report_of(&text);
    let keys: Vec<_> = report
        .services
        .iter()
        .flat_map(|map| map.keys.iter().map(|key| (map.name.as_str(), key.key.as_str(), key.verdict)))
        .collect();
    let want = [
        ("tcp-services", "5432", Verdict::Same),
        ("tcp-services", "80", Verdict::Refused),
        ("tcp-services", "81", Verdict::Refused),
        ("tcp-services", "db", Verdict::Refused),
        ("ingress-nginx-udp", "53", Verdict::Same),
    ];
    assert_eq!(keys, want, "{report}");
    assert_eq!(report.verdict(), Verdict::Refused);
    let (text, page) = (report.to_string(), report.markdown());
    assert!(text.contains("port 80 is reserved"), "{text}");
    assert!(page.contains("## ConfigMap ingress-nginx/tcp-services\n"), "{page}");
}

#[test]
fn annotations_with_another_prefix_are_reported() {
    let prefix = crate::objects::AnnotationsPrefix::parse("ingress.example").unwrap();
    let mut objects = Objects::with_prefix(prefix);
    let text = ingress("web", &[("auth-type", "digest")], "/");
    objects.read(&text.replace("nginx.ingress.kubernetes.io", "ingress.example"), "in.yaml");
    let report = report(&objects, &settings());
    assert_eq!(report.verdict(), Verdict::Refused, "{report}");
}

#[test]
fn what_an_owner_wrote_stays_in_its_cell_of_markdown() {
    let text = ingress("web", &[("configuration-snippet", "return 301 https://a/|<b>`$x;")], "/");
    let page = report_of(&text).markdown();
    assert!(page.contains("return 301 https://a/\\|&lt;b>'$x: no equivalent |\n"), "{page}");
}

#[test]
fn no_route_opens_a_host_that_another_ingress_protects() {
    let other_host = ingress("c", &[], "/c").replace("a.example", "c.example");
    let text = ingress("a", &[("auth-tls-secret", "shop/ca")], "/a") + &ingress("b", &[], "/b") + &other_host;
    let translated = to_gateway_api_of(&text);
    assert!(!translated.manifests.contains("hostname: a.example"), "{}", translated.manifests);
    assert!(translated.manifests.contains("hostname: c.example"), "{}", translated.manifests);
    let want = "Ingress shop/b: left out at a.example: auth-tls-secret of Ingress shop/a protects the whole host and has no \
                equivalent";
    assert!(
        translated.without_equivalent.iter().any(|line| line == want),
        "{:#?}",
        translated.without_equivalent
    );

    // Other protections are for the paths of their Ingress.
    let text = ingress("a", &[("auth-url", "http://check.example/")], "/a") + &ingress("b", &[], "/b");
    assert!(to_gateway_api_of(&text).manifests.contains("hostname: a.example"));
}

#[test]
fn settings_that_protect_leave_out_all_ingresses() {
    for (key, value) in [
        ("block-user-agents", "bad"),
        ("block-referers", "bad"),
        ("block-cidrs", "192.0.2.0/24"),
        ("server-snippet", "deny all;"),
    ] {
        let translated = to_gateway_api_of(&(ingress("web", &[], "/") + &settings_map(key, value)));
        assert!(!translated.manifests.contains("HTTPRoute"), "{key}: {}", translated.manifests);
        assert_eq!(translated.without_equivalent.len(), 1, "{key}");
    }
    assert!(to_gateway_api_of(&ingress("web", &[], "/")).manifests.contains("HTTPRoute"));
}

#[test]
fn what_cannot_be_read_has_no_equivalent() {
    let translated = to_gateway_api_of("kind: [");
    assert_eq!(translated.without_equivalent.len(), 1);
    assert!(translated.manifests.starts_with("# in.yaml:1: "), "{}", translated.manifests);
    assert_eq!(translated.manifests.lines().count(), 1, "{}", translated.manifests);
}

#[test]
fn settings_that_close_all_ingresses_are_reported_on_each() {
    for (key, value, annotation, want) in [
        ("server-snippet", "deny all;", None, Verdict::Refused),
        ("block-user-agents", "~(", None, Verdict::Refused),
        ("block-cidrs", "x", None, Verdict::Refused),
        ("denylist-source-range", "x", None, Verdict::Refused),
        ("denylist-source-range", "x", Some(("denylist-source-range", "192.0.2.1")), Verdict::Same),
        ("block-cidrs", "192.0.2.1", None, Verdict::Same),
    ] {
        let annotations: Vec<_> = annotation.into_iter().collect();
        let report = report_of(&(ingress("web", &annotations, "/") + &settings_map(key, value)));
        assert_eq!(report.ingresses[0].verdict, want, "{key}: {value}\n{report}");
    }
}

#[test]
fn custom_errors_without_a_default_backend_differ() {
    for (annotations, want) in [
        (&[("custom-http-errors", "404")][..], Verdict::Different),
        (&[("custom-http-errors", "404"), ("default-backend", "errors")], Verdict::Same),
        (&[("default-backend", "errors")], Verdict::Same),
    ] {
        let report = report_of(&ingress("web", annotations, "/"));
        assert_eq!(report.ingresses[0].verdict, want, "{annotations:?}\n{report}");
    }
}

#[test]
fn headers_of_a_config_map_that_was_not_read_differ() {
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: shop, name: headers}, data: {X-A: a}}\n---\n";
    let allowed = settings_map("global-allowed-response-headers", "X-A");
    for (name, value, other) in [
        ("custom-headers", "shop/headers", &[][..]),
        ("auth-proxy-set-headers", "shop/headers", &[("auth-url", "http://check.example/")]),
    ] {
        let annotations = [&[(name, value)], other].concat();
        let ingress = ingress("web", &annotations, "/");
        let read = report_of(&format!("{ingress}{map}{allowed}"));
        assert_eq!(read.ingresses[0].verdict, Verdict::Same, "{name}\n{read}");
        let report = report_of(&format!("{ingress}{allowed}"));
        let annotations = &report.ingresses[0].annotations;
        let found = annotations.iter().find(|a| a.name.ends_with(name)).expect("it is reported");
        assert_eq!(found.verdict, Verdict::Different, "{name}\n{report}");
        assert_eq!(found.how, ["ConfigMap shop/headers was not read"]);
    }
}

#[test]
fn passwords_of_another_namespace_are_refused() {
    let report = report_of(&ingress("web", &[("auth-type", "basic"), ("auth-secret", "other/users")], "/"));
    assert_eq!(report.ingresses[0].verdict, Verdict::Refused, "{report}");
}

#[test]
fn objects_that_were_not_read_are_not_reported_as_missing() {
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: web}\nspec: {ports: [{port: 80}]}\n---\n";
    for annotations in [
        &[][..],
        &[("auth-type", "basic"), ("auth-secret", "users")],
        &[("default-backend", "errors")],
        &[("auth-tls-secret", "shop/ca")],
        &[("backend-protocol", "HTTPS"), ("proxy-ssl-secret", "shop/tls")],
        &[("auth-url", "http://auth.example/"), ("auth-proxy-set-headers", "shop/headers")],
    ] {
        let report = report_of(&(ingress("web", annotations, "/") + SERVICE));
        let refused = |note: &&Note| note.verdict == Verdict::Refused;
        let found = report.ingresses[0].notes.iter().find(refused);
        assert!(found.is_none(), "{annotations:?}: {found:?}");
    }
    // Other reasons are.
    let tls = [("backend-protocol", "HTTPS"), ("proxy-ssl-secret", "other/tls")];
    assert_eq!(report_of(&(ingress("web", &tls, "/") + SERVICE)).ingresses[0].verdict, Verdict::Refused);
}

#[test]
fn an_older_ingress_takes_precedence_there_too() {
    let report = report_of(&(ingress("a", &[], "/") + &ingress("b", &[], "/")));
    let notes = |index: usize| &report.ingresses[index].notes;
    let all: Vec<_> = notes(0).iter().chain(notes(1)).collect();
    let is_same = |note: &&Note| note.verdict == Verdict::Same && note.text.ends_with("; as there");
    assert!(!all.is_empty() && all.iter().all(is_same), "{report}");
}

#[test]
fn an_owner_cannot_hide_messages_by_the_words_of_a_path() {
    for path in
        ["/Secret a not found", "/not a regular expression", "/which takes precedence (by age, then by name)"]
    {
        let report = report_of(&ingress("web", &[("custom-headers", "a")], path));
        let notes = &report.ingresses[0].notes;
        let begin = format!("path {path} of a.example: custom-headers: a is not NAMESPACE/NAME");
        let is_reported = |note: &Note| note.verdict == Verdict::Refused && note.text.starts_with(&begin);
        assert!(notes.iter().any(is_reported), "{path}\n{report}");
    }
}

#[test]
fn the_text_report_has_no_control_characters() {
    let hostile = "a\u{1b}]0;title\u{7}\u{202e}b";
    let annotations = [("ssl-redirect", hostile), ("x\u{1b}[2J", "true"), ("configuration-snippet", hostile)];
    let report =
        report_of(&(ingress("web", &annotations, &format!("/{hostile}")) + &settings_map(hostile, hostile)));
    let text = report.to_string();
    assert!(text.contains("\\u{1b}]0;title\\u{7}\\u{202e}b"), "{text:?}");
    let is_plain = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(text.chars().all(is_plain), "{text:?}");
}

fn settings_map(key: &str, value: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { key: value },
        "metadata": { "namespace": "ingress-nginx", "name": "ingress-nginx-controller" },
    })
    .to_string()
}

fn to_gateway_api_of(text: &str) -> Translated {
    let mut objects = Objects::default();
    objects.read(text, "in.yaml");
    to_gateway_api(&objects, &settings(), "portcullis")
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("(?!"),
        Just("(?="),
        Just(")"),
        Just("("),
        Just("["),
        Just("]"),
        Just("|"),
        Just("$"),
        Just("\\"),
        Just("/a"),
        Just("{"),
        Just("}"),
        Just("'"),
        Just("\""),
        Just(";"),
        Just(" "),
        Just("\n"),
        Just("deny all;"),
        Just("location"),
        Just("if"),
        Just("return 301"),
        Just("$host"),
        Just("http://"),
        Just("\u{e4}"),
        Just(".*"),
        Just("(.*)"),
        Just("true"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever annotations and paths say, there is a report and a translation.
    #[test]
    fn every_object_has_a_report(
        values in proptest::collection::btree_map(0_usize..138, hostile(), 0..6),
        path in hostile(),
    ) {
        let all = annotations();
        let values: Vec<_> = values.iter().map(|(index, value)| (all[*index].name(), value.as_str())).collect();
        let mut objects = Objects::default();
        objects.read(&ingress("web", &values, &format!("/{path}")), "in.yaml");
        let found = report(&objects, &settings());
        prop_assert_eq!(found.ingresses.len(), 1);
        prop_assert!(!found.markdown().is_empty());
        to_gateway_api(&objects, &settings(), "portcullis");
        requests(&objects, &settings());
        // A path that is rewritten is served.
        if let Some(rewritten) = patterns::rewritten(&format!("/{path}")) {
            prop_assert_eq!(patterns::refusal(&rewritten), None);
        }
    }
}
