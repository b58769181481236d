//! Settings that change at run time, and the owners of hostnames.

use std::sync::Arc;

use super::{Index, listeners::RenewedIngresses};
use crate::{
    Problem,
    facts::Fact,
    ir::{Kind, LiveSettings},
    translate::{Fetches, HostOwners, PortServices, Reader},
};

impl Index {
    /// What is wrong with the ConfigMap of settings, and which ConfigMaps of TCP and UDP services do not exist.
    pub fn settings_problems(&self) -> &[Problem] {
        &self.settings_problems
    }

    /// Reads the ConfigMap of settings if it changed. Returns whether the settings changed.
    pub(super) fn renew_live_settings(&mut self) -> bool {
        if !std::mem::take(&mut self.is_settings_map_new) {
            return false;
        }
        let before = std::mem::replace(&mut self.settings.live, Arc::clone(&self.flags));
        let (mut live, mut problems) =
            self.settings.read_settings_map(&self.snapshot, &mut self.last_good_settings);
        self.settings.live = Arc::new(live.clone());
        self.renew_scope_of_headers(&before);
        let fetches = Fetches { fetched: self.fetched.as_ref(), is_start: !self.complete };
        let last_good = &mut self.last_good_settings;
        problems.extend(self.settings.read_header_maps(&mut live, &self.snapshot, last_good, fetches));
        (self.settings.live, self.settings_problems) = (Arc::new(live), problems);
        let services = PortServices::read(&self.settings, &self.snapshot);
        self.settings_problems.extend_from_slice(services.missing());
        if *self.settings.port_services != services {
            self.settings.port_services = Arc::new(services);
            self.units.change(&Fact::Settings);
        }
        if self.settings.live.entrance != before.entrance {
            self.units.change(&Fact::Entrance);
        }
        if self.settings.live.ingress != before.ingress {
            self.units.change(&Fact::Settings);
        }
        self.settings.live != before
    }

    /// Brings back ConfigMaps of headers that were set aside and that the settings name now, and sets those aside that they
    /// no longer name.
    fn renew_scope_of_headers(&mut self, before: &LiveSettings) {
        let now = Arc::clone(&self.settings.live);
        if now.ingress.headers.maps().eq(before.ingress.headers.maps()) {
            return;
        }
        let maps = before.ingress.headers.maps().chain(now.ingress.headers.maps());
        let changes = self.scope.renew_objects(maps, &self.snapshot, &self.settings);
        self.apply_served(changes);
        // They are read next.
        self.is_settings_map_new = false;
    }

    /// Updates the owners of hostnames from the stale routes, and from the Ingresses whose hosts were translated again,
    /// since a change of an Ingress's hosts or class makes them stale. Units that read the owner of a hostname become
    /// stale when it changes.
    pub(super) fn renew_owners(&mut self, ingresses: RenewedIngresses) {
        if !self.settings.live.entrance.first_namespace_owns {
            self.owners = None;
            return;
        }
        let mut keys: Vec<_> = match &self.owners {
            None => self.snapshot.routes.keys().cloned().collect(),
            Some(_) => self.units.stale.routes.iter().cloned().collect(),
        };
        match ingresses {
            RenewedIngresses::These(ingresses) if self.owners.is_some() => keys.extend(ingresses),
            RenewedIngresses::These(_) | RenewedIngresses::All => {
                keys.extend(self.snapshot.ingresses.keys().cloned());
                let known = self.owners.iter().flat_map(HostOwners::ingresses);
                keys.extend(known.filter(|key| !self.snapshot.ingresses.contains_key(*key)).cloned());
            }
        }
        let owners = self.owners.get_or_insert_with(HostOwners::default);
        let reader = Reader::new(&self.snapshot, &self.settings, None);
        for key in &keys {
            if key.kind == Kind::Ingress {
                match self.snapshot.ingresses.get(key) {
                    Some(ingress) => owners.set_ingress(&reader, ingress),
                    None => owners.remove(key),
                }
            } else {
                match self.snapshot.routes.get(key) {
                    Some(route) => owners.set_route(&reader, &self.listeners, route),
                    None => owners.remove(key),
                }
            }
        }
        for fact in owners.take_changed() {
            self.units.change(&fact);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        index::Index,
        ir::{Kind, ObjectKey},
        snapshot::Change,
        translate::{Settings, testing::snapshot},
    };

    /// Sets `add-headers` to a ConfigMap of the operator's namespace; to none if the name is empty.
    fn name(index: &mut Index, map: &str) {
        let value = if map.is_empty() { String::new() } else { format!("edge/{map}") };
        put(index, "settings", &format!("add-headers: '{value}'"));
    }

    /// Adds a ConfigMap to the operator's namespace.
    fn put(index: &mut Index, name: &str, data: &str) {
        let text =
            format!("kind: ConfigMap\nmetadata: {{ namespace: edge, name: {name} }}\ndata: {{ {data} }}\n");
        index.apply(snapshot(&text).objects().map(Change::Apply));
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::ConfigMap, "edge", name)
    }

    /// The names of the headers in effect, and what is wrong.
    fn headers(index: &mut Index) -> (Vec<String>, Vec<String>) {
        index.publish();
        let headers = &index.settings.live.ingress.headers.add.headers;
        let names = headers.iter().map(|(name, _)| name.to_string()).collect();
        (names, index.settings_problems().iter().map(ToString::to_string).collect())
    }

