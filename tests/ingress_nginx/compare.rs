//! Whether what was played equals what was recorded: the rules of the README beside the cases.

mod answer;
mod headers;
mod hits;
mod many;

use crate::{
    backends::Hit,
    case::{Exchange, Failure, Send},
    player::Played,
};

/// A field in which the two differ.
#[derive(Clone, Debug)]
pub struct Difference {
    pub field: String,
    pub wanted: String,
    pub got: String,
    /// It is a matter of headers alone.
    pub header: bool,
}

/// What a comparison leaves out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bodies may be compressed on the way.
    pub bodies: bool,
    /// Times, where a request asks for them.
    pub times: bool,
}

/// The differences of an exchange.
pub fn exchange(exchange: &Exchange, played: &[Played], hits: &[Hit], rules: Rules) -> Vec<Difference> {
    let sends = exchange.sends();
    let send = &sends[0];
    if let Some(mode) = send.mode {
        return many::compare(mode, send, &exchange.seen, played).into_iter().collect();
    }
    let (_, answer) = &played[0];
    one(send, exchange, answer, hits, rules)
}

fn one(
    send: &Send,
    exchange: &Exchange,
    answer: &Result<crate::player::Answer, Failure>,
    hits: &[Hit],
    rules: Rules,
) -> Vec<Difference> {
    let seen = &exchange.seen;
    let answer = match (seen.error, answer) {
        (None, Ok(answer)) => answer,
        (Some(wanted), Err(got)) if wanted == *got => return Vec::new(),
        (wanted, got) => {
            let wanted =
                wanted.map_or_else(|| format!("status {}", seen.status), |failure| format!("{failure:?}"));
            let got = match got {
                Ok(answer) => format!("status {}", answer.status),
                Err(failure) => format!("{failure:?}"),
            };
            return vec![Difference::new("error", wanted, got)];
        }
    };
    let mut out = answer::compare(send, seen, answer, rules);
    if !send.nohits {
        out.extend(hits::compare(send, seen, hits));
    }
    out
}

impl Difference {
    fn new(field: impl Into<String>, wanted: impl Into<String>, got: impl Into<String>) -> Self {
        Self { field: field.into(), wanted: wanted.into(), got: got.into(), header: false }
    }

    fn of_header(field: impl Into<String>, wanted: impl Into<String>, got: impl Into<String>) -> Self {
        Self { header: true, ..Self::new(field, wanted, got) }
    }

    /// None where the two are equal.
    fn unless_equal<T: PartialEq + std::fmt::Debug>(field: &str, wanted: &T, got: &T) -> Option<Self> {
        (wanted != got).then(|| Self::new(field, format!("{wanted:?}"), format!("{got:?}")))
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n      wanted {}\n      got    {}", self.field, self.wanted, self.got)
    }
}
