mod filters;

use crate::{
    ir::{
        Object, Route,
        route::{BackendKind, ParentKind, WrittenMatch},
    },
    objects::testing::{holds, object, warns},
};
use std::sync::Arc;

fn spec(part: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  {part}\n"
    )
}

fn rule(part: &str) -> String {
    spec(&format!("rules: [{{{part}}}]"))
}

fn path(part: &str) -> String {
    rule(&format!("matches: [{{path: {{{part}}}}}]"))
}

fn filter(part: &str) -> String {
    rule(&format!("filters: [{{{part}}}]"))
}

fn route(text: &str) -> Arc<Route> {
    let Object::Route(route) = object(text) else { panic!("no route: {text}") };
    route
}

#[test]
fn a_path_is_absolute_and_plain() {
    holds(
        &[
            ("value: /", ""),
            ("value: /a/b.c/~d/%20e", ""),
            ("type: Exact, value: /a/", ""),
            ("type: Exact, value: a", "spec.rules[0].matches[0].path.value: must begin with '/'"),
            ("type: PathPrefix, value: a", "spec.rules[0].matches[0].path.value: must begin with '/'"),
            ("value: ''", "spec.rules[0].matches[0].path.value: must begin with '/'"),
            ("value: /a//b", "spec.rules[0].matches[0].path.value: must not contain '//'"),
            ("value: /a/./b", "spec.rules[0].matches[0].path.value: must not contain '/./'"),
            ("value: /a/../b", "spec.rules[0].matches[0].path.value: must not contain '/../'"),
            ("value: /a%2fb", "spec.rules[0].matches[0].path.value: must not contain '%2f'"),
            ("value: /a%2Fb", "spec.rules[0].matches[0].path.value: must not contain '%2F'"),
            ("value: '/a#b'", "spec.rules[0].matches[0].path.value: must not contain '#'"),
            ("value: /a/..", "spec.rules[0].matches[0].path.value: must not end with '/..'"),
            ("value: /a/.", "spec.rules[0].matches[0].path.value: must not end with '/.'"),
            ("value: /a b", "spec.rules[0].matches[0].path.value: \"/a b\" has a character"),
            ("value: /a%2", "spec.rules[0].matches[0].path.value: \"/a%2\" has a character"),
            ("value: /\u{e4}", "spec.rules[0].matches[0].path.value: \"/\u{e4}\" has a character"),
            ("type: RegularExpression, value: 'a//b'", ""),
            ("type: Regex, value: /", "spec.rules[0].matches[0].path.type: unknown variant `Regex`"),
        ],
        path,
    );
    let long = format!("value: /{}", "a".repeat(1024));
    holds(
        &[(&long, "spec.rules[0].matches[0].path.value: must have at most 1024 characters, has 1025")],
        path,
    );
}

#[test]
fn a_path_is_held_in_canonical_form() {
    for (part, want) in [
        ("value: /", "Prefix(\"\")"),
        ("value: /a/", "Prefix(\"/a\")"),
        ("value: /a", "Prefix(\"/a\")"),
        ("value: /%7ea", "Prefix(\"/~a\")"),
        ("type: Exact, value: /a/", "Exact(\"/a/\")"),
        ("type: Exact, value: /a%c3%a4", "Exact(\"/a%C3%A4\")"),
        ("type: Exact", "Exact(\"/\")"),
    ] {
        let route = route(&path(part));
        let [Ok(WrittenMatch::Plain(one))] = &*route.rules[0].matches else { panic!("{part}") };
        assert_eq!(format!("{:?}", one.path), want, "{part}");
    }
}

#[test]
fn what_is_left_out_has_the_api_servers_default() {
    for text in [
        spec("{}"),
        spec("rules: [{}]"),
        spec("rules: [{matches: []}]"),
        rule("matches: [{}]"),
        path("type: PathPrefix"),
    ] {
        let route = route(&text);
        let [Ok(WrittenMatch::Plain(one))] = &*route.rules[0].matches else { panic!("{text}") };
        assert_eq!(format!("{:?}", one.path), "Prefix(\"\")", "{text}");
    }
    let route = route(&spec(
        "parentRefs: [{name: public}]\n  rules: [{backendRefs: [{name: web, port: 80}], retry: {}}]",
    ));
    let parent = &route.parents[0];
    assert_eq!(parent.kind, ParentKind::Gateway);
    let backend = &route.rules[0].backends[0];
    assert_eq!((&backend.target.kind, backend.weight), (&BackendKind::Service, 1));
    assert_eq!(route.rules[0].retry.as_ref().unwrap().attempts, 1);
}

