//! The forms of a path: one look that finds what is in it, and the writing of a form that differs from the text.

use std::borrow::Cow;

use super::InvalidPath;

/// What a look at a path finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features(u8);

/// Kinds of percent-encoded characters that one reader decodes and another does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Escapes(u8);

impl Escapes {
    pub(crate) const NONE: Self = Self(0);
    /// `%2F`.
    pub(crate) const SLASH: Self = Self(1);
    /// `%5C`; decoded, it separates segments too.
    pub(crate) const BACKSLASH: Self = Self(1 << 1);
    /// Those of the characters that stand for themselves in a path, such as `%21` for `!`.
    pub(crate) const RESERVED: Self = Self(1 << 2);

    const ALL: Self = Self(0b111);

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// All subsets but the empty one.
    pub(crate) fn subsets(self) -> impl Iterator<Item = Self> {
        (1..=self.0).filter(move |subset| subset & !self.0 == 0).map(Self)
    }
}

impl Features {
    /// The canonical form is another text.
    pub(super) const DIFFERS: Self = Self(1 << 3);
    /// Characters that are to be encoded.
    pub(super) const UNENCODED: Self = Self(1 << 4);
    /// Encoded control characters.
    pub(super) const CONTROL: Self = Self(1 << 5);
    /// Dot segments; known of a form that was written.
    pub(super) const DOTS: Self = Self(1 << 6);
    /// Dot segments beyond the root; known of a form that was written.
    pub(super) const ABOVE_ROOT: Self = Self(1 << 7);

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    pub(super) const fn escapes(self) -> Escapes {
        Escapes(self.0).and(Escapes::ALL)
    }
}

impl From<Escapes> for Features {
    fn from(escapes: Escapes) -> Self {
        Self(escapes.0)
    }
}

/// What a byte means where it stands in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself, encoded or not.
    Unreserved,
    /// Stands for itself, and may mean something else than its encoding.
    Reserved,
    Slash,
    Percent,
    Backslash,
    Control,
    /// `?` and `#` end a path.
    End,
    /// Must be encoded.
    Encode,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Encode; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Unreserved,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
                Class::Reserved
            }
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' => Class::Backslash,
            0..=31 | 127 => Class::Control,
            b'?' | b'#' => Class::End,
            _ => Class::Encode,
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

/// Set for bytes whose meaning only [`look`] can tell.
const SPECIAL: u8 = 1;
/// Set for the slash.
const SLASH: u8 = 1 << 1;
/// Set for bytes that have a meaning of their own directly after a slash: another slash and a dot.
const BEHIND_SLASH: u8 = 1 << 2;

const BITS: [u8; 256] = {
    let mut bits = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        bits[byte] = match CLASSES[byte] {
            Class::Slash => SLASH | BEHIND_SLASH,
            Class::Unreserved if byte as u8 == b'.' => BEHIND_SLASH,
            Class::Unreserved | Class::Reserved => 0,
            Class::Percent | Class::Backslash | Class::Control | Class::End | Class::Encode => SPECIAL,
        };
        byte += 1;
    }
    bits
};

/// Returns whether a path that begins with `/` surely has no features; nearly all paths have none. It may return
/// `false` for a path without features. It has no branch for each byte, which the processor would have to predict.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let (mut all, mut behind_slash, mut before) = (0, 0, 0);
    for &byte in path {
        let bits = BITS[usize::from(byte)];
        all |= bits;
        // Moves the bit of a slash before this byte to the place of `BEHIND_SLASH`.
        behind_slash |= before << 1 & bits;
        before = bits;
    }
    all & SPECIAL == 0 && behind_slash & BEHIND_SLASH == 0
}

