use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    ir::Kind,
    snapshot::{Change, Snapshot},
    translate::{
        Listeners, Pools, Reader,
        listeners::gateways,
        testing::{CLASS, apply, snapshot},
    },
};

/// Decides about all objects from nothing, one after the other. Returns what is refused, and who holds what.
fn plain(
    mut owners: Vec<Owner>,
) -> (BTreeMap<ObjectKey, Refusals>, BTreeMap<(Spot, HostPattern), ObjectKey>) {
    owners.sort_by_key(Owner::precedence);
    let mut ports = BTreeMap::<Spot, (Protocol, Arc<ListenerId>)>::new();
    let mut hosts = BTreeMap::<(Spot, HostPattern), (ObjectKey, Arc<ListenerId>)>::new();
    let mut used = BTreeMap::<ObjectKey, BTreeSet<PortKey>>::new();
    let mut all = BTreeMap::new();
    for owner in &owners {
        let mut refusals = Refusals::new();
        let of_set = owner.is_set().then_some(owner.meta().namespace());
        for one in wanted(owner) {
            let Some((protocol, id)) = ports.get(&one.spot) else { continue };
            let (port, way_out) = (one.spec.port, WayOut::Nothing);
            let host = hosts.get(&(one.spot.clone(), one.spec.hostname.clone()));
            if *protocol != one.protocol {
                let with = name_for(of_set, id);
                refusals.insert(one.index, ListenerRefusal::ProtocolConflict { with, port, way_out });
            } else if let Some((_, id)) = host {
                refusals.insert(one.index, taken(one.spec, name_for(of_set, id), way_out));
            }
        }
        refuse_conflicting(&wanted(owner).collect::<Vec<_>>(), &mut refusals);
        let used = used.entry(owner.gateway().clone()).or_default();
        for one in wanted(owner) {
            if refusals.contains_key(&one.index) {
                continue;
            }
            if owner.is_set() && used.len() >= MAX_PORTS && !used.contains(&one.spec.port_key()) {
                refusals.insert(one.index, ListenerRefusal::TooManyPorts { limit: MAX_PORTS });
                continue;
            }
            used.insert(one.spec.port_key());
            let id = &one.point.id;
            ports.entry(one.spot.clone()).or_insert_with(|| (one.protocol, Arc::clone(id)));
            let holder = (owner.meta().key.clone(), Arc::clone(id));
            hosts.insert((one.spot, one.spec.hostname.clone()), holder);
        }
        all.insert(owner.meta().key.clone(), refusals);
    }
    (all, hosts.into_iter().map(|(place, (key, _))| (place, key)).collect())
}

#[derive(Clone, Debug)]
struct Edit {
    /// The first two are Gateways.
    object: usize,
    /// What it says then; `None` deletes it.
    content: Option<Content>,
}

#[derive(Clone, Debug)]
struct Content {
    day: u8,
    /// The Gateway of a ListenerSet.
    gateway: usize,
    /// Ports that nobody else has.
    own_ports: bool,
    /// Port, protocol and hostname.
    listeners: BTreeSet<(u16, usize, usize)>,
}

const OBJECTS: usize = 8;

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let listeners = prop::collection::btree_set((8001..8004_u16, 0..3_usize, 0..3_usize), 1..4);
    let content = (1..5_u8, 0..2_usize, any::<bool>(), listeners);
    let content = content.prop_map(|(day, gateway, own_ports, listeners)| Content {
        day,
        gateway,
        own_ports,
        listeners,
    });
    let edit = (0..OBJECTS, prop::option::weighted(0.8, content));
    prop::collection::vec(edit.prop_map(|(object, content)| Edit { object, content }), 1..40)
}

fn key(object: usize) -> ObjectKey {
    let kind = if object < 2 { Kind::Gateway } else { Kind::ListenerSet };
    ObjectKey::new(kind, ["a", "b"][object % 2], &format!("o{object}"))
}

fn manifest(object: usize, content: &Content) -> String {
    let Content { day, gateway, own_ports, listeners } = content;
    let key = key(object);
    let head = if object < 2 {
        "gatewayClassName: portcullis, allowedListeners: { namespaces: { from: All } }".into()
    } else {
        let gateway = self::key(*gateway);
        format!("parentRef: {{ name: {}, namespace: {} }}", gateway.name, gateway.namespace)
    };
    // The Gateways have nearly as many ports as they may.
    let own = if object < 2 && *own_ports { 9000..9061 } else { 9100..9100 };
    let own = own.map(|port| format!("{{ name: p{port}, port: {port}, protocol: HTTP }}"));
    let listeners = listeners.iter().map(|(port, protocol, host)| {
        let protocol = ["HTTP", "TCP", "UDP"][*protocol];
        let listener = format!("port: {port}, protocol: {protocol}");
        match protocol {
            "HTTP" => format!("{{ name: l{port}-{host}, {listener}, hostname: h{host}.test }}"),
            _ => format!("{{ name: l{port}-{}, {listener} }}", protocol.to_lowercase()),
        }
    });
    // Two listeners without a hostname are the same.
    let listeners: BTreeSet<_> = own.chain(listeners).collect();
    let listeners: Vec<_> = listeners.into_iter().collect();
    format!(
        "
kind: {}
metadata: {{ namespace: {}, name: {}, creationTimestamp: '2024-01-0{day}T00:00:00Z' }}
spec: {{ {head}, listeners: [{}] }}
---
",
        key.kind.as_str(),
        key.namespace,
        key.name,
        listeners.join(", ")
    )
}

