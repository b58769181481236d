//! Filters of a rule.

use super::*;

#[test]
fn a_filter_has_the_field_of_its_type_alone() {
    let mirror = "requestMirror: {backendRef: {name: a, port: 1}}";
    let rows: Vec<(String, String)> = [
        (
            "RequestHeaderModifier",
            "requestHeaderModifier",
            "requestHeaderModifier: {set: [{name: a, value: b}]}",
        ),
        ("ResponseHeaderModifier", "responseHeaderModifier", "responseHeaderModifier: {remove: [a]}"),
        ("RequestMirror", "requestMirror", mirror),
        ("RequestRedirect", "requestRedirect", "requestRedirect: {}"),
        ("URLRewrite", "urlRewrite", "urlRewrite: {}"),
        ("CORS", "cors", "cors: {}"),
        (
            "ExternalAuth",
            "externalAuth",
            "externalAuth: {protocol: HTTP, http: {}, backendRef: {name: a, port: 1}}",
        ),
        ("ExtensionRef", "extensionRef", "extensionRef: {group: a.com, kind: A, name: a}"),
    ]
    .iter()
    .flat_map(|(kind, field, value)| {
        let other = if *kind == "URLRewrite" { "CORS, cors: {}" } else { "URLRewrite, urlRewrite: {}" };
        [
            (format!("type: {kind}, {value}"), String::new()),
            (format!("type: {kind}"), format!("spec.rules[0].filters[0].{field}: is required by")),
            (format!("type: {other}, {value}"), format!("spec.rules[0].filters[0].{field}: must not be set")),
        ]
    })
    .collect();
    for (part, want) in &rows {
        holds(&[(part, want)], filter);
    }
    holds(
        &[
            ("type: Nothing", "spec.rules[0].filters[0].type: unknown variant `Nothing`"),
            (mirror, "spec.rules[0].filters[0]: lacks the field `type`"),
        ],
        filter,
    );
}

#[test]
fn external_auth_is_asked_by_one_protocol() {
    let of = |rest: &str| {
        format!("type: ExternalAuth, externalAuth: {{backendRef: {{name: a, port: 1}}, {rest}}}")
    };
    let at = "spec.rules[0].filters[0].externalAuth";
    let many: Vec<_> = (0..65).map(|n| format!("x-{n}")).collect();
    let many = format!("protocol: GRPC, grpc: {{allowedHeaders: [{}]}}", many.join(", "));
    for (rest, want) in [
        ("protocol: HTTP, http: {}", String::new()),
        ("protocol: GRPC, grpc: {}", String::new()),
        ("protocol: HTTP, http: {}, forwardBody: {maxSize: 0}", String::new()),
        ("protocol: HTTP, http: {}, forwardBody: {maxSize: 8192}", String::new()),
        ("protocol: GRPC, grpc: {}, forwardBody: {maxSize: 8192}", String::new()),
        ("protocol: HTTP", format!("{at}.http: is required by")),
        ("protocol: GRPC", format!("{at}.grpc: is required by")),
        ("protocol: HTTP, http: {}, grpc: {}", format!("{at}.grpc: must not be set")),
        ("protocol: GRPC, http: {}, grpc: {}", format!("{at}.http: must not be set")),
        (
            "protocol: HTTP, http: {}, forwardBody: {maxSize: -1}",
            format!("{at}.forwardBody.maxSize: must be"),
        ),
        ("protocol: HTTP, http: {allowedHeaders: [x, x]}", format!("{at}.http.allowedHeaders")),
        (&*many, format!("{at}.grpc.allowedHeaders: must have at most 64 entries")),
    ] {
        holds(&[(&of(rest), &want)], filter);
    }
    for (rest, want) in [
        ("protocol: HTTP, http: {path: 'a b'}", "http.path: is not a valid path"),
        ("protocol: HTTP, http: {path: 'a?b'}", "http.path: is not a valid path"),
        ("protocol: HTTP, http: {allowedHeaders: ['a b']}", "http.allowedHeaders[0]: is not a valid header"),
        (
            "protocol: HTTP, http: {allowedResponseHeaders: [te]}",
            "http.allowedResponseHeaders[0]: te cannot be",
        ),
    ] {
        warns(&[(&of(rest), &format!("{at}.{want}"))], filter);
    }
}

