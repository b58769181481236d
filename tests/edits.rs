//! An edit is served a moment later, and costs nothing else.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use portcullis::echo::Description;
use support::{Site, bounded, client, gateway, ingress, route, secret, service};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn backends() -> String {
    service("blue", 18001) + &service("green", 18002)
}

async fn site(files: &[(&str, &str)]) -> Site {
    let (backends, gateway) = (backends(), gateway(80));
    let fixed = [("backends.yaml", &*backends), ("gateway.yaml", &*gateway)];
    let mut site = Site::serve(&[&fixed, files].concat()).await;
    site.backend("blue", 18001).await.backend("green", 18002).await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_added_changed_and_removed() {
    let site = site(&[("a.yaml", &route("a", "a.test", "blue"))]).await;
    assert_eq!(site.answered_by("a.test", "/").await, "blue");
    assert_eq!(site.answered_by("b.test", "/").await, "404");
    site.edit("a.yaml", &route("a", "a.test", "green"));
    site.until("a.test", "/", "green").await;
    site.edit("b.yaml", &route("b", "b.test", "blue"));
    site.until("b.test", "/", "blue").await;
    site.remove("a.yaml");
    site.until("a.test", "/", "404").await;
    assert_eq!(site.answered_by("b.test", "/").await, "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_wrong_keeps_its_last_good_state_and_is_reported() {
    let both = route("a", "a.test", "blue") + &route("b", "b.test", "blue");
    let site = site(&[("routes.yaml", &both)]).await;
    assert_eq!(site.answered_by("a.test", "/").await, "blue");
    let broken =
        route("a", "a.test", "green").replace("rules: [{", "rules: [}") + &route("b", "b.test", "green");
    site.edit("routes.yaml", &broken);
    // The document beside it is served as it is now.
    site.until("b.test", "/", "green").await;
    assert_eq!(site.answered_by("a.test", "/").await, "blue");
    let problems = site.admin("/status").await.1["problems"].to_string();
    assert!(problems.contains("routes.yaml"), "{problems}");
    site.edit("routes.yaml", &route("a", "a.test", "green"));
    site.until("a.test", "/", "green").await;
    site.until("b.test", "/", "404").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_followed_and_none_is_503_and_no_service_500() {
    let site = site(&[("a.yaml", &route("a", "a.test", "blue"))]).await;
    assert_eq!(site.answered_by("a.test", "/").await, "blue");
    site.edit("backends.yaml", &backends().replace("18001", "18002"));
    site.until("a.test", "/", "green").await;
    site.edit("backends.yaml", &backends().replace("endpoints: [{addresses: ['{ip}']}]", "endpoints: []"));
    site.until("a.test", "/", "503").await;
    site.edit("backends.yaml", &service("green", 18002));
    site.until("a.test", "/", "500").await;
    let status = site.admin("/status").await.1.to_string();
    assert!(status.contains("BackendNotFound"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_on_the_table_that_it_began_with() {
    let site = Arc::new(site(&[("a.yaml", &route("a", "a.test", "blue"))]).await);
    let slow = tokio::spawn({
        let site = Arc::clone(&site);
        async move { site.answered_by("a.test", "/?delay=1500ms").await }
    });
    bounded("the request is in flight", async {
        let url = format!("http://{}/metrics", site.running.admin());
        let metrics =
            async || client().build().unwrap().get(&url).send().await.unwrap().text().await.unwrap();
        while !metrics().await.contains("\nportcullis_requests_in_flight 1\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    site.remove("a.yaml");
    site.until("a.test", "/", "404").await;
    assert_eq!(slow.await.unwrap(), "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_moves_is_bound_and_its_neighbour_is_left_alone() {
    let (cert, _) = secret("shop-tls", "shop.test");
    let more = [
        ("shop.yaml", ingress("shop", "shop.test", "green") + &cert),
        ("a.yaml", route("a", "a.test", "blue")),
    ];
    let (backends, before) = (backends(), gateway(81));
    let files = [
        ("backends.yaml", &*backends),
        ("gateway.yaml", &*before),
        (more[0].0, &*more[0].1),
        (more[1].0, &*more[1].1),
    ];
    let mut site = Site::serve(&files).await;
    site.backend("blue", 18001).await.backend("green", 18002).await;
    // One connection to the neighbour, kept through all of it.
    let neighbour = client().resolve("shop.test", site.at(443)).pool_max_idle_per_host(1).build().unwrap();
    let mut kept = RawHttp::connect(&site, 80).await;
    let ask = async |port: u16| {
        let url = format!("http://{}/", site.at(port));
        client().build().unwrap().get(url).header("host", "a.test").send().await.map(|r| r.status().as_u16())
    };
    assert_eq!(ask(81).await.unwrap(), 200);
    assert_eq!(kept.status("nobody.test").await, 404);
    site.edit("gateway.yaml", &gateway(82));
    bounded("port 82 answers and port 81 is closed", async {
        while !matches!(ask(82).await, Ok(200)) || ask(81).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(kept.status("nobody.test").await, 404, "the same connection as before");
    let url = format!("https://shop.test:{}/", site.at(443).port());
    assert_eq!(neighbour.get(url).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_and_no_connection_ends() {
    let (first, first_der) = secret("shop-tls", "shop.test");
    let (second, second_der) = secret("shop-tls", "shop.test");
    let site = site(&[("shop.yaml", &ingress("shop", "shop.test", "blue")), ("secret.yaml", &first)]).await;
    let client = || support::client().tls_info(true).resolve("shop.test", site.at(443)).build().unwrap();
    let url = format!("https://shop.test:{}/", site.at(443).port());
    let shown = async |client: &reqwest::Client| {
        let response = client.get(&url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let info = response.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
        info.peer_certificate().unwrap().to_vec()
    };
    let kept = client();
    assert_eq!(shown(&kept).await, first_der);
    site.edit("secret.yaml", &second);
    bounded("new connections see the new certificate", async {
        while shown(&client()).await != second_der {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(shown(&kept).await, first_der, "the connection that was there goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_under_load_fail_no_request() {
    let (cert, _) = secret("shop-tls", "shop.test");
    let files = [
        ("a.yaml", route("a", "a.test", "blue")),
        ("shop.yaml", ingress("shop", "shop.test", "blue")),
        ("secret.yaml", cert),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let site = Arc::new(site(&files).await);
    let (done, failed, answered) =
        (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::new(AtomicU32::new(0)));
    let failures: Arc<std::sync::Mutex<Vec<String>>> = failed;
    let plain = client().http1_only().build().unwrap();
    let h2c = client().http2_prior_knowledge().resolve("a.test", site.at(80)).build().unwrap();
    let tls = client().resolve("shop.test", site.at(443)).build().unwrap();
    let (http, https) =
        (format!("http://{}/", site.at(80)), format!("https://shop.test:{}/", site.at(443).port()));
    let clients = [
        ("h1", plain.get(&http).header("host", "a.test"), plain),
        ("h2c", h2c.get(format!("http://a.test:{}/", site.at(80).port())), h2c),
        ("tls", tls.get(&https), tls),
    ];
    let load: Vec<_> = clients
        .into_iter()
        .map(|(name, request, client)| {
            let (done, failures, answered) =
                (Arc::clone(&done), Arc::clone(&failures), Arc::clone(&answered));
            tokio::spawn(async move {
                let request = request.build().unwrap();
                while !done.load(Ordering::Relaxed) {
                    let said = match client.execute(request.try_clone().unwrap()).await {
                        Ok(response) if response.status() == 200 => {
                            response.json::<Description>().await.err().map(|e| format!("{name}: {e:?}"))
                        }
                        Ok(response) => Some(format!("{name}: {}", response.status())),
                        Err(error) => Some(format!("{name}: {error:?}")),
                    };
                    answered.fetch_add(1, Ordering::Relaxed);
                    let mut failures = failures.lock().unwrap();
                    if failures.len() < 10 {
                        failures.extend(said);
                    }
                }
            })
        })
        .collect();
    for n in 0..40_u32 {
        let to = if n % 2 == 0 { "green" } else { "blue" };
        site.edit(
            "a.yaml",
            &(route("a", "a.test", to) + &route(&format!("r{n}"), &format!("h{n}.test"), to)),
        );
        site.edit("shop.yaml", &ingress("shop", "shop.test", to));
        if n % 5 == 0 {
            site.edit("secret.yaml", &secret("shop-tls", "shop.test").0);
        }
        let before = answered.load(Ordering::Relaxed);
        bounded("requests go on", async {
            while answered.load(Ordering::Relaxed) < before + 10 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
    site.until("h39.test", "/", "blue").await;
    done.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert_eq!(*failures.lock().unwrap(), Vec::<String>::new(), "of {}", answered.load(Ordering::Relaxed));
}

/// A connection that is seen to stay the same one.
struct RawHttp(TcpStream);

impl RawHttp {
    async fn connect(site: &Site, port: u16) -> Self {
        Self(TcpStream::connect(site.at(port)).await.unwrap())
    }

    async fn status(&mut self, host: &str) -> u16 {
        let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(bounded("a byte of the head", self.0.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap()[9..12].parse().unwrap()
    }
}
