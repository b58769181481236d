//! What is drawn at random: exchanges with their bodies, the pieces that bytes come in, and faults.

use proptest::prelude::*;

/// One request and its answer.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) request: Body,
    pub(super) answer: Body,
    /// Sizes of the pieces in which the answer comes, in turn.
    pub(super) pieces: Vec<usize>,
    /// The backend's fault.
    pub(super) fault: Option<Fault>,
    /// Whether the backend answers before it reads the request's body.
    pub(super) early: bool,
}

/// A body of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(usize),
    Chunked(usize),
    /// Until the connection ends; answers alone.
    Close(usize),
}

/// What happens to one side's bytes after the first ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) after: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Close,
    Stall,
    Nonsense,
}

pub(super) const NONSENSE: &[u8] = b"\r\n\0 HTTP/1.1 200 OK\r\n\r\nnonsense";

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0_usize..40, 3 => 40_usize..5000, 1 => 5000_usize..150_000]
}

pub(super) fn pieces() -> impl Strategy<Value = Vec<usize>> {
    let piece = prop_oneof![2 => 1_usize..20, 3 => 20_usize..3000, 3 => 3000_usize..200_000];
    proptest::collection::vec(piece, 1..4)
}

pub(super) fn fault(of_ten: u32, reach: usize) -> impl Strategy<Value = Option<Fault>> {
    let kind = proptest::sample::select(&[Kind::Close, Kind::Stall, Kind::Nonsense][..]);
    let fault = (kind, after(reach)).prop_map(|(kind, after)| Some(Fault { kind, after }));
    prop_oneof![10 - of_ten => Just(None), of_ten => fault]
}

/// The place of a fault, often early.
pub(super) fn after(reach: usize) -> impl Strategy<Value = usize> {
    prop_oneof![0_usize..300, 0..reach]
}

pub(super) fn exchange() -> impl Strategy<Value = Exchange> {
    let request = prop_oneof![
        3 => Just(Body::None),
        2 => size().prop_map(Body::Length),
        2 => size().prop_map(Body::Chunked)
    ];
    let answer = prop_oneof![
        1 => Just(Body::None),
        3 => size().prop_map(Body::Length),
        3 => size().prop_map(Body::Chunked),
        1 => size().prop_map(Body::Close)
    ];
    (request, answer, pieces(), fault(1, 5000), any::<bool>()).prop_map(
        |(request, answer, pieces, fault, early)| Exchange { request, answer, pieces, fault, early },
    )
}

/// How large the next piece of so many bytes is: there are not more than a hundred of them.
pub(super) fn next_piece<'s>(sizes: &mut impl Iterator<Item = &'s usize>, len: usize) -> usize {
    sizes.next().map_or(len, |size| *size.max(&(len / 100)))
}

impl Body {
    pub(super) fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Length(len) | Self::Chunked(len) | Self::Close(len) => len,
        }
    }
}

impl Exchange {
    /// The content of the request's body in this place, which tells whose it is at every byte.
    pub(super) fn requests(&self, script: usize, place: usize) -> Vec<u8> {
        content(script, place, "request", self.request.len())
    }

    /// The same of the answer's.
    pub(super) fn answers(&self, script: usize, place: usize) -> Vec<u8> {
        content(script, place, "answer", self.answer.len())
    }

    /// What is wrong with a body that came as this answer. `whole`: it has ended as whole bodies do.
    pub(super) fn judge_answer(&self, got: &[u8], whole: bool, want: &[u8]) -> Result<(), String> {
        let kind = self.fault.map(|fault| fault.kind);
        // Where a connection's end is that of a body, one that is closed early looks like it.
        let whole = whole && !(matches!(self.answer, Body::Close(_)) && kind == Some(Kind::Close));
        judge(got, whole, want, kind == Some(Kind::Nonsense))
    }
}

fn content(script: usize, exchange: usize, direction: &str, len: usize) -> Vec<u8> {
    let name = format!("<{direction}:{script}.{exchange}>");
    let mut content = name.repeat(len / name.len() + 1).into_bytes();
    content.truncate(len);
    content
}

/// What is wrong with a body: it is a part of its own content, all of that if it is `whole`, and may be `garbled` at its end.
pub(super) fn judge(got: &[u8], whole: bool, want: &[u8], garbled: bool) -> Result<(), String> {
    let own = match want.starts_with(got) {
        true => got.len(),
        false => got.iter().zip(want).take_while(|(one, other)| one == other).count(),
    };
    let rest = &got[own..];
    let is_nonsense = garbled && (1..=NONSENSE.len()).contains(&rest.len()) && {
        NONSENSE.windows(rest.len()).any(|part| part == rest)
    };
    if !rest.is_empty() && !is_nonsense {
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(80)]).into_owned();
        return Err(format!("is not its own at byte {own} of {}: {shown:?}", got.len()));
    }
    match whole && got.len() < want.len() && !garbled {
        true => Err(format!("seems whole with {} of {} bytes", got.len(), want.len())),
        false => Ok(()),
    }
}
