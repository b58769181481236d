//! Sockets that listen.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use portcullis_routing::Transport;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that wait for accept, of one socket; the kernel has a limit of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The size in bytes of the receive buffer of a UDP socket. The kernel grants `net.core.rmem_max` at most.
const DATAGRAMS: usize = 4 << 20;

/// A socket of a listener.
#[derive(Debug)]
pub(crate) enum Bound {
    /// Accepts connections.
    Tcp(TcpListener),
    /// Receives datagrams.
    Udp(UdpSocket),
}

/// As many sockets of one address as there are worker threads. None of them is ours yet.
///
/// # Errors
/// Where the address cannot be bound; sockets of other processes count, those that would share the port too.
pub(super) fn bind(address: SocketAddr, transport: Transport, count: usize) -> io::Result<Vec<Bound>> {
    let one = |shared| match transport {
        Transport::Tcp => listen(address, shared).map(Bound::Tcp),
        Transport::Udp => receive(address, shared).map(Bound::Udp),
    };
    // With SO_REUSEPORT alone another process of this user could hold the port, and get a part of the connections.
    drop(one(false)?);
    (0..count).map(|_| one(true)).collect()
}

fn receive(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    // SO_REUSEADDR is not set: with it, other sockets could bind the same UDP address.
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(DATAGRAMS);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a port that was closed may still be there.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)),
    )?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Says what is wrong, and what can be done.
pub(super) fn explain(port: u16, address: SocketAddr, error: &io::Error) -> String {
    let number = address.port();
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "port {port}: permission denied to bind {address}; ports below 1024 need the capability \
             NET_BIND_SERVICE, or choose a port offset"
        ),
        io::ErrorKind::AddrInUse => {
            format!(
                "port {port}: {address} is in use by another process (`ss -lntup 'sport = :{number}'` tells which)"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("port {port}: {} is not an address of this machine", address.ip())
        }
        _ => format!("port {port}: cannot bind {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn each_worker_gets_a_socket_of_the_same_address() {
        let address = free();
        for transport in [Transport::Tcp, Transport::Udp] {
            let sockets = bind(address, transport, 3).unwrap();
            assert_eq!(sockets.len(), 3);
            assert!(sockets.iter().all(|socket| match socket {
                Bound::Tcp(socket) => socket.local_addr().unwrap() == address,
                Bound::Udp(socket) => socket.local_addr().unwrap() == address,
            }));
        }
    }

    #[test]
    fn accepted_connections_inherit_the_options() {
        let address = free();
        let socket = listen(address, true).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let accepted = loop {
            match socket.accept() {
                Ok((accepted, _)) => break accepted,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(accepted.nodelay().unwrap());
        assert!(socket2::SockRef::from(&accepted).keepalive().unwrap());
    }

    #[test]
    fn a_port_of_somebody_else_is_not_shared() {
        let address = free();
        for shared in [false, true] {
            let _others = (listen(address, shared).unwrap(), receive(address, shared).unwrap());
            for transport in [Transport::Tcp, Transport::Udp] {
                let error = bind(address, transport, 2).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "shared by the other: {shared}");
                let text = explain(80, address, &error);
                assert!(
                    text.starts_with("port 80: ") && text.contains("in use by another process"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn connections_that_are_left_do_not_keep_the_port() {
        let address = free();
        let socket = listen(address, true).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let accepted = loop {
            if let Ok((accepted, _)) = socket.accept() {
                break accepted;
            }
        };
        drop(socket);
        assert!(bind(address, Transport::Tcp, 2).is_ok());
        drop(accepted);
    }

    #[test]
    fn every_problem_names_the_port_and_what_to_do() {
        for (kind, want) in [
            (io::ErrorKind::PermissionDenied, "NET_BIND_SERVICE"),
            (io::ErrorKind::AddrNotAvailable, "192.0.2.1 is not an address of this machine"),
            (io::ErrorKind::Unsupported, "cannot bind 192.0.2.1:1080"),
        ] {
            let text = explain(80, "192.0.2.1:1080".parse().unwrap(), &kind.into());
            assert!(text.starts_with("port 80: ") && text.contains(want), "{text}");
        }
    }

    fn free() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }
}
