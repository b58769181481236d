//! TCP ports whose clients send a PROXY protocol header: which peers may send one, and which address counts.

// Clippy knows tests by their attribute; their helpers have none.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, sync::Arc};

use portcullis_routing::Table;
use tokio::net::{TcpSocket, TcpStream};

use crate::{
    streams::{Peer, ends, passes, receives, send},
    support::{
        client::{connect, is_closed},
        site::{tcp, to},
        start_with, within,
    },
};

/// A table with one TCP port that requires PROXY headers.
fn proxied(port: u16, peer: &Peer) -> Table {
    let mut table = tcp(port, to(peer.address()));
    let of_port = table.ports.values_mut().next().unwrap();
    Arc::get_mut(of_port).unwrap().proxy_protocol = true;
    table
}

fn header(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 50000 5432\r\n").into_bytes()
}

async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    within(socket.connect(to)).await.unwrap()
}

#[tokio::test]
async fn a_proxy_header_of_an_untrusted_peer_closes_the_connection() {
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xc3\x50\x01\xbb";
    for pieces in [vec![header("192.0.2.7")], vec![b"PRO".to_vec(), b"XY TCP4 ".to_vec()], vec![V2.to_vec()]]
    {
        let trusted = vec![("192.0.2.0".parse().unwrap(), 24)];
        let proxy = start_with(|options| options.live.port_proxies = trusted);
        let (port, peer) = (proxy.port(), Peer::start().await);
        proxy.serve_http(proxied(port, &peer)).await;
        let mut client = connect(proxy.at(port)).await;
        let mut up = peer.accept().await;
        for (n, piece) in pieces.iter().enumerate() {
            send(&mut client, piece).await;
            if n + 1 < pieces.len() {
                receives(&mut up, piece).await;
            }
        }
        assert!(is_closed(&mut client).await && is_closed(&mut up).await, "{pieces:?}");
        ends(&proxy, "tcp", "proxy-header").await;
        // Other bytes are passed on, as from any client without a load balancer.
        let mut client = connect(proxy.at(port)).await;
        let mut up = peer.accept().await;
        passes(&mut client, &mut up, b"P").await;
        passes(&mut client, &mut up, b"ROXIMITY").await;
        passes(&mut client, &mut up, b"PROXY in the middle").await;
    }
}

#[tokio::test]
async fn a_client_that_anybody_can_claim_to_be_is_counted_by_the_address_of_its_socket() {
    let everybody = vec![("0.0.0.0".parse().unwrap(), 0)];
    let proxy = start_with(|options| {
        options.live.port_proxies = everybody;
        options.live.connections.client = Some(1);
    });
    let (port, peer) = (proxy.port(), Peer::start().await);
    proxy.serve_http(proxied(port, &peer)).await;
    let mut attacker = connect_from([127, 0, 0, 2], proxy.at(port)).await;
    send(&mut attacker, &[&header("127.0.0.3")[..], b"held"].concat()).await;
    receives(&mut peer.accept().await, b"held").await;
    let mut victim = connect_from([127, 0, 0, 3], proxy.at(port)).await;
    send(&mut victim, &[&header("127.0.0.3")[..], b"own"].concat()).await;
    let mut up = within(peer.accept()).await;
    receives(&mut up, b"own").await;
    let mut another = connect_from([127, 0, 0, 2], proxy.at(port)).await;
    send(&mut another, &header("192.0.2.7")).await;
    assert!(is_closed(&mut another).await, "the limit applies to the attacker");
}

#[tokio::test]
async fn a_client_behind_a_named_proxy_is_counted_by_the_address_in_the_header() {
    let named = vec![("127.0.0.0".parse().unwrap(), 8)];
    let proxy = start_with(|options| {
        options.live.port_proxies = named;
        options.live.connections.client = Some(1);
    });
    let (port, peer) = (proxy.port(), Peer::start().await);
    proxy.serve_http(proxied(port, &peer)).await;
    let mut held = Vec::new();
    for client in ["192.0.2.7", "192.0.2.8"] {
        let mut tcp = connect(proxy.at(port)).await;
        send(&mut tcp, &[&header(client)[..], b"hello"].concat()).await;
        let mut up = peer.accept().await;
        receives(&mut up, b"hello").await;
        held.push((tcp, up));
    }
    let mut again = connect(proxy.at(port)).await;
    send(&mut again, &header("192.0.2.7")).await;
    assert!(is_closed(&mut again).await);
}
