//! Requests and their answers.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    cut,
    faults::{Answer, Request},
    store::{Store, Written},
    watch,
};

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a request asks for.
pub(super) struct Asked {
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    status: bool,
    pub(super) query: HashMap<String, String>,
    /// Of each object its metadata alone.
    metadata_only: bool,
    /// Whether a patch is a merge patch.
    is_merge: bool,
}

pub(super) async fn answer<B>(store: &Arc<Store>, request: http::Request<B>) -> io::Result<Response<Body>>
where
    B: http_body_util::BodyExt<Data = Bytes>,
{
    if store.down.load(Ordering::Acquire) {
        return Err(cut());
    }
    let (method, uri) = (request.method().as_str().to_owned(), request.uri().clone());
    let path = uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
    let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let metadata_only = accept.contains("as=PartialObjectMetadata");
    let content = request.headers().get("content-type").and_then(|content| content.to_str().ok());
    let is_merge = content == Some("application/merge-patch+json");
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let fault = store.faults.of(&method, &path);
    let carry_out = || match asked(&path, metadata_only) {
        Some(asked) => route(store, &method, Asked { is_merge, ..asked }, body.clone()),
        None => not_known(),
    };
    let response = match fault {
        Some(Answer::Late) => {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            Ok(carry_out())
        }
        Some(Answer::Stall) => std::future::pending().await,
        Some(Answer::Cut) => Err(cut()),
        Some(Answer::CutAfter) => {
            drop(carry_out());
            Err(cut())
        }
        Some(Answer::Status(code)) => Ok(failure(code, "Fault", "asked for by the test")),
        Some(Answer::TooMany) => Ok(too_many()),
        None => Ok(carry_out()),
    };
    let status = response.as_ref().map_or(0, |response| response.status().as_u16());
    store.faults.note(Request { method, path, status, body });
    response
}

fn asked(path: &str, metadata_only: bool) -> Option<Asked> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let (version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] | ["apis", _, version, rest @ ..] => (*version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, status) = match rest {
        [plural] => (*plural, None, false),
        [plural, name] => (*plural, Some((*name).to_owned()), false),
        [plural, name, "status"] => (*plural, Some((*name).to_owned()), true),
        _ => return None,
    };
    Some(Asked {
        version: version.to_owned(),
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        name,
        status,
        query: form(query),
        metadata_only,
        is_merge: false,
    })
}

fn form(query: &str) -> HashMap<String, String> {
    let decode = |text: &str| {
        let bytes = text.replace('+', " ").into_bytes();
        let mut plain = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let code = (bytes[at] == b'%').then(|| std::str::from_utf8(&bytes[at + 1..at + 3]).unwrap());
            plain.push(code.map_or(bytes[at], |code| u8::from_str_radix(code, 16).unwrap()));
            at += if code.is_some() { 3 } else { 1 };
        }
        String::from_utf8(plain).unwrap()
    };
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decode(k), decode(v))).collect()
}

fn route(store: &Arc<Store>, method: &str, asked: Asked, body: Value) -> Response<Body> {
    let Asked { version, plural, namespace, name, status, query, .. } = &asked;
    if store.is_absent(version, plural) {
        return not_known();
    }
    let verb = match (method, name) {
        ("GET", None) if query.contains_key("watch") => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        _ => "delete",
    };
    let resource = if *status { format!("{plural}/status") } else { plural.clone() };
    if store.faults.is_denied(verb, &resource) {
        let who = "User \"system:serviceaccount:infra:portcullis\"";
        return failure(403, "Forbidden", &format!("{resource} is forbidden: {who} cannot {verb} it"));
    }
    let manager = query.get("fieldManager").map_or("unknown", String::as_str);
    match verb {
        "watch" => watch::watch(store, asked),
        "list" => list(store, &asked),
        "get" => match store.get(plural, namespace, name.as_deref().unwrap_or_default()) {
            Some(object) => json_answer(200, &asked.shown(object)),
            None => not_found(),
        },
        "create" if plural == "events" => event(store, body),
        "create" => written(store.create(manager, plural, body)),
        "update" => written(store.replace(manager, plural, body, *status)),
        "patch" if asked.is_merge => {
            written(store.merge(plural, namespace, name.as_deref().unwrap_or_default(), &body, *status))
        }
        "patch" => {
            let force = query.get("force").is_some_and(|force| force == "true");
            written(store.patch(manager, force, plural, body))
        }
        _ => match store.delete(plural, namespace, name.as_deref().unwrap_or_default()) {
            Some(object) => json_answer(200, &object),
            None => not_found(),
        },
    }
}