#[test]
fn lists_have_limits() {
    let many = |count: usize, item: &str| vec![item; count].join(", ");
    let named = |count: usize, suffix: &str| {
        (0..count).map(|i| format!("{{name: n{i}{suffix}}}")).collect::<Vec<_>>().join(", ")
    };
    let names = |count: usize| (0..count).map(|i| format!("h{i}.com")).collect::<Vec<_>>().join(", ");
    for (text, want) in [
        (format!("hostnames: [{}]", names(16)), ""),
        (format!("hostnames: [{}]", names(17)), "spec.hostnames: must have at most 16 entries, has 17"),
        (format!("parentRefs: [{}]", named(32, "")), ""),
        (format!("parentRefs: [{}]", named(33, "")), "spec.parentRefs: must have at most 32"),
        ("rules: []".to_owned(), "spec.rules: must have at least 1 entry, has 0"),
        (format!("rules: [{}]", many(16, "{}")), ""),
        (format!("rules: [{}]", many(17, "{}")), "spec.rules: must have at most 16"),
        (format!("rules: [{{matches: [{}]}}]", many(64, "{}")), ""),
        (
            format!("rules: [{{matches: [{}]}}]", many(65, "{}")),
            "spec.rules[0].matches: must have at most 64",
        ),
        (format!("rules: [{0}, {0}]", format!("{{matches: [{}]}}", many(64, "{}"))), ""),
        (
            format!("rules: [{0}, {0}, {{}}]", format!("{{matches: [{}]}}", many(64, "{}"))),
            "spec.rules: must have at most 128 matches in all rules together, has 129",
        ),
        (format!("rules: [{{backendRefs: [{}]}}]", named(16, ", port: 1")), ""),
        (
            format!("rules: [{{backendRefs: [{}]}}]", named(17, ", port: 1")),
            "spec.rules[0].backendRefs: must have at most 16",
        ),
        (
            format!(
                "rules: [{{filters: [{}]}}]",
                many(17, "{type: ExtensionRef, extensionRef: {group: '', kind: A, name: a}}")
            ),
            "spec.rules[0].filters: must have at most 16",
        ),
        (
            format!("rules: [{{matches: [{{headers: [{}]}}]}}]", named(17, ", value: a")),
            "spec.rules[0].matches[0].headers: must have at most 16",
        ),
        (
            format!("rules: [{{matches: [{{queryParams: [{}]}}]}}]", named(17, ", value: a")),
            "spec.rules[0].matches[0].queryParams: must have at most 16",
        ),
    ] {
        holds(&[(&text, want)], spec);
    }
}

#[test]
fn names_in_a_route_are_names() {
    holds(
        &[
            ("hostnames: [example.com, '*.example.com']", ""),
            ("hostnames: [Example.com]", "spec.hostnames[0]: \"Example.com\" must be a DNS name"),
            ("hostnames: ['a.*.com']", "spec.hostnames[0]:"),
            ("hostnames: ['']", "spec.hostnames[0]:"),
            ("hostnames: ['example.com:80']", "spec.hostnames[0]:"),
            ("rules: [{name: a}, {name: b}, {}, {}]", ""),
            ("rules: [{name: a}, {name: a}]", "spec.rules[1].name: must be unique within the route"),
            ("rules: [{name: A}]", "spec.rules[0].name: \"A\" must be a DNS name"),
        ],
        spec,
    );
}

