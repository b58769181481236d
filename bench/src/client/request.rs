//! HTTP/1.1 requests as bytes, made once for each connection.

use super::Target;
use crate::origin::CHUNKED;

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Few headers, their names in lower case, as HTTP/2 and many libraries write them.
    Lower,
    /// The same, names spelt as browsers and curl spell them.
    Spelt,
    /// What Chrome sends for a `fetch()` from another origin.
    Browser,
    /// 1 MiB with its length.
    Post,
    /// 64 KiB in four chunks.
    PostChunked,
}

/// Bytes of body of [`Shape::Post`].
const POSTED: usize = 1024 * 1024;

/// Chunks of [`Shape::PostChunked`].
const CHUNKS: usize = 4;

/// Without its `Host`. The `Origin` is one that `peers/portcullis.yaml` allows.
const BROWSER: &str = "\
Connection: keep-alive\r
sec-ch-ua-platform: \"Windows\"\r
User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r
Accept: */*\r
sec-ch-ua: \"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\"\r
sec-ch-ua-mobile: ?0\r
Origin: https://www.example.com\r
Sec-Fetch-Site: same-site\r
Sec-Fetch-Mode: cors\r
Sec-Fetch-Dest: empty\r
Referer: https://www.example.com/\r
Accept-Encoding: gzip, deflate, br, zstd\r
Accept-Language: en-GB,en;q=0.9,de;q=0.8\r
";

impl Shape {
    pub(super) fn bytes(self, target: &Target) -> Vec<u8> {
        let Target { host, path, .. } = target;
        let lower = format!("host: {host}\r\nuser-agent: load\r\naccept: */*\r\n");
        let text = match self {
            Self::Lower => format!("GET {path} HTTP/1.1\r\n{lower}\r\n"),
            Self::Spelt => {
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n")
            }
            Self::Browser => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{BROWSER}\r\n"),
            Self::Post => {
                let body = "x".repeat(POSTED);
                format!("POST {path} HTTP/1.1\r\n{lower}content-length: {POSTED}\r\n\r\n{body}")
            }
            Self::PostChunked => {
                let size = CHUNKED / CHUNKS;
                let chunks = format!("{size:x}\r\n{}\r\n", "x".repeat(size)).repeat(CHUNKS);
                format!("POST {path} HTTP/1.1\r\n{lower}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            }
        };
        text.into_bytes()
    }
}
