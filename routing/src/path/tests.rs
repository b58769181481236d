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

/// Tries all pairs of bytes within a segment, at its start and at the path's end.
#[test]
fn a_path_is_plain_if_a_look_finds_nothing_in_it() {
    for (first, second) in (0..=255).flat_map(|first| (0..=255).map(move |second| (first, second))) {
        for (before, after) in [("/", ""), ("/", "b"), ("/a", "b"), ("/a/", "/b"), ("/a", "/")] {
            let path = [before.as_bytes(), &[first, second], after.as_bytes()].concat();
            // Only `look` can tell whether a segment that begins with a dot is a dot segment.
            let begins_with_dot = path.windows(2).any(|two| two == b"/.");
            let nothing = look(&path) == Ok(Features::default());
            assert_eq!(is_plain(&path), nothing && !begins_with_dot, "{}", path.escape_ascii());
        }
    }
}

#[test]
fn dot_segments_are_removed_and_runs_of_slashes_are_one() {
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
        ("/a//../b", "/b"),
        ("/a/..//b", "/b"),
        ("/a/%2e%2e%2fb", "/a/..%2Fb"),
        ("/...", "/..."),
        ("/.well-known/x..", "/.well-known/x.."),
        ("/a/..;/b", "/a/..;/b"),
        ("//", "/"),
        ("//a", "/a"),
        ("/a//b///", "/a/b/"),
        ("/a/%2F/b", "/a/%2F/b"),
    ] {
        assert_eq!(canonicalise(path).as_deref(), Ok(want), "{path}");
    }
}

#[test]
fn ingresses_read_everything_decoded() {
    for (path, want) in [
        ("/a%2fb%5cc", Ok("/a/b%5Cc")),
        ("/a%2F%2F/b", Ok("/a/b")),
        ("/%21%3b%40", Ok("/!;@")),
        ("/%3f%23%25%20", Ok("/%3F%23%25%20")),
        ("/a/%2e%2e%2fb", Ok("/b")),
        ("/x%2Fy/../b", Ok("/x/b")),
        ("/%252e%252e/a", Ok("/%252e%252e/a")),
        ("/..", Err(InvalidPath::AboveRoot)),
        ("//../b", Err(InvalidPath::AboveRoot)),
        ("/a/..%2F..%2Fb", Err(InvalidPath::AboveRoot)),
        ("/%00", Err(InvalidPath::Malformed)),
    ] {
        let read = RequestPath::parse(path);
        let form = read.as_ref().map_err(|e| *e).and_then(|read| read.read(Reading::Ingress));
        assert_eq!(form.as_deref().map_err(|e| *e), want, "{path}");
    }
}