    fn settings(selector: Option<&str>) -> Settings {
        Settings {
            settings_map: Some(key("settings")),
            namespace_selector: selector.map(|text| text.parse().unwrap()),
            ..Settings::default()
        }
    }

    #[test]
    fn headers_of_the_operator_apply_whatever_the_namespace_of_their_config_map() {
        let mut index = Index::new(settings(Some("team=red")));
        index.complete();
        put(&mut index, "a", "X-A: a");
        put(&mut index, "b", "X-B: b");
        for (map, want) in [("a", "x-a"), ("b", "x-b"), ("a", "x-a")] {
            name(&mut index, map);
            assert_eq!(headers(&mut index), (vec![want.to_owned()], vec![]), "{map}");
            let others = ["a", "b"].into_iter().filter(|other| *other != map);
            assert!(others.map(key).all(|key| index.snapshot().get(&key).is_none()), "{map}");
        }
        put(&mut index, "a", "X-New: a");
        assert_eq!(headers(&mut index).0, ["x-new"]);
    }

    #[test]
    fn the_last_headers_stay_in_effect_until_others_are_read() {
        let last = |why: &str| {
            let why = format!("{why}; the last headers of this key stay in effect");
            vec![format!("ConfigMap edge/settings: data.add-headers: ConfigMap edge/{why}")]
        };
        for selector in [None, Some("team=red")] {
            let mut index = Index::new(settings(selector));
            name(&mut index, "a");
            index.survey();
            assert!(index.demand().contains(&key("a")));
            assert_eq!(headers(&mut index), (vec![], vec![]), "nothing is published before it is fetched");
            put(&mut index, "a", "X-A: a");
            index.complete();
            let of_a = vec!["x-a".to_owned()];
            assert_eq!(headers(&mut index), (of_a.clone(), vec![]), "{selector:?}");

            name(&mut index, "b");
            assert_eq!(headers(&mut index), (of_a.clone(), last("b has not been read yet")));
            assert!(index.demand().contains(&key("b")));
            index.apply([Change::Delete(key("b"))]);
            assert_eq!(headers(&mut index), (of_a, last("b not found, or not readable")), "{selector:?}");
            put(&mut index, "b", "X-B: b");
            assert_eq!(headers(&mut index), (vec!["x-b".to_owned()], vec![]), "{selector:?}");
            index.apply([Change::Delete(key("b"))]);
            let of_b = vec!["x-b".to_owned()];
            assert_eq!(headers(&mut index), (of_b, last("b not found, or not readable")));

            name(&mut index, "");
            assert_eq!(headers(&mut index), (vec![], vec![]));
            name(&mut index, "c");
            index.apply([Change::Delete(key("c"))]);
            let (names, problems) = headers(&mut index);
            assert_eq!(names, [""; 0]);
            let want = "ConfigMap edge/settings: data.add-headers: ConfigMap edge/c not found, or not readable; none of its \
                        headers is set";
            assert_eq!(problems, [want]);
        }
    }

    /// While the settings are missing, those of the command line apply. The headers are known again as soon as the settings
    /// are, even if their ConfigMap is read later.
    #[test]
    fn the_last_headers_are_in_effect_again_after_the_settings_or_the_headers_were_replaced() {
        for selector in [None, Some("team=red")] {
            let mut index = Index::new(settings(selector));
            name(&mut index, "a");
            index.survey();
            put(&mut index, "a", "X-A: a");
            index.complete();
            assert_eq!(headers(&mut index), (vec!["x-a".to_owned()], vec![]), "{selector:?}");

            index.apply([Change::Delete(key("settings"))]);
            let missing = "ConfigMap edge/settings: not found; the settings of the command line apply (--settings-configmap)";
            assert_eq!(headers(&mut index), (vec![], vec![missing.to_owned()]), "{selector:?}");
            assert!(!index.demand().contains(&key("a")));
            index.release([key("a")]);
            name(&mut index, "a");
            let (names, problems) = headers(&mut index);
            assert_eq!(names, ["x-a"], "{selector:?}");
            let why = "ConfigMap edge/a has not been read yet; the last headers of this key stay in effect";
            assert_eq!(
                problems,
                [format!("ConfigMap edge/settings: data.add-headers: {why}")],
                "{selector:?}"
            );
            put(&mut index, "a", "X-A: a");
            assert_eq!(headers(&mut index), (vec!["x-a".to_owned()], vec![]), "{selector:?}");

            index.apply([Change::Delete(key("a"))]);
            assert_eq!(headers(&mut index).0, ["x-a"], "{selector:?}");
            put(&mut index, "a", "X-New: a");
            assert_eq!(headers(&mut index), (vec!["x-new".to_owned()], vec![]), "{selector:?}");
        }
    }

    #[test]
    fn headers_of_a_namespace_that_is_not_watched_are_refused_with_what_to_do() {
        let watched_namespaces = ["shop".into()].into();
        let mut index = Index::new(Settings { watched_namespaces, ..settings(None) });
        name(&mut index, "a");
        index.survey();
        // The source reports an object of such a namespace as missing.
        index.apply([Change::Delete(key("a"))]);
        index.complete();
        let want = "ConfigMap edge/settings: data.add-headers: ConfigMap edge/a is not read, because namespace edge is not \
                    watched: add edge to --watch-namespace (watchNamespaces of the chart), or move the ConfigMap to a namespace \
                    that is watched; none of its headers is set";
        assert_eq!(headers(&mut index), (vec![], vec![want.to_owned()]));
    }
}
