use std::time::Duration;

use super::*;
use crate::{
    Severity,
    ir::{ConfigMap, Kind, Meta, ObjectKey},
};
use nginx_keys::Fate;
use portcullis_routing::TlsVersions;

pub(super) fn of(data: &[(&str, &str)]) -> (LiveSettings, Vec<String>) {
    after(&mut LastGood::default(), data)
}

fn after(last_good: &mut LastGood, data: &[(&str, &str)]) -> (LiveSettings, Vec<String>) {
    let key = ObjectKey::new(Kind::ConfigMap, "edge", "settings");
    let meta = Meta { key, uid: None, generation: 1, version: 0, created: 0, warnings: Box::default() };
    let data = data.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
    let mut flags = LiveSettings::default();
    flags.proxy.max_connections = Some(7);
    let (settings, problems) = read(&flags, &ConfigMap { meta, data }, last_good);
    (settings, problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect())
}

#[test]
fn a_key_goes_before_the_command_line_and_a_wrong_one_does_not() {
    let (settings, problems) = of(&[
        ("trusted-proxies", "10.0.0.0/8, fd00::/8\n192.0.2.7"),
        ("max-connections", " 100 "),
        ("access-log", "true\n"),
        ("max-ports-per-namespace", "0"),
    ]);
    assert_eq!(problems, [""; 0]);
    assert_eq!(settings.proxy.trusted_proxies.len(), 3);
    assert_eq!(settings.proxy.max_connections, Some(100));
    assert!(settings.proxy.access_log);
    assert_eq!(settings.entrance.max_ports, Some(0));

    let (_, problems) = of(&[("proxy-buffer-size", "8k")]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("has no effect"), "{problems:?}");

    let (settings, problems) = of(&[
        ("access-log", "yes"),
        ("max-connections", "0"),
        ("trusted-proxies", "10.0.0.0/33"),
        ("trusted-proxy", "10.0.0.0/8"),
    ]);
    let want = [
        "data.access-log: \"yes\" is neither true nor false; the value of the command line applies",
        "data.max-connections: \"0\" is not a number of 1 or more; the value of the command line applies",
        "data.trusted-proxies: \"10.0.0.0/33\" is not a network such as 10.0.0.0/8 or fd00::/8; the value of the \
         command line applies",
        "data.trusted-proxy: is not a setting; did you mean trusted-proxies?",
    ];
    assert_eq!(problems.len(), want.len(), "{problems:?}");
    for (problem, want) in problems.iter().zip(want) {
        assert!(problem.starts_with(want), "{problem}");
    }
    assert_eq!(settings.proxy.max_connections, Some(7));
    assert!(!settings.proxy.access_log && settings.proxy.trusted_proxies.is_empty());
}

#[test]
fn entries_of_shared_hostnames_that_are_wrong_grant_nothing() {
    let all = "- {namespaceSelector: {}, hostnames: ['*']}";
    for (what, text, entries, hostnames, problem) in [
        ("all", all.to_owned(), 1, 1, None),
        ("none", "[]".to_owned(), 0, 0, None),
        ("no list", "everything".to_owned(), 0, 0, Some("data.shared-hostnames: is not a list")),
        (
            "a typo",
            "- {namespaceSelectors: {}, hostnames: [a.example]}
"
            .to_owned()
                + all,
            2,
            2,
            Some("data.shared-hostnames[0].namespaceSelectors: is not a field"),
        ),
        (
            "a typo in the selector",
            "- {namespaceSelector: {matchLabel: {a: b}}, hostnames: [a.example]}
"
            .to_owned()
                + all,
            2,
            2,
            Some("data.shared-hostnames[0].namespaceSelector.matchLabel: is not a field"),
        ),
        (
            "a selector",
            "- {namespaceSelector: {matchExpressions: [{key: a, operator: Like}]}, hostnames: [a.example]}
"
            .to_owned()
                + all,
            2,
            2,
            Some("data.shared-hostnames[0].namespaceSelector.matchExpressions[0].operator: "),
        ),
        (
            "a hostname",
            "- {namespaceSelector: {}, hostnames: [a.example, 'a b']}".to_owned(),
            1,
            1,
            Some("data.shared-hostnames[0].hostnames[1]: "),
        ),
    ] {
        let (settings, problems) = of(&[("shared-hostnames", &text)]);
        let grants = settings.entrance.hostnames.expect("nothing is granted but what is listed");
        assert_eq!(grants.len(), entries, "{what}");
        if problem.is_some() && entries > 0 {
            assert_eq!(grants[0].namespaces, None, "{what}: its hostname is nobody's");
        }
        assert_eq!(grants.iter().map(|grant| grant.hostnames.len()).sum::<usize>(), hostnames, "{what}");
        match (problem, problems.as_slice()) {
            (None, []) => {}
            (Some(want), [got]) if got.starts_with(want) => {}
            (_, got) => panic!("{what}: {got:?}"),
        }
    }
}

