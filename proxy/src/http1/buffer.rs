//! Buffers, lent by the thread while there is something in them. An idle connection holds none.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

/// Sizes of buffers in bytes. A read that fills one is followed by a read into the next larger one. The second one fits a head
/// and a body of 64 KiB, which is a usual size.
const SIZES: [usize; 3] = [16 << 10, 80 << 10, 256 << 10];
/// How many free buffers of each size a thread keeps; those that it has no use for are freed by [`sweep`].
const KEPT: [usize; 3] = [64, 64, 16];
/// How many buffers of each size a thread lends for the sake of speed; beyond them it lends the next smaller size. Peers
/// that stop reading hold 80 MiB of larger ones at most in each thread.
const MOST: [usize; 3] = [usize::MAX, 800, 64];

thread_local! {
    static STOCKS: [Stock; 3] = const { [Stock::new(), Stock::new(), Stock::new()] };
    static LISTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A thread's buffers of one size.
struct Stock {
    free: RefCell<Vec<Box<[u8]>>>,
    /// How many of the free ones have not been lent since the last sweep.
    unused: Cell<usize>,
    lent: Cell<usize>,
}

/// The size of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Size {
    /// 16 KiB, which nearly every head fits.
    #[default]
    Small = 0,
    /// 80 KiB, for a message that filled a small one.
    Large = 1,
    /// 256 KiB, for a message that filled a large one.
    Huge = 2,
}

/// Bytes that were read and not used yet, and room for more.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    data: Memory,
    start: usize,
    end: usize,
}

/// The memory of a buffer. Dropping this returns the memory to the thread's stock.
#[derive(Debug, Default)]
struct Memory(Box<[u8]>);

/// Bytes that fill less than one `SPARSE`th of their buffer are copied out of it, so that a holder of few bytes does
/// not keep a large buffer.
const SPARSE: usize = 4;

impl Size {
    /// The size for a read that is expected to return this many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        let fits = |size: &Self| SIZES[*size as usize] >= bytes;
        [Self::Small, Self::Large].into_iter().find(fits).unwrap_or(Self::Huge)
    }

    /// The next larger one.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Small => Self::Large,
            Self::Large | Self::Huge => Self::Huge,
        }
    }

    /// This size, or the next smaller one that the thread may still lend.
    fn permitted(self) -> Self {
        let is_permitted =
            |size: Self| STOCKS.with(|stocks| stocks[size as usize].lent.get() < MOST[size as usize]);
        match self {
            Self::Huge if is_permitted(Self::Huge) => Self::Huge,
            Self::Huge | Self::Large if is_permitted(Self::Large) => Self::Large,
            Self::Huge | Self::Large | Self::Small => Self::Small,
        }
    }
}

impl Buffer {
    /// A buffer of this size, or of a smaller one if too many of this size are lent.
    pub(crate) fn take(size: Size) -> Self {
        Self::exactly(size.permitted())
    }

    fn exactly(size: Size) -> Self {
        let place = size as usize;
        let free = STOCKS.with(|stocks| stocks[place].take());
        let data = free.unwrap_or_else(|| vec![0; SIZES[place]].into_boxed_slice());
        Self { data: Memory(data), start: 0, end: 0 }
    }

