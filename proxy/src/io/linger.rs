//! The end of a connection to which a response was written: a socket closed on unread bytes resets the connection,
//! and the reset may overtake the response (RFC 9112, 9.6).

use std::{future::poll_fn, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Transport, out::Out};
use crate::admission::Admitted;

/// How long a client may take to close its side, and how much it may still send.
const TIME: Duration = Duration::from_secs(2);
const BYTES: usize = 1 << 20;

/// Sends what is left and the end, and reads on until the client closes too, in a task of its own.
pub(crate) fn close(mut transport: Transport, mut out: Out, admitted: Option<Admitted>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        let _admitted = admitted;
        let closing = async {
            poll_fn(|cx| out.poll_flush(&mut transport, cx)).await?;
            transport.shutdown().await?;
            let mut sink = [0; 1024];
            let mut left = BYTES;
            while left > 0 {
                match transport.read(&mut sink).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(TIME, closing).await;
    });
}