#[test]
fn a_list_of_clients_that_is_wrong_lets_nobody_in() {
    let closed = "data.block-cidrs: \"x\" is not a network such as 10.0.0.0/8 or fd00::/8; the paths of Ingresses to \
                  which the list applies are closed";
    let nobody = "data.whitelist-source-range: \"x\" is not a network such as 10.0.0.0/8 or fd00::/8; it allows nobody";
    for (key, text, allow, block, problem) in [
        (
            "whitelist-source-range",
            "10.0.0.0/8, 192.0.2.7",
            Some("10.0.0.0-10.255.255.255,192.0.2.7"),
            "Nobody",
            None,
        ),
        ("whitelist-source-range", "10.0.0.1,x", Some("10.0.0.1"), "Nobody", Some(nobody)),
        ("whitelist-source-range", "x", Some("nobody"), "Nobody", Some(nobody)),
        ("whitelist-source-range", "", None, "Nobody", None),
        ("block-cidrs", "10.0.0.1", None, "10.0.0.1", None),
        ("block-cidrs", "10.0.0.1,x", None, "Unknown", Some(closed)),
        ("block-cidrs", "", None, "Nobody", None),
    ] {
        let (settings, problems) = of(&[(key, text)]);
        let access = settings.ingress.access;
        let got = match &access.block {
            crate::ir::live_settings::Denied::Networks(networks) => networks.to_string(),
            other => format!("{other:?}"),
        };
        let allowed = access.allow.map(|networks| networks.to_string());
        assert_eq!((allowed.as_deref(), &*got), (allow, block), "{key}: {text}");
        assert_eq!(problems.first().map(|p| &**p), problem, "{key}: {text}");
    }
    let (settings, problems) = of(&[("limit-req-status-code", "429"), ("limit-conn-status-code", "200")]);
    let statuses = settings.ingress.limits;
    assert_eq!([statuses.request_status.as_u16(), statuses.connection_status.as_u16()], [429, 503]);
    assert!(problems[0].contains("\"200\" is not a status of 400 to 599"), "{problems:?}");
    for (text, want) in [("64", 64), ("128", 128), ("31", 128), ("129", 128), ("/64", 128)] {
        let (settings, problems) = of(&[("limit-ipv6-prefix-length", text)]);
        assert_eq!(
            (settings.ingress.limits.ipv6_prefix, problems.is_empty()),
            (want, text == "64" || text == "128"),
            "{text}"
        );
    }
    let (settings, _) = of(&[("denylist-source-range", "10.0.0.1,x")]);
    assert_eq!(settings.ingress.access.deny, crate::ir::live_settings::Denied::Unknown);
}

#[test]
fn what_tls_offers_has_the_names_of_openssl_and_a_list_of_nothing_leaves_the_last_one() {
    let mut last_good = LastGood::default();
    let mut read = |data: &[(&str, &str)]| {
        let (settings, problems) = after(&mut last_good, data);
        let offer = settings.proxy.offer;
        let suites: Vec<_> = offer.suites.iter().flat_map(portcullis_tls::CipherSuites::names).collect();
        (offer.versions, suites, offer.groups.is_some(), problems.len())
    };
    const SUITE: &str = "ECDHE-RSA-AES128-GCM-SHA256";
    for (data, want) in [
        (&[][..], (TlsVersions::All, vec![], false, 0)),
        (&[("ssl-ciphers", "AES128-SHA"), ("ssl-protocols", "TLSv1")], (TlsVersions::All, vec![], false, 2)),
        (
            &[("ssl-ciphers", SUITE), ("ssl-protocols", "TLSv1.3")],
            (TlsVersions::Tls13, vec![SUITE], false, 0),
        ),
        (&[("ssl-ciphers", "RC4"), ("ssl-protocols", "SSLv3")], (TlsVersions::Tls13, vec![SUITE], false, 2)),
        (
            &[
                ("ssl-ciphers", "AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256"),
                ("ssl-protocols", "TLSv1.1 TLSv1.2"),
            ],
            (TlsVersions::Tls12, vec![SUITE], false, 2),
        ),
        (&[("ssl-ecdh-curve", "X25519:prime256v1")], (TlsVersions::All, vec![], true, 0)),
        (&[("ssl-ecdh-curve", "secp521r1")], (TlsVersions::All, vec![], true, 1)),
        (&[("ssl-ecdh-curve", "auto")], (TlsVersions::All, vec![], false, 0)),
    ] {
        assert_eq!(read(data), want, "{data:?}");
    }
}

