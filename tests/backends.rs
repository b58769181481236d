//! Where backends may be, and where not.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Site, client, gateway, route, service};

/// A Service whose endpoint is at this address.
fn at(name: &str, address: std::net::SocketAddr) -> String {
    service(name, address.port()).replace("{ip}", &address.ip().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_ports_are_no_backends_whatever_a_folder_says() {
    let gateway = gateway(80);
    let routes = route("admin", "admin.test", "admin") + &route("blue", "blue.test", "blue");
    let mut site = Site::serve(&[("gateway.yaml", &*gateway), ("routes.yaml", &*routes)]).await;
    site.backend("blue", 18001).await;
    let backends = at("admin", site.running.admin()) + &service("blue", 18001);
    site.edit("backends.yaml", &backends);
    site.until("blue.test", "/", "blue").await;
    assert_eq!(site.status("admin.test", "/metrics").await, 503);

    let loops = service("blue", 8000 + 80);
    site.edit("backends.yaml", &(at("admin", site.running.admin()) + &loops));
    site.until("blue.test", "/", "503").await;

    let url = format!("http://{}/metrics", site.running.admin());
    let metrics = client().build().unwrap().get(url).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("portcullis_refused_addresses_total{reason=\"own\"}"), "{metrics}");
    assert!(!metrics.contains("portcullis_refused_addresses_total{reason=\"own\"} 0"), "{metrics}");
}
