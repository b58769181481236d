use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    server::{Accepted, Acceptor},
    version::{TLS12, TLS13},
};

use super::*;

/// The result of reading these bytes in pieces of this length.
fn read(bytes: &[u8], piece: usize) -> Result<Greeting, HelloError> {
    let mut hello = Hello::default();
    for piece in bytes.chunks(piece) {
        let room = MAX - hello.raw.len();
        hello.raw.extend_from_slice(&piece[..piece.len().min(room)]);
        match hello.read() {
            Ok(Greeting::Incomplete) => {}
            done => {
                let read = hello.raw.len();
                assert_eq!(hello.into_raw(), bytes[..read], "the bytes are kept unchanged");
                return done;
            }
        }
    }
    Ok(Greeting::Incomplete)
}

fn named(name: &str) -> Result<Greeting, HelloError> {
    Ok(Greeting::Complete(Some(name.into())))
}

/// A ClientHello that rustls makes.
fn hello(name: &str, alpn: &[&str], tls12: bool) -> Vec<u8> {
    let versions = if tls12 { &[&TLS12][..] } else { &[&TLS12, &TLS13] };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (mut wire, mut client) = (Vec::new(), ClientConnection::new(Arc::new(config), name).unwrap());
    client.write_tls(&mut wire).unwrap();
    wire
}

/// A ClientHello made by hand, with these extensions.
fn made(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    in_records(&message(&body), MAX_RECORD)
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message[0] = CLIENT_HELLO;
    message.extend(body);
    message
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &length, content].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    let entry = [&[HOST_NAME][..], &u16::try_from(name.len()).unwrap().to_be_bytes(), name].concat();
    extension(SERVER_NAME, &[&u16::try_from(entry.len()).unwrap().to_be_bytes()[..], &entry].concat())
}

/// Splits a message into records of this length.
fn in_records(message: &[u8], length: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        [&[HANDSHAKE, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat()
    };
    message.chunks(length).flat_map(record).collect()
}

/// Splits a message into records at these offsets, in ascending order.
fn cut_into_records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let begins = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([message.len()]);
    begins.zip(ends).flat_map(|(begin, end)| in_records(&message[begin..end], MAX_RECORD)).collect()
}

/// Joins the message that these records carry.
fn message_of(mut wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend(part);
        wire = rest;
    }
    message
}

#[test]
fn a_name_is_found_however_the_hello_is_cut_into_packets_and_records() {
    for tls12 in [true, false] {
        let wire = hello("Db.Example.com", &["h2", "postgresql"], tls12);
        let message = message_of(&wire);
        for record in [1, 3, 100, MAX_RECORD] {
            for piece in [1, 2, 5, 7, 512, MAX] {
                let wire = in_records(&message, record);
                assert_eq!(read(&wire, piece), named("db.example.com"), "{record} {piece}");
            }
        }
    }
}

#[test]
fn a_name_is_found_wherever_the_hello_is_cut_in_two_records_and_two_packets() {
    let message = message_of(&hello("db.example.com", &["postgresql"], true));
    for cut in 1..message.len() {
        let wire = cut_into_records(&message, &[cut]);
        for packet in 1..wire.len() {
            let mut hello = Hello::default();
            hello.raw.extend_from_slice(&wire[..packet]);
            let first = hello.read();
            assert_eq!(first, Ok(Greeting::Incomplete), "records at {cut}, {packet} of {} bytes", wire.len());
            hello.raw.extend_from_slice(&wire[packet..]);
            assert_eq!(hello.read(), named("db.example.com"), "records at {cut}, packets at {packet}");
            assert_eq!(hello.into_raw(), wire);
        }
    }
}

#[test]
fn what_follows_the_hello_is_kept_and_not_looked_at() {
    let mut wire = hello("a.example", &[], false);
    wire.extend(b"\x14\x03\x03\x00\x01\x01\x17\x03\x03 early data");
    assert_eq!(read(&wire, MAX), named("a.example"));
    // Bytes that follow the ClientHello in the same record are not parsed either.
    let message = [message_of(&hello("a.example", &[], false)), vec![99; 50]].concat();
    assert_eq!(read(&in_records(&message, MAX_RECORD), MAX), named("a.example"));
}

#[test]
fn extensions_of_any_kind_are_harmless() {
    let grease = extension(0x0a0a, &[]);
    let grease_with_content = extension(0xfafa, &[0]);
    let inner = extension(0xfe0d, &[1; 300]);
    let all = [grease, inner, sni(b"outer.example"), grease_with_content].concat();
    assert_eq!(read(&made(&all), MAX), named("outer.example"));
    assert_eq!(read(&made(&[]), MAX), Ok(Greeting::Complete(None)));
    // A ClientHello with neither extensions nor their length.
    let mut old = vec![3, 1];
    old.extend([7; 32]);
    old.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    assert_eq!(read(&in_records(&message(&old), MAX_RECORD), MAX), Ok(Greeting::Complete(None)));
}