#[test]
fn header_names_are_those_of_nginx() {
    for (data, want) in [
        (&[][..], (false, false)),
        (&[("enable-underscores-in-headers", "true")], (true, false)),
        (&[("enable-underscores-in-headers", "false"), ("ignore-invalid-headers", "false")], (false, true)),
        (&[("ignore-invalid-headers", "true")], (false, false)),
    ] {
        let (settings, problems) = of(data);
        let got = (settings.proxy.underscores_in_headers, settings.proxy.all_header_names);
        assert_eq!((got, problems.len()), (want, 0), "{data:?}");
    }
}

#[test]
fn a_network_is_an_address_with_a_length_that_fits() {
    for (text, want) in [
        ("10.0.0.0/8", Some(("10.0.0.0", 8))),
        ("192.0.2.7", Some(("192.0.2.7", 32))),
        ("fd00::/8", Some(("fd00::", 8))),
        ("::1", Some(("::1", 128))),
        ("10.0.0.0/33", None),
        ("10.0.0/8", None),
        ("10.0.0.0/+8", None),
        ("", None),
        ("::/129", None),
    ] {
        let want = want.map(|(address, length)| (address.parse().unwrap(), length));
        assert_eq!(parse_network(text).ok(), want, "{text}");
    }
}

#[test]
fn a_value_that_cannot_be_read_leaves_the_last_one_in_force() {
    let mut last_good = LastGood::default();
    let mut read = |data: &[(&str, &str)]| {
        let (settings, problems) = after(&mut last_good, data);
        let access = settings.ingress.access;
        (settings.proxy.max_connections, access.block != crate::ir::live_settings::Denied::Unknown, problems)
    };
    assert_eq!(read(&[("max-connections", "9"), ("block-cidrs", "10.0.0.1")]), (Some(9), true, vec![]));
    let (max, known, problems) = read(&[("max-connections", "many"), ("block-cidrs", "x")]);
    assert_eq!((max, known), (Some(9), true));
    let want =
        "data.max-connections: \"many\" is not a number of 1 or more; the last valid value applies, \"9\"";
    assert!(problems.iter().any(|problem| problem == want), "{problems:?}");
    // Once the key is gone, so is its last value.
    assert_eq!(read(&[]).0, Some(7));
    assert_eq!(read(&[("max-connections", "many")]).0, Some(7));
}

#[test]
fn keys_that_are_not_served_say_so() {
    for (key, value, want) in [
        ("map-hash-bucket-size", "128", Some("has no effect: ")),
        ("bind-address", "10.0.0.1", Some("is not served: use --bind")),
        ("bind-address", "", None),
        ("enable-syslog", "false", None),
        ("enable-syslog", "true", Some("is not served with a value other than false: ")),
        ("load-balancer", "ewma", Some("is not a setting; did you mean load-balance?")),
        ("somewhere-over-the-rainbow", "blue", Some("is not a setting")),
    ] {
        let (settings, problems) = of(&[(key, value)]);
        assert_eq!(problems.len(), usize::from(want.is_some()), "{key}: {problems:?}");
        let got = problems
            .first()
            .map(|problem| problem.starts_with(&format!("data.{key}: {}", want.unwrap_or("-"))));
        assert!(got.unwrap_or(true), "{problems:?}");
        assert_eq!(settings.ingress.closed_by, None, "{key}");
    }
    // The number of comparisons is bounded.
    let many: Vec<_> = (0..100).map(|i| format!("load-balancer{i}")).collect();
    let many: Vec<_> = many.iter().map(|key| (&**key, "")).collect();
    let suggested = of(&many).1.iter().filter(|problem| problem.contains("did you mean")).count();
    assert_eq!(suggested, 16);
}

#[test]
fn a_key_that_may_protect_and_is_not_served_closes_all_ingresses() {
    for (data, closed) in [
        (&[("enable-modsecurity", "true")][..], true),
        (&[("enable-modsecurity", "false")], false),
        (&[("server-snippet", "deny all;")], true),
        (&[("server-snippet", " ")], false),
        (&[("server-snippet", "deny all;"), ("unsupported", "ignore")], false),
        (&[("server-snippet", "deny all;"), ("unsupported", "yes")], true),
    ] {
        let (settings, problems) = of(data);
        assert_eq!(settings.ingress.closed_by.is_some(), closed, "{data:?}: {problems:?}");
    }
}

