//! Which responses are compressed, by table.

use http::HeaderMap;

use super::*;

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    all.iter().map(pair).collect()
}

fn both() -> Compress {
    let mut compress = Compress::default();
    (compress.gzip.is_on, compress.brotli.is_on) = (true, true);
    compress
}

#[test]
fn a_coding_is_accepted_by_its_name_and_weight() {
    for (accept, want) in [
        (&["gzip"][..], true),
        (&["GZIP"], true),
        (&["deflate, gzip;q=1.0, *;q=0.5"], true),
        (&["gzip;q=0.001"], true),
        (&["gzip ; q=0.5"], true),
        (&["gzip;Q=1"], true),
        (&["deflate", "gzip"], true),
        (&["gzip;q=0"], false),
        (&["gzip;q=0.000"], false),
        (&["gzip;q=0, gzip"], false),
        (&["gzip;q=1.5"], false),
        (&["gzip;q=0.0001"], false),
        (&["gzip;q=x"], false),
        (&["gzip;level=1"], false),
        (&["x-gzip"], false),
        (&["gzipped"], false),
        (&["*"], false),
        (&["br"], false),
        (&["identity"], false),
        (&[""], false),
        (&[], false),
    ] {
        let request: Vec<_> = accept.iter().map(|value| ("accept-encoding", *value)).collect();
        assert_eq!(accepts(&headers(&request), "gzip"), want, "{accept:?}");
    }
}

#[test]
fn responses_are_compressed_by_their_status_type_and_length() {
    const TEXT: (&str, &str) = ("content-type", "text/plain");
    for (status, answer, want) in [
        (200, &[TEXT][..], true),
        (403, &[TEXT], true),
        (404, &[TEXT], true),
        (201, &[TEXT], false),
        (206, &[TEXT, ("content-range", "bytes 0-9/10")], false),
        (304, &[TEXT], false),
        (500, &[TEXT], false),
        (200, &[("content-type", "text/html; charset=utf-8")], true),
        (200, &[("content-type", "Application/JSON;profile=x")], true),
        (200, &[("content-type", "image/png")], false),
        (200, &[("content-type", "text/event-stream")], false),
        (200, &[("content-type", "")], false),
        (200, &[], false),
        (200, &[TEXT, ("content-length", "256")], true),
        (200, &[TEXT, ("content-length", "255")], false),
        (200, &[TEXT, ("content-encoding", "br")], false),
        (200, &[TEXT, ("content-encoding", "identity")], false),
        (200, &[TEXT, ("content-encoding", "")], true),
        (200, &[TEXT, ("cache-control", "no-cache, No-Transform")], false),
        (200, &[TEXT, ("cache-control", "no-cache"), ("cache-control", "max-age=1")], true),
    ] {
        let mut compress = Compress::default();
        compress.gzip.is_on = true;
        for accepted in [true, false] {
            let accepted = Accepted { gzip: accepted, brotli: false };
            let got = compress.compression(accepted, status, &headers(answer));
            let coding = accepted.gzip.then_some(Coding::Gzip { level: 1 });
            let got = got.map(|compression| compression.coding);
            assert_eq!(got, want.then_some(coding), "{status} {answer:?}");
        }
    }
}

#[test]
fn brotli_takes_precedence_where_it_applies() {
    let (br, gzip) = (Coding::Brotli { level: 4 }, Coding::Gzip { level: 1 });
    for (accept, answer, want) in [
        ("gzip, br", &[("content-type", "text/css")][..], Some(br)),
        ("gzip;q=1, br;q=0.1", &[("content-type", "text/css")], Some(br)),
        ("gzip, br;q=0", &[("content-type", "text/css")], Some(gzip)),
        ("gzip", &[("content-type", "text/css")], Some(gzip)),
        ("br", &[("content-type", "text/css"), ("content-length", "20")], Some(br)),
        ("gzip", &[("content-type", "text/css"), ("content-length", "20")], None),
        ("br", &[("content-type", "application/xml+rss")], Some(br)),
        ("gzip", &[("content-type", "application/xml+rss")], None),
        ("zstd", &[("content-type", "text/css")], None),
    ] {
        let compress = both();
        let accepted = compress.accepted(&headers(&[("accept-encoding", accept)]));
        let got = compress.compression(accepted, 200, &headers(answer));
        let length = answer.iter().any(|(name, _)| *name == "content-length").then_some(20);
        assert_eq!(got, Some(Compression { coding: want, length }), "{accept} {answer:?}");
    }
}

