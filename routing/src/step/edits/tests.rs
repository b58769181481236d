use http::{HeaderMap, header};
use proptest::{collection::vec, prelude::*};

use super::{headers::put_line, *};
use crate::step::{Cors, HeaderModifier, cors::Allowed};

const NAMES: [&str; 6] =
    ["x-a", "x-bb", "host", "date", "access-control-allow-origin", "access-control-expose-headers"];

/// Any modifier of the headers in [`NAMES`].
fn modifier() -> impl Strategy<Value = HeaderModifier> {
    let name = || (0..NAMES.len()).prop_map(|name| HeaderName::from_static(NAMES[name]));
    let pair =
        || (name(), "[a-z]{0,3}").prop_map(|(name, value)| (name, HeaderValue::try_from(value).unwrap()));
    (vec(pair(), 0..3), vec(pair(), 0..3), vec(name(), 0..3)).prop_map(|(set, mut add, mut remove)| {
        add.retain(|(name, _)| name != header::HOST);
        remove.retain(|name| name != header::HOST);
        HeaderModifier::new(set, add, remove).unwrap()
    })
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    vec((0..NAMES.len(), "[a-z]{0,3}"), 0..6).prop_map(|pairs| {
        let pair = |(name, value): (usize, String)| {
            (HeaderName::from_static(NAMES[name]), HeaderValue::try_from(value).unwrap())
        };
        pairs.into_iter().map(pair).collect()
    })
}

fn cors(origin: &str) -> Step {
    Step::Cors(Box::new(Cors {
        allow_origins: [origin.into()].into(),
        allow_credentials: true,
        allow_methods: Default::default(),
        allow_headers: Default::default(),
        expose_headers: ["x-a".into()].into(),
        max_age: HeaderValue::from_static("5"),
    }))
}

/// The headers that a carrier of HTTP/1 writes, read back into a map.
fn written(
    head: &HeaderMap,
    replaces: impl Fn(&[u8]) -> bool,
    write: impl FnOnce(&mut Vec<u8>),
) -> HeaderMap {
    let mut out = Vec::new();
    for (name, value) in head {
        if !replaces(name.as_str().to_ascii_uppercase().as_bytes()) {
            put_line(&mut out, name, value);
        }
    }
    write(&mut out);
    let text = String::from_utf8(out).unwrap();
    let lines = text.split_terminator("\r\n").map(|line| line.split_once(": ").unwrap());
    lines
        .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap()))
        .collect()
}

proptest! {
    /// One pass has the same result as the modifiers one after the other, in a map and in text.
    #[test]
    fn edits_are_the_modifiers_one_after_the_other(
        checked in vec(modifier(), 0..2),
        rule in vec(modifier(), 0..3),
        backend in vec(modifier(), 0..2),
        head in headers(),
    ) {
        let mut want = head.clone();
        checked.iter().chain(&rule).chain(&backend).for_each(|modifier| modifier.apply(&mut want));
        let of = |modifiers: &[HeaderModifier]| {
            StepEdits::of(&modifiers.iter().cloned().map(Step::RequestHeaders).collect::<Vec<_>>())
        };
        let links = [of(&checked), of(&rule), of(&backend)];
        let edits = RequestEdits::of(links.each_ref().map(Option::as_ref), None);
        let mut map = head.clone();
        edits.apply(&mut map);
        prop_assert_eq!(&map, &want);
        // What routes match after the checks alone is what the backend would get, except Host.
        if let Some(checked_edits) = &links[0] {
            let mut want = head.clone();
            checked.iter().for_each(|modifier| modifier.apply(&mut want));
            let over = checked_edits.over(&head);
            for name in NAMES.map(HeaderName::from_static) {
                let want = if name == header::HOST { &head } else { &want };
                let want: Vec<_> = want.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
                let mut got = Vec::new();
                over.each(&name, &mut |value| {
                    got.push(value);
                    ControlFlow::Continue(())
                });
                prop_assert_eq!(&got, &want);
                prop_assert_eq!(over.first(&name), want.first().copied());
                let mut one = Vec::new();
                over.each(&name, &mut |value| {
                    one.push(value);
                    ControlFlow::Break(())
                });
                prop_assert_eq!(one, want.into_iter().take(1).collect::<Vec<_>>());
            }
        }
        let changes = edits.change_headers();
        let mut text = written(&head, |name| changes && edits.replaces(name), |out| edits.write(out));
        if let Some(host) = edits.host() {
            text.insert(header::HOST, HeaderValue::from_bytes(host).unwrap());
        }
        prop_assert_eq!(&text, &want);
    }

    /// The headers of CORS take precedence over those of the modifiers.
    #[test]
    fn cors_comes_after_the_modifiers(modifiers in vec(modifier(), 0..3), head in headers(), origin in 0_usize..3) {
        let mut steps: Vec<_> = modifiers.iter().cloned().map(Step::ResponseHeaders).collect();
        steps.push(cors("https://a.example"));
        let mut request = HeaderMap::new();
        if let Some(origin) = [None, Some("https://a.example"), Some("https://b.example")][origin] {
            request.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        let mut want = head.clone();
        modifiers.iter().for_each(|modifier| modifier.apply(&mut want));
        want.append(header::VARY, HeaderValue::from_static("Origin"));
        if origin > 0 {
            Allowed::NAMES.iter().for_each(|name| drop(want.remove(name)));
        }
        if origin == 1 {
            want.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://a.example"));
            want.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            want.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-a"));
        }
        let edits = StepEdits::of(&steps);
        let cors = steps.iter().filter_map(|step| if let Step::Cors(cors) = step { Some(&**cors) } else { None });
        let edits = AnswerEdits::of_every_answer(cors, None, &request).with([None, edits.as_ref(), None]);
        let mut map = head.clone();
        edits.apply(&mut map);
        prop_assert_eq!(&map, &want);
        prop_assert!(edits.change_headers());
        prop_assert_eq!(&written(&head, |name| edits.replaces(name), |out| edits.write(out)), &want);
    }
}

#[test]
fn a_rewritten_host_goes_before_one_that_is_set() {
    let host = |value| {
        let set = [(header::HOST, HeaderValue::from_static(value))];
        StepEdits::of(&[Step::RequestHeaders(HeaderModifier::new(set, [], []).unwrap())])
    };
    let (rule, backend) = (host("rule"), host("backend"));
    for (rule, backend, rewrite, want) in [
        (None, None, None, None),
        (rule.as_ref(), None, None, Some("rule")),
        (rule.as_ref(), backend.as_ref(), None, Some("backend")),
        (None, backend.as_ref(), None, Some("backend")),
        (rule.as_ref(), backend.as_ref(), Some("rewrite"), Some("rewrite")),
    ] {
        let edits = RequestEdits::of([None, rule, backend], rewrite);
        assert_eq!(edits.host(), want.map(str::as_bytes), "{rewrite:?}");
    }
}
