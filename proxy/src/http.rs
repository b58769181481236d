//! The request path: what pingora's callbacks do. Each hands over to a file of its own subject.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::{ProxyHttp, Session};

use crate::shared::Shared;

/// Carries requests from clients to backends.
#[derive(Debug)]
pub(crate) struct HttpService {
    shared: Arc<Shared>,
}

impl HttpService {
    /// One per worker thread.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl ProxyHttp for HttpService {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let _ = self.shared.table.load();
        pingora_error::Error::e_explain(pingora_error::ErrorType::HTTPStatus(500), "no request is served yet")
    }
}
