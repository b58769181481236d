//! The messages of a call: a flag, four bytes of length, and that many bytes (gRPC over HTTP/2,
//! Length-Prefixed-Message).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::{RESOURCE_EXHAUSTED, Status, UNIMPLEMENTED};

const INTERNAL: u32 = 13;
const PREFIX: usize = 5;
/// The longest message that is taken; gRPC's own default.
const MAX_MESSAGE: usize = 4 << 20;

/// The messages of a request, as they come.
#[derive(Debug)]
pub(super) struct Messages<B> {
    body: B,
    buffer: BytesMut,
}

impl<B: Body<Data = Bytes> + Unpin> Messages<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; none where the client has said its last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = take(&mut self.buffer)? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                Some(Err(_)) | None => return Err(status(INTERNAL, "the request ended within a message")),
            }
        }
    }
}

/// A whole message from the start of the buffer.
fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some((prefix, _)) = buffer.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 {
        return Err(status(UNIMPLEMENTED, "compressed messages are not read"));
    }
    if length > MAX_MESSAGE {
        return Err(status(RESOURCE_EXHAUSTED, "a message is longer than 4 MiB"));
    }
    if buffer.len() < PREFIX + length {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// A message with its prefix.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let length =
        u32::try_from(message.len()).expect("answers are little longer than the messages that are taken");
    let mut bytes = BytesMut::with_capacity(PREFIX + message.len());
    bytes.put_u8(0);
    bytes.put_u32(length);
    bytes.put_slice(message);
    bytes.freeze()
}

fn status(code: u32, message: &str) -> Status {
    Status { code, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_when_they_are_whole() {
        let mut bytes = BytesMut::from(&[0, 0, 0, 0, 2, b'h'][..]);
        assert!(take(&mut bytes).unwrap().is_none(), "half a message");
        bytes.extend_from_slice(&[b'i', 0, 0, 0, 0, 0, 0]);
        assert_eq!(take(&mut bytes).unwrap().unwrap(), "hi");
        assert_eq!(take(&mut bytes).unwrap().unwrap(), "", "a message may be empty");
        assert!(take(&mut bytes).unwrap().is_none(), "one byte of a prefix");
    }

    #[test]
    fn what_is_not_read_has_its_status() {
        for (name, prefix, code) in [
            ("compressed", [1, 0, 0, 0, 0], UNIMPLEMENTED),
            ("too long", [0, 0, 64, 0, 1], RESOURCE_EXHAUSTED),
            ("far too long", [0, 255, 255, 255, 255], RESOURCE_EXHAUSTED),
        ] {
            assert_eq!(take(&mut BytesMut::from(&prefix[..])).unwrap_err().code, code, "{name}");
        }
    }

    #[tokio::test]
    async fn a_request_that_ends_within_a_message_is_an_error() {
        let mut messages = Messages::new(http_body_util::Full::new(Bytes::from_static(&[0, 0, 0, 0, 9, 1])));
        assert_eq!(messages.next().await.unwrap_err().code, INTERNAL);
    }
}