#[test]
fn parents_are_told_apart() {
    holds(
        &[
            ("{name: a}", ""),
            ("{name: a}, {name: b}", ""),
            ("{name: a}, {name: a, namespace: ns}", ""),
            ("{name: a}, {name: a, kind: Service, group: ''}", ""),
            ("{name: a, sectionName: x}, {name: a, sectionName: z}", ""),
            ("{name: a, port: 80}, {name: a, port: 81}", ""),
            ("{name: a, sectionName: x, port: 80}, {name: a, sectionName: x, port: 81}", ""),
            ("{name: a, sectionName: x}, {name: a, sectionName: z, port: 81}", ""),
            ("{name: a}, {name: a}", "spec.parentRefs[1]: must differ in sectionName or port"),
            ("{name: a}, {name: b}, {name: a}", "spec.parentRefs[2]: must differ"),
            ("{name: a}, {name: a, sectionName: x}", "spec.parentRefs[1]: must name sectionName or port as"),
            ("{name: a, port: 80}, {name: a, port: 80}", "spec.parentRefs[1]: must differ"),
            ("{name: a, sectionName: x}, {name: a, sectionName: x}", "spec.parentRefs[1]: must differ"),
            ("{name: ''}", "spec.parentRefs[0].name: \"\" must not be empty"),
            ("{}", "spec.parentRefs[0]: lacks the field `name`"),
            ("{name: a, namespace: A}", "spec.parentRefs[0].namespace:"),
            ("{name: a, sectionName: 'x y'}", "spec.parentRefs[0].sectionName:"),
            ("{name: a, kind: 1x}", "spec.parentRefs[0].kind:"),
            ("{name: a, group: A}", "spec.parentRefs[0].group:"),
            ("{name: a, port: 0}", "spec.parentRefs[0].port: must be between 1 and 65535, is 0"),
            ("{name: a, port: 65536}", "spec.parentRefs[0].port: must be between 1 and 65535, is 65536"),
            (
                "{name: a, port: '80'}",
                "spec.parentRefs[0].port: has the wrong type: string \"80\", expected a whole number",
            ),
        ],
        |part| spec(&format!("parentRefs: [{part}]")),
    );
}

#[test]
fn a_match_asks_what_can_be_asked() {
    holds(
        &[
            ("method: GET", ""),
            ("method: get", "spec.rules[0].matches[0].method: unknown variant `get`"),
            ("headers: [{name: x-a, value: b}]", ""),
            ("headers: [{name: x-a, value: b}, {name: X-A, value: c}]", ""),
            (
                "headers: [{name: x-a, value: b}, {name: x-a, value: c}]",
                "spec.rules[0].matches[0].headers[1]: x-a is duplicated",
            ),
            ("headers: [{name: 'x a', value: b}]", "spec.rules[0].matches[0].headers[0].name:"),
            (
                "headers: [{name: a, value: ''}]",
                "spec.rules[0].matches[0].headers[0].value: must not be empty",
            ),
            ("headers: [{name: a}]", "spec.rules[0].matches[0].headers[0]: lacks the field `value`"),
            (
                "headers: [{name: a, value: 1}]",
                "spec.rules[0].matches[0].headers[0].value: has the wrong type: integer `1`, expected a string",
            ),
            (
                "headers: [{name: a, value: b, type: Regex}]",
                "spec.rules[0].matches[0].headers[0].type: unknown variant",
            ),
            ("queryParams: [{name: a, value: b}, {name: A, value: b}]", ""),
            (
                "queryParams: [{name: a, value: b}, {name: a, value: b}]",
                "spec.rules[0].matches[0].queryParams[1]: a is duplicated",
            ),
            ("queryParams: [{name: 'a b', value: b}]", "spec.rules[0].matches[0].queryParams[0].name:"),
            (
                "queryParams: [{name: a, value: ''}]",
                "spec.rules[0].matches[0].queryParams[0].value: must not be empty",
            ),
            (
                "headers: b",
                "spec.rules[0].matches[0].headers: has the wrong type: string \"b\", expected a list",
            ),
        ],
        |part| rule(&format!("matches: [{{{part}}}]")),
    );
}

#[test]
fn what_cannot_be_served_stays_as_a_value() {
    let text = rule(
        "matches: [{path: {type: RegularExpression, value: '(a'}}, {headers: [{name: a, type: RegularExpression, value: '(?=a)'}]}, {path: {value: /ok}}]",
    );
    let route = route(&text);
    let fields: Vec<_> = route.rules[0].matches.iter().map(|m| m.as_ref().err().map(|e| &*e.field)).collect();
    assert_eq!(
        fields,
        [
            Some("spec.rules[0].matches[0].path.value"),
            Some("spec.rules[0].matches[1].headers[0].value"),
            None
        ]
    );
    warns(&[(&text, "spec.rules[0].matches[0].path.value: not a regular expression")], str::to_owned);
    let large = path("type: RegularExpression, value: '(?:[a-z]{1,500}){1,500}'");
    warns(
        &[(&large, "spec.rules[0].matches[0].path.value: the regular expression would need more")],
        str::to_owned,
    );
    let text = filter("type: ExtensionRef, extensionRef: {group: a.com, kind: A, name: a}");
    warns(&[(&text, "spec.rules[0].filters[0].extensionRef: no filter of kind A is served")], str::to_owned);
}

