//! The headers of the ConfigMaps that the settings name (`add-headers` and `proxy-set-headers` of ingress-nginx).
//!
//! These headers may protect backends or clients. If such a ConfigMap cannot be read, the last headers of its key stay in
//! effect.

use std::collections::BTreeSet;

use super::Settings;
use crate::{
    Problem,
    ir::{LiveSettings, ObjectKey},
    objects::live_settings::{self, LastGood, headers::Header},
    snapshot::Snapshot,
};

/// Which objects a source has fetched so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fetches<'a> {
    /// The fetched objects, including those that do not exist; `None` if the source does not fetch on demand.
    pub(crate) fetched: Option<&'a BTreeSet<ObjectKey>>,
    /// Whether nothing is served before all of them are fetched.
    pub(crate) is_start: bool,
}

/// Why the headers of a ConfigMap are not known.
enum Unread {
    Pending,
    Unreadable(String),
}

impl Settings {
    /// Reads the ConfigMaps of headers that `live` names. Returns what is wrong with them.
    pub(crate) fn read_header_maps(
        &self,
        live: &mut LiveSettings,
        snapshot: &Snapshot,
        last_good: &mut LastGood,
        fetches: Fetches<'_>,
    ) -> Vec<Problem> {
        let Some(settings_map) = &self.settings_map else { return Vec::new() };
        let headers = &mut live.ingress.headers;
        let mut problems = Vec::new();
        for (key, of) in [("add-headers", &mut headers.add), ("proxy-set-headers", &mut headers.send)] {
            let Some(map) = &of.map else {
                // While the settings are missing, as during their replacement, the headers are not forgotten.
                if snapshot.config_maps.contains_key(settings_map) {
                    last_good.headers.remove(key);
                }
                continue;
            };
            match self.headers_of(map, snapshot, fetches) {
                Ok((read, found)) => {
                    last_good.headers.insert(key, read.clone());
                    of.headers = read;
                    problems.extend(found);
                }
                Err(why) => {
                    let last = last_good.headers.get(key);
                    of.headers = last.cloned().unwrap_or_default();
                    let field = format!("data.{key}");
                    let why = match why {
                        Unread::Pending if fetches.is_start => continue,
                        Unread::Pending => format!("{map} has not been read yet"),
                        Unread::Unreadable(why) => why,
                    };
                    problems.push(match last {
                        Some(_) => {
                            let message = format!("{why}; the last headers of this key stay in effect");
                            Problem::warning(settings_map, field, message)
                        }
                        None => {
                            let message = format!("{why}; none of its headers is set");
                            Problem::error(settings_map, field, message)
                        }
                    });
                }
            }
        }
        problems
    }

    /// The headers of a ConfigMap, and what is wrong with some of them.
    fn headers_of(
        &self,
        map: &ObjectKey,
        snapshot: &Snapshot,
        Fetches { fetched, .. }: Fetches<'_>,
    ) -> Result<(Box<[Header]>, Vec<Problem>), Unread> {
        if !self.config_maps {
            let why = format!("{map} is not read, because ConfigMaps are disabled (--no-config-maps)");
            return Err(Unread::Unreadable(why));
        }
        self.check_watched(map).map_err(Unread::Unreadable)?;
        match snapshot.config_maps.get(map) {
            Some(found) => Ok(live_settings::headers::read(found)),
            None if fetched.is_some_and(|fetched| !fetched.contains(map)) => Err(Unread::Pending),
            None => Err(Unread::Unreadable(format!("{map} not found, or not readable"))),
        }
    }
}
