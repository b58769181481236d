//! A text that is rendered from the values of two channels, and again only after one of them has changed, however often it is
//! requested.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

/// The text, and its sources.
#[derive(Debug)]
pub(super) struct Rendered<A, B>(Mutex<State<A, B>>);

#[derive(Debug)]
struct State<A, B> {
    first: watch::Receiver<A>,
    second: watch::Receiver<B>,
    text: Option<Bytes>,
}

impl<A, B> Rendered<A, B> {
    pub(super) fn of(first: watch::Receiver<A>, second: watch::Receiver<B>) -> Self {
        Self(Mutex::new(State { first, second, text: None }))
    }

    /// The text. `make` renders it if it is missing or out of date; concurrent callers wait for the first.
    pub(super) fn text(&self, make: impl FnOnce() -> Vec<u8>) -> Bytes {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A channel that is closed no longer changes.
        let changed =
            state.first.has_changed().unwrap_or(false) || state.second.has_changed().unwrap_or(false);
        match &state.text {
            Some(text) if !changed => text.clone(),
            _ => {
                // Marked as seen before rendering, so that a change meanwhile is seen by the next call.
                state.first.mark_unchanged();
                state.second.mark_unchanged();
                state.text.insert(Bytes::from(make())).clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_for_each_change() {
        let (first, second) = (watch::Sender::new('a'), watch::Sender::new('x'));
        let rendered = Rendered::of(first.subscribe(), second.subscribe());
        let mut made = 0;
        let mut text = || {
            let text = rendered.text(|| {
                made += 1;
                vec![*first.borrow() as u8, *second.borrow() as u8]
            });
            (String::from_utf8(text.to_vec()).unwrap(), made)
        };
        assert_eq!([text(), text()], [("ax".to_owned(), 1), ("ax".to_owned(), 1)]);
        first.send_replace('b');
        assert_eq!([text(), text()], [("bx".to_owned(), 2), ("bx".to_owned(), 2)]);
        second.send_replace('y');
        first.send_replace('c');
        assert_eq!([text(), text()], [("cy".to_owned(), 3), ("cy".to_owned(), 3)]);
    }

    #[test]
    fn a_text_stays_when_nobody_sends_any_more() {
        let (first, second) = (watch::Sender::new(()), watch::Sender::new(()));
        let rendered = Rendered::of(first.subscribe(), second.subscribe());
        drop((first, second));
        assert_eq!(rendered.text(|| b"first".to_vec()), "first");
        assert_eq!(rendered.text(|| b"second".to_vec()), "first");
    }
}