#[test]
fn each_character_of_an_ingress_path_stands_for_itself() {
    for (path, want) in [
        ("/a+b/(x);", Some("/a+b/(x);")),
        ("/e%20f", Some("/e%2520f")),
        ("/e f", Some("/e%20f")),
        ("/a%2Fb", Some("/a%252Fb")),
        ("/\u{e9}?#\\", Some("/%C3%A9%3F%23%5C")),
        ("/a/", Some("/a/")),
        ("/", Some("/")),
        ("//a", None),
        ("/a/../b", None),
        ("/a/.", None),
        ("a", None),
        ("", None),
        ("/\0", None),
    ] {
        assert_eq!(of_ingress(path).as_deref(), want, "{path}");
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

#[test]
fn the_clients_bytes_are_forwarded_but_for_dot_segments_and_control_characters() {
    for (path, routes, ingresses) in [
        ("/a//%62|\u{e9}", "/a//%62|\u{e9}", "/a//%62|\u{e9}"),
        ("/a%2fb%5c", "/a%2fb%5c", "/a%2fb%5c"),
        ("/a//./%62", "/a/b", "/a//./%62"),
        ("/%61/%2e%2e//b", "/b", "/%61/%2e%2e//b"),
        ("/%61%0d", "/a%0D", "/%61%0d"),
        ("/%61%7f", "/a%7F", "/%61%7f"),
    ] {
        let read = RequestPath::parse(path).unwrap();
        assert_eq!(read.forwarded(Reading::Gateway), routes, "{path}");
        assert_eq!(read.forwarded(Reading::Ingress), ingresses, "{path}");
    }
}

#[test]
fn what_a_filter_puts_in_keeps_its_slashes() {
    for (path, want) in [("/a//b/", "/a//b/"), ("//a/./b|", "//a/b%7C"), ("/a//../b", "/a/b"), ("/%61", "/a")]
    {
        assert_eq!(replacement(path).as_deref(), Ok(want), "{path}");
    }
}

proptest! {
    #[test]
    fn a_form_is_its_own_form(path in path()) {
        let Ok(read) = RequestPath::parse(&path) else { return Ok(()) };
        prop_assert!(matches!(canonicalise(read.canonical()), Ok(Cow::Borrowed(_))), "{}", path);
        if let Ok(form) = read.read(Reading::Ingress) {
            let again = RequestPath::parse(&form).unwrap();
            prop_assert_eq!(again.read(Reading::Ingress), Ok(Cow::Borrowed(&*form)), "{}", path);
        }
    }

    #[test]
    fn a_form_never_leaves_the_root_and_has_no_empty_segments(path in path()) {
        if let Ok(form) = canonicalise(&path) {
            prop_assert!(form.starts_with('/') && !form.contains("//"), "{} gives {}", path, form);
            prop_assert!(form.split('/').all(|s| s != "." && s != ".."), "{} gives {}", path, form);
        }
    }

    #[test]
    fn a_form_is_that_of_a_plain_reading(path in path()) {
        let Ok(read) = RequestPath::parse(&path) else { return Ok(()) };
        prop_assert_eq!(read.canonical(), plain::form(&path, plain::NOTHING).0);
        let (form, above) = plain::form(&path, plain::AS_NGINX);
        let want = if above { Err(InvalidPath::AboveRoot) } else { Ok(form) };
        prop_assert_eq!(read.read(Reading::Ingress).map(Cow::into_owned), want);
    }

    #[test]
    fn what_is_forwarded_is_what_was_sent_or_the_canonical_form(path in path()) {
        if let Ok(read) = RequestPath::parse(&path) {
            let forwarded = plain::forwarded(&path);
            prop_assert_eq!(read.forwarded(Reading::Gateway), forwarded);
            prop_assert_eq!(read.forwarded(Reading::Ingress), &*path);
        }
    }
}

pub(crate) fn path() -> impl Strategy<Value = String> {
    let parts = &[
        "/", "/", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5C", "%5c", "%25", "%00", "%0d", "%7f", "%",
        "%21", "!", "a", "%61", "b", "|", "\u{e9}", ";", "2e",
    ];
    let segments = &[
        "a", "b", "%61", "a!", "a%21", "!", "%21", "a%2Fb", "a%2f", "%2Fb", "a%5Cb", "%5cb", "..%2F",
        "a%2F..", "b%5C..", ".", "..", "%2e%2e", "",
    ];
    let of_parts = prop::collection::vec(prop::sample::select(&parts[..]), 0..12);
    let of_segments = prop::collection::vec(prop::sample::select(&segments[..]), 1..5);
    prop_oneof![
        of_parts.prop_map(|parts| format!("/{}", parts.concat())),
        of_segments.prop_map(|segments| format!("/{}", segments.join("/"))),
    ]
}

/// The plain reading that the fast one is held against.
pub(crate) mod plain {
    use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

    /// What is decoded beside unreserved characters: `%2F`, `%5C` (both become slashes), reserved characters.
    pub(crate) type Decoded = [bool; 3];

    pub(crate) const NOTHING: Decoded = [false; 3];
    pub(crate) const AS_NGINX: Decoded = [true, false, true];

    /// All that stands in a path is a reserved or unreserved character, `/`, or encoded.
    const ENCODE: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

    #[derive(Clone, PartialEq, Eq)]
    enum Token {
        Slash,
        Literal(u8),
        Escaped(u8),
    }

    fn tokens(path: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut rest = path.as_bytes();
        while let [byte, tail @ ..] = rest {
            rest = tail;
            tokens.push(match byte {
                b'/' => Token::Slash,
                b'%' => {
                    rest = &tail[2..];
                    Token::Escaped(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap())
                }
                byte => Token::Literal(*byte),
            });
        }
        tokens
    }

    /// The canonical text of a path, and whether it leads above the root.
    pub(crate) fn form(path: &str, [slash, backslash, reserved]: Decoded) -> (String, bool) {
        let read = |token| match token {
            Token::Escaped(b'/') if slash => Token::Slash,
            Token::Escaped(b'\\') if backslash => Token::Slash,
            Token::Escaped(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                Token::Literal(byte)
            }
            Token::Escaped(byte) if reserved && b"!$&'()*+,;=:@".contains(&byte) => Token::Literal(byte),
            token => token,
        };
        let text = |token: &Token| match token {
            Token::Slash => unreachable!("segments have none"),
            Token::Literal(byte) => percent_encode(&[*byte], ENCODE).to_string(),
            Token::Escaped(byte) => format!("%{byte:02X}"),
        };
        let tokens: Vec<_> = tokens(path).into_iter().map(read).collect();
        let written =
            tokens.split(|token| *token == Token::Slash).map(|s| s.iter().map(text).collect::<String>());
        let (mut segments, mut above, mut directory) = (Vec::new(), false, false);
        for segment in written.skip(1) {
            directory = matches!(&*segment, "" | "." | "..");
            match &*segment {
                "" | "." => {}
                ".." => above |= segments.pop().is_none(),
                _ => segments.push(segment),
            }
        }
        let end = if directory && !segments.is_empty() { "/" } else { "" };
        (format!("/{}{end}", segments.join("/")), above)
    }

    /// What the backend of a route gets.
    pub(crate) fn forwarded(path: &str) -> String {
        let dots = path.split('/').any(|s| matches!(&*decoded(s), b"." | b".."));
        let control = decoded(path).iter().any(u8::is_ascii_control);
        if dots || control { form(path, NOTHING).0 } else { path.to_owned() }
    }

    /// Whether an escape of this kind stands in it.
    pub(crate) fn has(path: &str, [slash, backslash, reserved]: Decoded) -> bool {
        tokens(path).iter().any(|token| match token {
            Token::Escaped(b'/') => slash,
            Token::Escaped(b'\\') => backslash,
            Token::Escaped(byte) => reserved && b"!$&'()*+,;=:@".contains(byte),
            _ => false,
        })
    }

    fn decoded(text: &str) -> Vec<u8> {
        percent_decode_str(text).collect()
    }
}