/// Pages of `limit`; `continue` names the version and the last one of the page before.
fn list(store: &Store, asked: &Asked) -> Response<Body> {
    let (now, items) = store.list(&asked.plural, &asked.namespace);
    let token = asked.query.get("continue").and_then(|token| token.split_once('|'));
    let version = token.map_or(now, |(version, _)| version.parse().unwrap());
    if store.is_forgotten(version) {
        return json_answer(410, &watch::expired());
    }
    let place = |object: &Value| {
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", text("namespace"), text("name"))
    };
    let is_later = |object: &Value| token.is_none_or(|(_, last)| place(object).as_str() > last);
    let mut items: Vec<_> = items.into_iter().filter(|o| asked.selects(o)).collect();
    items.sort_by_key(place);
    items.retain(is_later);
    let limit = asked.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if items.len() > limit {
        metadata["continue"] = format!("{version}|{}", place(&items[limit - 1])).into();
        items.truncate(limit);
    }
    let items: Vec<_> = items.into_iter().map(|object| asked.shown_in_list(object)).collect();
    json_answer(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

impl Asked {
    /// Whether the selectors take an object.
    pub(super) fn selects(&self, object: &Value) -> bool {
        self.selects_fields(object) && self.selects_labels(object)
    }

    fn selects_labels(&self, object: &Value) -> bool {
        let selector = self.query.get("labelSelector").map_or("", String::as_str);
        selector.split(',').filter(|part| !part.is_empty()).all(|part| {
            let (label, value) = part.split_once('=').unwrap();
            object["metadata"]["labels"][label] == value.trim_start_matches('=')
        })
    }

    fn selects_fields(&self, object: &Value) -> bool {
        let selector = self.query.get("fieldSelector").map_or("", String::as_str);
        selector.split(',').filter(|part| !part.is_empty()).all(|part| {
            let (field, value) = part.split_once('=').unwrap();
            let field = field.trim_end_matches('=');
            let (field, is_not) = field.strip_suffix('!').map_or((field, false), |field| (field, true));
            let live = match field {
                "metadata.name" => &object["metadata"]["name"],
                "type" if self.plural == "secrets" => &object["type"],
                other => panic!("no field selector {other} for {}", self.plural),
            };
            (live.as_str().unwrap_or_default() == value) != is_not
        })
    }

    /// An object as it was asked for.
    pub(super) fn shown(&self, object: Value) -> Value {
        if !self.metadata_only {
            return object;
        }
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
    }

    /// An item of a list does not say what it is.
    fn shown_in_list(&self, object: Value) -> Value {
        let mut shown = self.shown(object);
        if let (false, Some(fields)) = (self.metadata_only, shown.as_object_mut()) {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        shown
    }
}

/// As `events.k8s.io/v1` validates them.
fn event(store: &Store, object: Value) -> Response<Body> {
    let length = |name: &str| object[name].as_str().map_or(0, str::len);
    let named = object["metadata"]["name"].as_str().map_or(0, str::len);
    let valid = (1..=253).contains(&named)
        && length("note") <= 1024
        && (1..=128).contains(&length("reason"))
        && (1..=128).contains(&length("action"))
        && (1..=128).contains(&length("reportingInstance"))
        && length("reportingController") > 0
        && length("eventTime") > 0
        && matches!(object["type"].as_str(), Some("Normal" | "Warning"))
        && object["metadata"]["namespace"] == *object["regarding"]["namespace"].as_str().unwrap_or("default");
    if !valid {
        return failure(422, "Invalid", "not an Event as the API has it");
    }
    written(store.create("unknown", "events", object))
}

fn written(written: Written) -> Response<Body> {
    match written {
        Written::Done(object) => json_answer(200, &object),
        Written::Conflict(why) => failure(409, "Conflict", &why),
        Written::Exists => failure(409, "AlreadyExists", "there is one"),
        Written::Missing => not_found(),
        Written::Refused(code, why) => {
            failure(code, if code == 500 { "InternalError" } else { "Invalid" }, &why)
        }
    }
}

fn not_known() -> Response<Body> {
    failure(404, "NotFound", "the server could not find the requested resource")
}

fn not_found() -> Response<Body> {
    failure(404, "NotFound", "no such object")
}

fn too_many() -> Response<Body> {
    let text = Full::new(Bytes::from("Too many requests, please try again later.\n"));
    let mut response = Response::new(text.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert("retry-after", "1".parse().unwrap());
    response
}

pub(super) fn failure(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message});
    json_answer(code, &status)
}

fn json_answer(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}