#[test]
fn names_that_are_none_are_refused_and_addresses_are_no_names() {
    for (name, want) in [
        (&b"a.example"[..], named("a.example")),
        (b"A_b.EXAMPLE", named("a_b.example")),
        (b"192.0.2.1", Ok(Greeting::Complete(None))),
        (b"2001:db8::1", Ok(Greeting::Complete(None))),
        (b"", Err(HelloError::Malformed)),
        (b"a..b", Err(HelloError::Malformed)),
        (b"a b", Err(HelloError::Malformed)),
        (b"a\0.example", Err(HelloError::Malformed)),
        (b"\xc3\xa4.example", Err(HelloError::Malformed)),
        (&[b'a'; 64], Err(HelloError::Malformed)),
    ] {
        assert_eq!(read(&made(&sni(name)), MAX), want, "{}", name.escape_ascii());
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let twice = [sni(b"a.example"), sni(b"b.example")].concat();
    let mut entries = vec![HOST_NAME, 0, 1, b'a', HOST_NAME, 0, 1, b'b'];
    let two_names = extension(SERVER_NAME, &[&[0, 8][..], &entries].concat());
    entries.truncate(4);
    let trailing = extension(SERVER_NAME, &[&[0, 4][..], &entries, &[0]].concat());
    let empty_list = extension(SERVER_NAME, &[0, 0]);
    for extensions in [twice, two_names, trailing, empty_list, vec![0, 0, 0, 9, 1]] {
        assert_eq!(read(&made(&extensions), MAX), Err(HelloError::Malformed), "{extensions:?}");
    }
}

#[test]
fn what_is_no_hello_is_refused_at_its_first_bytes() {
    for wire in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x02\x00\x00\x10",
        b"\x17\x03\x01\x00\x10",
        // A record without content, and a record that is too long.
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        // A ServerHello.
        b"\x16\x03\x01\x00\x10\x02",
    ] {
        assert_eq!(read(wire, 1), Err(HelloError::Malformed), "{wire:?}");
    }
}

#[test]
fn a_hello_that_is_too_long_is_refused_before_it_is_read() {
    assert_eq!(read(b"\x16\x03\x01\x40\x00\x01\x00\x40\x00", 1), Err(HelloError::TooLong));
    // The message has a permitted length, but the headers of many records make the ClientHello too long.
    let padding = extension(21, &[0; 4000]);
    let long = made(&[sni(b"a.example"), padding].concat());
    assert_eq!(read(&long, MAX), named("a.example"));
    assert_eq!(read(&in_records(&message_of(&long), 1), 100), Err(HelloError::TooLong));
}

/// The ClientHello as rustls parses it, if rustls accepts it.
fn accepted(mut wire: &[u8]) -> Option<Accepted> {
    let mut acceptor = Acceptor::default();
    while !wire.is_empty() {
        acceptor.read_tls(&mut wire).ok()?;
        match acceptor.accept() {
            Ok(None) => {}
            Ok(accepted) => return accepted,
            Err(_) => return None,
        }
    }
    None
}

proptest! {
    #[test]
    fn anything_is_read_without_a_panic_and_alike_in_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        piece in 1..40_usize,
    ) {
        prop_assert_eq!(read(&bytes, piece), read(&bytes, 1));
        prop_assert_eq!(read(&made(&bytes), piece), read(&made(&bytes), 1));
    }

    #[test]
    fn a_name_is_found_however_often_the_hello_is_cut(
        name in "[a-z0-9]{1,9}(\\.[a-z][a-z0-9]{0,5}){0,3}",
        tls12: bool,
        records in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        packets in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let Ok(ServerName::DnsName(_)) = ServerName::try_from(name.clone()) else { return Ok(()) };
        let message = message_of(&hello(&name, &[], tls12));
        let cuts = |drawn: &[prop::sample::Index], length: usize| {
            let cuts: BTreeSet<_> = drawn.iter().map(|index| 1 + index.index(length - 1)).collect();
            cuts.into_iter().collect::<Vec<_>>()
        };
        let wire = cut_into_records(&message, &cuts(&records, message.len()));
        let (mut hello, mut begin) = (Hello::default(), 0);
        for end in cuts(&packets, wire.len()) {
            hello.raw.extend_from_slice(&wire[begin..end]);
            prop_assert_eq!(hello.read(), Ok(Greeting::Incomplete));
            begin = end;
        }
        hello.raw.extend_from_slice(&wire[begin..]);
        prop_assert_eq!(hello.read(), named(&name));
    }

    #[test]
    fn hellos_are_read_as_rustls_reads_them(
        name in "[A-Za-z0-9_]{1,9}(\\.[a-z][a-z0-9]{0,5}){0,3}\\.?|192\\.0\\.2\\.7",
        alpn in prop::collection::vec("[a-z0-9/.]{1,8}", 0..3),
        tls12: bool,
        length in 1..600_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let Ok(_) = ServerName::try_from(name.clone()) else { return Ok(()) };
        let alpn: Vec<_> = alpn.iter().map(|p| &**p).collect();
        let mut message = message_of(&hello(&name, &alpn, tls12));
        for (place, byte) in &changes {
            let place = place.index(message.len());
            message[place] = *byte;
        }
        let wire = in_records(&message, length);
        let ours = read(&wire, MAX);
        if let Some(accepted) = accepted(&wire) {
            let theirs = accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
            prop_assert_eq!(ours, Ok(Greeting::Complete(theirs)));
        } else {
            prop_assert!(!changes.is_empty(), "rustls accepts its own ClientHello");
        }
    }
}
