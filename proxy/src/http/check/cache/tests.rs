use http::StatusCode;
use pingora_http::ResponseHeader;
use portcullis_routing::{Template, step::CacheTime};

use super::*;

fn answer(status: u16) -> Arc<AuthAnswer> {
    let status = StatusCode::from_u16(status).unwrap();
    Arc::new(AuthAnswer { status, headers: Box::default() })
}

fn keeping(seconds: u64) -> Keeping {
    Keeping { time: Duration::from_secs(seconds), varies_by: Box::default() }
}

fn bounded(answers: usize, bytes: usize) -> AuthCache {
    AuthCache { most: Size { answers, bytes }, inner: Mutex::default() }
}

fn status(cache: &AuthCache, place: &str, key: &str) -> Option<u16> {
    cache.find(place, key, &HeaderMap::new()).map(|answer| answer.status.as_u16())
}

/// What is counted is what is there.
fn size(cache: &AuthCache) -> Size {
    let inner = cache.lock();
    let places = inner.places.values();
    let kept = || places.clone().flat_map(|place| place.answers.values());
    let counted = places.clone().fold(Size::default(), |size, place| size + place.size);
    assert_eq!(inner.size, counted);
    assert_eq!(inner.size, Size { answers: kept().count(), bytes: kept().map(|kept| kept.bytes).sum() });
    let known: usize = places.clone().map(|place| place.order.len()).sum();
    assert!(known <= 2 * inner.size.answers + 16 * inner.places.len(), "{known}");
    inner.size
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_for_its_key_its_place_and_its_time() {
    let cache = AuthCache::default();
    cache.keep("a", "k", &answer(200), keeping(10));
    cache.keep("b", "k", &answer(401), keeping(10));
    for (place, key, want) in
        [("a", "k", Some(200)), ("b", "k", Some(401)), ("a", "other", None), ("c", "k", None)]
    {
        assert_eq!(status(&cache, place, key), want, "{place} {key}");
    }
    tokio::time::advance(Duration::from_secs(9)).await;
    cache.keep("b", "k", &answer(200), keeping(10));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!((status(&cache, "a", "k"), status(&cache, "b", "k")), (None, Some(200)));
    cache.forget_expired();
    assert_eq!(size(&cache).answers, 1);
    cache.keep("a", "k", &answer(200), Keeping { time: Duration::MAX, varies_by: Box::default() });
    assert_eq!(status(&cache, "a", "k"), None, "for longer than a clock runs");
}

#[tokio::test(start_paused = true)]
async fn clients_that_choose_keys_do_not_fill_the_memory_nor_push_out_others() {
    let cache = bounded(100, 64 << 10);
    for key in 0..10 {
        cache.keep("quiet", &key.to_string(), &answer(200), keeping(60));
    }
    for key in 0..10_000 {
        cache.keep("flooded", &format!("{key}-{}", "x".repeat(key % 300)), &answer(401), keeping(60));
        // The same key again and again, too.
        cache.keep("flooded", "same", &answer(401), keeping(60));
        let Size { answers, bytes } = size(&cache);
        assert!(answers <= 100 && bytes <= 64 << 10, "{answers} {bytes}");
    }
    assert!((0..10).all(|key| status(&cache, "quiet", &key.to_string()) == Some(200)));
    assert_eq!(status(&cache, "flooded", "same"), Some(401), "the youngest stays");
    let long = "x".repeat(MOST_OF_ONE);
    cache.keep("quiet", &long, &answer(200), keeping(60));
    assert_eq!(status(&cache, "quiet", &long), None);
    let full = bounded(0, 0);
    full.keep("a", "k", &answer(200), keeping(60));
    assert_eq!(size(&full), Size::default());
}

fn kept(status: u16, headers: &[(&'static str, &'static str)]) -> Option<u64> {
    let statuses = Some([200, 401].into());
    let times = [CacheTime { statuses, time: Duration::from_secs(300) }].into();
    let caching = AuthCaching { key: Template::parse("k", &[]).unwrap(), times, place: "a".into() };
    let mut head = ResponseHeader::build(status, None).unwrap();
    for (name, value) in headers {
        head.append_header(*name, *value).unwrap();
    }
    Keeping::of(&caching, &head, &HeaderMap::new()).map(|keeping| keeping.time.as_secs())
}

#[test]
fn an_answer_says_whether_it_may_be_kept() {
    for (status, headers, want) in [
        (200, &[][..], Some(300)),
        (401, &[], Some(300)),
        (204, &[], None),
        (403, &[], None),
        (500, &[], None),
        (200, &[("set-cookie", "a=1")], None),
        (200, &[("cache-control", "no-store")], None),
        (200, &[("cache-control", "public, NO-CACHE")], None),
        (200, &[("cache-control", "private")], None),
        (200, &[("cache-control", "max-age=0")], None),
        (200, &[("cache-control", "max-age=x")], None),
        (200, &[("cache-control", "max-age=7")], Some(7)),
        (200, &[("cache-control", "s-maxage=9, max-age=7")], Some(9)),
        (200, &[("cache-control", "public")], Some(300)),
        (204, &[("cache-control", "max-age=7")], Some(7)),
        (403, &[("cache-control", "max-age=7")], None),
        (500, &[("x-accel-expires", "7")], None),
        (200, &[("x-accel-expires", "0")], None),
        (200, &[("x-accel-expires", "7"), ("cache-control", "no-store")], Some(7)),
        (200, &[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")], None),
        (200, &[("expires", "0")], None),
        (200, &[("vary", "*")], None),
        (200, &[("vary", "Accept, *")], None),
        (200, &[("vary", "Accept")], Some(300)),
    ] {
        assert_eq!(kept(status, headers), want, "{status} {headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_depends_on_a_header_holds_for_the_same_one() {
    let of = |lang: &'static str| {
        HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(lang))])
    };
    let varies_by = [(header::ACCEPT_LANGUAGE, vec![HeaderValue::from_static("de")])].into();
    let cache = AuthCache::default();
    cache.keep("a", "k", &answer(200), Keeping { time: Duration::from_secs(9), varies_by });
    assert!(cache.find("a", "k", &of("de")).is_some());
    assert!(cache.find("a", "k", &of("en")).is_none() && cache.find("a", "k", &HeaderMap::new()).is_none());
}
