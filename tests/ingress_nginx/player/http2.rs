//! A request over HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, Request as HttpRequest};

use super::{Answer, Request};
use crate::{
    case::Failure,
    wire::{Header, Stream},
};

pub(super) async fn request(request: &Request<'_>, stream: impl Stream + 'static) -> Result<Answer, Failure> {
    let (client, connection) = h2::client::handshake(stream).await.map_err(failure)?;
    // The connection's own end is seen by its stream.
    let driver = tokio::spawn(connection);
    let answer = exchange(request, client).await;
    driver.abort();
    answer
}

async fn exchange(request: &Request<'_>, client: h2::client::SendRequest<Bytes>) -> Result<Answer, Failure> {
    let mut client = client.ready().await.map_err(failure)?;
    let end = request.body.is_none();
    let (response, mut to) = client.send_request(head(request)?, end).map_err(failure)?;
    if let Some(body) = &request.body {
        to.send_data(body.clone().into(), true).map_err(failure)?;
    }
    let (head, mut from) = response.await.map_err(failure)?.into_parts();
    let mut answer =
        Answer { status: head.status.as_u16(), headers: headers(&head.headers), ..Answer::default() };
    while let Some(data) = from.data().await {
        let Ok(data) = data else {
            answer.cut = true;
            return Ok(answer);
        };
        let _ = from.flow_control().release_capacity(data.len());
        answer.body.extend_from_slice(&data);
    }
    if let Ok(Some(trailers)) = from.trailers().await {
        answer.trailers = headers(&trailers);
    }
    Ok(answer)
}

fn head(request: &Request<'_>) -> Result<HttpRequest<()>, Failure> {
    let send = request.send;
    let scheme = if send.tls { "https" } else { "http" };
    let uri = http::Uri::builder()
        .scheme(scheme)
        .authority(request.host.unwrap_or_default())
        .path_and_query(send.target.as_str())
        .build();
    let mut head = HttpRequest::builder().method(send.method.as_str()).version(http::Version::HTTP_2);
    for (name, value) in &request.headers {
        head = head.header(name.to_ascii_lowercase(), value);
    }
    head.uri(uri.map_err(|_| Failure::Protocol)?).body(()).map_err(|_| Failure::Protocol)
}

fn headers(map: &HeaderMap) -> Vec<Header> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn failure(error: h2::Error) -> Failure {
    if error.is_io() || error.is_reset() || error.is_go_away() { Failure::Closed } else { Failure::Protocol }
}