/// Objects, and the claims of what they say.
struct Objects {
    snapshot: Snapshot,
    owners: BTreeMap<ObjectKey, Owner>,
    claims: Claims,
}

impl Objects {
    fn new() -> Self {
        Self { snapshot: snapshot(CLASS), owners: BTreeMap::new(), claims: Claims::default() }
    }

    /// Returns the objects that were decided about.
    fn edit(&mut self, object: usize, content: Option<&Content>) -> BTreeSet<ObjectKey> {
        match content {
            Some(content) => apply(&mut self.snapshot, &manifest(object, content)),
            None => self.snapshot.apply(Change::Delete(key(object))),
        }
        let (settings, pools) = (Settings::default(), Pools::default());
        let reader = Reader::new(&self.snapshot, &settings, None);
        let (mut gateways, mut touched) = (Listeners::default(), Touched::default());
        let mut now = BTreeMap::new();
        for key in self.snapshot.gateways.keys() {
            gateways.translate(&reader, &pools, key);
            let state = gateways::gateway(&reader, &pools, key).expect("its class is ours");
            now.insert(key.clone(), Owner::Gateway(Arc::new(state)));
        }
        for key in self.snapshot.listener_sets.keys() {
            let state = gateways::listener_set(&reader, &pools, &gateways, key);
            now.extend(state.map(|state| (key.clone(), Owner::Set(Arc::new(state)))));
        }
        for key in self.owners.keys().filter(|key| !now.contains_key(*key)) {
            self.claims.remove(key, &mut touched);
        }
        for (key, owner) in now.iter().filter(|(key, owner)| self.owners.get(*key) != Some(*owner)) {
            assert_eq!(*key, owner.meta().key);
            self.claims.set(owner.clone(), &mut touched);
        }
        self.owners = now;
        self.claims.settle(&settings, &mut touched);
        touched.owners
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let (refusals, holders) = plain(self.owners.values().cloned().collect());
        for (key, want) in &refusals {
            let got: Vec<_> = self.claims.refusals(key).collect();
            prop_assert_eq!(
                got,
                want.iter().map(|(index, why)| (*index, why)).collect::<Vec<_>>(),
                "{}",
                key
            );
        }
        for port in 8001..8004 {
            for host in ["h0.test", "h1.test", "h2.test", ""] {
                for port in [PortKey::tcp(port), PortKey::udp(port)] {
                    let host = HostPattern::parse(host).unwrap();
                    let got = self.claims.holder(port, &host).map(|holder| &holder.owner);
                    prop_assert_eq!(got, holders.get(&(Spot::Bound(port), host)), "{:?}", port);
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn claims_are_decided_as_one_after_the_other(edits in edits()) {
        let mut objects = Objects::new();
        for Edit { object, content } in &edits {
            objects.edit(*object, content.as_ref());
            objects.compare()?;
        }
        (0..OBJECTS).for_each(|object| drop(objects.edit(object, None)));
        prop_assert!(objects.claims.claimants.is_empty() && objects.claims.held.is_empty());
    }
}

#[test]
fn an_edit_concerns_younger_objects_that_want_the_same() {
    let mut objects = Objects::new();
    let content = |day, host| Content {
        day,
        gateway: 0,
        own_ports: false,
        listeners: BTreeSet::from([(8001, 0, host)]),
    };
    // Three of one hostname, of which the first is the oldest, and one of another.
    for (object, day, host) in [(0, 1, 2), (2, 2, 0), (3, 3, 0), (4, 4, 0), (5, 2, 1)] {
        objects.edit(object, Some(&content(day, host)));
    }
    let keys = |objects: &[usize]| objects.iter().map(|object| key(*object)).collect::<BTreeSet<_>>();
    for (object, day, host, want) in [
        (5, 2, 1, &[][..]),
        (4, 4, 1, &[4]),
        (4, 4, 0, &[4]),
        (2, 2, 1, &[2, 3, 4, 5]),
        (2, 2, 0, &[2, 3, 4, 5]),
        (3, 3, 1, &[3]),
    ] {
        let decided = objects.edit(object, Some(&content(day, host)));
        assert_eq!(decided, keys(want), "{object} wants hostname {host}");
    }
}
