//! Backends that speak HTTP/2: any request is answered with one message and trailers, as gRPC has them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::task::JoinSet;

use super::Backend;
use crate::wire::{Header, Stream, value};

pub(super) async fn serve(backend: Backend, stream: impl Stream + 'static) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(answer(backend.clone(), request, respond));
    }
}

async fn answer(
    backend: Backend,
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut from) = request.into_parts();
    let mut body = Vec::new();
    while let Some(data) = from.data().await {
        let data = data?;
        from.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut headers: Vec<Header> = vec![("Host".into(), authority)];
    headers.extend(head.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    }));
    let target = head.uri.path_and_query().map_or_else(|| "*".to_owned(), ToString::to_string);
    let line = [head.method.to_string(), target, "HTTP/2.0".to_owned()];
    backend.hits.open(&backend, line, &headers).complete(&body);

    let wait = value(&headers, "x-want-sleep").and_then(|text| text.parse().ok()).unwrap_or_default();
    tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    let status = value(&headers, "x-want-status").and_then(|text| text.parse::<u16>().ok()).unwrap_or(200);
    let head = Response::builder()
        .status(status)
        .header("content-type", "application/grpc")
        .header("x-backend", backend.name.as_ref())
        .body(())
        .expect("each part is a word");
    let mut to = respond.send_response(head, false)?;
    let message = format!("echo {}", backend.name);
    let length = u32::try_from(message.len()).expect("it is short");
    let data = [&[0], length.to_be_bytes().as_slice(), message.as_bytes()].concat();
    to.send_data(data.into(), false)?;
    let mut trailers = HeaderMap::new();
    let code = value(&headers, "x-want-grpc-status").unwrap_or("0");
    trailers.insert("grpc-status", code.parse().expect("a number"));
    trailers.insert("grpc-message", format!("from {}", backend.name).parse().expect("a name"));
    to.send_trailers(trailers)
}
