//! Requests and their answers.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Response, StatusCode, body::Frame, body::Incoming};
use serde_json::{Value, json};

use super::store::{Answer, Request, Store, Written, expired};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a path names.
struct Target {
    plural: String,
    namespace: String,
    name: Option<String>,
    status: bool,
}

pub(super) async fn answer(store: &Arc<Store>, request: hyper::Request<Incoming>) -> Response<Body> {
    let (method, uri) = (request.method().as_str().to_owned(), request.uri().to_string());
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let response = match store.fault_of(&method, &uri) {
        Some(Answer::Stall) => std::future::pending().await,
        Some(Answer::Status(code)) => failure(code, "Fault", "asked for by the test"),
        None => route(store, &method, &uri, &body),
    };
    store.note(Request { method, path: uri, status: response.status().as_u16() });
    response
}

fn route(store: &Arc<Store>, method: &str, uri: &str, body: &[u8]) -> Response<Body> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let Some(target) = target(path).filter(|target| !store.is_absent(&target.plural)) else {
        return failure(404, "NotFound", "the server could not find the requested resource");
    };
    let query: HashMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let object = || serde_json::from_slice::<Value>(body).unwrap();
    match (method, &target.name) {
        ("GET", None) if query.contains_key("watch") => watch(store, target, &query),
        ("GET", None) => {
            let (version, items) = store.list(&target.plural, &target.namespace);
            let metadata = json!({"resourceVersion": version.to_string()});
            json_answer(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
        }
        ("GET", Some(name)) => match store.get(&target.plural, &target.namespace, name) {
            Some(object) => json_answer(200, &object),
            None => failure(404, "NotFound", "no such object"),
        },
        ("POST", None) => written(store.create(&target.plural, object())),
        ("PUT", Some(_)) => written(store.replace(&target.plural, object(), target.status)),
        _ => failure(405, "MethodNotAllowed", "not served here"),
    }
}

fn target(path: &str) -> Option<Target> {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, status) = match rest {
        [plural] => (plural, None, false),
        [plural, name] => (plural, Some((*name).to_owned()), false),
        [plural, name, "status"] => (plural, Some((*name).to_owned()), true),
        _ => return None,
    };
    Some(Target { plural: (*plural).to_owned(), namespace: namespace.to_owned(), name, status })
}

fn written(written: Written) -> Response<Body> {
    match written {
        Written::Done(object) => json_answer(200, &object),
        Written::Conflict => failure(409, "Conflict", "the object has been modified"),
        Written::Exists => failure(409, "AlreadyExists", "there is one"),
        Written::Missing => failure(404, "NotFound", "no such object"),
    }
}

/// Ends when the store ends its watches; an old version is an event of its own.
fn watch(store: &Arc<Store>, target: Target, query: &HashMap<&str, &str>) -> Response<Body> {
    let asked = query.get("resourceVersion").and_then(|version| version.parse::<u64>().ok());
    let mut first = Vec::new();
    let mut version = asked.unwrap_or_default();
    if query.contains_key("sendInitialEvents") {
        if !store.streams() {
            return failure(422, "Invalid", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch");
        }
        let (now, items) = store.list(&target.plural, &target.namespace);
        first.extend(items.into_iter().map(|object| line("ADDED", &object)));
        let end = json!({"metadata": {"resourceVersion": now.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}}});
        first.push(line("BOOKMARK", &end));
        version = now;
    }
    let news = store.news.subscribe();
    let ended = news.borrow().1;
    let later = stream::unfold((Arc::clone(store), news, version, false), move |(store, mut news, version, over)| {
        let target = (target.plural.clone(), target.namespace.clone());
        async move {
            if over {
                return None;
            }
            loop {
                if news.borrow_and_update().1 != ended {
                    return None;
                }
                let Some(events) = store.since(version) else {
                    return Some((line("ERROR", &expired()), (store, news, version, true)));
                };
                if let Some(last) = events.last().map(|event| event.version) {
                    let is_in = |o: &Value| target.1.is_empty() || o["metadata"]["namespace"] == *target.1;
                    let ours = events.iter().filter(|e| e.plural == target.0 && is_in(&e.object));
                    let text: String = ours.map(|event| line(event.kind, &event.object)).collect();
                    return Some((text, (store, news, last, false)));
                }
                news.changed().await.ok()?;
            }
        }
    });
    let frames = stream::iter(first).chain(later).map(|text| Ok(Frame::data(Bytes::from(text))));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn failure(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message});
    json_answer(code, &status)
}

fn json_answer(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}
