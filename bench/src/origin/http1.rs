//! HTTP/1.1: GETs answered at once, uploads once they are whole.

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    BULK, BULK_PATH, CHECK_PATH, CHUNKED, EDITED_PREFIX, LARGE, LARGE_PATH, SMALL, SOCKET_PATH,
    upload::Upload, websocket,
};

/// Large enough that an upload takes few reads.
const BUFFER: usize = 64 * 1024;

/// Bytes of a bulk transfer that are written at once: they remain in the processor's cache.
const PIECE: usize = 256 * 1024;

/// Made once, for all connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers {
    small: &'static [u8],
    empty: &'static [u8],
    large: &'static [u8],
    bulk_head: &'static [u8],
    bulk_piece: &'static [u8],
    not_found: &'static [u8],
    bad_request: &'static [u8],
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            small: answer("200 OK", SMALL),
            empty: answer("200 OK", 0),
            large: answer("200 OK", LARGE),
            bulk_head: head("200 OK", BULK).leak(),
            bulk_piece: vec![b'x'; PIECE].leak(),
            not_found: answer("404 Not Found", 0),
            bad_request: answer("400 Bad Request", 0),
        }
    }

    fn of(&self, path: &[u8]) -> &'static [u8] {
        if path.starts_with(LARGE_PATH.as_bytes()) {
            self.large
        } else if path.starts_with(EDITED_PREFIX.as_bytes()) {
            self.not_found
        } else if path.starts_with(CHECK_PATH.as_bytes()) {
            self.empty
        } else {
            self.small
        }
    }
}

pub(super) async fn serve<S>(mut stream: S, answers: Answers) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        let more = stream.read(&mut buffer[filled..]).await?;
        if more == 0 {
            return Ok(());
        }
        filled += more;
        // A proxy sends one request at a time: a GET is whole once it ends with an empty line.
        if buffer.starts_with(b"GET ") {
            let head = &buffer[..filled];
            if !head.ends_with(b"\r\n\r\n") {
                continue;
            }
            if head[4..].starts_with(SOCKET_PATH.as_bytes()) {
                return websocket::serve(stream).await;
            }
            match head[4..].starts_with(BULK_PATH.as_bytes()) {
                true => write_bulk(&mut stream, answers).await?,
                false => stream.write_all(answers.of(&head[4..])).await?,
            }
        } else {
            let Some(head) = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                continue;
            };
            let mut upload = Upload::announced(&buffer[..head])?;
            upload.read(&buffer[head + 4..filled]);
            let whole = drain(&mut stream, &mut upload, &mut buffer).await?;
            stream.write_all(if whole { answers.small } else { answers.bad_request }).await?;
        }
        // TLS holds encrypted data back until it is flushed.
        stream.flush().await?;
        filled = 0;
    }
}

async fn write_bulk(stream: &mut (impl AsyncWrite + Unpin), answers: Answers) -> Result<()> {
    stream.write_all(answers.bulk_head).await?;
    for _ in 0..BULK / PIECE {
        stream.write_all(answers.bulk_piece).await?;
    }
    Ok(())
}

/// Returns whether it is as long as it should be.
async fn drain(
    stream: &mut (impl AsyncRead + Unpin),
    upload: &mut Upload,
    buffer: &mut [u8],
) -> Result<bool> {
    while !upload.is_whole() {
        let more = stream.read(buffer).await?;
        ensure!(more > 0, "the upload ends early");
        upload.read(&buffer[..more]);
    }
    Ok(match upload {
        Upload::Length(_) => true,
        Upload::Chunked(chunks) => chunks.bytes == CHUNKED,
    })
}

fn answer(status: &str, length: usize) -> &'static [u8] {
    let mut answer = head(status, length);
    answer.resize(answer.len() + length, b'x');
    answer.leak()
}

fn head(status: &str, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}
