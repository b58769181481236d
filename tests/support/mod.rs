//! A folder, everything that serves it, echo backends and clients, in the test's own process.
//!
//! Each site has a loopback address of its own, so that listeners of two tests never meet. Everything that is waited
//! for has one bound of time.

// Each test binary uses its own part of this, and all of it is test.
#![allow(dead_code, unreachable_pub, missing_debug_implementations, clippy::unwrap_used)]

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use clap::Parser;
use portcullis::{
    cli::{Cli, Command, ServeArgs},
    echo::{Description, Echo, Identity},
    run::Running,
};
use tempfile::TempDir;

/// Nothing that a test waits for takes this long.
pub const BOUND: Duration = Duration::from_secs(30);
/// Added to ports, so that tests need no privileges.
pub const OFFSET: u16 = 8000;

/// A folder that is served.
pub struct Site {
    pub ip: IpAddr,
    pub running: Running,
    folder: TempDir,
    echoes: Vec<Echo>,
}

impl Site {
    /// Serves these files; `{ip}` in them is the site's own address. Returns when everything is bound.
    pub async fn serve(files: &[(&str, &str)]) -> Self {
        Self::serve_with(files, &[]).await
    }

    /// [`Site::serve`] with more flags.
    pub async fn serve_with(files: &[(&str, &str)], flags: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ip = loopback();
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let text = text.replace("{ip}", &ip.to_string()).replace("{ip2}", &second(ip).to_string());
            write(folder.path(), name, &text);
        }
        let running = Running::of_folder(folder.path(), &arguments(folder.path(), ip, flags)).await.unwrap();
        bounded("the first table", running.ready()).await;
        Self { ip, running, folder, echoes: Vec::new() }
    }

    /// Starts an echo backend of this name on a port of the site's address.
    pub async fn backend(&mut self, service: &str, port: u16) -> &mut Self {
        let address = SocketAddr::new(self.ip, port);
        self.echoes.push(Echo::bind(address, Identity::of_service("", service)).await.unwrap());
        self
    }

    /// Starts one of a Pod, wherever it is.
    pub async fn pod(&mut self, service: &str, pod: &str, address: SocketAddr) {
        let identity = Identity { pod: Some(pod.to_owned()), ..Identity::of_service("", service) };
        self.echoes.push(Echo::bind(address, identity).await.unwrap());
    }

    /// Starts one that speaks TLS with a certificate and a key in PEM.
    pub async fn backend_with_tls(&mut self, service: &str, port: u16, chain: &[u8], key: &[u8]) {
        let config = portcullis::echo::tls::from_pem(chain, key).unwrap();
        let address = SocketAddr::new(self.ip, port);
        let echo = Echo::bind_tls(address, Identity::of_service("", service), config).await;
        self.echoes.push(echo.unwrap());
    }

    /// Replaces a file as editors and mounts do: by a rename.
    pub fn edit(&self, name: &str, text: &str) {
        write(self.folder.path(), name, &text.replace("{ip}", &self.ip.to_string()));
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    /// Where a listener's port is bound.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port + OFFSET)
    }

    /// A request over HTTP/1 for a host and path.
    pub fn get(&self, client: &reqwest::Client, host: &str, path: &str) -> reqwest::RequestBuilder {
        client.get(format!("http://{}{path}", self.at(80))).header("host", host)
    }

    /// The status of one request on a connection of its own.
    pub async fn status(&self, host: &str, path: &str) -> u16 {
        self.get(&client().build().unwrap(), host, path).send().await.map_or(0, |r| r.status().as_u16())
    }

    /// The service that answers a host and path; the status where it is not 200.
    pub async fn answered_by(&self, host: &str, path: &str) -> String {
        let response = match self.get(&client().build().unwrap(), host, path).send().await {
            Ok(response) => response,
            Err(error) => return error.to_string(),
        };
        match response.status().as_u16() {
            200 => response.json::<Description>().await.unwrap().identity.service.unwrap_or_default(),
            other => other.to_string(),
        }
    }

    /// Waits until a host and path are answered by a service, or with a status.
    pub async fn until(&self, host: &str, path: &str, want: &str) {
        bounded(&format!("{host}{path} answered by {want}"), async {
            while self.answered_by(host, path).await != want {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// What the admin port says.
    pub async fn admin(&self, path: &str) -> (u16, serde_json::Value) {
        let url = format!("http://{}{path}", self.running.admin());
        let response = client().build().unwrap().get(url).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// A loopback address that no other test of this machine uses at this time.
pub fn loopback() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, high | 128, low, NEXT.fetch_add(1, Ordering::Relaxed)])
}

/// A second address of a site.
pub fn second(ip: IpAddr) -> IpAddr {
    let IpAddr::V4(ip) = ip else { panic!("not of this family") };
    let [a, b, c, d] = ip.octets();
    IpAddr::from([a, b, c, d ^ 128])
}

/// Waits, but not for ever.
pub async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what}: not within {BOUND:?}"))
}

/// A client that follows no redirect and knows no proxy.
pub fn client() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_danger_accept_invalid_certs(true)
        .timeout(BOUND)
}

/// The flags of a `run` on an address.
pub fn arguments(folder: &Path, ip: IpAddr, flags: &[&str]) -> ServeArgs {
    let (folder, ip) = (folder.to_str().unwrap(), ip.to_string());
    let offset = OFFSET.to_string();
    let fixed = ["portcullis", "run", "--manifests", folder, "--bind", &ip, "--port-offset", &offset];
    let more = ["--admin", "127.0.0.1:0", "--workers", "2"];
    match Cli::parse_from(fixed.iter().chain(&more).chain(flags)).command {
        Command::Run(args) => args.serve,
        other => panic!("{other:?}"),
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    let new = path.with_extension("new");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A Service and its EndpointSlice on the site's address.
pub fn service(name: &str, port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{name: http, port: 80}}]}}}}\n\
         ---\n\
         {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,\n\
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}},\n\
         ports: [{{name: http, port: {port}}}], endpoints: [{{addresses: ['{{ip}}']}}]}}\n\
         ---\n"
    )
}

/// A GatewayClass, and a Gateway with one HTTP listener.
pub fn gateway(port: u16) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {{name: portcullis}},\n\
         spec: {{controllerName: portcullis.dev/gateway-controller}}}}\n\
         ---\n\
         {{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: public}},\n\
         spec: {{gatewayClassName: portcullis, listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}}}\n"
    )
}

/// An HTTPRoute of that Gateway: everything on a host to a service.
pub fn route(name: &str, host: &str, service: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}}},\n\
         spec: {{parentRefs: [{{name: public}}], hostnames: [{host}],\n\
         rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]}}}}\n---\n"
    )
}

/// An Ingress with TLS: everything on a host to a service.
pub fn ingress(name: &str, host: &str, service: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}}},\n\
         spec: {{ingressClassName: portcullis, tls: [{{hosts: [{host}], secretName: {name}-tls}}],\n\
         rules: [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix,\n\
         backend: {{service: {{name: {service}, port: {{name: http}}}}}}}}]}}}}]}}}}\n---\n"
    )
}

/// A Secret with a new certificate for a host.
pub fn secret(name: &str, host: &str) -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()},
    });
    (format!("{text}\n---\n"), made.cert.der().to_vec())
}
