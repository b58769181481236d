//! WebSocket: every short message goes back (RFC 6455, 5).

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The key of the generator and what is answered to it: those of RFC 6455, 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Masked, as a client's frames are: two bytes of head, four of mask.
const HEAD: usize = 2 + 4;

/// The request to upgrade has been read: it is always the generator's.
pub(super) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {ACCEPT}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    let mut buffer = vec![0; 4096];
    let mut filled = 0;
    loop {
        let more = stream.read(&mut buffer[filled..]).await?;
        if more == 0 {
            return Ok(());
        }
        filled += more;
        while let Some((back, length)) = echo(&buffer[..filled])? {
            stream.write_all(&back).await?;
            buffer.copy_within(length..filled, 0);
            filled -= length;
        }
    }
}

/// What goes back to the first frame, and how long that frame was; none before it is whole.
fn echo(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let [opcode, length, ..] = *bytes else { return Ok(None) };
    ensure!(length & 0x80 != 0, "a frame that is not masked");
    let payload = usize::from(length & 0x7f);
    ensure!(payload < 126, "a long message");
    let whole = HEAD + payload;
    if bytes.len() < whole {
        return Ok(None);
    }
    let mask = &bytes[2..HEAD];
    let mut back = vec![opcode, length & 0x7f];
    back.extend(bytes[HEAD..whole].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(Some((back, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_back_without_its_mask() {
        // RFC 6455, 5.7: "Hello", masked and not.
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let plain = vec![0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert_eq!(echo(&masked).unwrap(), Some((plain.clone(), 11)));
        assert_eq!(echo(&[masked, masked].concat()).unwrap(), Some((plain, 11)), "the first of two");
        for length in 0..11 {
            assert_eq!(echo(&masked[..length]).unwrap(), None, "{length} bytes");
        }
        assert!(echo(&[0x81, 0x05]).is_err(), "not masked");
    }
}
