//! The YAML that is edited, and the YAML that there is much of.

use std::{fs, path::Path};

use anyhow::Result;
use portcullis_bench::{ingresses, scene::HOST};

/// Objects of a kind in one file of a large folder.
const IN_ONE_FILE: usize = 50;

/// The route that is edited: this edit can be told by a header of its answers.
pub(crate) fn edited(edit: u32, service: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: edited
  namespace: default
spec:
  parentRefs:
    - name: bench
  hostnames: [{HOST}]
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier:
            set:
              - name: x-edit
                value: \"{edit}\"
      backendRefs:
        - name: {service}
          port: 80
"
    )
}

/// A route with a host of its own to this Service.
pub(crate) fn route(name: &str, host: &str, service: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {name}
  namespace: default
spec:
  parentRefs:
    - name: bench
  hostnames: [{host}]
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /
      backendRefs:
        - name: {service}
          port: 80
"
    )
}

/// A Service with one endpoint at this port.
pub(crate) fn service(name: &str, port: u16) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: default
spec:
  ports:
    - name: http
      port: 80
      targetPort: {port}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  namespace: default
  labels:
    kubernetes.io/service-name: {name}
addressType: IPv4
ports:
  - name: http
    protocol: TCP
    port: {port}
endpoints:
  - addresses: [127.0.0.1]
    conditions:
      ready: true
"
    )
}

/// Writes this many routes, each with a Service, an EndpointSlice and a host of its own ([`host`]).
pub(crate) fn write_many(folder: &Path, routes: usize, port: u16) -> Result<()> {
    write_files(folder, routes, |number| {
        let name = format!("app-{number}");
        route(&name, &host(number), &name) + &service(&name, port)
    })
}

/// Writes this many Ingresses, each with a Service, an EndpointSlice and a host of its own ([`ingresses::host`]).
pub(crate) fn write_many_ingresses(folder: &Path, count: usize, port: u16) -> Result<()> {
    write_files(folder, count, |number| {
        let name = format!("app-{number}");
        ingresses::ingress(number, 0, &name) + &service(&name, port)
    })
}

fn write_files(folder: &Path, count: usize, text_of: impl Fn(usize) -> String) -> Result<()> {
    for first in (0..count).step_by(IN_ONE_FILE) {
        let text: String = (first..count.min(first + IN_ONE_FILE)).map(&text_of).collect();
        fs::write(folder.join(format!("apps-{first}.yaml")), text)?;
    }
    Ok(())
}

/// The host of one of many routes.
pub(crate) fn host(number: usize) -> String {
    format!("app-{number}.example.com")
}
