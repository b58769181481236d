//! An address at which a connection is never established.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A listener whose queue is full: the kernel answers no further attempt.
#[derive(Debug)]
pub(super) struct Hole {
    _sockets: Vec<Socket>,
}

impl Hole {
    pub(super) fn open(at: SocketAddr) -> Self {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&at.into()).unwrap_or_else(|error| panic!("{at}: {error}"));
        listener.listen(0).unwrap();
        let mut sockets = vec![listener];
        for _ in 0..3 {
            let filler = socket();
            filler.set_nonblocking(true).unwrap();
            // It is under way, or waits for room for ever.
            let _ = filler.connect(&at.into());
            sockets.push(filler);
        }
        Self { _sockets: sockets }
    }
}
