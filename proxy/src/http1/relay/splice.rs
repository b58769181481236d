//! Large bodies of answers go from the backend's socket to the client's through a kernel pipe, without being copied to user
//! space (splice(2)).

use std::{
    io,
    task::{Context as Task, Poll},
};

use tokio::{io::Interest, net::TcpStream};

use super::{Answering, Broken, Relay};
use crate::{http1::framing::Framing, io::pipe::Pipe};

/// The rest of a body that is shorter than this, in bytes, is not worth a pipe.
const WORTH: u64 = 32 << 10;
/// A body of at least this many bytes is worth a pipe even though two more system calls are needed, because its first part
/// is read together with the head.
const LARGE: u64 = 80 << 10;

/// Whether the next answer should be received in such a way that most of its body can go through a pipe, if it is as large as
/// this one.
pub(super) fn is_large(body: &Framing) -> bool {
    matches!(body, Framing::Length(length) if *length >= LARGE)
}

impl Relay<'_> {
    /// Whether a piece of the body waits in a pipe for the client.
    pub(super) fn is_splicing(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.pipe.is_some())
    }

    /// Moves a piece of the answer's body. `None`: it has to be read and written, because there is something to do with its
    /// bytes, because it is short, or because one of the connections is encrypted.
    pub(super) fn poll_splice(&mut self, cx: &mut Task<'_>) -> Result<Option<Poll<()>>, Broken> {
        let Some(answer) = &mut self.answer else { return Ok(None) };
        if answer.pipe.is_some() {
            return self.poll_drain(cx).map(Some);
        }
        // What has been read comes first.
        let Some(left) = answer.left_to_splice().filter(|_| self.incoming.is_empty()) else {
            return Ok(None);
        };
        let (Some(from), true) = (self.backend.plain(), self.client.is_plain()) else { return Ok(None) };
        if from.poll_read_ready(cx).is_pending() {
            return Ok(Some(Poll::Pending));
        }
        let Some(mut pipe) = Pipe::take() else { return Ok(None) };
        match fill(&mut pipe, from, left) {
            Poll::Ready(Ok(0)) => self.ended()?,
            Poll::Ready(Ok(n)) => {
                answer.framing.passed(n as u64);
                answer.pipe = Some(pipe);
                self.content += n;
                self.moved();
            }
            Poll::Ready(Err(_)) => return Err(self.incoming.broken(self.head.is_sent())),
            // The runtime's readiness was out of date.
            Poll::Pending => {}
        }
        Ok(Some(Poll::Ready(())))
    }

    /// Passes on to the client what is in the pipe.
    fn poll_drain(&mut self, cx: &mut Task<'_>) -> Result<Poll<()>, Broken> {
        let Some(Answering { pipe: Some(pipe), .. }) = &mut self.answer else { return Ok(Poll::Ready(())) };
        match self.client.poll_drain(cx, pipe) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return Err(Broken::ClientGone),
            Poll::Pending => return Ok(Poll::Pending),
        }
        if pipe.holds() == 0
            && let Some(answer) = &mut self.answer
        {
            answer.pipe = None;
        }
        self.moved();
        Ok(Poll::Ready(()))
    }
}

impl Answering {
    /// How much of the body is still to come, if it may be passed on as it is and is worth a pipe.
    fn left_to_splice(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left)
                if left >= WORTH && self.pacer.is_none() && self.coder.is_none() && self.chunks.is_none() =>
            {
                Some(left)
            }
            _ => None,
        }
    }
}

fn fill(pipe: &mut Pipe, from: &TcpStream, most: u64) -> Poll<io::Result<usize>> {
    match from.try_io(Interest::READABLE, || pipe.fill(from, most)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        filled => Poll::Ready(filled),
    }
}
