//! The compression of a response: its head, and the coder of its body, whatever carries it.

use std::net::IpAddr;

use pingora_http::ResponseHeader;
use portcullis_routing::{Headers, HeadersMut, Route, step::Compression};

use super::{context::Context, headers::Response};
use crate::body::{Coder, CoderRoom};

/// How the body of a response is compressed, and where its coder gets memory.
#[derive(Debug)]
pub(super) struct Encoding {
    compression: Compression,
    room: CoderRoom,
}

impl Context {
    /// Whether the response may be compressed.
    #[inline]
    pub(crate) fn may_compress(&self) -> bool {
        self.route.as_ref().is_some_and(Route::may_compress)
    }

    /// Changes the head of a response that is compressed, and returns the coder of its body. `has_body`: whether there is a
    /// body, and the client understands its framing.
    pub(crate) fn compress(
        &self,
        status: u16,
        has_body: bool,
        headers: &mut (impl Headers + HeadersMut),
    ) -> Option<Box<Coder>> {
        let compression = self.route.as_ref()?.compression(status, headers)?;
        let encoding = self.encoding(compression).filter(|_| has_body);
        if encoding.is_none() {
            Compression { coding: None, ..compression }.apply(headers);
        }
        encoding?.begin(headers)
    }

    /// Returns how a response is compressed. Its head only gets `Vary`; it is changed further once it is known that there is a
    /// body.
    pub(super) fn negotiate(&self, answer: &mut ResponseHeader) -> Option<Encoding> {
        let compression = self.route.as_ref()?.compression(answer.status.as_u16(), &answer.headers)?;
        Compression { coding: None, ..compression }.apply(&mut Response(answer));
        self.encoding(compression)
    }

    fn encoding(&self, compression: Compression) -> Option<Encoding> {
        compression.coding?;
        let room = self.conn.load.coders.room(&self.rule()?.route.namespace, self.sharing_client());
        Some(Encoding { compression, room })
    }

    /// The client in whose share of the memory the encoder counts. `None` for a trusted proxy that does not name its clients,
    /// such as one that replaces their addresses by its own: they are too many for the share of one client.
    fn sharing_client(&self) -> Option<IpAddr> {
        let is_proxy = self.conn.is_of_proxy() && self.client == self.conn.peer.ip().to_canonical();
        (!is_proxy).then_some(self.client)
    }
}

impl Encoding {
    /// Changes the head of a response, and returns the coder of its body. Without memory for a coder, the response is not
    /// compressed.
    pub(super) fn begin(self, headers: &mut (impl Headers + HeadersMut)) -> Option<Box<Coder>> {
        let Self { compression, room } = self;
        let coder = compression.coding.and_then(|coding| room.coder(coding, compression.length));
        let coding = compression.coding.filter(|_| coder.is_some());
        Compression { coding, ..compression }.apply(headers);
        coder
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conn;

    #[test]
    fn clients_behind_a_proxy_that_does_not_name_them_do_not_share_the_memory_of_one_client() {
        for (what, is_proxy, peer, client, want) in [
            ("a client", false, "192.0.2.1", "192.0.2.1", Some("192.0.2.1")),
            ("a client that a proxy names", true, "10.0.0.1", "192.0.2.9", Some("192.0.2.9")),
            ("a proxy that names none", true, "10.0.0.1", "10.0.0.1", None),
            ("the same with a mapped address", true, "::ffff:10.0.0.1", "10.0.0.1", None),
        ] {
            let mut conn = Arc::into_inner(conn::tests::conn()).unwrap();
            conn.peer.set_ip(peer.parse().unwrap());
            if is_proxy {
                conn.buffered = None;
            }
            let mut context = Context::of(Arc::new(conn));
            context.client = client.parse().unwrap();
            assert_eq!(context.sharing_client(), want.map(|want| want.parse().unwrap()), "{what}");
        }
    }
}
