//! The compression of a response: its head, and the coder of its body, whatever carries it.

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
        let is_proxy = self.conn.is_of_proxy() && self.client == self.conn.peer.ip().to_canonical();
        let client = (!is_proxy).then_some(self.client);
        let room = self.conn.load.coders.room(&self.rule()?.route.namespace, client);
        Some(Encoding { compression, room })
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
