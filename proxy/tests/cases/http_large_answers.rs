//! Large bodies of answers, which our own carrier moves through kernel pipes where it can.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    client::{connect, exchange, is_closed},
    raw::{RawBackend, Reply, ok},
    site::{Site, to},
    start_with, within,
};

/// Their lengths in bytes: around those of buffers, pipes and the kernel's own buffers.
const LENGTHS: [usize; 6] = [32 << 10, 81_919, 100 << 10, 256 << 10, (1 << 20) + 1, 7 << 20];

/// Bytes that show if any are missing, or in another place.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn request(length: usize) -> String {
    format!("GET /{length} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

/// Answers a request for `/N` with `N` bytes, of which it sends all but `missing`.
async fn backend(missing: usize) -> RawBackend {
    RawBackend::start(move |_, seen| {
        let length: usize = seen.line().split([' ', '/']).nth(2).unwrap().parse().unwrap();
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        bytes.extend(noise(length));
        bytes.truncate(bytes.len() - missing);
        if missing == 0 { Reply::Bytes(bytes) } else { Reply::Last(bytes) }
    })
    .await
}

/// Reads the head of an answer and `length` bytes after it.
async fn body(tcp: &mut tokio::net::TcpStream, length: usize) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(tcp.read_u8()).await.unwrap());
    }
    let mut body = vec![0; length];
    within(tcp.read_exact(&mut body)).await.unwrap();
    body
}

#[tokio::test]
async fn large_answers_pass_whole_and_in_order() {
    let up = backend(0).await;
    for pipes in [0, 8] {
        let proxy = start_with(|options| options.pipes = pipes);
        let at = Site::of(to(up.address)).serve(&proxy).await;
        let mut client = connect(at).await;
        // A small one after each: no byte of one gets into another.
        for length in LENGTHS.iter().chain(&LENGTHS).flat_map(|length| [*length, 10]) {
            client.write_all(request(length).as_bytes()).await.unwrap();
            assert!(body(&mut client, length).await == noise(length), "{pipes} pipes, {length} bytes");
        }
        // A client that leaves in the middle of a body takes nothing with it that the next one needs.
        for _ in 0..10 {
            let mut leaves = connect(at).await;
            leaves.write_all(request(7 << 20).as_bytes()).await.unwrap();
            within(leaves.read_u8()).await.unwrap();
        }
        let mut client = connect(at).await;
        client.write_all(request(1 << 20).as_bytes()).await.unwrap();
        assert!(body(&mut client, 1 << 20).await == noise(1 << 20), "{pipes} pipes");
    }
}

#[tokio::test]
async fn a_large_answer_that_breaks_off_ends_the_connection() {
    let (up, whole) = (backend(10).await, RawBackend::start(|_, _| ok("whole")).await);
    for pipes in [0, 8] {
        let proxy = start_with(|options| options.pipes = pipes);
        let at = Site::of(to(up.address)).serve(&proxy).await;
        for length in LENGTHS {
            let mut client = connect(at).await;
            client.write_all(request(length).as_bytes()).await.unwrap();
            assert!(body(&mut client, length - 10).await == noise(length)[..length - 10], "{length}");
            assert!(is_closed(&mut client).await, "{pipes} pipes, {length} bytes");
        }
        let at = Site::of(to(whole.address)).serve(&proxy).await;
        assert_eq!(exchange(&mut connect(at).await, &request(0)).await.body, "whole");
    }
}