#[test]
fn filters_that_exclude_each_other() {
    let header = "{type: RequestHeaderModifier, requestHeaderModifier: {}}";
    let answer = "{type: ResponseHeaderModifier, responseHeaderModifier: {}}";
    let redirect = "{type: RequestRedirect, requestRedirect: {}}";
    let rewrite = "{type: URLRewrite, urlRewrite: {}}";
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}}}";
    let cors = "{type: CORS, cors: {}}";
    for (filters, want) in [
        (vec![header, answer, rewrite, mirror, mirror, cors], ""),
        (vec![header, header], "RequestHeaderModifier must not be repeated"),
        (vec![answer, answer], "ResponseHeaderModifier must not be repeated"),
        (vec![redirect, redirect], "RequestRedirect must not be repeated"),
        (vec![rewrite, rewrite], "URLRewrite must not be repeated"),
        (vec![cors, cors], "CORS must not be repeated"),
        (vec![redirect, rewrite], "must not have both RequestRedirect and URLRewrite"),
    ] {
        let list = filters.join(", ");
        let say = |at: &str| if want.is_empty() { String::new() } else { format!("{at}: {want}") };
        holds(&[(&format!("filters: [{list}]"), &say("spec.rules[0].filters"))], rule);
        let backend = format!("backendRefs: [{{name: a, port: 1, filters: [{list}]}}]");
        holds(&[(&backend, &say("spec.rules[0].backendRefs[0].filters"))], rule);
    }
    holds(
        &[
            (&format!("filters: [{redirect}], backendRefs: []"), ""),
            (
                &format!("filters: [{redirect}], backendRefs: [{{name: a, port: 1}}]"),
                "spec.rules[0]: must not have both a RequestRedirect filter and backendRefs",
            ),
        ],
        rule,
    );
}

#[test]
fn a_prefix_is_replaced_where_one_prefix_matches() {
    let want = "spec.rules[0]: must have exactly one match, of type PathPrefix";
    for filter in ["type: RequestRedirect, requestRedirect: ", "type: URLRewrite, urlRewrite: "] {
        let filter = format!("{{{filter}{{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /b}}}}}}");
        for (matches, want) in [
            ("", ""),
            ("matches: [{}], ", ""),
            ("matches: [{path: {value: /a}}], ", ""),
            ("matches: [{path: {type: PathPrefix, value: /a}, method: GET}], ", ""),
            ("matches: [{path: {type: Exact, value: /a}}], ", want),
            ("matches: [{path: {type: RegularExpression, value: /a}}], ", want),
            ("matches: [{path: {value: /a}}, {path: {value: /b}}], ", want),
        ] {
            holds(&[(&format!("{matches}filters: [{filter}]"), want)], rule);
            if filter.contains("URLRewrite") {
                let backend = format!("{matches}backendRefs: [{{name: a, port: 1, filters: [{filter}]}}]");
                holds(&[(&backend, want)], rule);
            }
        }
    }
}

