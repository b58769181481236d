//! Answers of services that check the requests of Ingresses, kept for other requests (`auth-cache-key`).
//!
//! All workers share them, and they outlive tables. Clients choose the keys, so what is kept is bounded; where it is too
//! much, the oldest answers go of the place that has most.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use portcullis_routing::step::{AuthAnswer, AuthCaching};
use tokio::time::Instant;

/// The most answers, and the most bytes of keys and answers.
const MOST: Size = Size { answers: 20_000, bytes: 16 << 20 };
/// Larger ones are not kept.
const MOST_OF_ONE: usize = 16 << 10;
/// What is kept of an answer besides its texts, in bytes.
const OVERHEAD: usize = 256;

/// The answers that are kept.
#[derive(Debug)]
pub(crate) struct AuthCache {
    most: Size,
    inner: Mutex<Inner>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    answers: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    size: Size,
    places: HashMap<Box<str>, Place>,
}

/// The answers of a place: nothing is shared between two.
#[derive(Debug, Default)]
struct Place {
    size: Size,
    answers: HashMap<Arc<str>, Kept>,
    /// Keys in the order in which their answers came, each with the number of its answer. It may be gone.
    order: VecDeque<(u64, Arc<str>)>,
    /// The number of the next answer.
    next: u64,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    answer: Arc<AuthAnswer>,
    /// Headers of the request that the answer depends on (`Vary`), with their values.
    varies_by: Box<[(HeaderName, Vec<HeaderValue>)]>,
    until: Instant,
    bytes: usize,
}

/// An answer, and for how long and for which requests it may be kept.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) time: Duration,
    varies_by: Box<[(HeaderName, Vec<HeaderValue>)]>,
}

impl Default for AuthCache {
    fn default() -> Self {
        Self { most: MOST, inner: Mutex::default() }
    }
}

impl AuthCache {
    /// The answer that is kept for a request with this key at a place.
    pub(super) fn find(&self, place: &str, key: &str, request: &HeaderMap) -> Option<Arc<AuthAnswer>> {
        let inner = self.lock();
        let kept = inner.places.get(place)?.answers.get(key)?;
        let same = |(name, values): &(HeaderName, Vec<HeaderValue>)| request.get_all(name).iter().eq(values);
        let holds = Instant::now() < kept.until && kept.varies_by.iter().all(same);
        holds.then(|| Arc::clone(&kept.answer))
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, place: &str, key: &str, answer: &Arc<AuthAnswer>, keeping: Keeping) {
        let Keeping { time, varies_by } = keeping;
        let text = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len();
        let varying = varies_by.iter().flat_map(|(_, values)| values).map(HeaderValue::len).sum::<usize>();
        let bytes = OVERHEAD + 2 * key.len() + varying + answer.headers.iter().map(text).sum::<usize>();
        let Some(until) = Instant::now().checked_add(time).filter(|_| bytes <= MOST_OF_ONE) else { return };
        let kept = Kept { number: 0, answer: Arc::clone(answer), varies_by, until, bytes };
        let inner = &mut *self.lock();
        let of_place = match inner.places.get_mut(place) {
            Some(known) => known,
            None => inner.places.entry(place.into()).or_default(),
        };
        let before = of_place.size;
        of_place.put(key.into(), kept);
        inner.size = inner.size - before + of_place.size;
        while inner.size.exceeds(self.most) && inner.drop_some() {}
    }