#[test]
fn what_is_off_is_not_applied() {
    let compress = Compress::default();
    assert!(!compress.is_on() && both().is_on());
    let accepted = compress.accepted(&headers(&[("accept-encoding", "gzip, br")]));
    assert_eq!(accepted, Accepted::default());
    assert_eq!(compress.compression(accepted, 200, &headers(&[("content-type", "text/css")])), None);
}

#[test]
fn any_type_may_be_compressed_except_grpc() {
    for (text, content_type, want) in [
        ("*", "image/png", true),
        ("text/css *", "x", true),
        ("*", "application/grpc", false),
        ("*", "Application/grpc-web+proto", false),
        ("application/grpc", "application/grpc", false),
        ("", "text/html", true),
        ("", "text/plain", false),
        (" text/plain\n\ttext/css ", "TEXT/css ;x", true),
    ] {
        let types = MediaTypes::parse(text).unwrap();
        assert_eq!(types.hold(content_type.as_bytes()), want, "{text:?}: {content_type}");
    }
    for text in ["text", "text/", "/plain", "text/plain;", "text/plain,text/css", "\u{e9}/x"] {
        assert_eq!(MediaTypes::parse(text), Err(text));
    }
}

#[test]
fn gzip_is_disabled_for_clients_by_their_name() {
    for (disable, agent, want) in [
        ("", Some("Mozilla"), true),
        ("mozilla", Some("A Mozilla/4"), false),
        ("^mozilla", Some("A Mozilla/4"), true),
        ("a|b", Some("xbx"), false),
        ("mozilla", None, true),
        ("msie6", Some("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"), false),
        ("msie6", Some("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)"), true),
        ("msie6", Some("Mozilla/4.0 (compatible; MSIE 5.5; SV1)"), false),
        ("msie6", Some("Mozilla/4.0 (compatible; MSIE 7.0)"), true),
        ("msie6", Some("msie6"), true),
    ] {
        let compress = Compress { not_gzip: UserAgents::parse(disable).unwrap(), ..both() };
        let mut request = vec![("accept-encoding", "gzip, br")];
        request.extend(agent.map(|agent| ("user-agent", agent)));
        let want = Accepted { gzip: want, brotli: true };
        assert_eq!(compress.accepted(&headers(&request)), want, "{disable}: {agent:?}");
    }
    assert!(UserAgents::parse("(").is_err());
}

#[test]
fn the_headers_say_that_and_how_a_response_is_compressed() {
    let gzip = Some(Coding::Gzip { level: 1 });
    for (coding, before, want) in [
        (
            gzip,
            &[("content-length", "9"), ("accept-ranges", "bytes"), ("etag", "\"a\""), ("x", "1")][..],
            &[("etag", "W/\"a\""), ("x", "1"), ("vary", "Accept-Encoding"), ("content-encoding", "gzip")][..],
        ),
        (
            gzip,
            &[("etag", "W/\"a\""), ("vary", "Cookie, Accept-Encoding")],
            &[("etag", "W/\"a\""), ("vary", "Cookie, Accept-Encoding"), ("content-encoding", "gzip")],
        ),
        (gzip, &[("etag", "a"), ("vary", "*")], &[("vary", "*"), ("content-encoding", "gzip")]),
        (
            Some(Coding::Brotli { level: 4 }),
            &[("content-encoding", ""), ("vary", "Origin")],
            &[("vary", "Origin"), ("vary", "Accept-Encoding"), ("content-encoding", "br")],
        ),
        (
            None,
            &[("content-length", "9"), ("etag", "\"a\"")],
            &[("content-length", "9"), ("etag", "\"a\""), ("vary", "Accept-Encoding")],
        ),
    ] {
        let mut got = headers(before);
        Compression { coding, length: None }.apply(&mut got);
        assert_eq!(got, headers(want), "{coding:?} {before:?}");
    }
}
