//! The quickstart answers what the README says.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use portcullis::echo::{
    Description,
    proto::{EchoRequest, EchoResponse},
};
use support::{Site, bounded, client};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

const FILES: [(&str, &str); 4] = [
    ("backends.yaml", include_str!("../examples/quickstart/backends.yaml")),
    ("certificate.yaml", include_str!("../examples/quickstart/certificate.yaml")),
    ("gateway.yaml", include_str!("../examples/quickstart/gateway.yaml")),
    ("ingress.yaml", include_str!("../examples/quickstart/ingress.yaml")),
];

async fn quickstart() -> Site {
    // The same text, on an address of its own.
    let backends = FILES[0].1.replace("[127.0.0.1]", "['{ip}']");
    let files = [("backends.yaml", &*backends), FILES[1], FILES[2], FILES[3]];
    let mut site = Site::serve(&files).await;
    for (service, port) in
        [("foo", 18081), ("bar", 18082), ("shop-v1", 18083), ("shop-v2", 18084), ("greeter", 18085)]
    {
        site.backend(service, port).await;
    }
    site
}

async fn https(site: &Site, host: &str, path: &str) -> (u16, Option<Description>) {
    let client = client().resolve(host, site.at(443)).build().unwrap();
    let url = format!("https://{host}:{}{path}", site.at(443).port());
    let response = client.get(url).send().await.unwrap();
    (response.status().as_u16(), response.json().await.ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ingress_sends_hosts_and_paths_to_their_services_over_tls() {
    let site = quickstart().await;
    for (host, path, status, want) in [
        ("foo.yourdomain.com", "/hello", 200, Some("foo")),
        ("yourdomain.com", "/bar/hello", 200, Some("bar")),
        ("yourdomain.com", "/bar", 301, None),
        ("yourdomain.com", "/bars", 404, None),
        ("yourdomain.com", "/", 404, None),
    ] {
        let (got, told) = https(&site, host, path).await;
        assert_eq!(got, status, "{host}{path}");
        let service = told.and_then(|told| {
            assert_eq!(told.path, path, "{host}{path}");
            assert_eq!(told.headers["x-forwarded-proto"], ["https"], "{host}{path}");
            told.identity.service
        });
        assert_eq!(service.as_deref(), want, "{host}{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_for_a_host_with_tls_is_sent_to_https() {
    let site = quickstart().await;
    let response = site.get(&client().build().unwrap(), "foo.yourdomain.com", "/a?b=c").send().await.unwrap();
    assert_eq!(response.status(), 308);
    let port = site.at(443).port();
    assert_eq!(response.headers()["location"], format!("https://foo.yourdomain.com:{port}/a?b=c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_splits_matches_and_redirects() {
    let site = quickstart().await;
    let client = client().build().unwrap();
    let mut second = 0;
    for _ in 0..400 {
        let told: Description =
            site.get(&client, "shop.example.com", "/").send().await.unwrap().json().await.unwrap();
        second += usize::from(told.identity.service.as_deref() == Some("shop-v2"));
    }
    // One in ten: 40 of 400, and less than one chance in a million to be outside of this.
    assert!((12..=75).contains(&second), "{second} of 400");

    let next = site.get(&client, "shop.example.com", "/").header("x-version", "next").send().await.unwrap();
    assert_eq!(next.headers()["x-served-by"], "shop-v2");
    let told: Description = next.json().await.unwrap();
    assert_eq!(told.identity.service.as_deref(), Some("shop-v2"));

    let moved = site.get(&client, "shop.example.com", "/old/offer").send().await.unwrap();
    let location = format!("http://shop.example.com:{}/new/offer", site.at(80).port());
    assert_eq!((moved.status().as_u16(), moved.headers()["location"].to_str().unwrap()), (301, &*location));
    assert_eq!(site.status("other.example.com", "/").await, 404);
    assert_eq!(site.status("nobody.test", "/").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_goes_through_in_both_directions() {
    let site = quickstart().await;
    let channel = Endpoint::from_shared(format!("http://{}", site.at(80)))
        .unwrap()
        .origin("http://grpc.example.com".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let messages = futures_util::stream::iter(
        ["one", "two", "three"].map(|m| EchoRequest { message: m.to_owned(), ..EchoRequest::default() }),
    );
    let codec = ProstCodec::<EchoRequest, EchoResponse>::default();
    let path = "/portcullis.echo.v1.Echo/Chat".parse().unwrap();
    let mut answers = grpc.streaming(tonic::Request::new(messages), path, codec).await.unwrap().into_inner();
    for want in ["one", "two", "three"] {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.message.as_str(), answer.service.as_str()), (want, "greeter"));
    }
    // The end comes with the trailers: an error here would say that they got lost.
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through() {
    let site = quickstart().await;
    let stream = tokio::net::TcpStream::connect(site.at(80)).await.unwrap();
    let mut request = format!("ws://{}/socket", site.at(80)).into_client_request().unwrap();
    request.headers_mut().insert("host", "shop.example.com".parse().unwrap());
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_of_it_is_accepted() {
    let site = quickstart().await;
    let (ready, _) = site.admin("/readyz").await;
    assert_eq!(ready, 200);
    // That a port is bound is known to the listeners' conditions a moment after the port is.
    let told = bounded("every condition as it should be", async {
        loop {
            let told = site.admin("/status").await.1;
            if conditions(&told).iter().all(|c| (c["status"] == "True") != (c["type"] == "Conflicted")) {
                break told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(conditions(&told).len() > 10, "{told}");
    assert_eq!(told["problems"].as_array().map(Vec::len), Some(0), "{}", told["problems"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_their_status() {
    let site = quickstart().await;
    for (host, path, want) in
        [("shop.example.com", "/", 200), ("shop.example.com", "/old/offer", 301), ("no.example", "/", 404)]
    {
        assert_eq!(site.status(host, path).await, want, "{host}{path}");
    }
    let url = format!("http://{}/metrics", site.running.admin());
    // A request is counted when it is over, which is a moment after its answer has come.
    bounded("every request counted", async {
        loop {
            let text = client().build().unwrap().get(&url).send().await.unwrap().text().await.unwrap();
            let count = |class: &str| format!("portcullis_requests_total{{class=\"{class}\"}} 1\n");
            if ["2xx", "3xx", "4xx"].iter().all(|class| text.contains(&count(class))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Every condition, wherever it stands.
fn conditions(value: &serde_json::Value) -> Vec<&serde_json::Value> {
    let own = value["conditions"].as_array().into_iter().flatten();
    let inner =
        value.as_array().into_iter().flatten().chain(value.as_object().into_iter().flat_map(|o| o.values()));
    own.chain(inner.flat_map(conditions)).collect()
}
