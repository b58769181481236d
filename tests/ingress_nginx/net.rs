//! Loopback addresses in place of the recorded ones.
//!
//! Each case has networks of its own, so that what its backends receive is known to be of this case while others are
//! played beside it, and each run of the tests has a block of its own, so that two runs on one machine never meet.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use serde_json::Value;

/// The prefixes of the recording; each becomes a prefix of the case.
const RECORDED: [&str; 4] = ["10.55.0.", "10.96.0.", "203.0.113.", "198.51.100."];
/// The first second octet of the first block; what is below is used by others.
const FIRST: u8 = 60;
/// Second octets of one recorded prefix: networks of one block, in 256.
const EACH: u8 = 3;
/// Second octets of a block: those of the prefixes, and one for the proxies.
const BLOCK: u8 = EACH * 4 + 1;
const BLOCKS: u8 = 5;
const LAST: u16 = EACH as u16 * 256 - 1;

/// A block of addresses that belongs to this run alone while it lives.
#[derive(Debug)]
pub struct Block {
    first: u8,
    _held: TcpListener,
}

/// The networks of one case, or of what a variant's cases share.
#[derive(Clone, Debug)]
pub struct Net {
    first: u8,
    number: u16,
}

impl Block {
    /// Takes the first that is free.
    pub fn take() -> Self {
        let free = (0..BLOCKS).find_map(|block| {
            let first = FIRST + block * BLOCK;
            let marker = Ipv4Addr::new(127, first + BLOCK - 1, 255, 254);
            TcpListener::bind((marker, 9999)).ok().map(|held| Self { first, _held: held })
        });
        free.unwrap_or_else(|| panic!("{BLOCKS} other runs of these tests hold all addresses"))
    }

    /// The networks of a number.
    pub fn net(&self, number: usize) -> Net {
        let number = u16::try_from(number).ok().filter(|number| *number < LAST);
        Net { first: self.first, number: number.expect("there are fewer cases than networks") }
    }

    /// The networks of no case.
    pub fn last(&self) -> Net {
        Net { first: self.first, number: LAST }
    }

    /// The address of a proxy.
    pub fn proxy(&self, number: usize) -> IpAddr {
        let [high, low] = u16::try_from(number + 1).expect("there are fewer proxies").to_be_bytes();
        IpAddr::from([127, self.first + BLOCK - 1, high, low])
    }
}

impl Net {
    /// Replaces the recorded prefixes in every string.
    pub fn map(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.map(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.map(field)),
            _ => {}
        }
    }

    /// The text with the recorded prefixes replaced.
    pub fn text(&self, text: &str) -> String {
        let [high, low] = self.number.to_be_bytes();
        let numbered = RECORDED.iter().zip(0..);
        numbered.fold(text.to_owned(), |text, (prefix, index)| {
            text.replace(prefix, &format!("127.{}.{low}.", self.first + EACH * index + high))
        })
    }
}
