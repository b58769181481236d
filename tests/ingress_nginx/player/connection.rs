//! Connections to the proxy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    case::{Failure, Send, ServerTls},
    pki,
};

/// From a client's address; from 127.0.0.1 when there is none, which is where Linux connects to loopback from.
pub(super) async fn open(src: Option<&str>, at: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(src) = src {
        let ip: IpAddr = src.parse().expect("the address of a client");
        socket.bind(SocketAddr::new(ip, 0)).unwrap_or_else(|error| panic!("from {src}: {error}"));
    }
    let tcp = socket.connect(at).await.map_err(|_| Failure::Closed)?;
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

pub(super) async fn write(tcp: &mut TcpStream, bytes: &[u8]) -> Result<(), Failure> {
    tcp.write_all(bytes).await.map_err(|_| Failure::Closed)
}

/// A TLS handshake, and what the server said in it.
pub(super) async fn handshake(
    send: &Send,
    host: &str,
    tcp: TcpStream,
) -> Result<(TlsStream<TcpStream>, ServerTls), Failure> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    // An address is never sent as a server's name, and stands for none here.
    let name =
        ServerName::try_from(name.to_owned()).unwrap_or(ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let connector = TlsConnector::from(pki::client(send));
    let stream = connector.connect(name, tcp).await.map_err(|_| Failure::Tls)?;
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    let tls = ServerTls {
        cn: certificate.map(pki::common_name).unwrap_or_default(),
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
    };
    if send.http == "2" && tls.alpn.as_deref() != Some("h2") {
        return Err(Failure::Tls);
    }
    Ok((stream, tls))
}
