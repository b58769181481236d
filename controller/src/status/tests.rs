use portcullis_routing::{ListenerId, PortKey};
use serde_json::json;

use super::*;
use crate::{
    Bindings,
    ir::Kind,
    translate::{
        self, Address, Pools, Settings,
        testing::{CLASS, snapshot},
    },
};

const OBJECTS: &str = "
kind: Gateway
metadata: { namespace: infra, name: public }
spec: { gatewayClassName: portcullis, listeners: [{ name: http, port: 80, protocol: HTTP }, { name: alt, port: 8080, protocol: HTTP }] }
---
kind: HTTPRoute
metadata: { namespace: infra, name: web }
spec: { parentRefs: [{ name: public, sectionName: http, port: 80 }] }
---
kind: Ingress
metadata: { namespace: shop, name: web }
spec: { ingressClassName: portcullis, rules: [{ host: a.example.com, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }] }
---
kind: Service
metadata: { namespace: shop, name: web }
spec: { ports: [{ port: 80 }] }
";

fn statuses(bindings: Option<&Bindings>, addresses: Vec<Address>) -> Statuses {
    let settings = Settings { addresses, ..Settings::default() };
    translate::full(&snapshot(&format!("{CLASS}{OBJECTS}")), &settings, bindings, &Pools::default()).statuses
}

fn here() -> Vec<Address> {
    vec![Address::Ip([192, 0, 2, 1].into()), Address::Hostname("edge.example.com".into())]
}

fn gateway_status(statuses: &Statuses) -> &GatewayStatus {
    let report = statuses.get(&ObjectKey::new(Kind::Gateway, "infra", "public")).unwrap();
    report.status.of_gateway().unwrap()
}

#[test]
fn statuses_are_written_as_the_api_has_them() {
    let statuses = statuses(None, here());
    let value = |status: serde_json::Result<serde_json::Value>| status.unwrap();
    let gateway = &statuses.get(&ObjectKey::new(Kind::Gateway, "infra", "public")).unwrap().status;
    let gateway = value(serde_json::to_value(gateway));
    assert_eq!(
        gateway["addresses"],
        json!([{ "type": "IPAddress", "value": "192.0.2.1" }, { "type": "Hostname", "value": "edge.example.com" }])
    );
    assert_eq!(
        gateway["listeners"][1]["supportedKinds"][0],
        json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute" })
    );
    assert_eq!(
        (&gateway["listeners"][0]["attachedRoutes"], &gateway["listeners"][1]["attachedRoutes"]),
        (&json!(1), &json!(0))
    );
    let route = &statuses.get(&ObjectKey::new(Kind::HttpRoute, "infra", "web")).unwrap().status;
    assert_eq!(
        value(serde_json::to_value(route))["parents"][0],
        json!({
            "parentRef": { "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "sectionName": "http", "port": 80 },
            "controllerName": "portcullis.dev/gateway-controller",
            "conditions": [
                { "type": "Accepted", "status": "True", "reason": "Accepted", "message": "the route is attached", "observedGeneration": 1 },
                { "type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "all references are resolved", "observedGeneration": 1 },
            ],
        })
    );
    let ingress = &statuses.get(&ObjectKey::new(Kind::Ingress, "shop", "web")).unwrap().status;
    assert_eq!(
        value(serde_json::to_value(ingress)),
        json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }, { "hostname": "edge.example.com" }] } })
    );
    let class = &statuses.get(&ObjectKey::new(Kind::GatewayClass, "", "portcullis")).unwrap().status;
    let features = value(serde_json::to_value(class))["supportedFeatures"].clone();
    assert_eq!(features[0], json!({ "name": "BackendTLSPolicy" }));
}

