//! Two releases in one cluster: each makes Services of its own Gateways, that lead to its own pods, and keeps its own
//! record of ports.

use super::*;

pub(super) const INTERNAL: Release =
    Release { name: "internal", controller: "example.com/internal-gateway", class: "internal" };

/// The text of everything that a release has made: its Gateway's Service and slice, and its ConfigMaps.
fn made(server: &ApiServer, release: &Release, gateway: &str) -> String {
    let (name, service) = (release.name, service_of(gateway));
    let objects = [
        ("services", "infra", service.clone()),
        ("endpointslices", "infra", format!("{service}-80-ipv4")),
        ("configmaps", name, format!("{name}-ports")),
        ("configmaps", name, format!("{name}-bound-ports")),
    ];
    let text = |(plural, namespace, name): &(&str, &str, String)| {
        server.get(plural, namespace, name).unwrap_or_default().to_string()
    };
    objects.iter().map(text).collect()
}

#[tokio::test]
async fn two_releases_provision_their_own_gateways_alone() {
    let server = cluster().await;
    class(&server, &INTERNAL);
    pods_of(&server, &INTERNAL, &[("a", "10.244.9.9")]);
    gateway(&server, "one", &[80]);
    gateway_of(&server, &INTERNAL, "two", &[80]);
    let ours = Replica::start(&server, "a", true);
    until("a slice of ours", || slice_of(&server, "one", 80)).await;
    assert_eq!(ports_of(&server, "two"), None, "the other release does not run yet");
    let theirs = Replica::of(&INTERNAL, &server, "a", true);
    until("a slice of theirs", || {
        // Its pods bind the same ports as ours: nothing is shared.
        slice_of(&server, "two", 80).filter(|slice| slice == "20000 at 10.244.9.9")
    })
    .await;
    until("both report what they have bound", || {
        let bound = |name: &str| {
            Some(server.get("configmaps", name, &format!("{name}-bound-ports"))?["data"]["a"].clone())
        };
        (bound("portcullis")? == "20000" && bound("internal")? == "20000").then_some(())
    })
    .await;
    assert_eq!(slice_of(&server, "one", 80).unwrap(), "20000 at 10.244.0.7");
    assert_eq!(record(&server), ["one 80 20000"]);
    assert_eq!(record_of(&server, &INTERNAL), ["two 80 20000"]);
    for (gateway, release) in [("one", PORTCULLIS), ("two", INTERNAL)] {
        let written: Vec<_> =
            writes(&server).into_iter().filter(|write| write.path.contains(&service_of(gateway))).collect();
        // Its Service and its slice.
        assert_eq!(written.len(), 2, "{written:?}");
        let is_its = |write: &Request| write.path.contains(&format!("fieldManager={}", release.name));
        assert!(written.iter().all(is_its), "{written:?}");
    }
    assert!(ours.status("two").is_none() && theirs.status("one").is_none());

    // What one does afterwards concerns nothing of the other: it loses a Gateway, ends, and starts again.
    let before = made(&server, &INTERNAL, "two");
    server.delete("gateways", "infra", "one");
    until("its port is given up", || {
        // As the garbage collector does, as often as it must: a Service that was applied again before the Gateway's
        // end was seen goes too.
        let slice = format!("{}-80-ipv4", service_of("one"));
        for (plural, name) in [("services", service_of("one")), ("endpointslices", slice)] {
            if server.get(plural, "infra", &name).is_some() {
                server.delete(plural, "infra", &name);
            }
        }
        record(&server).is_empty().then_some(())
    })
    .await;
    drop(ours);
    let again = Replica::start(&server, "a", true);
    gateway(&server, "one", &[80, 443]);
    until("its Service again", || ports_of(&server, "one").filter(|ports| ports.len() == 2)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(made(&server, &INTERNAL, "two"), before);
    drop(theirs);
    let before = made(&server, &PORTCULLIS, "one");
    let _theirs = Replica::of(&INTERNAL, &server, "a", true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(made(&server, &PORTCULLIS, "one"), before);
    drop(again);
}
