//! Beside ingress-nginx: its Ingresses are served, and their statuses are left to it until they are asked for.

use portcullis_controller::NginxClasses;

use super::*;

/// Where ingress-nginx is.
const THEIRS: &str = "198.51.100.7";
const OURS_AT: &str = "192.0.2.1";

fn class_of(name: &str, controller: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": name},
        "spec": {"controller": controller}})
}

/// An Ingress of a class, by field, and with the address of ingress-nginx if it has written its status.
fn of_class(name: &str, class: &str, address: Option<&str>) -> Value {
    let mut ingress = ingress(name, &format!("{name}.example.com"));
    ingress["spec"]["ingressClassName"] = class.into();
    if let Some(address) = address {
        ingress["status"] = load_balancer(address);
    }
    ingress
}

fn load_balancer(address: &str) -> Value {
    json!({"loadBalancer": {"ingress": [{"ip": address}]}})
}

/// One of ours, and of ingress-nginx: one with a status, a new one, one with the old annotation, and one of another class
/// of its controller.
fn cluster() -> ApiServer {
    let server = shop(0);
    for (name, controller) in [
        ("portcullis", "portcullis.dev/ingress-controller"),
        ("nginx", "k8s.io/ingress-nginx"),
        ("internal", "k8s.io/ingress-nginx"),
        ("other", "example.com/other"),
    ] {
        server.apply("ingressclasses", class_of(name, controller));
    }
    server.apply("ingresses", of_class("ours", "portcullis", None));
    server.apply("ingresses", of_class("known", "nginx", Some(THEIRS)));
    server.apply("ingresses", of_class("new", "nginx", None));
    server.apply("ingresses", of_class("internal", "internal", Some(THEIRS)));
    server.apply("ingresses", of_class("foreign", "other", None));
    let mut legacy = ingress("legacy", "legacy.example.com");
    legacy["spec"].as_object_mut().unwrap().remove("ingressClassName");
    legacy["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "nginx"});
    server.apply("ingresses", legacy);
    server
}

async fn replica(server: &ApiServer, nginx_classes: NginxClasses) -> Replica {
    let addresses = vec![Address::Ip(OURS_AT.parse().unwrap())];
    let settings = Settings { nginx_classes, addresses, ..in_cluster() };
    let replica = Replica::with(server, true, settings).ready().await;
    sleep(Duration::from_secs(60)).await;
    replica
}

/// The addresses of Ingresses.
fn addresses<const N: usize>(server: &ApiServer, names: [&str; N]) -> [Option<String>; N] {
    names.map(|name| {
        let status = status(server, "ingresses", "shop", name);
        status["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)
    })
}

fn served(replica: &Replica) -> Vec<&'static str> {
    let table = replica.table.lock().unwrap().clone().unwrap().to_string();
    let names = ["ours", "known", "new", "internal", "legacy", "foreign"];
    names.into_iter().filter(|name| table.contains(&format!("[Ingress shop/{name} "))).collect()
}

const NGINX: [&str; 4] = ["known", "new", "internal", "legacy"];

fn some(address: &str) -> Option<String> {
    Some(address.to_owned())
}

#[tokio::test(start_paused = true)]
async fn statuses_of_ingress_nginx_are_left_to_it_until_they_are_asked_for() {
    let server = cluster();
    let left = [some(THEIRS), None, some(THEIRS), None];

    let beside = replica(&server, NginxClasses::Served).await;
    assert_eq!(served(&beside), ["ours", "known", "new", "internal", "legacy"]);
    assert_eq!(addresses(&server, NGINX), left);
    assert_eq!(addresses(&server, ["ours", "foreign"]), [some(OURS_AT), None]);
    // Neither an edit of one, nor one that goes over to ingress-nginx, is a reason to write.
    let mut edited = of_class("known", "nginx", None);
    edited["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/ssl-redirect": "false"});
    edited["spec"]["rules"][0]["host"] = "edited.example.com".into();
    server.apply("ingresses", edited);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(writes_of(&server, "/ingresses/"), 1, "{:?}", server.status_writes());
    server.apply("ingresses", of_class("ours", "nginx", Some(OURS_AT)));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(served(&beside), ["ours", "known", "new", "internal", "legacy"]);
    server.apply("ingresses", of_class("ours", "portcullis", Some(OURS_AT)));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(writes_of(&server, "/ingresses/"), 1, "{:?}", server.status_writes());
    drop(beside);

    let publishing = replica(&server, NginxClasses::Published).await;
    assert_eq!(addresses(&server, NGINX), NGINX.map(|_| some(OURS_AT)));
    assert_eq!(addresses(&server, ["ours", "foreign"]), [some(OURS_AT), None]);
    assert_eq!(writes_of(&server, "/ingresses/"), 5, "each of the four once");
    drop(publishing);

    // And back: what stands there is ingress-nginx's to replace.
    let _beside = replica(&server, NginxClasses::Served).await;
    server.set_status("ingresses", "shop", "known", load_balancer(THEIRS));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(writes_of(&server, "/ingresses/"), 5, "{:?}", server.status_writes());
    assert_eq!(addresses(&server, ["known", "ours"]), [some(THEIRS), some(OURS_AT)]);
}

#[tokio::test(start_paused = true)]
async fn without_the_flag_ingresses_of_ingress_nginx_are_not_ours() {
    let server = cluster();
    let alone = replica(&server, NginxClasses::NotOurs).await;
    assert_eq!(served(&alone), ["ours"]);
    assert_eq!(addresses(&server, NGINX), [some(THEIRS), None, some(THEIRS), None]);
    assert_eq!(writes_of(&server, "/ingresses/"), 1);
}
