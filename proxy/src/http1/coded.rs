//! Bodies of responses that are compressed while they are relayed.

use super::{
    attempts::Broken,
    framing::{ChunkWriter, Framing, Part},
    incoming::{Incoming, MALFORMED},
};
use crate::body::Coder;

const FAILED: Broken = Broken::Invalid("the response could not be compressed");

/// Compresses the next bytes of a body, and ends the coder at the end of the body. Returns whether either happened. `trailer`
/// gets the lines of the trailer section.
pub(super) fn advance(
    coder: &mut Coder,
    framing: &mut Framing,
    incoming: &mut Incoming,
    mut trailer: impl FnMut(&[u8]),
) -> Result<bool, Broken> {
    let mut used = 0;
    while !framing.is_done() && used < Coder::AT_ONCE {
        let rest = incoming.bytes().get(used..).unwrap_or_default();
        let rest = rest.get(..Coder::AT_ONCE - used).unwrap_or(rest);
        let (n, part) = framing.next(rest).map_err(|_| MALFORMED)?;
        if n == 0 {
            break;
        }
        let bytes = rest.get(..n).unwrap_or_default();
        match part {
            Part::Content => coder.put(bytes).map_err(|_| FAILED)?,
            Part::Trailer => trailer(bytes),
            Part::Coding | Part::Extension => {}
        }
        used += n;
    }
    incoming.used(used);
    let ends = framing.is_done() && !coder.has_ended();
    if ends {
        coder.end().map_err(|_| FAILED)?;
    }
    Ok(used > 0 || ends)
}

/// Brings out what the coder holds back; returns the number of bytes that were added to its output.
pub(super) fn flush(coder: &mut Coder) -> Result<usize, Broken> {
    let before = coder.output().len();
    coder.flush().map_err(|_| FAILED)?;
    Ok(coder.output().len() - before)
}

/// Puts the output of a coder in a chunk; returns the number of its bytes. `before` is sent before the output.
pub(super) fn chunk(coder: &mut Coder, chunks: &mut ChunkWriter, before: &mut Vec<u8>) -> usize {
    let (len, mut end) = (coder.output().len(), Vec::new());
    if len > 0 {
        chunks.begin(len, before);
        // Now rather than before the next chunk: a client may wait for it.
        chunks.end_chunk(&mut end);
    }
    if coder.has_ended() {
        chunks.end(&mut end);
    }
    coder.append(&end);
    len
}
