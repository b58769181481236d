use super::*;
use crate::{
    ir::{Kind, ingress::LoadBalance},
    snapshot::Snapshot,
    translate::Settings,
};

fn port(name: &str) -> ServicePort {
    ServicePort { service: ObjectKey::new(Kind::Service, "shop", name), port: PortKey::tcp(80) }
}

fn host(name: &str) -> HostPattern {
    HostPattern::parse(name).unwrap()
}

/// The ages of two Ingresses: the one with the greater name is the older.
fn ages() -> [Age; 2] {
    let text = "
kind: Ingress
metadata: { name: z }
spec: { defaultBackend: { service: { name: web, port: { number: 80 } } } }
---
kind: Ingress
metadata: { name: a }
spec: { defaultBackend: { service: { name: web, port: { number: 80 } } } }
";
    let snapshot = crate::translate::testing::snapshot(text);
    let mut ages: Vec<_> = snapshot.ingresses.values().map(|ingress| ingress.age()).collect();
    ages.sort();
    ages.try_into().unwrap()
}

fn says(said: Said) -> Claimed {
    Claimed::Use(Some(Arc::new(said)))
}

fn ewma() -> Said {
    let balancing = Balancing { load_balance: Some(LoadBalance::Ewma) };
    Said { balancing, ..Said::default() }
}

fn sticky(name: &str, is_persistent: Option<bool>) -> Said {
    let session = Some(Session { name: name.into(), ..Session::default() });
    Said { affinity: Affinity { session, is_persistent, canaries_are_legacy: false }, ..Said::default() }
}

fn canary() -> Said {
    Said { canary: Some(Canary { weight: 1, total: 100, header: None, cookie: None }), ..Said::default() }
}

fn state(backends: &IngressBackends, name: &str) -> Arc<IngressBackend> {
    let (snapshot, settings) = (Snapshot::default(), Settings::default());
    backends.of(&Reader::new(&snapshot, &settings, None), &port(name))
}

#[test]
fn the_oldest_ingress_says_how_requests_are_spread_and_the_youngest_which_cookie() {
    let [older, younger] = ages();
    for (of_older, of_younger, load_balance, cookie, is_persistent) in [
        (Claimed::Use(None), says(ewma()), None, None, false),
        (says(ewma()), Claimed::Use(None), Some(LoadBalance::Ewma), None, false),
        (says(sticky("one", None)), says(sticky("other", None)), None, Some("other"), false),
        (says(sticky("one", Some(true))), says(sticky("other", Some(false))), None, Some("other"), true),
        (Claimed::Use(None), says(sticky("other", Some(true))), None, Some("other"), true),
        (says(canary()), says(sticky("other", None)), None, None, false),
    ] {
        let mut backends = IngressBackends::default();
        let claim =
            |age: &Age, what: &Claimed| Claim { of: port("web"), age: age.clone(), what: what.clone() };
        // Two hosts, in any order.
        backends.set_host(&host("b.test"), vec![claim(&younger, &of_younger)]);
        backends.set_host(&host("a.test"), vec![claim(&older, &of_older)]);
        backends.settle();
        let state = state(&backends, "web");
        let got = (
            state.balancing().and_then(|balancing| balancing.load_balance),
            state.session.as_ref().map(|session| &*session.name),
            state.is_persistent,
        );
        assert_eq!(got, (load_balance, cookie, is_persistent), "{of_older:?} {of_younger:?}");
    }
}

#[test]
fn the_oldest_canary_comes_first() {
    let [older, younger] = ages();
    let mut backends = IngressBackends::default();
    let asks = |age: &Age, name: &str| Claim {
        of: port("web"),
        age: age.clone(),
        what: Claimed::Canary(Box::new(Alternative {
            service: port(name),
            is_legacy: false,
            written_port: "80".into(),
        })),
    };
    let services = |backends: &IngressBackends| {
        let state = state(backends, "web");
        state.canaries.iter().map(|canary| canary.service.service.name.to_string()).collect::<Vec<_>>()
    };
    backends.set_host(&host("a.test"), vec![asks(&younger, "second")]);
    backends.set_host(&host("b.test"), vec![asks(&older, "first")]);
    backends.set_host(&host("c.test"), vec![asks(&younger, "second")]);
    assert_eq!(backends.settle(), [port("web").fact()]);
    assert_eq!(services(&backends), ["first", "second"]);
    backends.set_host(&host("b.test"), Vec::new());
    assert_eq!(backends.settle(), [port("web").fact()]);
    assert_eq!(services(&backends), ["second"]);
}

#[test]
fn only_what_differs_is_a_fact_and_nothing_is_left_of_what_is_gone() {
    let [older, younger] = ages();
    let mut backends = IngressBackends::default();
    let uses = |age: &Age, what| vec![Claim { of: port("web"), age: age.clone(), what }];
    let set = |backends: &mut IngressBackends, name: &str, claims| {
        backends.set_host(&host(name), claims);
        backends.settle().len()
    };
    assert_eq!(set(&mut backends, "a.test", uses(&older, Claimed::Use(None))), 0, "it says nothing");
    assert_eq!(set(&mut backends, "b.test", uses(&younger, says(ewma()))), 0, "an older one says nothing");
    assert_eq!(set(&mut backends, "a.test", Vec::new()), 1);
    assert_eq!(set(&mut backends, "b.test", uses(&younger, says(ewma()))), 0, "the same again");
    assert_eq!(set(&mut backends, "c.test", uses(&younger, Claimed::Astray)), 1);
    assert!(state(&backends, "web").is_astray);
    assert_eq!(set(&mut backends, "c.test", Vec::new()), 1);
    assert_eq!(set(&mut backends, "b.test", Vec::new()), 1);
    assert!(backends.hosts.is_empty() && backends.records.is_empty() && backends.touched.is_empty());
}
