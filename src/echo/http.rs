//! Plain HTTP: the description of the request as JSON, or the body that the query asks for.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use super::{
    Description, Identity,
    description::BodyDescription,
    knobs::{Content, Knobs},
};
use crate::server::{Body, Peer, full};

/// How much of a body is told; all of it is read and counted.
const MAX_TEXT: usize = 64 * 1024;
/// The alphabet again and again, so that a piece that was lost or came twice shows.
static PATTERN: [u8; 26 * 630] = pattern();

pub(super) async fn answer(request: Request<Incoming>, peer: &Peer, identity: &Identity) -> Response<Body> {
    let knobs = match Knobs::parse(request.uri().query().unwrap_or_default()) {
        Ok(knobs) => knobs,
        Err(error) => {
            return json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": error.to_string() }));
        }
    };
    tokio::time::sleep(knobs.delay).await;
    let mut response = match knobs.content {
        Content::RequestBody => streamed_back(request),
        Content::Pattern { size, chunks, interval } => patterned(size, chunks, interval),
        Content::Description => {
            let (head, body) = request.into_parts();
            match read(body).await {
                Ok(body) => json(StatusCode::OK, &Description::of(&head, body, peer, identity)),
                Err(error) => {
                    json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": error.to_string() }))
                }
            }
        }
    };
    if let Some(status) = knobs.status {
        *response.status_mut() = status;
    }
    response.headers_mut().extend(knobs.headers);
    response
}

async fn read(mut body: Incoming) -> Result<BodyDescription, hyper::Error> {
    let (mut bytes, mut kept) = (0_u64, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        bytes += data.len() as u64;
        let room = (MAX_TEXT + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    let text = Some(kept).filter(|kept| !kept.is_empty() && kept.len() <= MAX_TEXT);
    Ok(BodyDescription { bytes, text: text.and_then(|kept| String::from_utf8(kept).ok()) })
}

fn streamed_back(request: Request<Incoming>) -> Response<Body> {
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let mut response = Response::new(request.into_body().map_err(Into::into).boxed_unsync());
    let fallback = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, content_type.unwrap_or(fallback));
    response
}

/// With its length where it comes in one go, without where it comes in chunks.
fn patterned(size: u64, chunks: Option<u64>, interval: Duration) -> Response<Body> {
    let piece = size.div_ceil(chunks.unwrap_or(1)).max(1);
    let pieces = stream::unfold(0, move |sent: u64| async move {
        if sent >= size {
            return None;
        }
        // Pieces end at multiples of their size, frames where the pattern ends.
        if sent > 0 && sent.is_multiple_of(piece) {
            tokio::time::sleep(interval).await;
        }
        let end = size.min((sent / piece + 1) * piece);
        let start = (sent % PATTERN.len() as u64) as usize;
        let length = (end - sent).min((PATTERN.len() - start) as u64);
        let data = Bytes::from_static(&PATTERN[start..start + length as usize]);
        Some((Ok(Frame::data(data)), sent + length))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if chunks.is_none() {
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
    }
    response
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    let mut text = serde_json::to_vec_pretty(value).expect("our own types are JSON");
    text.push(b'\n');
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const fn pattern() -> [u8; 26 * 630] {
    let mut bytes = [0; 26 * 630];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = b'a' + (index % 26) as u8;
        index += 1;
    }
    bytes
}