#[test]
fn every_key_of_ingress_nginx_is_listed_once_and_served_as_it_says() {
    assert!(nginx_keys::KEYS.is_sorted_by(|(a, _), (b, _)| a < b));
    for (name, fate) in nginx_keys::KEYS {
        let is_read = keys().any(|(key, _)| key == name);
        assert_eq!(is_read, *fate == Fate::Served, "{name}: a key is served exactly if something reads it");
    }
}

/// What separates the keys that are served from the table of all.
const ALL: &str = "## All keys of ingress-nginx\n";

#[test]
fn the_document_lists_every_key_in_order() {
    let (served, _) = include_str!("../../../../docs/settings.md").split_once(ALL).expect("the heading");
    let lines = served.lines();
    let listed: Vec<_> =
        lines.filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)).collect();
    assert_eq!(listed, keys().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn the_document_has_the_table_of_all_keys() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, _) = document.split_once(ALL).expect("the heading");
    let want = format!("{before}{ALL}{}", table());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &want).unwrap();
    }
    let is_current = std::fs::read_to_string(path).unwrap() == want;
    assert!(
        is_current,
        "docs/settings.md is out of date: UPDATE_GOLDEN=1 cargo test --lib all_keys rewrites it"
    );
}

fn table() -> String {
    let rows = nginx_keys::KEYS.iter().map(|(name, fate)| match fate {
        Fate::Served => format!("| `{name}` | served | |\n"),
        Fate::NoEffect(why) => format!("| `{name}` | no effect | {why} |\n"),
        Fate::Refused(why) => format!("| `{name}` | not served | {why} |\n"),
        Fate::Fixed(value, why) => format!("| `{name}` | always `{value}` | {why} |\n"),
        Fate::Protects(why) => format!("| `{name}` | closes | {why} |\n"),
    });
    let head = "\nThe keys of ingress-nginx 1.15, and whether they are served. `portcullis check`, `/status` and the log report the keys of a\n\
                ConfigMap that have no effect or are not served; an unknown key is reported with the nearest known name. A key that\n\
                *closes* may protect backends: if it is set, every path of an Ingress answers 503, unless the key `unsupported` has\n\
                the value `ignore`. The table is generated from the code.\n\n\
                | key | Portcullis | reason and alternative |\n| --- | --- | --- |\n";
    format!("{head}{}", rows.collect::<String>())
}

#[test]
fn keys_of_ingress_nginx_say_who_is_believed() {
    let network = |text: &str| parse_network(text).unwrap();
    let everybody = vec![network("0.0.0.0/0"), network("::/0")];
    let ten = vec![network("10.0.0.0/8")];
    const CIDR: (&str, &str) = ("proxy-real-ip-cidr", "10.0.0.0/8");
    const FORWARDED: (&str, &str) = ("use-forwarded-headers", "true");
    const REAL_IP: (&str, &str) = ("enable-real-ip", "true");
    const PROXY: (&str, &str) = ("use-proxy-protocol", "true");
    for (data, trusted, for_address, proxy_protocol, problems) in [
        (&[CIDR][..], vec![], vec![], vec![], 0),
        (&[FORWARDED, CIDR], ten.clone(), vec![], vec![], 0),
        (&[FORWARDED], everybody.clone(), vec![], vec![], 1),
        (&[FORWARDED, REAL_IP, CIDR], ten.clone(), vec![], vec![], 0),
        (&[REAL_IP, CIDR], vec![], ten.clone(), vec![], 0),
        (&[REAL_IP], vec![], everybody.clone(), vec![], 1),
        (&[PROXY], vec![], vec![], everybody.clone(), 1),
        (&[PROXY, REAL_IP, CIDR], vec![], vec![], ten.clone(), 0),
        (&[FORWARDED, ("proxy-real-ip-cidr", "x")], vec![], vec![], vec![], 1),
        (
            &[FORWARDED, CIDR, ("trusted-proxies", "192.0.2.1")],
            vec![network("192.0.2.1"), ten[0]],
            vec![],
            vec![],
            0,
        ),
    ] {
        let (settings, told) = of(data);
        let proxy = settings.proxy;
        let got = (proxy.trusted(), proxy.trusted_for_address(), proxy.proxy_protocol());
        assert_eq!(got, (trusted, for_address, proxy_protocol), "{data:?}");
        assert_eq!(told.len(), problems, "{told:?}");
    }
}

