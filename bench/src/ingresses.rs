//! Many Ingresses with ten annotations each, as they are commonly combined.

use std::fmt::Write as _;

/// Annotations that every Ingress has, and their values; `limit-rps` differs after each edit.
const COMMON: [(&str, &str); 7] = [
    ("proxy-body-size", "8m"),
    ("proxy-read-timeout", "120"),
    ("proxy-send-timeout", "120"),
    ("whitelist-source-range", "10.0.0.0/8,192.168.0.0/16,127.0.0.0/8"),
    ("enable-cors", "true"),
    ("cors-allow-origin", "https://www.example.com,https://shop.example.com"),
    ("ssl-redirect", "false"),
];

/// The other two; a quarter of the Ingresses has each pair.
const PAIRS: [[(&str, &str); 2]; 4] = [
    [("use-regex", "true"), ("rewrite-target", "/$2")],
    [("auth-url", "https://auth.example.com/check"), ("auth-response-headers", "X-Auth-Request-User")],
    [("affinity", "cookie"), ("session-cookie-name", "session")],
    [("proxy-next-upstream", "error timeout http_502"), ("upstream-vhost", "app.example.com")],
];

/// The host of one of many.
pub fn host(number: usize) -> String {
    format!("app-{number}.example.com")
}

/// Whether requests for it need neither a rewrite nor a check.
pub fn is_simple(number: usize) -> bool {
    !matches!(PAIRS[number % PAIRS.len()][0].0, "use-regex" | "auth-url")
}

/// One of many Ingresses with a host of its own and the Service `service`, after so many edits.
pub fn ingress(number: usize, edit: usize, service: &str) -> String {
    let pair = PAIRS[number % PAIRS.len()];
    let path = if pair[0].0 == "use-regex" { "/api(/|$)(.*)" } else { "/" };
    let mut text = format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app-{number}
  namespace: default
  annotations:
    nginx.ingress.kubernetes.io/limit-rps: \"{}\"
",
        100 + edit
    );
    for (name, value) in COMMON.into_iter().chain(pair) {
        let _ = writeln!(text, "    nginx.ingress.kubernetes.io/{name}: \"{value}\"");
    }
    let _ = write!(
        text,
        "spec:
  ingressClassName: portcullis
  rules:
  - host: {}
    http:
      paths:
      - path: {path}
        pathType: ImplementationSpecific
        backend:
          service:
            name: {service}
            port:
              number: 80
",
        host(number)
    );
    text
}

#[cfg(test)]
mod tests {
    use portcullis_controller::{Settings, check::check};

    use super::*;

    #[test]
    fn every_ingress_has_ten_annotations_that_take_effect() {
        let folder = std::env::temp_dir().join(format!("portcullis-bench-ingresses-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let service = "---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, namespace: default, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
";
        let mut all = service.to_owned();
        for number in 0..PAIRS.len() {
            let text = ingress(number, 0, "app");
            assert_eq!(text.matches("nginx.ingress.kubernetes.io/").count(), 10, "{text}");
            all.push_str(&text);
        }
        std::fs::write(folder.join("all.yaml"), all).unwrap();
        let report = check(std::slice::from_ref(&folder), &Settings::default());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(report.objects.iter().all(|object| object.findings.is_empty()), "{report}");
    }
}
