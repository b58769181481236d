//! The recorded cases, as their files have them.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use crate::net::Net;

/// The settings that no variant names.
const DEFAULT: &str = "default";
const SECONDS: f64 = 20.0;

/// Objects, and requests with what became of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub id: String,
    pub host: String,
    #[serde(default = "default_variant")]
    pub variant: String,
    /// Annotations that the case is about.
    pub covers: Vec<String>,
    /// Copies of Services of the fixtures: `namespace/name` of the copy, and the name of what is copied.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
    pub objects: Vec<Value>,
    pub requests: Vec<Exchange>,
    /// Is loaded without other cases.
    #[serde(default)]
    pub solo: bool,
    /// A fact that nobody has to copy.
    #[serde(default)]
    pub informative: bool,
    /// Why ingress-nginx refused its whole configuration because of this case.
    #[serde(default)]
    pub refused: Option<String>,
    #[serde(default, rename = "admission")]
    _admission: Option<IgnoredAny>,
    #[serde(default, rename = "events")]
    _events: Option<IgnoredAny>,
    #[serde(default, rename = "note")]
    _note: Option<IgnoredAny>,
}

/// A request, and what was seen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// A [`Send`], or several that differ in what `vary` says.
    pub send: Map<String, Value>,
    #[serde(default)]
    pub seen: Seen,
}

/// A request on a connection of its own; README.md of the cases says what each field means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    #[serde(default = "root")]
    pub target: String,
    #[serde(default = "get")]
    pub method: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// `Some(None)` is no Host header at all.
    #[serde(default, deserialize_with = "given")]
    pub host: Option<Option<String>>,
    #[serde(default = "http11")]
    pub http: String,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub body_hex: Option<String>,
    #[serde(default)]
    pub body_size: Option<usize>,
    #[serde(default)]
    pub chunked: bool,
    #[serde(default)]
    pub tls: bool,
    #[serde(default)]
    pub sni: Option<String>,
    #[serde(default)]
    pub alpn: Option<Vec<String>>,
    #[serde(default)]
    pub cert: Option<String>,
    #[serde(default)]
    pub tls_max: Option<String>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub src: Option<String>,
    #[serde(default)]
    pub proxy: Option<String>,
    #[serde(default = "seconds")]
    pub timeout: f64,
    #[serde(default)]
    pub wait: f64,
    #[serde(default)]
    pub jar: bool,
    #[serde(default)]
    pub fresh: bool,
    #[serde(default)]
    pub repeat: Option<usize>,
    #[serde(default)]
    pub concurrency: Option<usize>,
    #[serde(default)]
    pub mode: Option<Mode>,
    #[serde(default)]
    pub tol: u32,
    #[serde(default)]
    pub time: bool,
    #[serde(default)]
    pub hop: bool,
    #[serde(default)]
    pub anybackend: bool,
    #[serde(default)]
    pub nohits: bool,
    #[serde(default)]
    pub mask_cookies: bool,
}

/// What is compared of many requests.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Counts,
    Statuses,
    Distinct,
    Stable,
    Order,
}

/// What the client got, and what backends received.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    #[serde(default)]
    pub error: Option<Failure>,
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Stands for the plain answer of this echo.
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub body: Option<SeenBody>,
    #[serde(default)]
    pub trailers: Vec<(String, String)>,
    #[serde(default)]
    pub tls: Option<ServerTls>,
    #[serde(default)]
    pub cut: bool,
    #[serde(default)]
    pub ws: Option<String>,
    #[serde(default)]
    pub elapsed: Option<f64>,
    #[serde(default)]
    pub hits: Vec<SeenHit>,
    /// Of many requests: how many answers by `status backend`.
    #[serde(default)]
    pub counts: BTreeMap<String, u32>,
    /// Of many requests: index of the variation, status and backend of each.
    #[serde(default)]
    pub seq: Vec<(usize, u16, String)>,
}

/// How a request ended that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    Timeout,
    /// In the handshake.
    Tls,
    /// Without an answer.
    Closed,
    Protocol,
}

/// What a client learns in the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Common name of the certificate's subject.
    pub cn: String,
    pub alpn: Option<String>,
}

/// A body, or what stands for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenBody {
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub len: usize,
    #[serde(default)]
    pub sha256: String,
}

/// A request that a backend received.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenHit {
    pub name: String,
    pub method: String,
    pub target: String,
    #[serde(default = "http11_version")]
    pub version: String,
    /// Stands for the headers that ingress-nginx sends with each request.
    #[serde(default)]
    pub std: Option<Std>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body_len: i64,
    #[serde(default)]
    pub body_sha256: String,
    #[serde(default)]
    pub tls: bool,
    #[serde(default)]
    pub sni: Option<String>,
    #[serde(default)]
    pub cert: String,
}

/// What fills in the standard headers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Std {
    pub client: String,
    pub scheme: String,
    pub port: String,
    pub host: String,
}

/// A case with its family, in which addresses are still those of the recording.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub family: String,
    /// As recorded; for what has to be known before addresses are.
    pub case: Case,
    value: Value,
}

impl Recorded {
    /// Whether it is a fact to reproduce.
    pub fn counts(&self) -> bool {
        !self.case.informative && self.case.refused.is_none()
    }

    /// The case with the addresses of a network.
    pub fn at(&self, net: &Net) -> Case {
        let mut value = self.value.clone();
        net.map(&mut value);
        serde_json::from_value(value).expect("it could be read before")
    }
}

impl Exchange {
    /// The requests that it stands for, by variation; one where there is none.
    pub fn sends(&self) -> Vec<Send> {
        let mut plain = self.send.clone();
        let varied = match plain.remove("vary") {
            Some(Value::Array(varied)) => varied,
            _ => vec![Value::Object(Map::new())],
        };
        let with = |change: Value| {
            let mut send = plain.clone();
            send.extend(change.as_object().cloned().unwrap_or_default());
            serde_json::from_value(Value::Object(send)).expect("a request as README.md has it")
        };
        varied.into_iter().map(with).collect()
    }
}

/// The folder of the cases.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/ingress-nginx")
}

/// Reads a file of the folder.
pub fn yaml(name: &str) -> Value {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All cases, by family and in the order of their files.
pub fn all() -> Vec<Recorded> {
    let names = std::fs::read_dir(folder().join("cases")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names.iter().filter_map(|name| name.strip_suffix(".yaml")).flat_map(of_family).collect()
}

fn of_family(family: &str) -> Vec<Recorded> {
    let Value::Object(mut file) = yaml(&format!("cases/{family}.yaml")) else {
        panic!("{family} has no cases")
    };
    let Some(Value::Array(cases)) = file.remove("cases") else { panic!("{family} has no cases") };
    let read = |value: Value| {
        let case = serde_json::from_value(value.clone())
            .unwrap_or_else(|error| panic!("{family}: {}: {error}", value["id"]));
        Recorded { family: family.to_owned(), case, value }
    };
    cases.into_iter().map(read).collect()
}

fn default_variant() -> String {
    DEFAULT.into()
}

fn root() -> String {
    "/".into()
}

fn get() -> String {
    "GET".into()
}

fn http11() -> String {
    "1.1".into()
}

fn http11_version() -> String {
    "HTTP/1.1".into()
}

fn seconds() -> f64 {
    SECONDS
}

fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}