#[test]
fn a_listener_is_programmed_when_its_port_is_bound() {
    let bound = |http: Option<Result<(), String>>, alt: Option<Result<(), String>>| -> Bindings {
        let both = [(80, http), (8080, alt)].into_iter();
        both.filter_map(|(port, binding)| Some((PortKey::tcp(port), binding?))).collect()
    };
    let failed = || Some(Err("in use".to_owned()));
    for (bindings, http, alt, gateway) in [
        (Some(bound(Some(Ok(())), Some(Ok(())))), "True Programmed", "True Programmed", "True Programmed"),
        (Some(bound(Some(Ok(())), failed())), "True Programmed", "False Pending", "True Programmed"),
        (Some(bound(failed(), failed())), "False Pending", "False Pending", "False Pending"),
        (Some(bound(None, None)), "False Pending", "False Pending", "False Pending"),
        (None, "True Programmed", "True Programmed", "True Programmed"),
    ] {
        let statuses = statuses(bindings.as_ref(), here());
        let status = gateway_status(&statuses);
        let of = |conditions: &[Condition]| {
            let programmed = conditions.iter().find(|c| c.kind == ConditionType::Programmed).unwrap();
            format!("{:?} {}", programmed.status, programmed.reason)
        };
        let got = [&status.listeners[0].conditions, &status.listeners[1].conditions, &status.conditions]
            .map(|c| of(c));
        assert_eq!(got, [http, alt, gateway], "{bindings:?}");
    }
}

#[test]
fn a_port_that_cannot_be_bound_is_named_with_the_reason() {
    let bindings =
        Bindings::from([(PortKey::tcp(80), Err("address in use".to_owned())), (PortKey::tcp(8080), Ok(()))]);
    let statuses = statuses(Some(&bindings), here());
    let gateway = gateway_status(&statuses);
    let listener =
        gateway.listeners[0].conditions.iter().find(|c| c.kind == ConditionType::Programmed).unwrap();
    assert_eq!(listener.message, "port 80 cannot be bound: address in use");
    let ingress = statuses.get(&ObjectKey::new(Kind::Ingress, "shop", "web")).unwrap();
    let said: Vec<_> = ingress.messages.iter().map(|m| (m.level, &*m.text)).collect();
    assert_eq!(said, [(Level::Refused, "not served on port 80, which cannot be bound: address in use")]);
}

#[test]
fn accepted_says_nothing_of_addresses_and_ports() {
    let bindings = Bindings::from([(PortKey::tcp(80), Err("address in use".to_owned()))]);
    let statuses = statuses(Some(&bindings), Vec::new());
    let gateway = gateway_status(&statuses);
    let reasons: Vec<_> = gateway.conditions.iter().map(|c| (c.kind, c.status, c.reason)).collect();
    assert_eq!(
        reasons,
        [
            (ConditionType::Accepted, ConditionStatus::True, "Accepted"),
            (ConditionType::Programmed, ConditionStatus::False, "AddressNotAssigned")
        ]
    );
    assert!(gateway.listeners.iter().all(|listener| listener.conditions[0].is_true()));
}

#[test]
fn a_check_of_a_folder_takes_addresses_for_granted() {
    let statuses = statuses(None, Vec::new());
    let gateway = gateway_status(&statuses);
    assert!(gateway.conditions.iter().all(Condition::is_true), "{gateway:?}");
}

#[test]
fn a_message_is_one_that_the_api_takes_whatever_the_object_says() {
    let long =
        |letter: &str| [letter.repeat(60), letter.repeat(60), letter.repeat(60), letter.repeat(60)].join(".");
    // Each hostname below the last one, so that all have hosts in common.
    let listener = |number: usize| {
        format!(
            "{{ name: '{}{number}', port: 443, protocol: HTTPS, hostname: '*.{}test', tls: {{ certificateRefs: [{{ name: gone }}] }} }}",
            long("s"),
            "a.".repeat(number)
        )
    };
    let listeners: Vec<_> = (0..64).map(listener).collect();
    let text = format!(
        "{CLASS}\nkind: Gateway\nmetadata: {{ namespace: infra, name: {} }}\nspec: {{ gatewayClassName: portcullis, listeners: [{}] }}\n",
        long("g"),
        listeners.join(", ")
    );
    let statuses = translate::full(&snapshot(&text), &Settings::default(), None, &Pools::default()).statuses;
    let (_, report) = statuses.iter().find(|(key, _)| key.kind == Kind::Gateway).unwrap();
    let gateway = report.status.of_gateway().unwrap();
    let all = gateway.listeners.iter().flat_map(|listener| &listener.conditions).chain(&gateway.conditions);
    let longest = all.map(|condition| condition.message.len()).max().unwrap();
    assert!(longest <= 2100, "{longest} bytes");
    let whole = serde_json::to_string(gateway).unwrap().len();
    assert!(whole < 1 << 20, "{whole} bytes in all");
}

