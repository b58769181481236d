//! What is fetched on demand: the Secrets that translation reads.

use super::*;

fn data_of(reading: &Reading, name: &str) -> Option<Vec<String>> {
    let secret = reading.snapshot.secrets.get(&ObjectKey::new(Kind::Secret, "infra", name))?;
    Some(secret.data.keys().map(ToString::to_string).collect())
}

#[tokio::test(start_paused = true)]
async fn secrets_are_read_as_far_as_somebody_refers_to_them() {
    let server = shop();
    let megabyte = "x".repeat(900_000);
    let large: Vec<_> = PAIR.into_iter().chain([("other", megabyte.as_str())]).collect();
    server.apply("secrets", secret("infra", "tls", "kubernetes.io/tls", &large));
    server.apply("secrets", secret("infra", "opaque", "Opaque", &large));
    server.apply("secrets", secret("infra", "unused", "kubernetes.io/tls", &PAIR));
    server.apply("secrets", secret("infra", "unused-opaque", "Opaque", &PAIR));
    server.apply("secrets", secret("infra", "release", "helm.sh/release.v1", &large));
    server.apply("gateways", secure_gateway("one", "tls"));
    server.apply("gateways", secure_gateway("two", "opaque"));
    let mut reading = Reading::of(&server);
    reading.settled().await;
    assert_eq!(reading.complete, 1);
    let pair = Some(vec!["tls.crt".to_owned(), "tls.key".to_owned()]);
    assert_eq!((data_of(&reading, "tls"), data_of(&reading, "opaque")), (pair.clone(), pair.clone()));
    assert_eq!(reading.snapshot.secrets.len(), 2);
    let read: Vec<_> = server.asked("GET", "/secrets/").into_iter().map(|r| r.path).collect();
    assert!(read.iter().all(|path| path.ends_with("/opaque") || path.ends_with("/tls")), "{read:?}");

    // One that nobody referred to, one that was not there, and one that changes.
    server.apply("gateways", secure_gateway("two", "unused"));
    assert_eq!(
        reading.settled().await,
        ["+Gateway infra/two", "+Secret infra/unused", "released Secret infra/opaque"]
    );
    server.apply("gateways", secure_gateway("two", "late"));
    reading.settled().await;
    server.apply("secrets", secret("infra", "late", "Opaque", &PAIR));
    assert_eq!(reading.settled().await, ["+Secret infra/late"]);
    server.apply("secrets", secret("infra", "late", "Opaque", &PAIR[..1]));
    assert_eq!(reading.settled().await, ["+Secret infra/late"]);
    assert_eq!(data_of(&reading, "late"), Some(vec!["tls.crt".to_owned()]));
    server.delete("secrets", "infra", "late");
    assert_eq!(reading.settled().await, ["-Secret infra/late"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_made_again_with_another_type_stays() {
    for (before, after) in [("kubernetes.io/tls", "Opaque"), ("Opaque", "kubernetes.io/tls")] {
        for pause in [0, 1] {
            let server = shop();
            server.apply("secrets", secret("infra", "site", before, &PAIR));
            server.apply("gateways", secure_gateway("one", "site"));
            let mut reading = Reading::of(&server);
            reading.settled().await;
            assert!(data_of(&reading, "site").is_some(), "{before}");
            server.delete("secrets", "infra", "site");
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let more: Vec<_> = PAIR.into_iter().chain([("ca.crt", "roots")]).collect();
            server.apply("secrets", secret("infra", "site", after, &more));
            reading.for_a_while(10).await;
            let data = data_of(&reading, "site").map(|names| names.len());
            assert_eq!(data, Some(3), "{before} made again as {after}, {pause} s later");
            server.delete("secrets", "infra", "site");
            assert_eq!(reading.settled().await, ["-Secret infra/site"], "{after}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_when_the_api_server_says_so_and_not_because_of_a_refusal() {
    let server = shop();
    server.apply("secrets", secret("infra", "opaque", "Opaque", &PAIR));
    server.apply("gateways", secure_gateway("one", "opaque"));
    let mut reading = Reading::of(&server);
    reading.settled().await;
    // What stands in between answers for the API server.
    server.fault(Fault { method: "GET", path: "/secrets/opaque", times: 10, answer: Answer::Status(404) });
    server.apply("secrets", secret("infra", "opaque", "Opaque", &PAIR[..1]));
    assert_eq!(reading.for_a_while(60).await, ["+Secret infra/opaque"]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_cannot_be_read_yet_is_waited_for() {
    let server = shop();
    server.apply("secrets", secret("infra", "opaque", "Opaque", &PAIR));
    server.apply("gateways", secure_gateway("one", "opaque"));
    server.fault(Fault { method: "GET", path: "/secrets/opaque", times: 20, answer: Answer::Status(500) });
    let mut reading = Reading::of(&server);
    reading.for_a_while(5).await;
    assert_eq!(reading.complete, 0);
    reading.for_a_while(120).await;
    assert_eq!(reading.complete, 1);
    assert!(data_of(&reading, "opaque").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_ingress_and_the_settings_name_secrets_too() {
    let server = shop();
    let mut secured = ingress("new", "new.example.com");
    secured["spec"]["tls"] = json!([{"secretName": "site"}]);
    server.apply("ingresses", secured);
    for (namespace, name) in [("shop", "site"), ("infra", "default"), ("infra", "other")] {
        server.apply("secrets", secret(namespace, name, "Opaque", &PAIR));
    }
    let default_certificate = Some(ObjectKey::new(Kind::Secret, "infra", "default"));
    let mut reading =
        Reading::with(&server, ClusterOptions { default_certificate, ..ClusterOptions::default() });
    reading.settled().await;
    let names: Vec<_> = reading.snapshot.secrets.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["Secret infra/default", "Secret shop/site"]);
}
