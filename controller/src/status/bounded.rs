//! Limits of an object's status, whatever the object contains: a status that is too large cannot be written at all.
//!
//! The API accepts 32,768 characters in a condition's message. The limit here is lower: five conditions at each of 64 listeners
//! have to fit into one object, and etcd stores at most 1.5 MiB of it.

use std::borrow::Cow;

use super::{GatewayStatusAddress, Message};

/// The most bytes of a message.
const TEXT: usize = 2048;
/// The most messages of one object beside its status.
const MESSAGES: usize = 64;
/// The most addresses of a Gateway (`maxItems`).
const ADDRESSES: usize = 16;

/// A message that can be written.
pub(super) fn text(text: impl Into<Cow<'static, str>>) -> Cow<'static, str> {
    let text = text.into();
    if text.len() <= TEXT { text } else { shortened(&text, TEXT).into() }
}

/// The beginning of a text, and how much is left out if it is longer.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{} ... ({} more bytes)", &text[..end], text.len() - end)
}

/// The first messages, and how many more there are.
pub(super) fn messages(mut messages: Vec<Message>) -> Box<[Message]> {
    if let Some(first) = messages.get(MESSAGES) {
        let more = messages.len() - MESSAGES;
        let text = format!("and {more} more like these");
        let more = Message { text, topic: None, cause: None, level: first.level };
        messages.truncate(MESSAGES);
        messages.push(more);
    }
    messages.into()
}

/// The first addresses.
pub(super) fn addresses(mut addresses: Vec<GatewayStatusAddress>) -> Vec<GatewayStatusAddress> {
    addresses.truncate(ADDRESSES);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_how_much_is_left_out() {
        for (of, want) in [
            ("a".repeat(TEXT), "a".repeat(TEXT)),
            ("a".repeat(TEXT + 5), "a".repeat(TEXT) + " ... (5 more bytes)"),
            (
                "a".to_owned() + &"é".repeat(TEXT),
                "a".to_owned() + &"é".repeat(TEXT / 2 - 1) + " ... (2050 more bytes)",
            ),
            (String::new(), String::new()),
        ] {
            assert_eq!(text(of), want);
        }
    }

    #[test]
    fn of_many_messages_the_first_are_kept() {
        let all: Vec<_> = (0..MESSAGES + 7).map(|n| Message::note(n.to_string())).collect();
        assert_eq!(messages(all[..MESSAGES].to_vec()), all[..MESSAGES].into());
        let cut = messages(all.clone());
        assert_eq!((&cut[..MESSAGES], &*cut[MESSAGES].text), (&all[..MESSAGES], "and 7 more like these"));
    }
}
