//! The part of a request's body that was sent, kept so that another attempt can send it again.

/// Bytes that are kept of one body. A request with a longer body is not sent again.
pub(super) const KEPT: usize = 64 << 10;

/// The part of a request's body that was sent.
#[derive(Debug)]
pub(super) struct Replay {
    /// `None` once it was too much, and where no other attempt may be made.
    kept: Option<Vec<u8>>,
    /// How many of the kept bytes this attempt has sent.
    resent: usize,
    /// Whether bytes were sent that were not kept.
    lost: bool,
}

impl Replay {
    /// Of a body of which nothing has been sent. `keep`: whether another attempt may be made.
    pub(super) fn new(keep: bool) -> Self {
        Self { kept: keep.then(Vec::new), resent: 0, lost: false }
    }

    /// The kept bytes that this attempt has not sent yet. They go before all others.
    pub(super) fn left(&self) -> &[u8] {
        self.kept.as_ref().map_or(&[], |kept| &kept[self.resent..])
    }

    /// Notes that `n` more of the kept bytes were sent.
    pub(super) fn resent(&mut self, n: usize) {
        self.resent += n;
    }

    /// Keeps the first `n` bytes of these parts, which were sent for the first time.
    pub(super) fn keep(&mut self, parts: &[&[u8]], n: usize) {
        match &mut self.kept {
            Some(kept) if kept.len() + n <= KEPT => {
                let end = kept.len() + n;
                for part in parts {
                    kept.extend_from_slice(&part[..part.len().min(end - kept.len())]);
                }
                self.resent = kept.len();
            }
            kept => {
                *kept = None;
                self.lost = true;
            }
        }
    }

    /// Whether all that was sent can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        !self.lost
    }

    /// Begins another attempt.
    pub(super) fn rewind(&mut self) {
        self.resent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_sent_again_unless_it_was_too_much() {
        let mut replay = Replay::new(true);
        replay.keep(&[b"abc", b"def"], 4);
        assert_eq!(replay.left(), b"");
        replay.rewind();
        assert_eq!(replay.left(), b"abcd");
        replay.resent(3);
        assert_eq!(replay.left(), b"d");
        replay.resent(1);
        replay.keep(&[&[0; KEPT - 4]], KEPT - 4);
        assert!(replay.is_whole());
        replay.keep(&[b"e"], 1);
        assert!(!replay.is_whole());
        replay.rewind();
        assert_eq!(replay.left(), b"");
    }

    #[test]
    fn nothing_is_kept_where_no_other_attempt_is_made() {
        let mut replay = Replay::new(false);
        assert!(replay.is_whole(), "nothing was sent");
        replay.keep(&[b"a"], 1);
        assert!(!replay.is_whole());
    }
}