#[test]
fn a_route_with_many_parents_has_a_status_that_the_api_takes() {
    let long = |letter: &str| vec![letter.repeat(60); 4].join(".");
    let gateway = |number: usize| {
        format!(
            "kind: Gateway\nmetadata: {{ namespace: shop, name: {}{number} }}\nspec: {{ gatewayClassName: portcullis, listeners: [{{ name: http, port: 80, protocol: HTTP }}] }}\n---\n",
            long("g")
        )
    };
    let parents: Vec<_> = (0..32).map(|number| format!("{{ name: {}{number} }}", long("g"))).collect();
    let rule = |number: usize| {
        let name = format!("{}-{number}", "b".repeat(60));
        format!(
            "{{ matches: [{{ path: {{ type: RegularExpression, value: '/{number}(' }} }}], backendRefs: [{{ name: {name}, port: 80 }}] }}, {{ backendRefs: [{{ name: {name}, port: 80 }}] }}"
        )
    };
    let rules: Vec<_> = (0..8).map(rule).collect();
    let text = format!(
        "{CLASS}{}kind: HTTPRoute\nmetadata: {{ namespace: shop, name: web }}\nspec: {{ parentRefs: [{}], rules: [{}] }}\n",
        (0..32).map(gateway).collect::<String>(),
        parents.join(", "),
        rules.join(", ")
    );
    let statuses = translate::full(&snapshot(&text), &Settings::default(), None, &Pools::default()).statuses;
    let report = statuses.get(&ObjectKey::new(Kind::HttpRoute, "shop", "web")).unwrap();
    let all = report.status.conditions();
    assert_eq!(all.len(), 32);
    let longest = all.iter().flat_map(|(_, conditions)| *conditions).map(|c| c.message.len()).max().unwrap();
    assert!((500..=2100).contains(&longest), "{longest} bytes");
    let whole = serde_json::to_string(&report.status).unwrap().len();
    assert!(whole < 1 << 18, "{whole} bytes in all");
}

#[test]
fn a_gateway_has_as_many_addresses_as_the_api_takes() {
    let many = (0..40).map(|number| Address::Ip([192, 0, 2, number].into())).collect();
    let statuses = statuses(None, many);
    assert_eq!(gateway_status(&statuses).addresses.len(), 16);
}

#[test]
fn long_lists_are_cut() {
    assert_eq!(sentences(1..=8), "1; 2; 3; 4; 5; 6; 7; 8");
    assert_eq!(sentences(1..=10), "1; 2; 3; 4; 5; 6; 7; 8; and 2 more");
    assert_eq!(sentences::<ListenerId>([]), "");
}

#[test]
fn a_condition_stands_where_its_row_says() {
    let statuses = statuses(None, here());
    let mut seen = 0;
    for (key, report) in statuses.iter() {
        let shape = key.kind.resource().status_shape().unwrap();
        for condition in report.status.conditions().iter().flat_map(|(_, conditions)| *conditions) {
            seen += 1;
            assert!(condition.kind.meaning().shapes.contains(&shape), "{key}: {}", condition.kind.as_str());
            assert_eq!(ConditionType::named(condition.kind.as_str()), Some(condition.kind));
        }
    }
    assert!(seen > 10, "{statuses}");
}

#[test]
fn many_reports_are_set_as_each_by_itself_is() {
    let report = |text: &str| {
        let messages = Box::from([Message::refused(text.to_owned())]);
        Report { status: Status::Parents(RouteStatus { parents: Box::default() }), messages }
    };
    let key = |name: &str| ObjectKey::new(Kind::HttpRoute, "shop", name);
    let known = [(key("b"), report("before"))];
    // Sorted and after the known ones, as at start-up; fewer than the known ones; before a known one; duplicates.
    for names in ["c d e f", "c", "a b c", "b a d", "c d d c", "b d c d b"] {
        for gone in ["", "d", "b c"] {
            let reports: Vec<_> = (0..)
                .zip(names.split(' '))
                .map(|(n, name)| (key(name), (!gone.contains(name)).then(|| report(&format!("{name} {n}")))))
                .collect();
            let mut one_by_one = Statuses::from_iter(known.clone());
            let set =
                |(key, report): &(_, Option<_>)| one_by_one.set(key, report.clone()).then(|| key.clone());
            let changed: Vec<_> = reports.iter().filter_map(set).collect();
            let mut at_once = Statuses::from_iter(known.clone());
            assert_eq!(at_once.set_all(reports), changed, "{names} without {gone}");
            assert_eq!(at_once, one_by_one, "{names} without {gone}");
        }
    }
}
