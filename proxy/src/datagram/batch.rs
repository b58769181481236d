//! Receives several datagrams with one system call, each with the address that it was sent to, and sends replies from
//! that address.

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
        sendmsg,
    },
};
use tokio::{io::Interest, net::UdpSocket};

/// The maximum number of datagrams that one call receives from a listener's socket.
const BATCH: usize = 32;
/// The maximum number of datagrams that one call receives from a flow's socket. There are many such sockets, and each
/// receives few datagrams.
const BATCH_OF_BACKEND: usize = 8;
/// The size of a receive buffer in bytes. No datagram is longer.
const LONGEST: usize = 1 << 16;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// The buffers and headers for one batch. One of each thread is enough, because no task waits while it uses them.
struct Scratch {
    buffers: [Box<[u8]>; BATCH],
    headers: [Option<MultiHeaders<SockaddrStorage>>; Kind::COUNT],
}

/// What the messages of a socket have in common. The kernel overwrites the buffer sizes in the headers with the lengths
/// of the address and the control messages that it wrote, and the next call takes these lengths as the buffer sizes. So
/// each kind has headers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    v6: bool,
    /// Whether each message carries the address that it was sent to.
    asked: bool,
}

/// A received datagram, whose bytes are borrowed from the thread's buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'d> {
    pub(super) from: SocketAddr,
    /// Our address that the datagram was sent to, if the socket is bound to several.
    pub(super) to: Option<IpAddr>,
    pub(super) bytes: &'d [u8],
}

impl Kind {
    const COUNT: usize = 4;

    /// Returns the kind of a listener's socket. If the socket is bound to several addresses, the kernel reports which of
    /// them each datagram was sent to: the socket has had this option since before it was bound.
    pub(super) fn of_listener(socket: &UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { v6: address.is_ipv6(), asked: address.ip().is_unspecified() })
    }

    /// Returns the kind of a socket that is connected to this backend.
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

/// Receives up to [`BATCH`] datagrams from a listener's socket. To be called again until it returns `WouldBlock`.
pub(super) fn receive(socket: &UdpSocket, kind: Kind, each: impl FnMut(Datagram<'_>)) -> io::Result<()> {
    receive_up_to(BATCH, socket, kind, each)
}

/// Receives up to [`BATCH_OF_BACKEND`] datagrams from a flow's socket. To be called again until it returns
/// `WouldBlock`.
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
            // Fewer datagrams than the batch has room for: the socket is empty. `WouldBlock` saves the runtime another
            // call to find that out.
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
    // A datagram may be empty.
    Some(Datagram { from, to, bytes: message.iovs().next().unwrap_or_default() })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::from(*address));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
}

/// Sends a datagram to a client from `from`, the address that the client had sent to.
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
            // The scope of a link-local address is part of the client's address.
            v6 = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
    };
    let (bytes, to) = ([IoSlice::new(bytes)], SockaddrStorage::from(to));
    sendmsg(socket.as_raw_fd(), &bytes, source.as_slice(), MsgFlags::MSG_DONTWAIT, Some(&to))?;
    Ok(())
}