    /// Forgets answers that hold no longer. Worker threads call this once a second; it is done by one of them, now and then.
    pub(crate) fn forget_expired(&self) {
        let Ok(mut inner) = self.inner.try_lock() else { return };
        let now = Instant::now();
        let Inner { size, places } = &mut *inner;
        places.retain(|_, place| {
            let is_due = place.order.front().and_then(|(_, key)| place.answers.get(key));
            // The oldest stands for the others: answers of a place are mostly kept equally long.
            if is_due.is_none_or(|oldest| oldest.until <= now) {
                let before = place.size;
                place.drop_expired(now);
                *size = *size - before + place.size;
            }
            !place.answers.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops the oldest answers of the place that has most; a part of them at a time, so that the next answers need no search.
    fn drop_some(&mut self) -> bool {
        let Some((name, largest)) = self.places.iter_mut().max_by_key(|(_, place)| place.size.bytes) else {
            return false;
        };
        let before = largest.size;
        for _ in 0..largest.answers.len().div_ceil(16) {
            largest.drop_oldest();
        }
        self.size = self.size - before + largest.size;
        if largest.answers.is_empty() {
            let name = name.clone();
            self.places.remove(&name);
        }
        true
    }
}

impl Place {
    fn put(&mut self, key: Arc<str>, kept: Kept) {
        let number = self.next;
        self.next += 1;
        self.size = self.size + Size { answers: 1, bytes: kept.bytes };
        self.order.push_back((number, Arc::clone(&key)));
        if let Some(before) = self.answers.insert(key, Kept { number, ..kept }) {
            self.size = self.size - Size { answers: 1, bytes: before.bytes };
        }
        if self.order.len() > 2 * self.answers.len() + 16 {
            self.forget_replaced();
        }
    }

    fn drop_oldest(&mut self) {
        while let Some((number, key)) = self.order.pop_front() {
            if self.answers.get(&key).is_some_and(|kept| kept.number == number)
                && let Some(dropped) = self.answers.remove(&key)
            {
                self.size = self.size - Size { answers: 1, bytes: dropped.bytes };
                return;
            }
        }
    }

    fn forget_replaced(&mut self) {
        let Self { answers, order, .. } = self;
        order.retain(|(number, key)| answers.get(key).is_some_and(|kept| kept.number == *number));
    }

    fn drop_expired(&mut self, now: Instant) {
        let size = &mut self.size;
        self.answers.retain(|_, kept| {
            let holds = now < kept.until;
            if !holds {
                *size = *size - Size { answers: 1, bytes: kept.bytes };
            }
            holds
        });
        self.forget_replaced();
    }
}

impl Size {
    fn exceeds(self, most: Self) -> bool {
        self.answers > most.answers || self.bytes > most.bytes
    }
}

impl std::ops::Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { answers: self.answers + other.answers, bytes: self.bytes + other.bytes }
    }
}

impl std::ops::Sub for Size {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(other.answers),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Keeping {
    /// Whether an answer may be kept, and for how long: what it says itself comes first, as in nginx. One with a cookie is
    /// for one client alone.
    pub(super) fn of(
        caching: &AuthCaching,
        head: &pingora_http::ResponseHeader,
        request: &HeaderMap,
    ) -> Option<Self> {
        let by_status = caching.time(head.status);
        let time = match own_time(&head.headers) {
            Some(own) => own.filter(|_| head.status.is_success() || head.status == 401)?,
            None => by_status?,
        };
        if head.headers.contains_key(header::SET_COOKIE) {
            return None;
        }
        let mut names = Vec::new();
        for value in head.headers.get_all(header::VARY) {
            for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                // `*` is no name.
                names.push(HeaderName::from_bytes(name).ok().filter(|name| name != "*")?);
            }
        }
        let values = |name: HeaderName| {
            let values = request.get_all(&name).iter().cloned().collect();
            (name, values)
        };
        Some(Self { time, varies_by: names.into_iter().map(values).collect() })
    }
}

/// For how long an answer says that it may be kept; `Some(None)` if not at all, `None` if it says nothing.
fn own_time(headers: &HeaderMap) -> Option<Option<Duration>> {
    let seconds = |text: &str| text.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    if let Some(value) = headers.get("x-accel-expires") {
        return Some(value.to_str().ok().and_then(seconds));
    }
    let (mut age, mut shared_age) = (None, None);
    for value in headers.get_all(header::CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or("no-store").split(',').map(str::trim) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match &*name.to_ascii_lowercase() {
                "no-cache" | "no-store" | "private" => return Some(None),
                "max-age" => age = Some(seconds(argument.trim_matches('"'))),
                "s-maxage" => shared_age = Some(seconds(argument.trim_matches('"'))),
                _ => {}
            }
        }
    }
    let expires = || {
        let value = headers.get(header::EXPIRES)?;
        let at = value.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok());
        let left = at.and_then(|at| at.duration_since(std::time::SystemTime::now()).ok());
        Some(left.filter(|left| !left.is_zero()))
    };
    shared_age.or(age).or_else(expires)
}

#[cfg(test)]
mod tests;