    /// A buffer that holds these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut buffer = Self::take(Size::Small);
        buffer.put(bytes);
        buffer
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data.0[self.start..self.end]
    }

    /// Where more can be read to; the caller says with [`Self::filled`] how much came.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.data.0[self.end..]
    }

    /// So many bytes were read to the room.
    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
        assert!(self.end <= self.data.0.len(), "no more than there was room for");
    }

    /// Removes the first `n` bytes, which have been used.
    pub(crate) fn used(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.end, "no more than there was");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes out the first `n` bytes. They are not copied if the buffer holds no others and they fill at least one
    /// [`SPARSE`]th of it.
    pub(crate) fn take_front(&mut self, n: usize) -> Bytes {
        if n == self.end - self.start && n >= self.data.0.len() / SPARSE {
            let Self { data, start, end } = std::mem::take(self);
            return Bytes::from_owner(data).slice(start..end);
        }
        let bytes = Bytes::copy_from_slice(&self.bytes()[..n]);
        self.used(n);
        bytes
    }

    /// Whether it holds no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it has memory.
    pub(crate) fn is_lent(&self) -> bool {
        !self.data.0.is_empty()
    }

    /// Makes room after the bytes, by moving them to the front, or into a larger buffer.
    pub(crate) fn make_room(&mut self) {
        if self.start > 0 {
            self.data.0.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.data.0.len() {
            self.grow(self.data.0.len() + 1);
        }
    }

    /// Gives back the memory that holds no bytes; [`Self::make_room`] takes new memory.
    pub(crate) fn shrink(&mut self) {
        let held = self.end - self.start;
        if held == self.data.0.len() || SIZES.contains(&held) {
            return; // what has the length of a lent buffer would be counted as one
        }
        *self = Self { data: Memory(self.bytes().into()), start: 0, end: self.end - self.start };
    }

    /// Adds bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.data.0.len() - self.end < bytes.len() {
            self.grow(self.end - self.start + bytes.len());
        }
        self.data.0[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Gives the memory back where there is nothing in it.
    pub(crate) fn give_back(&mut self) {
        if self.is_lent() && self.is_empty() {
            *self = Self::default();
        }
    }

    /// Moves the bytes into a buffer of at least this size.
    fn grow(&mut self, least: usize) {
        let size =
            [Size::Small, Size::Large, Size::Huge].into_iter().find(|size| SIZES[*size as usize] >= least);
        let mut larger = match size {
            // A head needs the room.
            Some(size) => Self::exactly(size),
            None => Self { data: Memory(vec![0; least.next_power_of_two()].into()), start: 0, end: 0 },
        };
        let held = self.end - self.start;
        larger.data.0[..held].copy_from_slice(self.bytes());
        larger.end = held;
        *self = larger;
    }
}

/// Frees the thread's buffers that have not been used since the last call.
pub(crate) fn sweep() {
    STOCKS.with(|stocks| stocks.iter().for_each(Stock::sweep));
}

impl Stock {
    const fn new() -> Self {
        Self { free: RefCell::new(Vec::new()), unused: Cell::new(0), lent: Cell::new(0) }
    }

    /// Takes a free buffer, if there is one, and counts a buffer as lent in any case.
    fn take(&self) -> Option<Box<[u8]>> {
        self.count(1);
        let mut free = self.free.borrow_mut();
        let data = free.pop();
        self.unused.set(self.unused.get().min(free.len()));
        data
    }

    /// Frees the buffers that were not lent since the last time.
    fn sweep(&self) {
        let mut free = self.free.borrow_mut();
        // Those at the front: the buffer that came back last is lent first.
        free.drain(..self.unused.get());
        self.unused.set(free.len());
    }

    fn count(&self, change: isize) {
        self.lent.set(self.lent.get().saturating_add_signed(change));
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_empty() {
            self.give_back();
        }
    }
}

impl Memory {
    fn give_back(&mut self) {
        let Some(place) = SIZES.iter().position(|size| *size == self.0.len()) else { return };
        let data = std::mem::take(&mut self.0);
        let _ = STOCKS.try_with(|stocks| {
            stocks[place].count(-1);
            let mut free = stocks[place].free.borrow_mut();
            if free.len() < KEPT[place] {
                free.push(data);
            }
        });
    }
}

/// Bytes that are put together to be sent, and how many of them were; lent like a buffer.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    sent: usize,
}

/// A list that has grown beyond this is not kept.
const KEPT_LIST: usize = 16 << 10;

impl Out {
    /// Room that was used before.
    pub(super) fn take() -> Self {
        Self { bytes: LISTS.with_borrow_mut(Vec::pop).unwrap_or_default(), sent: 0 }
    }

