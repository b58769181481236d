//! ExternalAuth (HTTPExternalAuthFilter, experimental channel).

use http::{HeaderName, header};
use portcullis_routing::{
    path::replacement,
    step::{AuthProtocol, Change, HttpAuth},
};

use crate::{
    ir::route::{ExternalAuthFilter, InvalidRule},
    objects::{
        backend_object::object_ref,
        checks::{Checks, Path},
        invalid::not_served,
        wire::{ExternalAuth, ExternalAuthHttp, ExternalAuthProtocol as Protocol},
    },
};

/// The maximum number of headers that are named (`maxItems`).
const HEADERS: usize = 64;
/// The maximum length of `path`, in bytes (`maxLength`).
const PATH: usize = 1024;

pub(in crate::objects) fn read(
    filter: ExternalAuth,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<ExternalAuthFilter, InvalidRule> {
    let ExternalAuth { backend_ref: b, forward_body, grpc, http, protocol } = filter;
    let at_backend = at.field("backendRef");
    let backend = object_ref(b.group, b.kind, b.name, b.namespace, b.port, checks, &at_backend);
    for (field, of, is_there) in
        [("http", Protocol::Http, http.is_some()), ("grpc", Protocol::Grpc, grpc.is_some())]
    {
        match (of == protocol, is_there) {
            (true, false) => checks.error(&at.field(field), "is required by the protocol"),
            (false, true) => checks.error(&at.field(field), "must not be set for another protocol"),
            (true, true) | (false, false) => {}
        }
    }
    let protocol = match protocol {
        Protocol::Http => {
            by_http(http.unwrap_or_default(), checks, &at.field("http")).map(AuthProtocol::Http)
        }
        Protocol::Grpc => {
            let named = grpc.and_then(|grpc| grpc.allowed_headers).unwrap_or_default();
            header_names(&named, &ALWAYS_SENT, checks, &at.field("grpc").field("allowedHeaders"))
                .map(|request_headers| AuthProtocol::Grpc { request_headers })
        }
    };
    let max_size = forward_body.and_then(|body| body.max_size).unwrap_or_default();
    checks.range(max_size, 0, i64::from(i32::MAX), &at.field("forwardBody").field("maxSize"));
    let body = u32::try_from(max_size).unwrap_or_default();
    Ok(ExternalAuthFilter { backend, protocol: protocol?, body })
}

fn by_http(settings: ExternalAuthHttp, checks: &mut Checks, at: &Path<'_>) -> Result<HttpAuth, InvalidRule> {
    let ExternalAuthHttp { allowed_headers, allowed_response_headers, path } = settings;
    let (path, at_path) = (path.unwrap_or_default(), at.field("path"));
    checks.length(&path, 0..=PATH, &at_path);
    let prefix = path.trim_matches('/');
    // The client's path, which begins with a slash, follows it.
    let path_prefix = match prefix.is_empty() {
        true => Ok(Box::default()),
        false => match replacement(&format!("/{prefix}")) {
            Ok(path) if !path.contains('?') => Ok(path.into()),
            _ => not_served(&at_path, "is not a valid path", checks),
        },
    };
    let request_headers =
        header_names(&allowed_headers.unwrap_or_default(), &ALWAYS_SENT, checks, &at.field("allowedHeaders"));
    let answer_headers = header_names(
        &allowed_response_headers.unwrap_or_default(),
        &NEVER_TAKEN,
        checks,
        &at.field("allowedResponseHeaders"),
    );
    let is_named = |name: &HeaderName| !ALWAYS_SENT.contains(name);
    let request_headers = request_headers?.into_iter().filter(is_named);
    Ok(HttpAuth {
        path_prefix: path_prefix?,
        request_headers: request_headers.collect(),
        answer_headers: answer_headers?,
    })
}

/// The headers that a service that speaks HTTP gets, whether they are named or not.
const ALWAYS_SENT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION];
/// The headers that are not taken from the service's answer, whether they are named or not.
const NEVER_TAKEN: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// The headers that a list names. `may_be` can be named though no filter may change them. They stay in the list, because an
/// empty one stands for all headers.
fn header_names(
    list: &[String],
    may_be: &[HeaderName],
    checks: &mut Checks,
    at: &Path<'_>,
) -> Result<Box<[HeaderName]>, InvalidRule> {
    checks.entries(list.len(), 0..=HEADERS, at);
    checks.unique(list, at, |name| format!("{name} is duplicated"));
    let (mut names, mut refused) = (Vec::with_capacity(list.len()), None);
    for (i, text) in list.iter().enumerate() {
        // The API server takes any text here.
        let Ok(name) = HeaderName::try_from(text) else {
            refused = refused.or(not_served::<()>(&at.index(i), "is not a valid header name", checks).err());
            continue;
        };
        let checked = if may_be.contains(&name) { Ok(()) } else { Change::Add.check(&name) };
        match checked {
            Ok(()) if names.contains(&name) => {}
            Ok(()) => names.push(name),
            Err(forbidden) => {
                refused = refused.or(not_served::<()>(&at.index(i), forbidden.to_string(), checks).err());
            }
        }
    }
    refused.map_or(Ok(names.into()), Err)
}
