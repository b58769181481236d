//! One canonical form of a request's path: what is matched, what policies see and what is forwarded.

use std::borrow::Cow;

/// Why a path is refused (400).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The path does not begin with `/`.
    #[error("the path does not begin with '/'")]
    NotAbsolute,
    /// A `%` is not followed by two hexadecimal digits, or a byte may not stand in a path.
    #[error("the path has an invalid character or percent-encoding")]
    Malformed,
}

/// Brings the path of a request target (without its query) to canonical form (RFC 3986, section 6.2.2); a path
/// that a route names is brought to the same form by the same function.
///
/// - Percent-encoded unreserved characters are decoded, other escapes are in upper case; so `%2F` and `%5C` stay
///   encoded and never become separators.
/// - Characters that clients send although they must not stand in a path (`"`, `<`, `>`, `^`, `` ` ``, `{`, `|`,
///   `}` and what is not ASCII) are percent-encoded.
/// - Dot segments are removed, whether their dots are encoded or not; `..` at the root stays at the root.
/// - Repeated slashes stay as they are: to some backends they differ.
///
/// The form is its own canonical form, and a path that has it already is borrowed. `*` (OPTIONS) is no path; its
/// caller does not ask.
///
/// # Errors
/// [`InvalidPath`] for what readers of paths understand differently: control characters and space, raw or as
/// `%00`, `\`, `?`, `#`, and a `%` without two hexadecimal digits.
pub fn canonicalise(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    if !path.starts_with('/') {
        return Err(InvalidPath::NotAbsolute);
    }
    Ok(if is_canonical(path.as_bytes())? { Cow::Borrowed(path) } else { Cow::Owned(rewrite(path)) })
}

/// What a byte means where it stands in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself, encoded or not.
    Unreserved,
    /// Stands for itself, and means something else than its encoding.
    Reserved,
    Slash,
    Percent,
    /// Must be encoded.
    Encode,
    Refuse,
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
            // Servers do not agree on whether `\` separates segments, nor on whether `#` ends the path.
            0..=b' ' | 0x7f | b'\\' | b'?' | b'#' => Class::Refuse,
            _ => Class::Encode,
        };
        byte += 1;
    }
    classes
};

/// Checks the whole path; whether it is to be changed follows from the same look.
fn is_canonical(path: &[u8]) -> Result<bool, InvalidPath> {
    let mut canonical = true;
    // Where the segment begins that is being read.
    let mut segment = 1;
    let mut i = 1;
    while let Some(&byte) = path.get(i) {
        match CLASSES[usize::from(byte)] {
            Class::Unreserved | Class::Reserved => {}
            Class::Slash => {
                canonical &= !is_dot_segment(&path[segment..i]);
                segment = i + 1;
            }
            Class::Percent => {
                let escape = path.get(i + 1..i + 3).ok_or(InvalidPath::Malformed)?;
                let decoded = decode(escape).filter(|d| *d != 0).ok_or(InvalidPath::Malformed)?;
                canonical &= CLASSES[usize::from(decoded)] != Class::Unreserved
                    && !escape.iter().any(u8::is_ascii_lowercase);
                i += 2;
            }
            Class::Encode => canonical = false,
            Class::Refuse => return Err(InvalidPath::Malformed),
        }
        i += 1;
    }
    Ok(canonical && !is_dot_segment(&path[segment..]))
}

/// The canonical form of a path that has been checked (RFC 3986, 5.2.4 and 6.2.2).
fn rewrite(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 16);
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        out.push('/');
        push_normal(&mut out, segment);
        let written = &out.as_bytes()[start + 1..];
        if !is_dot_segment(written) {
            continue;
        }
        let parent = written == b"..";
        out.truncate(start);
        if parent {
            out.truncate(out.rfind('/').unwrap_or(0));
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    out
}