    /// What is still to be sent.
    pub(super) fn left(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Whether all of it was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Takes note of bytes that were sent; returns how many of them were beyond these.
    pub(super) fn sent(&mut self, n: usize) -> usize {
        let of_these = n.min(self.bytes.len() - self.sent);
        self.sent += of_these;
        n - of_these
    }

    /// All of it is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Drops what there is.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > KEPT_LIST {
            return;
        }
        bytes.clear();
        let _ = LISTS.try_with(|lists| {
            let mut lists = lists.borrow_mut();
            if lists.len() < KEPT[0] {
                lists.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_however_a_buffer_grows() {
        let mut buffer = Buffer::default();
        let (mut put, mut used) = (0_u32, 0_u32);
        for step in [1, 10_000, 5000, 1, 60_000, 100, 300_000, 7] {
            let bytes: Vec<u8> = (put..put + step).map(|n| n as u8).collect();
            put += step;
            buffer.put(&bytes);
            buffer.make_room();
            assert!(!buffer.room().is_empty());
            let n = buffer.bytes().len() / 2;
            for byte in &buffer.bytes()[..n] {
                assert_eq!(*byte, used as u8);
                used += 1;
            }
            buffer.used(n);
        }
        assert_eq!(buffer.bytes().len() as u32, put - used);
    }

    #[test]
    fn what_is_given_back_is_lent_again() {
        let mut buffer = Buffer::take(Size::Large);
        let at = buffer.room().as_ptr();
        buffer.put(b"x");
        buffer.give_back();
        assert!(buffer.is_lent(), "there is something in it");
        buffer.used(1);
        buffer.give_back();
        assert!(!buffer.is_lent() && buffer.is_empty());
        assert_eq!(Buffer::take(Size::Large).room().as_ptr(), at);
    }

    #[test]
    fn what_is_not_used_between_two_sweeps_is_freed() {
        let free = || STOCKS.with(|stocks| stocks[Size::Large as usize].free.borrow().len());
        let lend = |number: usize| drop((0..number).map(|_| Buffer::take(Size::Large)).collect::<Vec<_>>());
        lend(KEPT[1] + 1);
        assert_eq!(free(), KEPT[1]);
        sweep();
        assert_eq!(free(), KEPT[1], "they were used since the last sweep");
        lend(3);
        sweep();
        assert_eq!(free(), 3);
        sweep();
        assert_eq!(free(), 0);
        sweep();
        lend(1);
        assert_eq!(free(), 1);
    }

    #[test]
    fn beyond_the_most_that_is_lent_buffers_are_smaller() {
        let mut lent: Vec<_> = (0..MOST[2]).map(|_| Buffer::take(Size::Huge)).collect();
        assert_eq!(Buffer::take(Size::Huge).room().len(), SIZES[1]);
        lent.pop();
        assert_eq!(Buffer::take(Size::Huge).room().len(), SIZES[2]);
        // A head that needs the room has it.
        lent.push(Buffer::take(Size::Huge));
        let mut head = Buffer::of(&vec![0; SIZES[1] + 1]);
        assert_eq!(head.room().len(), SIZES[2] - SIZES[1] - 1);
    }

    #[test]
    fn a_buffer_shrinks_to_what_it_holds() {
        let mut buffer = Buffer::of(b"abc");
        buffer.used(1);
        buffer.shrink();
        assert_eq!((buffer.bytes(), buffer.data.0.len()), (&b"bc"[..], 2));
        buffer.make_room();
        assert_eq!((buffer.bytes(), buffer.data.0.len()), (&b"bc"[..], SIZES[0]));
    }

    #[test]
    fn bytes_that_fill_a_buffer_leave_with_it() {
        let lent = || STOCKS.with(|stocks| stocks[Size::Small as usize].lent.get());
        let before = lent();
        for (held, used, taken, is_copied) in [
            (SIZES[0], 0, SIZES[0], false),
            (SIZES[0] / 2, 100, SIZES[0] / 2 - 100, false),
            (SIZES[0] / SPARSE, 0, SIZES[0] / SPARSE, false),
            (SIZES[0] / SPARSE - 1, 0, SIZES[0] / SPARSE - 1, true),
            (SIZES[0], 0, SIZES[0] - 1, true),
            (0, 0, 0, true),
        ] {
            let row = format!("{taken} of {held} after {used}");
            let bytes: Vec<u8> = (0..held).map(|n| n as u8).collect();
            let mut buffer = Buffer::of(&bytes);
            let at = buffer.bytes().as_ptr();
            buffer.used(used);
            let front = buffer.take_front(taken);
            assert_eq!(front, bytes[used..used + taken], "{row}");
            assert_eq!(buffer.bytes(), &bytes[used + taken..], "{row}");
            assert_eq!(
                (front.as_ptr() != at.wrapping_add(used), buffer.is_lent()),
                (is_copied, is_copied),
                "{row}"
            );
            drop(buffer);
            assert_eq!(lent() - before, usize::from(!is_copied), "{row}: memory in use is still lent");
            drop(front);
            assert_eq!(lent(), before, "{row}");
        }
    }

    #[test]
    fn what_was_sent_is_counted_once() {
        let mut out = Out::take();
        out.bytes.extend_from_slice(b"abcdef");
        assert_eq!((out.sent(2), out.left()), (0, &b"cdef"[..]));
        assert_eq!((out.sent(7), out.is_sent()), (3, true));
        out.rewind();
        assert_eq!(out.left(), b"abcdef");
    }
}
