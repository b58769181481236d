//! Reads the ConfigMap key by key.

use std::collections::BTreeMap;

use super::{
    Read, Wrong,
    headers::Header,
    keys,
    nginx_keys::{self, Fate},
};
use crate::{
    Problem,
    ir::{ConfigMap, live_settings::LiveSettings},
    objects::{
        checks::{Checks, Origin, Path},
        ingress::annotations::values,
        names::quoted,
    },
    problem::Topic,
};

/// If this key has the value `ignore`, unsupported keys do not close Ingresses.
pub(super) const UNSUPPORTED: &str = "unsupported";

/// The maximum number of unknown keys for which the nearest known name is searched: each requires a comparison with every
/// known one.
const MAX_SUGGESTIONS: usize = 16;

/// What was valid last, by key. A value that cannot be used leaves it in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastGood {
    values: BTreeMap<Box<str>, Box<str>>,
    /// The headers of the ConfigMaps that some keys name.
    pub(crate) headers: BTreeMap<&'static str, Box<[Header]>>,
}

/// The settings of the command line, overridden by a ConfigMap, and the problems of the ConfigMap.
pub(crate) fn read(
    flags: &LiveSettings,
    written: &ConfigMap,
    last_good: &mut LastGood,
) -> (LiveSettings, Vec<Problem>) {
    let mut reading = Reading {
        settings: flags.clone(),
        checks: Checks::of(written.meta.key.to_string(), Origin::Document),
        is_ignored: written.data.get(UNSUPPORTED).is_some_and(|text| text.trim() == "ignore"),
        suggestions: MAX_SUGGESTIONS,
    };
    let at = Path::Root.field("data");
    for (key, text) in &written.data {
        let at = at.field(key);
        match keys().find(|(name, _)| *name == &**key) {
            Some((_, read)) => reading.served(*read, (key, text), last_good, &at),
            None => match nginx_keys::find(key) {
                Some(fate) => reading.not_served(key, fate, text, &at),
                None => reading.unknown(key, &at),
            },
        }
    }
    reading.trust(&at);
    last_good.values.retain(|key, _| written.data.contains_key(key));
    (reading.settings, reading.checks.into_problems())
}

struct Reading {
    settings: LiveSettings,
    checks: Checks,
    /// Whether unsupported keys do not close Ingresses.
    is_ignored: bool,
    /// For how many more unknown keys the nearest known name is searched.
    suggestions: usize,
}

impl Reading {
    fn served(
        &mut self,
        read: Read,
        (key, text): (&str, &str),
        LastGood { values: last_good, .. }: &mut LastGood,
        at: &Path<'_>,
    ) {
        let mut changed = self.settings.clone();
        let Err(Wrong { why, instead, closes }) = read(&mut changed, text, &mut self.checks, at) else {
            self.settings = changed;
            last_good.insert(key.into(), text.into());
            return;
        };
        match last_good.get(key) {
            Some(last) => {
                let mut unheard = Checks::of("", Origin::Document);
                // It was valid before, and parsing only depends on the text.
                let _ = read(&mut self.settings, last, &mut unheard, at);
                let message = format!("{why}; the last valid value applies, {}", quoted(last));
                self.checks.warning_of(Topic::Invalid, at, message);
            }
            None => {
                self.settings = changed;
                let message = format!("{why}; {instead}");
                match closes {
                    true => self.checks.error(at, message),
                    false => self.checks.warning_of(Topic::Invalid, at, message),
                }
            }
        }
    }

    /// Reports a key of ingress-nginx that is not served.
    fn not_served(&mut self, key: &str, fate: Fate, text: &str, at: &Path<'_>) {
        let text = text.trim();
        let is_off = text.is_empty() || values::boolean(text) == Some(false);
        let message = match fate {
            Fate::NoEffect(why) => {
                let message = format!("has no effect: {why}");
                return self.checks.warning_of(Topic::NotServed, at, message);
            }
            Fate::Fixed(value, _) if text == value => return,
            Fate::Fixed(value, why) => format!("is not served with a value other than {value}: {why}"),
            Fate::Served | Fate::Refused(_) | Fate::Protects(_) if is_off => return,
            Fate::Served => "is not served".to_owned(),
            Fate::Refused(why) => format!("is not served: {why}"),
            Fate::Protects(why) if self.is_ignored => {
                format!("is not served: {why}; {UNSUPPORTED}: ignore serves Ingresses without it")
            }
            Fate::Protects(why) => {
                let reason = || format!("the setting {key} may protect backends and is not served").into();
                self.settings.ingress.closed_by.get_or_insert_with(reason);
                let message = format!(
                    "may protect backends and is not served, so that all Ingresses are closed: {why}; \
                     {UNSUPPORTED}: ignore serves them without it"
                );
                return self.checks.error(at, message);
            }
        };
        self.checks.warning_of(Topic::Invalid, at, message);
    }

    /// Warns if every client can set its own address.
    fn trust(&mut self, at: &Path<'_>) {
        let forwarding = &self.settings.proxy.forwarding;
        if forwarding.trusts_everybody() {
            let key = match (forwarding.use_forwarded_headers, forwarding.use_proxy_protocol) {
                (true, _) => "use-forwarded-headers",
                (false, true) => "use-proxy-protocol",
                (false, false) => "enable-real-ip",
            };
            let message = "every client may claim any address, since proxy-real-ip-cidr is missing; name the proxies in \
                           front there";
            self.checks.warning_of(Topic::Invalid, &at.field(key), message);
        }
    }

    fn unknown(&mut self, key: &str, at: &Path<'_>) {
        let nearest = match self.suggestions.checked_sub(1) {
            Some(left) => {
                self.suggestions = left;
                nearest(key)
            }
            None => None,
        };
        let message = match nearest {
            Some(name) => format!("is not a setting; did you mean {name}?"),
            None => "is not a setting".to_owned(),
        };
        self.checks.warning_of(Topic::UnknownField, at, message);
    }
}

/// The known key with the nearest name, if it is similar.
fn nearest(key: &str) -> Option<&'static str> {
    const MAX_LEN: usize = 64;
    let far = key.len() / 3;
    let known = keys().map(|(name, _)| *name).chain(nginx_keys::KEYS.iter().map(|(name, _)| *name));
    let known = known.filter(|_| key.len() <= MAX_LEN);
    let (_, name) = known.map(|name| (strsim::osa_distance(key, name), name)).min()?;
    (strsim::osa_distance(key, name) <= far).then_some(name)
}
