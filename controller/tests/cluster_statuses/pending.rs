//! The status of an object while a Secret that it refers to is being fetched.

use super::*;

/// A Secret with a certificate.
fn certificate(namespace: &str, name: &str) -> Value {
    let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    secret(namespace, name, "Opaque", &[("tls.crt", &chain), ("tls.key", &key)])
}

/// What was written of the listener's `ResolvedRefs`, one after the other.
fn resolved(server: &ApiServer) -> Vec<(String, String)> {
    let writes = server.status_writes().into_iter().filter(|write| write.path.contains("/gateways/secure/"));
    let mut written: Vec<_> = writes
        .map(|write| {
            let conditions = write.body["status"]["listeners"][0]["conditions"].clone();
            let found = conditions.as_array().unwrap().iter().find(|c| c["type"] == "ResolvedRefs").cloned();
            let found = found.unwrap();
            let text = |field: &str| found[field].as_str().unwrap().to_owned();
            (text("status"), text("reason"))
        })
        .collect();
    written.dedup();
    written
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_being_fetched_is_not_called_missing() {
    let pending = ("Unknown", "Pending");
    for (exists, answer, want) in [
        (true, None, &[("True", "ResolvedRefs")][..]),
        (false, None, &[("False", "InvalidCertificateRef")]),
        (true, Some(Answer::Late), &[pending, ("True", "ResolvedRefs")]),
        (false, Some(Answer::Late), &[pending, ("False", "InvalidCertificateRef")]),
        (true, Some(Answer::Status(500)), &[pending, ("True", "ResolvedRefs")]),
    ] {
        let (server, what) = (shop(0), format!("exists: {exists}, answer: {answer:?}"));
        let _replica = Replica::start(&server, true).ready().await;
        if exists {
            server.apply("secrets", certificate("infra", "site"));
            server.apply("secrets", certificate("shop", "site"));
        }
        if let Some(answer) = answer {
            server.fault(Fault { method: "GET", path: "/secrets/site", times: 4, answer });
        }
        server.apply("gateways", secure_gateway("secure", "site"));
        let mut secured = ingress("secured", "example.com");
        secured["spec"]["tls"] = json!([{"hosts": ["example.com"], "secretName": "site"}]);
        server.apply("ingresses", secured);
        sleep(Duration::from_secs(20)).await;
        let want: Vec<_> = want.iter().map(|(status, why)| ((*status).into(), (*why).into())).collect();
        assert_eq!(resolved(&server), want, "{what}");
        let of_ingress = events(&server).into_iter().filter(|event| event.contains("Ingress")).count();
        assert_eq!(of_ingress > 0, !exists, "{what}: {:?}", events(&server));
    }
}
