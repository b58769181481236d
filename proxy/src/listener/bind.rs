//! Sockets that listen.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
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
    // The address that each datagram was sent to, which the answer has to come from. Set before the socket is bound: of a
    // datagram that arrives earlier, Linux does not record the address.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        IpAddr::V6(ip) if ip.is_unspecified() => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
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
    use std::{
        io::IoSliceMut,
        net::{Ipv4Addr, Ipv6Addr, TcpStream},
        os::fd::AsRawFd,
    };

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, getsockopt, recvmsg};

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

    /// Whatever time passes before a worker serves it.
    #[test]
    fn a_socket_of_all_addresses_reports_the_destination_of_its_first_datagram() {
        let bind = |ip, count| {
            // A port that is free for TCP on one address may be in use here.
            let attempts = (0..10).map(|_| free().port());
            attempts
                .map(|port| (port, bind(SocketAddr::new(ip, port), Transport::Udp, count)))
                .find_map(|(port, bound)| Some((port, bound.ok()?)))
        };
        let (port, sockets) = bind(Ipv4Addr::UNSPECIFIED.into(), 2).unwrap();
        for client in 0..20 {
            let to = SocketAddr::from(([127, 9, 8, client], port));
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[client], to).unwrap();
        }
        let mut received = 0;
        for socket in &sockets {
            let Bound::Udp(socket) = socket else { panic!("{socket:?}") };
            while let Some((byte, to)) = destination(socket) {
                assert_eq!(to, [127, 9, 8, byte]);
                received += 1;
            }
        }
        assert_eq!(received, 20);
        let (_, sockets) = bind(Ipv6Addr::UNSPECIFIED.into(), 1).unwrap();
        let Bound::Udp(socket) = &sockets[0] else { panic!("{sockets:?}") };
        assert!(getsockopt(socket, sockopt::Ipv6RecvPacketInfo).unwrap());
    }

    /// Receives a datagram of one byte; returns the byte and the address that the datagram was sent to.
    fn destination(socket: &UdpSocket) -> Option<(u8, [u8; 4])> {
        let (mut byte, mut space) = ([0], nix::cmsg_space!(nix::libc::in_pktinfo));
        let mut slices = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::empty();
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
        let to = received.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_spec_dst.s_addr.to_ne_bytes()),
            _ => None,
        });
        Some((byte[0], to.unwrap()))
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