#[test]
fn timeouts_fit_into_each_other() {
    holds(
        &[
            ("request: 10s, backendRequest: 10s", ""),
            ("request: 1h2m3s4ms, backendRequest: 500ms", ""),
            ("request: 0s, backendRequest: 5s", ""),
            ("backendRequest: 5s", ""),
            ("request: 4ms3s", ""),
            (
                "request: 1s, backendRequest: 1001ms",
                "spec.rules[0].timeouts.backendRequest: must not be longer",
            ),
            ("request: 1m, backendRequest: 61s", "spec.rules[0].timeouts.backendRequest: must not be longer"),
            ("request: 1.5s", "spec.rules[0].timeouts.request: \"1.5s\" is not a duration"),
            ("request: 10", "spec.rules[0].timeouts.request: has the wrong type"),
            ("request: '10'", "spec.rules[0].timeouts.request: \"10\" is not a duration"),
            ("request: 100000s", "spec.rules[0].timeouts.request: \"100000s\" is not a duration"),
            ("request: 1h1h1h1h1h", "spec.rules[0].timeouts.request:"),
            ("backendRequest: -1s", "spec.rules[0].timeouts.backendRequest:"),
        ],
        |part| rule(&format!("timeouts: {{{part}}}")),
    );
    let route = route(&rule("timeouts: {request: 0s, backendRequest: 1500ms}"));
    let timeouts = *route.rules[0].timeouts.clone().unwrap();
    assert_eq!(timeouts.request, None, "zero is no limit");
    assert_eq!(timeouts.backend_request, Some(std::time::Duration::from_millis(1500)));
}

#[test]
fn a_retry_is_for_errors() {
    holds(
        &[
            ("codes: [400, 503, 599], attempts: 0, backoff: 100ms", ""),
            ("codes: [399]", "spec.rules[0].retry.codes[0]: must be between 400 and 599"),
            ("codes: [500, 600]", "spec.rules[0].retry.codes[1]: must be between 400 and 599"),
            ("codes: [500, 500]", "spec.rules[0].retry.codes[1]: 500 is duplicated"),
            ("attempts: -1", "spec.rules[0].retry.attempts: must be between 0"),
            ("backoff: soon", "spec.rules[0].retry.backoff: \"soon\" is not a duration"),
        ],
        |part| rule(&format!("retry: {{{part}}}")),
    );
}

#[test]
fn a_backend_is_named() {
    holds(
        &[
            ("name: a, port: 80", ""),
            ("name: a, port: 80, weight: 1000000, namespace: ns", ""),
            ("name: a, kind: Bucket, group: a.com", ""),
            ("name: a", "spec.rules[0].backendRefs[0].port: is required for a Service"),
            (
                "name: a, group: '', kind: Service",
                "spec.rules[0].backendRefs[0].port: is required for a Service",
            ),
            ("port: 80", "spec.rules[0].backendRefs[0]: lacks the field `name`"),
            ("name: '', port: 80", "spec.rules[0].backendRefs[0].name:"),
            ("name: a, port: 70000", "spec.rules[0].backendRefs[0].port:"),
            (
                "name: a, port: 80, weight: -1",
                "spec.rules[0].backendRefs[0].weight: must be between 0 and 1000000",
            ),
            ("name: a, port: 80, weight: 1000001", "spec.rules[0].backendRefs[0].weight:"),
            ("name: a, port: 80, namespace: 'a.b'", "spec.rules[0].backendRefs[0].namespace:"),
        ],
        |part| rule(&format!("backendRefs: [{{{part}}}]")),
    );
}

#[test]
fn an_unknown_field_is_named() {
    warns(
        &[
            ("hostname: a.com", "spec.hostname: is not a field of this kind"),
            (
                "rules: [{matches: [{path: {pathtype: Exact, value: /}}]}]",
                "spec.rules[0].matches[0].path.pathtype:",
            ),
            (
                "rules: [{backendRefs: [{name: a, port: 1, wieght: 3}]}]",
                "spec.rules[0].backendRefs[0].wieght:",
            ),
        ],
        spec,
    );
}