#[test]
fn limits_of_client_connections_are_read() {
    let (settings, problems) = of(&[
        ("client-body-timeout", "15"),
        ("keep-alive-requests", "500"),
        ("generate-request-id", "false"),
        ("worker-shutdown-timeout", "4m"),
    ]);
    assert_eq!(problems, [""; 0]);
    let proxy = settings.proxy;
    assert_eq!(proxy.body_timeout, Some(Duration::from_secs(15)));
    assert_eq!(proxy.max_requests.map(u32::from), Some(500));
    assert!(proxy.without_request_ids);
    assert_eq!(proxy.drain_timeout, Some(Duration::from_secs(240)));
    for no_limit in ["0", "0s"] {
        let (settings, problems) = of(&[("worker-shutdown-timeout", no_limit)]);
        assert_eq!((settings.proxy.drain_timeout, problems.len()), (Some(Duration::MAX), 0), "{no_limit}");
    }

    for (key, value) in [
        ("client-body-timeout", "0"),
        ("client-body-timeout", "soon"),
        ("keep-alive-requests", "0"),
        ("keep-alive-requests", "4294967296"),
        ("generate-request-id", "yes"),
        ("worker-shutdown-timeout", "-1s"),
        ("worker-shutdown-timeout", "long"),
    ] {
        let (settings, problems) = of(&[(key, value)]);
        assert_eq!(problems.len(), 1, "{key}: {value}: {problems:?}");
        let (proxy, unset) = (settings.proxy, LiveSettings::default().proxy);
        assert_eq!(
            (proxy.body_timeout, proxy.max_requests),
            (unset.body_timeout, unset.max_requests),
            "{key}"
        );
        assert!(!proxy.without_request_ids && proxy.drain_timeout.is_none(), "{key}");
    }
}

#[test]
fn config_maps_of_headers_are_named_with_their_namespace() {
    let key = |name: &str| Some(ObjectKey::new(Kind::ConfigMap, "edge", name));
    let (settings, problems) = of(&[
        ("add-headers", " edge/answers "),
        ("proxy-set-headers", "edge/requests"),
        ("proxy-add-original-uri-header", "true"),
    ]);
    assert_eq!(problems, [""; 0]);
    let headers = settings.ingress.headers;
    assert_eq!((headers.add.map, headers.send.map), (key("answers"), key("requests")));
    assert!(headers.original_uri);
    for (key, value, problem) in [
        ("add-headers", "", None),
        ("add-headers", "answers", Some("\"answers\" is not NAMESPACE/NAME; no headers are set")),
        ("proxy-set-headers", "a/b/c", Some("\"a/b/c\" is not NAMESPACE/NAME; no headers are set")),
    ] {
        let (settings, problems) = of(&[(key, value)]);
        let want: Vec<_> = problem.iter().map(|problem| format!("data.{key}: {problem}")).collect();
        assert_eq!(problems, want);
        assert_eq!(settings.ingress.headers.maps().count(), 0, "{key}: {value}");
    }
}

#[test]
fn headers_of_a_config_map_are_checked_one_by_one() {
    let key = ObjectKey::new(Kind::ConfigMap, "edge", "headers");
    let meta = Meta { key, uid: None, generation: 1, version: 0, created: 0, warnings: Box::default() };
    let data = [
        ("X-Client", "$remote_addr"),
        ("X-Fixed", " a "),
        ("X-Unknown", "$no_such_variable"),
        ("bad name", "a"),
        ("X-Lines", "a\r\nb"),
        ("Connection", "close"),
    ];
    let data = data.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let (read, problems) = headers::read(&ConfigMap { meta, data });
    let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    // A client or a backend must not set a header that the operator sets.
    let removed = [("x-lines", ""), ("x-unknown", "")];
    assert_eq!(read, [[("x-client", "$remote_addr"), ("x-fixed", "a")], removed].concat());
    let reported: Vec<_> =
        problems.iter().map(|problem| (problem.field.to_string(), problem.severity)).collect();
    let (warning, error) = (Severity::Warning, Severity::Error);
    let want = [("Connection", warning), ("X-Lines", error), ("X-Unknown", error), ("bad name", warning)];
    assert_eq!(reported, want.map(|(name, severity)| (format!("data.{name}"), severity)));
}

#[test]
fn a_risk_level_is_read_in_any_case() {
    use crate::ir::ingress::Risk;

    for (value, want, is_valid) in [
        ("High", Risk::High, true),
        ("low", Risk::Low, true),
        ("Critical", Risk::Critical, true),
        ("severe", Risk::Critical, false),
    ] {
        let (settings, problems) = of(&[("annotations-risk-level", value)]);
        assert_eq!((settings.ingress.risk_level, problems.is_empty()), (want, is_valid), "{value}");
    }
}
