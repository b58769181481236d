//! Two releases in one cluster, which differ in the names of their controllers: an internal one and an external one.

use super::*;

const THEIRS: &str = "example.com/internal-gateway";
const THEIR_INGRESSES: &str = "example.com/internal-ingress";

/// A replica of the other release.
fn internal(server: &ApiServer) -> Replica {
    let settings = Settings {
        gateway_controller: THEIRS.into(),
        ingress_controller: THEIR_INGRESSES.into(),
        ingress_class: "internal".into(),
        addresses: vec![Address::Ip("10.0.0.1".parse().unwrap())],
        ..in_cluster()
    };
    Replica::of(server, true, settings, "internal")
}

/// A Gateway of each release, the route `both` at both of them, and `theirs` at the internal one alone; an Ingress of
/// each release for the same host.
fn cluster() -> ApiServer {
    let server = shop(0);
    let mut class = class();
    class["metadata"]["name"] = "internal".into();
    class["spec"]["controllerName"] = THEIRS.into();
    server.apply("gatewayclasses", class);
    let mut gateway = gateway("internal");
    gateway["spec"]["gatewayClassName"] = "internal".into();
    server.apply("gateways", gateway);
    let at = |name: &str, gateways: &[&str]| {
        let mut route = route(name, "/");
        let parents = gateways.iter().map(|gateway| json!({"namespace": "infra", "name": gateway}));
        route["spec"]["parentRefs"] = parents.collect();
        route
    };
    server.apply("httproutes", at("both", &["public", "internal"]));
    server.apply("httproutes", at("theirs", &["internal"]));
    for (class, controller) in
        [("portcullis", "portcullis.dev/ingress-controller"), ("internal", THEIR_INGRESSES)]
    {
        let metadata = json!({"name": class});
        let spec = json!({"controller": controller});
        server.apply(
            "ingressclasses",
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": metadata, "spec": spec}),
        );
        let mut of_class = ingress(class, "a.example.com");
        of_class["spec"]["ingressClassName"] = class.into();
        server.apply("ingresses", of_class);
    }
    server
}

fn address(server: &ApiServer, plural: &str, namespace: &str, name: &str) -> Option<String> {
    let status = status(server, plural, namespace, name);
    let found = match plural {
        "gateways" => &status["addresses"][0]["value"],
        _ => &status["loadBalancer"]["ingress"][0]["ip"],
    };
    found.as_str().map(str::to_owned)
}

fn addresses(server: &ApiServer) -> [Option<String>; 4] {
    [
        address(server, "gateways", "infra", "public"),
        address(server, "gateways", "infra", "internal"),
        address(server, "ingresses", "shop", "portcullis"),
        address(server, "ingresses", "shop", "internal"),
    ]
}

#[tokio::test(start_paused = true)]
async fn two_releases_leave_each_others_objects_alone() {
    let server = cluster();
    let ours = Replica::start(&server, true).ready().await;
    assert_eq!(addresses(&server), [Some("192.0.2.1".into()), None, Some("192.0.2.1".into()), None]);
    assert_eq!(
        writes_of(&server, "/internal/") + writes_of(&server, "/theirs/"),
        0,
        "objects of the other one"
    );
    let theirs = internal(&server).ready().await;
    sleep(Duration::from_secs(60)).await;
    let (external, inside) = (Some("192.0.2.1".to_owned()), Some("10.0.0.1".to_owned()));
    let all = [external.clone(), inside.clone(), external, inside];
    assert_eq!(addresses(&server), all);
    let of_both = || {
        let mut parents = parents(&server, "both");
        parents.sort();
        parents
    };
    assert_eq!(of_both(), [format!("{THEIRS} Accepted=True"), format!("{OURS} Accepted=True")]);
    assert_eq!(parents(&server, "theirs"), [format!("{THEIRS} Accepted=True")]);
    // Each object once, and the route that is both's once for each.
    let written: Vec<_> = server.status_writes().into_iter().map(|write| write.path).collect();
    assert_eq!((written.len(), writes_of(&server, "/both/")), (9, 2), "{written:?}");
    // To each of them the Ingress of the other is a stranger: neither has lost its host to it.
    let told = (events(&server), ours.handle.remarks().len(), theirs.handle.remarks().len());
    assert_eq!(told, (Vec::new(), 0, 0));
    let host = |replica: &Replica| {
        let table = replica.table.lock().unwrap().clone().unwrap().to_string();
        (table.contains("Ingress shop/portcullis"), table.contains("Ingress shop/internal"))
    };
    assert_eq!((host(&ours), host(&theirs)), ((true, false), (false, true)));

    // Neither a restart nor the end of one is a reason for the other to write.
    drop(theirs);
    sleep(Duration::from_secs(60)).await;
    let restarted = internal(&server).ready().await;
    sleep(Duration::from_secs(60)).await;
    drop((restarted, ours));
    let _ours = Replica::start(&server, true).ready().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.status_writes().len(), written.len());
    assert_eq!(addresses(&server), all);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_leaves_one_release_keeps_what_the_other_says() {
    let server = cluster();
    let (_ours, _theirs) = (Replica::start(&server, true).ready().await, internal(&server).ready().await);
    let mut at_theirs = route("both", "/");
    at_theirs["spec"]["parentRefs"][0]["name"] = "internal".into();
    server.apply("httproutes", at_theirs);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(parents(&server, "both"), [format!("{THEIRS} Accepted=True")]);
}
