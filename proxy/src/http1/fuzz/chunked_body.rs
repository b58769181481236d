//! A body in the chunked coding, in pieces.

use super::pieces::{Sizes, carry};
use crate::http1::{
    framing::{Chunks, Framing},
    reference::{self, NotWhole},
};

/// Input: the sizes of pieces ([`Sizes::take`]), the body and what follows it.
pub fn chunked_body(data: &[u8]) {
    let (sizes, bytes) = Sizes::take(data);
    let read = |bytes: &[u8], sizes: &Sizes| carry(Framing::Chunked(Chunks::default()), bytes, sizes);
    let (torn, at_once) = (read(bytes, &sizes), read(bytes, &Sizes::take(b"").0));
    assert_eq!(torn, at_once, "torn, and at once");
    let plain = reference::chunked(bytes);
    let carried = match (torn, &plain) {
        (Ok(carried), Ok(plain)) if carried.whole => {
            assert_eq!((&carried.content, carried.len), (&plain.content, plain.len));
            carried
        }
        // Where all of it is here, it is whole; what is malformed is not waited for.
        (Ok(carried), Err(NotWhole::Begun)) if !carried.whole => {
            assert_eq!(carried.len, bytes.len(), "all that came is looked at");
            return;
        }
        (Err(_), Err(_)) => return,
        (carried, plain) => panic!("carried {carried:?}, plainly {plain:?}"),
    };
    // What goes on is the same content, and nothing else.
    let again = reference::chunked(&carried.goes_on).expect("what goes on is a body");
    assert_eq!((&again.content, again.adorned, again.len), (&carried.content, false, carried.goes_on.len()));
    // What follows has no part in it.
    let alone = read(&bytes[..carried.len], &sizes);
    assert_eq!(alone.as_ref(), Ok(&carried), "without what follows");
}
