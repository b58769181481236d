//! How many streams an HTTP/2 client has opened, as its frames say. h2 has to be polled to learn whether another stream can be
//! accepted, which for a short request is a noticeable part of the work.

/// The length of a frame's head (RFC 9113, 4.1).
const HEAD: usize = 9;
/// The type of the frame that opens a stream.
const HEADERS: u8 = 1;

/// Follows the frames that a client sends.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The head of the current frame, as far as it has come.
    head: [u8; HEAD],
    come: usize,
    /// Bytes of the current frame's payload that are still to come.
    payload: usize,
    /// The stream that was opened last. Later ones have greater numbers; trailers belong to earlier ones.
    last: u32,
}

impl Opened {
    /// Takes the next bytes, and returns how many streams are opened in them.
    pub(super) fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut opened = 0;
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return opened;
            }
            let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.come));
            self.head[self.come..self.come + head.len()].copy_from_slice(head);
            (self.come, bytes) = (self.come + head.len(), rest);
            if self.come == HEAD {
                self.come = 0;
                opened += u32::from(self.begin_frame());
            }
        }
    }

    /// Begins the frame whose head has come. Returns whether it opens a stream.
    fn begin_frame(&mut self) -> bool {
        let [high, middle, low, kind, _flags, stream @ ..] = self.head;
        self.payload = u32::from_be_bytes([0, high, middle, low]) as usize;
        // The first bit is reserved.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        let opens = kind == HEADERS && stream > self.last;
        if opens {
            self.last = stream;
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, 0]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_stream_is_opened_by_its_first_head() {
        let (settings, data, continuation) = (4, 0, 9);
        let frames = [
            (frame(settings, 0, &[0; 6]), 0),
            (frame(HEADERS, 1, b"\x01looks like a head"), 1),
            (frame(continuation, 1, &[1; 300]), 0),
            (frame(HEADERS, 3, b""), 1),
            (frame(data, 1, &[1; 70_000]), 0),
            (frame(HEADERS, 1, b"trailers"), 0),
            (frame(HEADERS, 1 << 31 | 9, b"a"), 1),
            (frame(data, 9, b""), 0),
        ];
        for step in [usize::MAX, 1, 2, 7, 9, 10, 4096] {
            let mut opened = Opened::default();
            for (bytes, want) in &frames {
                let got: u32 = bytes.chunks(step).map(|chunk| opened.count(chunk)).sum();
                assert_eq!(got, *want, "{:?} in steps of {step}", &bytes[..HEAD]);
            }
            let all: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes).copied().collect();
            let mut opened = Opened::default();
            assert_eq!(all.chunks(step).map(|chunk| opened.count(chunk)).sum::<u32>(), 3, "steps of {step}");
        }
    }
}
