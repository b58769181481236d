//! The name and the password in `Authorization: Basic` (RFC 7617).

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

/// A name and a password. Wiped from memory when dropped.
pub(super) struct Credentials {
    decoded: Zeroizing<Vec<u8>>,
    /// Where the name ends.
    colon: usize,
}

/// The longest password that is hashed: work grows with it.
const MAX_PASSWORD: usize = 512;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Credentials {
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = Zeroizing::new(BASE64.decode(rest.trim_ascii()).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0)?;
        let password = &decoded[colon + 1..];
        // Some hashes end at a zero byte: what follows it would be of no account.
        let is_hashable = password.len() <= MAX_PASSWORD && !password.contains(&0);
        is_hashable.then_some(Self { decoded, colon })
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.decoded[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.decoded[self.colon + 1..]
    }
}

/// Nothing of them.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_the_first_colon() {
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
        let long = format!("a:{}", "x".repeat(MAX_PASSWORD));
        for (value, want) in [
            (basic("bob:secret"), Some(("bob", "secret"))),
            (basic("bob:a:b"), Some(("bob", "a:b"))),
            (basic("bob:"), Some(("bob", ""))),
            ("bAsIc   Ym9iOm5v  ".to_owned(), Some(("bob", "no"))),
            (basic("bob:n").trim_end_matches('=').to_owned(), Some(("bob", "n"))),
            (basic(&long), Some(("a", &long[2..]))),
            (basic(&format!("{long}x")), None),
            (basic(":secret"), None),
            (basic("bob"), None),
            (basic("bob:se\0cret"), None),
            ("Basic".to_owned(), None),
            ("Basic !!!".to_owned(), None),
            ("Bearer Ym9iOm5v".to_owned(), None),
            (String::new(), None),
        ] {
            let got = Credentials::parse(value.as_bytes());
            let got = got.as_ref().map(|credentials| (credentials.name(), credentials.password()));
            assert_eq!(got, want.map(|(name, password)| (name.as_bytes(), password.as_bytes())), "{value}");
        }
    }
}
