//! What fuzzing calls (CONTRIBUTING.md): a function for each target, which panics where the carrier and the plain reading
//! (reference) differ. The inputs that are kept in `proxy/fuzz/corpus` are played as tests too.
//!
//! ```text
//! request_head   a client's bytes are one head, however they come, and mean what the plain reading says
//! answer_head    the same of a backend's bytes, and the client gets the same answer
//! chunked_body   content, coding, and what ends here; no byte more
//! h2_head        a request in frames of HTTP/2 becomes one request of HTTP/1
//! client_hello   a ClientHello has the server name that rustls reads, however its bytes come and in whatever records
//! differential   the requests of one connection in turn: each becomes the same one request
//! ```

mod answer_head;
mod chunked_body;
mod differential;
mod h2_head;
mod pieces;
mod request_head;
mod sent;
mod site;

#[cfg(test)]
pub(super) use self::request_head::as_plain;
pub use self::{
    answer_head::answer_head, chunked_body::chunked_body, differential::differential, h2_head::h2_head,
    request_head::request_head,
};

pub use crate::stream::hello::fuzz::client_hello;

use super::{framing::Framing, reference::Body};

/// How a body ends, as the plain reading would say it.
fn body(framing: &Framing) -> Body {
    match framing {
        Framing::Done => Body::None,
        Framing::Length(length) => Body::Length(*length),
        Framing::Chunked(_) => Body::Chunked,
        Framing::Close => Body::UntilClose,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Plays what is kept for a target. A panic is preceded by the name of the input.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut inputs: Vec<_> =
            folder.read_dir().expect("the corpus is there").map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() >= 10, "{} holds {} inputs", folder.display(), inputs.len());
        inputs.sort();
        for input in inputs {
            let bytes = std::fs::read(&input).unwrap();
            let played = std::panic::catch_unwind(|| target(&bytes));
            assert!(played.is_ok(), "{}: {}", input.display(), bytes.escape_ascii());
        }
    }

    #[test]
    fn request_heads_that_are_kept() {
        replay("request_head", request_head);
    }

    #[test]
    fn answer_heads_that_are_kept() {
        replay("answer_head", answer_head);
    }

    #[test]
    fn chunked_bodies_that_are_kept() {
        replay("chunked_body", chunked_body);
    }

    #[test]
    fn h2_heads_that_are_kept() {
        replay("h2_head", h2_head);
    }

    #[test]
    fn client_hellos_that_are_kept() {
        replay("client_hello", client_hello);
    }

    #[test]
    fn connections_that_are_kept() {
        replay("differential", differential);
    }
}