fn push_normal(out: &mut String, segment: &str) {
    let bytes = segment.as_bytes();
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        match CLASSES[usize::from(byte)] {
            Class::Percent => {
                let decoded = bytes.get(i + 1..i + 3).and_then(decode).unwrap_or_default();
                match CLASSES[usize::from(decoded)] {
                    Class::Unreserved => out.push(char::from(decoded)),
                    _ => push_escape(out, decoded),
                }
                i += 2;
            }
            Class::Encode => push_escape(out, byte),
            _ => out.push(char::from(byte)),
        }
        i += 1;
    }
}

fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equivalent_paths_have_one_form() {
        for (path, want) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61%7E%2d%2E%5f", "/a~-._"),
            ("/a%2fb%5cc", "/a%2Fb%5Cc"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%c3%a9", "/%C3%A9"),
            ("/\u{e9}", "/%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a%25b", "/a%25b"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/a|b{c}\"<>^`", "/a%7Cb%7Bc%7D%22%3C%3E%5E%60"),
            ("/!$&'()*+,;=:@", "/!$&'()*+,;=:@"),
            ("/%21%24%26%27", "/%21%24%26%27"),
            ("/%0d%0a", "/%0D%0A"),
        ] {
            assert_eq!(canonicalise(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_removed() {
        for (path, want) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/.%2E/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("/a/..//b", "//b"),
            ("/a/%2e%2e%2fb", "/a/..%2Fb"),
            ("/...", "/..."),
            ("/.well-known/x..", "/.well-known/x.."),
            ("/a/..;/b", "/a/..;/b"),
        ] {
            assert_eq!(canonicalise(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn repeated_slashes_stay() {
        for path in ["//", "//a", "/a//b///", "/a/%2F/b"] {
            assert!(matches!(canonicalise(path), Ok(Cow::Borrowed(p)) if p == path), "{path}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for path in [
            "/a\\b", "/a#b", "/a?b", "/a b", "/a\tb", "/a\nb", "/\0", "/%00", "/\u{7f}", "/%", "/%2", "/%zz",
            "/a%", "/%2g", "/%+1",
        ] {
            assert_eq!(canonicalise(path), Err(InvalidPath::Malformed), "{path:?}");
        }
        for path in ["", "*", "a/b", "http://a/b", "%2Fa"] {
            assert_eq!(canonicalise(path), Err(InvalidPath::NotAbsolute), "{path:?}");
        }
    }

    #[test]
    fn a_canonical_path_is_borrowed() {
        for path in ["/", "/a/b.c/d-e_f~", "/.well-known/acme", "/a%20b%2Fc", "/..a", "/a.."] {
            assert!(matches!(canonicalise(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_form_is_its_own_form(path in path()) {
            if let Ok(once) = canonicalise(&path) {
                prop_assert!(matches!(canonicalise(&once), Ok(Cow::Borrowed(_))), "{} gives {}", path, once);
            }
        }

        #[test]
        fn the_form_never_leaves_the_root(path in path()) {
            if let Ok(form) = canonicalise(&path) {
                prop_assert!(form.starts_with('/'));
                prop_assert!(form.split('/').all(|s| s != "." && s != ".."), "{} gives {}", path, form);
            }
        }

        #[test]
        fn the_form_means_the_same(path in path()) {
            if let Ok(form) = canonicalise(&path) {
                prop_assert_eq!(plain(&path), plain(&form));
            }
        }
    }

    fn path() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%5C"),
            Just("%25"),
            Just("%00"),
            Just("%"),
            Just("a"),
            Just("%61"),
            Just("|"),
            Just("\u{e9}"),
            Just(";"),
            Just("2e"),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
    }

    /// The segments that a path leads through, decoded.
    fn plain(path: &str) -> Vec<Vec<u8>> {
        let mut segments: Vec<Vec<u8>> = Vec::new();
        let mut last = false;
        for segment in path[1..].split('/') {
            let segment: Vec<u8> = percent_encoding::percent_decode_str(segment).collect();
            last = segment == b"." || segment == b"..";
            match &*segment {
                b"." => {}
                b".." => drop(segments.pop()),
                _ => segments.push(segment),
            }
        }
        if last {
            segments.push(Vec::new());
        }
        segments
    }
}
