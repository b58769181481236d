//! WebSocket: every message comes back (RFC 6455).

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::server::{Body, Peer, full, stopped};

/// The longest message that is taken.
const MAX_MESSAGE: usize = 1 << 20;

pub(super) fn asked_for(request: &Request<Incoming>) -> bool {
    request.headers().get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && request.headers().contains_key(CONNECTION)
}

pub(super) fn answer(mut request: Request<Incoming>, peer: &Arc<Peer>) -> Response<Body> {
    let mut response = match create_response_with_body(&request, || full("")) {
        Ok(response) => response,
        Err(error) => {
            let mut response = Response::new(full(format!("no WebSocket handshake: {error}\n")));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
    };
    if let Some(protocol) = first_protocol(&request) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    tokio::spawn(echo(hyper::upgrade::on(&mut request), peer.stopping.clone()));
    response
}

/// A client that offers subprotocols wants one of them (RFC 6455, section 4.1).
fn first_protocol(request: &Request<Incoming>) -> Option<HeaderValue> {
    let offered = request.headers().get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    offered.split(',').next()?.trim().parse().ok()
}

async fn echo(upgrade: OnUpgrade, mut stopping: watch::Receiver<bool>) {
    let Ok(stream) = upgrade.await else { return };
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await;
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            () = stopped(&mut stopping) => break,
        };
        // Pings and the closing handshake are answered by the library while it is read.
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
    // Whoever is gone already need not be told.
    let _ = socket.close(None).await;
}
