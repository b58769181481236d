//! `portcullis explain`: what happens to a request, and why. The decision is the proxy's own; nothing is sent.
//!
//! ```text
//! --manifests DIR  objects -> table -> explain
//! --admin ADDR     a running instance does it: GET /explain?url=...&method=...&header=...
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use portcullis_controller::check;
use portcullis_routing::{
    Asked, ClientAuth, Connection, Explanation, Listener, PortKey, Protocol, Request as View, Table,
    decide::Tls, explain_stream, host::request_name,
};

use crate::{
    cli::{ExplainArgs, ObjectArgs, ReportFormat},
    settings,
};

/// A request that is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    method: Method,
    url: Uri,
    headers: HeaderMap,
}

/// How long a running instance may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An explanation of a rule with thousands of header edits stays below this.
const MAX_ANSWER: usize = 4 << 20;

/// Explains, and prints.
///
/// # Errors
/// Where the URL, the method or a header is not valid, or the instance cannot be asked.
pub async fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let question = Question::of(&args.url, &args.method, &args.header)?;
    let explanation = match &args.manifests {
        Some(folder) => of_folder(folder, &args.objects, &question)?,
        None => of_instance(args.admin, &question).await?,
    };
    print(&explanation, args.format)
}

#[allow(clippy::print_stdout)] // what the command is for
fn print(explanation: &Explanation, format: ReportFormat) -> anyhow::Result<()> {
    match format {
        ReportFormat::Text => print!("{explanation}"),
        ReportFormat::Json => println!("{}", serde_json::to_string_pretty(explanation)?),
    }
    Ok(())
}

fn of_folder(folder: &Path, objects: &ObjectArgs, question: &Question) -> anyhow::Result<Explanation> {
    if !folder.exists() {
        bail!("--manifests {}: no such file or folder", folder.display());
    }
    let table = check::table(&[folder.to_owned()], &settings::of(objects)?);
    question.explain(&table).map_err(|why| anyhow!(why))
}

async fn of_instance(admin: SocketAddr, question: &Question) -> anyhow::Result<Explanation> {
    let asked = || format!("the instance at {admin} (--admin) cannot be reached");
    let request = Request::get(format!("http://{admin}/explain?{}", question.query()));
    let request = request.body(Empty::<bytes::Bytes>::new()).with_context(asked)?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(TIMEOUT, client.request(request)).await.with_context(asked)?;
    let answer = answer.with_context(asked)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect();
    let body = tokio::time::timeout(TIMEOUT, body).await.with_context(asked)?;
    let body = body.map_err(|error| anyhow!(error)).with_context(asked)?.to_bytes();
    match status {
        StatusCode::OK => serde_json::from_slice(&body).with_context(asked),
        _ => bail!("{}: {status}: {}", asked(), String::from_utf8_lossy(&body).trim_end()),
    }
}

impl Question {
    /// # Errors
    /// Says which of them is not valid, and why.
    pub fn of(url: &str, method: &str, headers: &[String]) -> anyhow::Result<Self> {
        let url = match url.contains("://") {
            true => url.parse::<Uri>(),
            false => format!("http://{url}").parse(),
        };
        let url = url.context("the URL is not valid; write http://host/path or https://host/path")?;
        let scheme = url.scheme_str().unwrap_or_default();
        let is_stream = matches!(scheme, "tcp" | "tls" | "udp");
        if !(is_stream || matches!(scheme, "http" | "https")) || url.host().is_none_or(str::is_empty) {
            bail!(
                "the URL has no host, or an unsupported scheme; write http://host/path or https://host/path, or \
                 tcp://host:port, tls://name:port or udp://host:port for streams and datagrams"
            );
        }
        if matches!(scheme, "tcp" | "udp") && url.port_u16().is_none() {
            bail!("the URL has no port; write {scheme}://host:port");
        }
        let method = method.parse().context("the method is not valid")?;
        let mut all = HeaderMap::new();
        for header in headers {
            let (name, value) =
                header.split_once(':').with_context(|| format!("header {header}: write NAME: VALUE"))?;
            let name = name.trim().parse::<HeaderName>();
            let value = HeaderValue::from_str(value.trim());
            all.append(
                name.with_context(|| format!("header {header}: not a valid name"))?,
                value.with_context(|| format!("header {header}: not a valid value"))?,
            );
        }
        Ok(Self { method, url, headers: all })
    }

