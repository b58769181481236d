//! The compression of a response: its head, and the coder of its body, whatever carries it.

use pingora_http::ResponseHeader;
use portcullis_routing::{
    Headers, HeadersMut, Route,
    step::{Coding, Compression},
};

use super::{context::Context, headers::Response};
use crate::body::Coder;

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
        match has_body {
            true => begin(compression, headers),
            false => begin(Compression { coding: None }, headers),
        }
    }

    /// Returns the coding of a response. Its head only gets `Vary`; it is changed further once it is known that there is a body.
    pub(super) fn coding(&self, answer: &mut ResponseHeader) -> Option<Coding> {
        let compression = self.route.as_ref()?.compression(answer.status.as_u16(), &answer.headers)?;
        Compression { coding: None }.apply(&mut Response(answer));
        compression.coding
    }
}

/// Changes the head of a response, and returns the coder of its body. Without memory for a coder, the response is not
/// compressed.
pub(super) fn begin(
    compression: Compression,
    headers: &mut (impl Headers + HeadersMut),
) -> Option<Box<Coder>> {
    let coder = compression.coding.and_then(Coder::new);
    let coding = compression.coding.filter(|_| coder.is_some());
    Compression { coding }.apply(headers);
    coder
}