#[test]
fn a_path_modifier_has_the_field_of_its_type() {
    for of in ["type: RequestRedirect, requestRedirect", "type: URLRewrite, urlRewrite"] {
        let field = of.rsplit(' ').next().unwrap();
        for (part, want) in [
            ("type: ReplaceFullPath, replaceFullPath: /a", ""),
            ("type: ReplaceFullPath, replaceFullPath: ''", ""),
            ("type: ReplacePrefixMatch, replacePrefixMatch: /", ""),
            ("type: ReplaceFullPath", "replaceFullPath: is required by the type"),
            ("type: ReplacePrefixMatch", "replacePrefixMatch: is required by the type"),
            (
                "type: ReplaceFullPath, replaceFullPath: /a, replacePrefixMatch: /b",
                "replacePrefixMatch: must not be set",
            ),
            (
                "type: ReplacePrefixMatch, replaceFullPath: /a, replacePrefixMatch: /b",
                "replaceFullPath: must not be set",
            ),
            ("type: Replace", "type: unknown variant `Replace`"),
        ] {
            let want = if want.is_empty() {
                String::new()
            } else {
                format!("spec.rules[0].filters[0].{field}.path.{want}")
            };
            holds(&[(&format!("{of}: {{path: {{{part}}}}}"), &want)], filter);
        }
    }
}

#[test]
fn a_redirect_leads_somewhere() {
    holds(
        &[
            ("scheme: https, hostname: a.com, port: 8443, statusCode: 308", ""),
            ("scheme: ftp", "spec.rules[0].filters[0].requestRedirect.scheme: unknown variant"),
            ("hostname: '*.a.com'", "spec.rules[0].filters[0].requestRedirect.hostname:"),
            ("port: 0", "spec.rules[0].filters[0].requestRedirect.port:"),
            ("statusCode: 303", ""),
            ("statusCode: 307", ""),
            (
                "statusCode: 304",
                "spec.rules[0].filters[0].requestRedirect.statusCode: must be 301, 302, 303, 307 or 308",
            ),
        ],
        |part| filter(&format!("type: RequestRedirect, requestRedirect: {{{part}}}")),
    );
}

#[test]
fn headers_are_changed_by_name_once() {
    let long = format!("set: [{{name: a, value: {}}}]", "b".repeat(4097));
    for (kind, field) in [
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
    ] {
        for (part, want) in [
            ("set: [{name: a, value: b}], add: [{name: a, value: c}], remove: [d]", ""),
            ("set: [{name: a, value: b}, {name: a, value: c}]", "set[1]: a is duplicated"),
            ("add: [{name: a, value: b}, {name: a, value: c}]", "add[1]: a is duplicated"),
            ("remove: [a, a]", "remove[1]: a is duplicated"),
            ("set: [{name: 'a:', value: b}]", "set[0].name:"),
            ("set: [{name: a, value: ''}]", "set[0].value: must not be empty"),
            (&long, "set[0].value: must have at most 4096 characters"),
            ("set: [{name: a}]", "set[0]: lacks the field `value`"),
        ] {
            let want = if want.is_empty() {
                String::new()
            } else {
                format!("spec.rules[0].filters[0].{field}.{want}")
            };
            holds(&[(&format!("type: {kind}, {field}: {{{part}}}"), &want)], filter);
        }
    }
}

#[test]
fn headers_of_a_connection_are_not_for_filters() {
    for (kind, field) in [
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
    ] {
        let modifier = |part: &str| filter(&format!("type: {kind}, {field}: {{{part}}}"));
        for (part, at, why) in [
            (
                "set: [{name: Transfer-Encoding, value: chunked}]",
                "set[0].name",
                "transfer-encoding cannot be changed by a filter",
            ),
            (
                "add: [{name: a, value: b}, {name: Content-Length, value: '1'}]",
                "add[1].name",
                "content-length cannot",
            ),
            ("remove: [a, Connection]", "remove[1]", "connection cannot be changed by a filter"),
            ("set: [{name: upgrade, value: h2c}]", "set[0].name", "upgrade cannot be changed by a filter"),
            ("add: [{name: TE, value: trailers}]", "add[0].name", "te cannot be changed by a filter"),
            ("set: [{name: Trailer, value: a}]", "set[0].name", "trailer cannot be changed by a filter"),
            (
                "set: [{name: Keep-Alive, value: a}]",
                "set[0].name",
                "keep-alive cannot be changed by a filter",
            ),
            (
                "set: [{name: Proxy-Connection, value: a}]",
                "set[0].name",
                "proxy-connection cannot be changed by a filter",
            ),
            ("add: [{name: Host, value: a}]", "add[0].name", "host can be set by a filter, but not added"),
            ("remove: [host]", "remove[0]", "host can be set by a filter, but not added"),
        ] {
            let text = modifier(part);
            let field = format!("spec.rules[0].filters[0].{field}.{at}");
            warns(&[(&text, &format!("{field}: {why}"))], str::to_owned);
            let refused =
                route(&text).rules[0].filters[0].as_ref().map(drop).map_err(|rule| rule.field.to_string());
            assert_eq!(refused, Err(field), "{part}");
        }
        let host = modifier("set: [{name: Host, value: a.example.com}]");
        assert!(route(&host).rules[0].filters[0].is_ok());
    }
}