/// Checks a whole path that begins with `/`, and says what is in it.
pub(super) fn look(path: &[u8]) -> Result<Features, InvalidPath> {
    let mut found = Features::default();
    let mut add = |feature: Features| found = found.with(feature);
    // Where the segment begins that is being read.
    let mut segment = 1;
    let mut i = 1;
    while let Some(&byte) = path.get(i) {
        match class(byte) {
            Class::Unreserved | Class::Reserved => {}
            Class::Slash => {
                if i == segment || is_dot_segment(&path[segment..i]) {
                    add(Features::DIFFERS);
                }
                segment = i + 1;
            }
            Class::Percent => {
                let escape = path.get(i + 1..i + 3).ok_or(InvalidPath::Malformed)?;
                let decoded = decode(escape).filter(|d| *d != 0).ok_or(InvalidPath::Malformed)?;
                match class(decoded) {
                    Class::Unreserved => add(Features::DIFFERS),
                    Class::Reserved => add(Escapes::RESERVED.into()),
                    Class::Slash => add(Escapes::SLASH.into()),
                    Class::Backslash => add(Escapes::BACKSLASH.into()),
                    Class::Control => add(Features::CONTROL),
                    Class::Percent | Class::End | Class::Encode => {}
                }
                if escape.iter().any(u8::is_ascii_lowercase) {
                    add(Features::DIFFERS);
                }
                i += 2;
            }
            // It would end the target.
            Class::Encode if byte == b' ' => return Err(InvalidPath::Malformed),
            Class::Encode => add(Features::DIFFERS.with(Features::UNENCODED)),
            // Servers do not agree on whether `\` separates segments, nor on whether `#` ends the path.
            Class::Backslash | Class::Control | Class::End => return Err(InvalidPath::Malformed),
        }
        i += 1;
    }
    if is_dot_segment(&path[segment..]) {
        add(Features::DIFFERS);
    }
    Ok(found)
}

/// A form of a path, and whether it took the removal of dot segments.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) features: Features,
}

/// What becomes of runs of slashes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slashes {
    /// They are one; before dot segments are removed, as nginx and most servers have it.
    Merge,
    Keep,
}

/// Writes a form of a path that has been checked: unreserved characters and what is in `decoded` are decoded, what may
/// not stand there is encoded, and dot segments are removed (RFC 3986, 5.2.4).
pub(super) fn write(path: &str, decoded: Escapes, slashes: Slashes) -> Written {
    let mut form = Form {
        text: String::with_capacity(path.len() + 16),
        start: 0,
        slashes,
        features: Features::default(),
    };
    form.text.push('/');
    let bytes = path.as_bytes();
    let mut i = 1;
    while let Some(&byte) = bytes.get(i) {
        i += 1;
        match class(byte) {
            Class::Slash => form.slash(),
            Class::Encode => push_escape(&mut form.text, byte),
            Class::Percent => {
                let byte = bytes.get(i..i + 2).and_then(decode).unwrap_or_default();
                i += 2;
                match class(byte) {
                    Class::Unreserved => form.text.push(char::from(byte)),
                    Class::Reserved if decoded.any(Escapes::RESERVED) => form.text.push(char::from(byte)),
                    Class::Slash if decoded.any(Escapes::SLASH) => form.slash(),
                    Class::Backslash if decoded.any(Escapes::BACKSLASH) => form.slash(),
                    _ => push_escape(&mut form.text, byte),
                }
            }
            _ => form.text.push(char::from(byte)),
        }
    }
    form.end()
}

/// A form that is being written.
struct Form {
    text: String,
    /// Where the slash of the last segment stands.
    start: usize,
    slashes: Slashes,
    features: Features,
}

impl Form {
    fn slash(&mut self) {
        self.end_segment();
        self.start = self.text.len();
        self.text.push('/');
    }

    /// Takes the last segment away where it says where to go rather than what is there.
    fn end_segment(&mut self) {
        match &self.text.as_bytes()[self.start + 1..] {
            b"" if self.slashes == Slashes::Merge => self.text.truncate(self.start),
            b"." => {
                self.features = self.features.with(Features::DOTS);
                self.text.truncate(self.start);
            }
            b".." => {
                self.features = self.features.with(Features::DOTS);
                self.text.truncate(self.start);
                match self.text.rfind('/') {
                    Some(parent) => self.text.truncate(parent),
                    None => self.features = self.features.with(Features::ABOVE_ROOT),
                }
            }
            _ => {}
        }
    }

    fn end(mut self) -> Written {
        if is_dot_segment(&self.text.as_bytes()[self.start + 1..]) {
            self.end_segment();
            self.text.push('/');
        }
        Written { text: self.text, features: self.features }
    }
}

/// A text each of whose bytes stands for itself, with those encoded that may not stand in a path.
pub(super) fn encode(text: &str) -> Cow<'_, str> {
    let stands = |byte: u8| matches!(class(byte), Class::Unreserved | Class::Reserved | Class::Slash);
    if text.bytes().all(stands) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if stands(byte) { encoded.push(char::from(byte)) } else { push_escape(&mut encoded, byte) }
    }
    Cow::Owned(encoded)
}

fn push_escape(text: &mut String, byte: u8) {
    text.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        text.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
    }
}

fn decode(escape: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*escape.first()?)?, digit(*escape.get(1)?)?);
    u8::try_from(high << 4 | low).ok()
}

fn is_dot_segment(segment: &[u8]) -> bool {
    segment == b"." || segment == b".."
}
