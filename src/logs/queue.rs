//! A queue of log lines with a thread that writes them, so that logging never waits for a slow reader.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

/// What a line takes besides its bytes: its allocation, and its place among the others.
const LINE_BYTES: usize = 64;
/// How often [`Queue::flush`] looks.
const FLUSH_CHECK: Duration = Duration::from_millis(2);

/// Takes lines up to a number of waiting bytes; lines beyond that are dropped and counted.
#[derive(Debug)]
pub(super) struct Queue {
    lines: Sender<Vec<u8>>,
    limit: usize,
    state: Arc<State>,
}

/// Where one line goes; a line is one write.
#[derive(Debug)]
pub(super) struct Line<'q>(&'q Queue);

#[derive(Debug, Default)]
struct State {
    /// Bytes of the lines that are not written yet.
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

impl Queue {
    /// A queue that holds at most `limit` bytes. Its thread writes to `out` until the process ends.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(super) fn start(name: &str, limit: usize, mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let ((lines, queued), state) = (mpsc::channel::<Vec<u8>>(), Arc::<State>::default());
        let of_thread = Arc::clone(&state);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for line in queued {
                // The reader is gone, as a rule, and there is nowhere else to report that.
                if out.write_all(&line).is_err() {
                    of_thread.dropped.fetch_add(1, Ordering::Relaxed);
                }
                of_thread.waiting.fetch_sub(line.len() + LINE_BYTES, Ordering::Release);
            }
        })?;
        Ok(Self { lines, limit, state })
    }

    /// Where the next line goes.
    pub(super) fn line(&self) -> Line<'_> {
        Line(self)
    }

    /// Lines that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, but no longer than `end`.
    pub(super) fn flush(&self, end: Instant) {
        while self.state.waiting.load(Ordering::Acquire) > 0 && Instant::now() < end {
            thread::sleep(FLUSH_CHECK);
        }
    }

    fn push(&self, line: &[u8]) {
        let bytes = line.len() + LINE_BYTES;
        let more = |waiting: usize| waiting.checked_add(bytes).filter(|waiting| *waiting <= self.limit);
        let has_room = self.state.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !has_room || self.lines.send(line.to_vec()).is_err() {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    /// Takes a write for each permission; tells what it took.
    struct Reader {
        may: Receiver<()>,
        took: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            let _ = self.took.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const BOUND: Duration = Duration::from_secs(20);

    fn queue(limit: usize) -> (Queue, Sender<()>, Receiver<Vec<u8>>) {
        let ((go, may), (took, taken)) = (mpsc::channel(), mpsc::channel());
        (Queue::start("log", limit, Reader { may, took }).unwrap(), go, taken)
    }

    #[test]
    fn whoever_logs_never_waits_and_what_has_no_room_is_dropped_and_counted() {
        let line = vec![b'x'; 1000];
        // Nobody reads yet.
        let (queue, go, taken) = queue(10 * (1000 + LINE_BYTES));
        for _ in 0..25 {
            queue.line().write_all(&line).unwrap();
        }
        assert_eq!(queue.dropped(), 15);
        for _ in 0..10 {
            go.send(()).unwrap();
            assert_eq!(taken.recv_timeout(BOUND).unwrap(), line);
        }
        queue.flush(Instant::now() + BOUND);
        go.send(()).unwrap();
        queue.line().write_all(b"there is room again").unwrap();
        assert_eq!(taken.recv_timeout(BOUND).unwrap(), b"there is room again");
        assert_eq!(queue.dropped(), 15);
    }

    #[test]
    fn a_flush_waits_for_all_lines_but_not_for_a_reader_that_is_stuck() {
        let (queue, go, taken) = queue(1 << 20);
        queue.line().write_all(b"first").unwrap();
        queue.line().write_all(b"second").unwrap();
        queue.flush(Instant::now() + Duration::from_millis(10));
        assert!(taken.try_recv().is_err());
        go.send(()).unwrap();
        go.send(()).unwrap();
        queue.flush(Instant::now() + BOUND);
        assert_eq!([taken.try_recv().unwrap(), taken.try_recv().unwrap()], [&b"first"[..], b"second"]);
    }

    #[test]
    fn lines_that_nobody_reads_any_more_are_counted() {
        let (queue, go, _taken) = queue(1 << 20);
        drop(go);
        queue.line().write_all(b"one").unwrap();
        queue.flush(Instant::now() + BOUND);
        assert_eq!(queue.dropped(), 1);
    }
}