    /// The question of `GET /explain?url=...`.
    ///
    /// # Errors
    /// As those of [`Question::of`].
    pub fn of_query(query: &str) -> anyhow::Result<Self> {
        let (mut url, mut method, mut headers) = (None, "GET".to_owned(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "url" => url = Some(value),
                "method" => method = value,
                "header" => headers.push(value),
                _ => bail!("{name} is not a parameter; there are url, method and header"),
            }
        }
        let url = url.context("name the request: /explain?url=http%3A%2F%2Fhost%2Fpath")?;
        Self::of(&url, &method, &headers)
    }

    /// What connections begin with, or datagrams, where it is not about a request.
    fn stream_protocol(&self) -> Option<Protocol> {
        match self.url.scheme_str() {
            Some("tcp") => Some(Protocol::Tcp),
            Some("tls") => Some(Protocol::Tls),
            Some("udp") => Some(Protocol::Udp),
            _ => None,
        }
    }

    fn query(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut query = format!("url={}&method={}", encode(&self.url.to_string()), self.method);
        for (name, value) in &self.headers {
            query += &format!(
                "&header={}",
                encode(&format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            );
        }
        query
    }

    /// What happens to the request.
    ///
    /// # Errors
    /// Where it is refused before anything is decided about it.
    pub fn explain(&self, table: &Table) -> Result<Explanation, String> {
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let host = request_name(authority).ok_or("400: the host is not valid")?;
        if let Some(protocol) = self.stream_protocol() {
            let number = self.url.port_u16().unwrap_or(443);
            let port = port(table, number, protocol, &host).unwrap_or(match protocol {
                Protocol::Udp => PortKey::udp(number),
                Protocol::Http | Protocol::Tls | Protocol::Tcp => PortKey::tcp(number),
            });
            let server_name = (protocol == Protocol::Tls).then_some(&*host);
            return Ok(explain_stream(table, port, server_name));
        }
        let target = self.url.path_and_query().map_or("/", |target| target.as_str());
        let asked = Asked::parse(&self.method, target.as_bytes())
            .map_err(|(rejection, why)| format!("{}: {why}", rejection.status().as_u16()))?;
        let tls = self.url.scheme_str() == Some("https");
        let number = self.url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let spoken = if tls { Protocol::Tls } else { Protocol::Http };
        let port = port(table, number, spoken, &host).unwrap_or(PortKey::tcp(number));
        if let Some(instead) = instead(table, port, tls, &host) {
            return Err(format!(
                "port {number} serves no requests for this host; write {instead}{host}:{number}"
            ));
        }
        let request = View {
            sent_host: &host,
            method: &self.method,
            host: &host,
            asked: &asked,
            headers: &self.headers,
            upgrade: self.headers.contains_key(http::header::UPGRADE),
        };
        // The connection is made for this host.
        let greeted = table.ports.get(&port).and_then(|port| port.greeted(Some(&host)));
        let client_auth =
            greeted.and_then(|listener| listener.tls.client_auth()).unwrap_or(&ClientAuth::Unasked);
        let connection = Connection {
            port,
            tls: tls.then_some(Tls { server_name: Some(&host), client_auth, certificate: None }),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scheme: if tls { "https" } else { "http" },
            client_port: number,
            port_offset: table.ports.get(&port).map_or(0, |port| port.offset),
        };
        Ok(portcullis_routing::explain(table, request, connection))
    }
}

/// The port of the table that clients reach by this number. If Gateways with addresses of their own use the same one,
/// it is the port that has a listener for the host.
fn port(table: &Table, number: u16, spoken: Protocol, host: &str) -> Option<PortKey> {
    let reached = table.ports.iter().filter(|(_, port)| {
        port.protocol == spoken && (port.for_clients() == number || port.number == number)
    });
    let best = reached.max_by_key(|(_, port)| (port.for_clients() == number, port.listener(host).is_some()));
    best.map(|(bound, _)| *bound)
}

/// How to ask about a port that takes streams for this host.
fn instead(table: &Table, key: PortKey, tls: bool, host: &str) -> Option<&'static str> {
    let serves_streams = |listener: &Arc<Listener>| listener.http_routes().is_none();
    match table.ports.get(&key) {
        Some(port) if port.protocol == Protocol::Tls => {
            port.greeted(Some(host)).is_some_and(serves_streams).then_some("tls://")
        }
        Some(port) if port.protocol == Protocol::Tcp => Some("tcp://"),
        Some(_) => None,
        None => match port(table, key.number, Protocol::Tcp, host) {
            Some(_) => Some("tcp://"),
            None if tls => None,
            None => {
                let tls = port(table, key.number, Protocol::Tls, host).and_then(|key| table.ports.get(&key));
                tls.and_then(|port| port.greeted(Some(host))).is_some_and(serves_streams).then_some("tls://")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use portcullis_controller::Settings;

    use super::*;

    fn quickstart() -> std::sync::Arc<Table> {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart"));
        check::table(&[folder.to_owned()], &Settings::default())
    }

    #[test]
    fn a_request_is_followed_from_its_listener_to_its_endpoints() {
        let table = quickstart();
        for (url, method, headers, wanted) in [
            (
                "http://shop.example.com/",
                "GET",
                &[][..],
                &["rule      HTTPRoute ", "backend   ", "outcome   forwarded, carried by http1\n"][..],
            ),
            (
                "http://shop.example.com/",
                "GET",
                &["x-version: next"],
                &[
                    "header x-version=next",
                    "because it matches more headers",
                    "outcome   forwarded, carried by http1\n",
                ],
            ),
            (
                "http://shop.example.com/old/offer",
                "GET",
                &[],
                &[
                    "because its path is longer",
                    "step      redirect 301",
                    "answered with 301, Location http://shop.example.com/new/offer",
                ],
            ),
            (
                "http://foo.yourdomain.com/hello",
                "GET",
                &[],
                &["Ingress", "answered with 308, Location https://foo.yourdomain.com/hello"],
            ),
            ("http://absent.example.com/", "GET", &[], &["answered with 404: no route matches this request"]),
            (
                "http://shop.example.com/old%2Foffer",
                "GET",
                &[],
                &["hostname *.example.com\noutcome   answered with 400: the path is ambiguous"],
            ),
            ("http://absent.invalid/", "GET", &[], &["outcome   answered with 404"]),
        ] {
            let headers: Vec<_> = headers.iter().map(|header| (*header).to_owned()).collect();
            let text = Question::of(url, method, &headers).unwrap().explain(&table).unwrap().to_string();
            for part in wanted {
                assert!(text.contains(part), "{url} {headers:?}: no {part:?} in\n{text}");
            }
        }
    }

    #[test]
    fn a_host_with_tls_and_no_secret_is_explained_as_it_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {namespace: shop, name: web},\n\
            spec: {ingressClassName: portcullis, tls: [{hosts: [a.example]}], rules: [{host: a.example, http: {paths:\n\
            [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}}\n";
        std::fs::write(folder.path().join("web.yaml"), manifest).unwrap();
        for (url, wanted) in [
            ("https://a.example/", "rule      Ingress shop/web"),
            ("http://a.example/", "answered with 308, Location https://a.example"),
        ] {
            let question = Question::of(url, "GET", &[]).unwrap();
            let text = of_folder(folder.path(), &ObjectArgs::default(), &question).unwrap().to_string();
            assert!(text.contains(wanted), "{url}: no {wanted:?} in\n{text}");
        }
    }

    #[test]
    fn a_routes_own_hostname_goes_before_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let route = |name: &str, hostname: &str, path: &str| {
            format!(
                "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}}},\n\
                spec: {{parentRefs: [{{name: web}}], hostnames: ['{hostname}'], rules: [{{matches: [{{path: {path}}}]}}]}}}}\n"
            )
        };
        let manifest =
            "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: portcullis},\n\
            spec: {controllerName: portcullis.dev/gateway-controller}}\n---\n\
            {apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: web},\n\
            spec: {gatewayClassName: portcullis, listeners: [{name: http, port: 80, protocol: HTTP}]}}\n"
                .to_owned()
                + &route("wide", "*.example", "{type: Exact, value: /a}")
                + &route("narrow", "a.example", "{value: /}");
        std::fs::write(folder.path().join("web.yaml"), manifest).unwrap();
        let question = Question::of("http://a.example/a", "GET", &[]).unwrap();
        let text = of_folder(folder.path(), &ObjectArgs::default(), &question).unwrap().to_string();
        assert!(text.contains("rule      HTTPRoute default/narrow"), "{text}");
        assert!(text.contains("because its route's hostname is more specific"), "{text}");
    }

    #[test]
    fn streams_and_datagrams_are_followed_to_their_endpoints() {
        for (folder, url, wanted) in [
            (
                "tcp-route",
                "tcp://localhost:5432",
                &[
                    "TCPRoute ",
                    "listener  ",
                    ", port 5432",
                    "backend   ",
                    "endpoints 127.0.0.1:",
                    "outcome   forwarded\n",
                ][..],
            ),
            (
                "udp-route",
                "udp://localhost:53",
                &["datagrams to port 53", "UDPRoute ", "outcome   forwarded\n"],
            ),
            (
                "tcp-route",
                "tcp://localhost:1",
                &["connection to port 1\n", "closed or dropped: no listener has this port"],
            ),
            ("tcp-route", "udp://localhost:5432", &["no listener has this port"]),
            ("gateway-tls", "tls://shop.tls.example.com", &["the listener serves requests; write https://"]),
        ] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
            let question = Question::of(url, "GET", &[]).unwrap();
            let text = of_folder(&folder, &ObjectArgs::default(), &question).unwrap().to_string();
            for part in wanted {
                assert!(text.contains(part), "{url}: no {part:?} in\n{text}");
            }
        }
    }

    #[test]
    fn ports_of_config_maps_are_explained_without_a_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "{kind: ConfigMap, apiVersion: v1, metadata: {namespace: edge, name: tcp}, data: {'5432': 'shop/db:5432'}}\n\
            ---\n{kind: ConfigMap, apiVersion: v1, metadata: {namespace: edge, name: udp}, data: {'5432': 'shop/db:53'}}\n---\n\
            {kind: Service, apiVersion: v1, metadata: {namespace: shop, name: db}, spec: {ports: [{name: tcp, port: 5432},\n\
            {name: udp, port: 53, protocol: UDP}]}}\n";
        std::fs::write(folder.path().join("services.yaml"), manifest).unwrap();
        let map = |name: &str| Some(("edge".to_owned(), name.to_owned()));
        let args = ObjectArgs {
            tcp_services_configmap: map("tcp"),
            udp_services_configmap: map("udp"),
            ..ObjectArgs::default()
        };
        for (url, wanted) in [
            ("tcp://localhost:5432", "rule      ConfigMap edge/tcp"),
            ("udp://localhost:5432", "rule      ConfigMap edge/udp"),
        ] {
            let question = Question::of(url, "GET", &[]).unwrap();
            let text = of_folder(folder.path(), &args, &question).unwrap().to_string();
            assert!(text.contains(wanted) && text.contains("shop/db"), "{url}: no {wanted:?} in\n{text}");
        }
    }

    #[test]
    fn a_server_name_leads_to_the_route_that_has_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tls-route");
        let explain = |url: &str| {
            let question = Question::of(url, "GET", &[]).unwrap();
            of_folder(&folder, &ObjectArgs::default(), &question).map(|it| it.to_string())
        };
        let text = explain("tls://mqtt.streams.example.com:8883").unwrap();
        for part in
            ["with server name mqtt.streams.example.com", "TLSRoute ", "backend   ", "outcome   forwarded"]
        {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let error = explain("https://mqtt.streams.example.com:8883/").unwrap_err().to_string();
        assert!(error.contains("write tls://mqtt.streams.example.com:8883"), "{error}");
    }

    #[test]
    fn a_question_goes_to_an_instance_and_comes_back() {
        let headers = ["X-A: b c&d=e".to_owned()];
        let asked = Question::of("https://a.example/p?q=1&r=%20", "POST", &headers).unwrap();
        let got = Question::of_query(&asked.query()).unwrap();
        assert_eq!((&got.method, &got.url, &got.headers), (&asked.method, &asked.url, &asked.headers));
        let explanation = asked.explain(&quickstart()).unwrap();
        let json = serde_json::to_string(&explanation).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explanation);
    }

    #[test]
    fn what_is_no_request_is_said_so() {
        for (url, method, header, wanted) in [
            ("ftp://a.example/", "GET", "a: b", "unsupported scheme"),
            ("tcp://db.example/", "GET", "a: b", "write tcp://host:port"),
            ("http:///path", "GET", "a: b", "the URL"),
            ("http://a.example/", "G T", "a: b", "the method is not valid"),
            ("http://a.example/", "GET", "a b", "write NAME: VALUE"),
            ("http://a.example/", "GET", "a b: c", "not a valid name"),
            ("http://a.example/", "GET", "a: b\nc", "not a valid value"),
        ] {
            let error = Question::of(url, method, &[header.to_owned()]).unwrap_err();
            assert!(format!("{error:#}").contains(wanted), "{url} {method} {header}: {error:#}");
        }
        for (query, wanted) in [
            ("", "name the request"),
            ("uri=x", "uri is not a parameter"),
            ("url=a.example&verbose", "verbose is not a parameter"),
            ("url=a.example&header", "write NAME: VALUE"),
        ] {
            let error = Question::of_query(query).unwrap_err();
            assert!(format!("{error:#}").contains(wanted), "{query}: {error:#}");
        }
    }
}
