//! Datagrams, several with one system call, and the address that each was sent to.

use std::{
    array,
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
        sendmsg, setsockopt, sockopt,
    },
};
use tokio::{io::Interest, net::UdpSocket};

/// The most datagrams of one call.
const BATCH: usize = 32;
/// The same of a backend, of which there are many, each with few.
const BATCH_OF_BACKEND: usize = 8;
/// No datagram is longer.
const LONGEST: usize = 1 << 16;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Room for a batch. One for each thread: it is used between two waits alone.
struct Scratch {
    buffers: [Box<[u8]>; BATCH],
    headers: [Option<MultiHeaders<SockaddrStorage>>; Kind::COUNT],
}

/// What a socket's messages have in common. The kernel leaves the length of what it wrote (addresses, control messages) in the
/// headers, as the room that there is the next time: so each kind has headers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    v6: bool,
    /// Whether each message says which address it was sent to.
    asked: bool,
}

/// A datagram, for as long as it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'d> {
    pub(super) from: SocketAddr,
    /// The address that it was sent to, if that is not the socket's own.
    pub(super) to: Option<IpAddr>,
    pub(super) bytes: &'d [u8],
}

impl Kind {
    const COUNT: usize = 4;

    /// Makes a socket that listens tell which of its addresses was asked, if it has several.
    pub(super) fn of_listener(socket: &UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let kind = Self { v6: address.is_ipv6(), asked: address.ip().is_unspecified() };
        match kind {
            Self { asked: false, .. } => {}
            Self { v6: false, .. } => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
            Self { v6: true, .. } => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        Ok(kind)
    }

    /// Of a socket that is connected to this backend.
    pub(super) fn of_backend(backend: SocketAddr) -> Self {
        Self { v6: backend.is_ipv6(), asked: false }
    }

    fn index(self) -> usize {
        usize::from(self.v6) | usize::from(self.asked) << 1
    }

    fn headers(self) -> MultiHeaders<SockaddrStorage> {
        let control = match self {
            Self { asked: false, .. } => None,
            Self { v6: false, .. } => Some(cmsg_space!(libc::in_pktinfo)),
            Self { v6: true, .. } => Some(cmsg_space!(libc::in6_pktinfo)),
        };
        MultiHeaders::preallocate(BATCH, control)
    }
}

impl Scratch {
    fn new() -> Self {
        Self { buffers: array::from_fn(|_| vec![0; LONGEST].into_boxed_slice()), headers: Default::default() }
    }
}

/// Takes what a listener has got, up to a batch. To be called again until it would block.
pub(super) fn receive(socket: &UdpSocket, kind: Kind, each: impl FnMut(Datagram<'_>)) -> io::Result<()> {
    receive_up_to(BATCH, socket, kind, each)
}

/// The same of what a backend has sent.
pub(super) fn receive_from_backend(
    socket: &UdpSocket,
    kind: Kind,
    each: impl FnMut(Datagram<'_>),
) -> io::Result<()> {
    receive_up_to(BATCH_OF_BACKEND, socket, kind, each)
}

fn receive_up_to(
    most: usize,
    socket: &UdpSocket,
    kind: Kind,
    mut each: impl FnMut(Datagram<'_>),
) -> io::Result<()> {
    socket.try_io(Interest::READABLE, || {
        SCRATCH.with_borrow_mut(|Scratch { buffers, headers }| {
            let headers = headers[kind.index()].get_or_insert_with(|| kind.headers());
            let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            let slices = slices.iter_mut().take(most);
            let received = recvmmsg(socket.as_raw_fd(), headers, slices, MsgFlags::MSG_DONTWAIT, None)?;
            let mut count = 0;
            for message in received {
                count += 1;
                if let Some(datagram) = datagram(&message) {
                    each(datagram);
                }
            }
            // Fewer than could be had: the socket is empty. The runtime would find that out by another call.
            if count < most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        })
    })
}

fn datagram<'m>(message: &'m RecvMsg<'_, 'm, SockaddrStorage>) -> Option<Datagram<'m>> {
    let from = address(message.address.as_ref()?)?;
    let to = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    // One without content is a datagram, too.
    Some(Datagram { from, to, bytes: message.iovs().next().unwrap_or_default() })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::from(*address));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
}

/// Sends a client a datagram, from the address that it had asked.
pub(super) fn reply(
    socket: &UdpSocket,
    to: SocketAddr,
    from: Option<IpAddr>,
    bytes: &[u8],
) -> io::Result<()> {
    let (v4, v6);
    let source = match from {
        None => None,
        Some(IpAddr::V4(ip)) => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            v4 = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: address };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        Some(IpAddr::V6(ip)) => {
            let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
            // The scope of a link-local address comes with the client's.
            v6 = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
    };
    let (bytes, to) = ([IoSlice::new(bytes)], SockaddrStorage::from(to));
    sendmsg(socket.as_raw_fd(), &bytes, source.as_slice(), MsgFlags::MSG_DONTWAIT, Some(&to))?;
    Ok(())
}