#[test]
fn a_mirror_takes_a_part() {
    holds(
        &[
            ("percent: 0", ""),
            ("percent: 100", ""),
            ("percent: 101", "spec.rules[0].filters[0].requestMirror.percent: must be between 0 and 100"),
            ("percent: -1", "spec.rules[0].filters[0].requestMirror.percent:"),
            ("fraction: {numerator: 1}", ""),
            ("fraction: {numerator: 5, denominator: 5}", ""),
            (
                "fraction: {numerator: 101}",
                "spec.rules[0].filters[0].requestMirror.fraction: must not be more than one",
            ),
            ("fraction: {numerator: -1}", "spec.rules[0].filters[0].requestMirror.fraction.numerator:"),
            (
                "fraction: {numerator: 0, denominator: 0}",
                "spec.rules[0].filters[0].requestMirror.fraction.denominator:",
            ),
            (
                "fraction: {denominator: 5}",
                "spec.rules[0].filters[0].requestMirror.fraction: lacks the field `numerator`",
            ),
            (
                "percent: 5, fraction: {numerator: 1}",
                "spec.rules[0].filters[0].requestMirror: must not have both",
            ),
        ],
        |part| {
            filter(&format!(
                "type: RequestMirror, requestMirror: {{backendRef: {{name: a, port: 1}}, {part}}}"
            ))
        },
    );
}

#[test]
fn cors_lists_have_no_asterisk_beside_others() {
    holds(
        &[
            (
                "allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], exposeHeaders: ['*'], maxAge: 1",
                "",
            ),
            (
                "allowOrigins: [https://a.com, 'https://*.a.com'], allowMethods: [GET, PUT], allowCredentials: true",
                "",
            ),
            ("exposeHeaders: ['*', a]", ""),
            (
                "allowOrigins: ['*', https://a.com]",
                "spec.rules[0].filters[0].cors.allowOrigins: must not have '*' beside",
            ),
            (
                "allowMethods: ['*', GET]",
                "spec.rules[0].filters[0].cors.allowMethods: must not have '*' beside",
            ),
            (
                "allowHeaders: ['*', a]",
                "spec.rules[0].filters[0].cors.allowHeaders: must not have '*' beside",
            ),
            (
                "allowOrigins: [https://a.com, https://a.com]",
                "spec.rules[0].filters[0].cors.allowOrigins[1]: https://a.com is duplicated",
            ),
            (
                "allowOrigins: [a.com]",
                "spec.rules[0].filters[0].cors.allowOrigins[0]: \"a.com\" must be '*' or an origin",
            ),
            ("allowMethods: [get]", "spec.rules[0].filters[0].cors.allowMethods[0]: \"get\" is not one of"),
            ("allowHeaders: ['a b']", "spec.rules[0].filters[0].cors.allowHeaders[0]:"),
            ("maxAge: 0", "spec.rules[0].filters[0].cors.maxAge: must be between 1"),
            ("allowCredentials: maybe", "spec.rules[0].filters[0].cors.allowCredentials: has the wrong type"),
        ],
        |part| filter(&format!("type: CORS, cors: {{{part}}}")),
    );
}
