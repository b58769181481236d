//! Connections by client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use super::{Held, locked};

/// A client: an IPv4 address, or a /64 network of IPv6, which is the least that a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client(IpAddr);

/// The connections of each client that has any.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<HashMap<Client, Vec<Arc<Held>>>>);

/// How room is made for one more connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shed {
    /// An idle connection was asked to close.
    Asked,
    /// A connection that was asked earlier is closing.
    Going,
}

impl Client {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

impl Clients {
    /// Counts one more connection of the client, if it has fewer than `most`.
    pub(super) fn take(&self, client: Client, held: &Arc<Held>, most: usize) -> bool {
        let mut clients = locked(&self.0);
        let of = clients.entry(client).or_default();
        let taken = of.len() < most;
        if taken {
            of.push(Arc::clone(held));
        }
        taken
    }

    /// Asks the client's longest idle connection to close, unless one is closing already. Returns `None` if none is idle.
    pub(super) fn shed(&self, client: Client) -> Option<Shed> {
        let clients = locked(&self.0);
        let of = clients.get(&client)?;
        if of.iter().any(|held| held.goes()) {
            return Some(Shed::Going);
        }
        let idle = of.iter().filter_map(|held| Some((held.idle_since()?, held)));
        let (_, oldest) = idle.min_by_key(|(since, _)| *since)?;
        oldest.ask_to_go();
        Some(Shed::Asked)
    }

    pub(super) fn leave(&self, client: Client, held: &Arc<Held>) {
        let mut clients = locked(&self.0);
        let Some(of) = clients.get_mut(&client) else { return };
        of.retain(|other| !Arc::ptr_eq(other, held));
        if of.is_empty() {
            clients.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            let [a, b] = [one, other].map(|text| Client::of(text.parse().unwrap()));
            assert_eq!(a == b, same, "{one} and {other}");
        }
    }

    #[test]
    fn the_connection_that_was_idle_for_longest_goes() {
        let (clients, client) = (Clients::default(), Client::of([192, 0, 2, 1].into()));
        let held: Vec<_> = (0..3).map(|_| Arc::new(Held::new())).collect();
        for held in &held {
            assert!(clients.take(client, held, 3));
        }
        assert!(!clients.take(client, &Arc::new(Held::new()), 3));
        held[0].begin();
        assert_eq!(clients.shed(client), Some(Shed::Asked));
        assert_eq!(clients.shed(client), Some(Shed::Going));
        assert_eq!(held.iter().map(|h| h.goes()).collect::<Vec<_>>(), [false, true, false]);
        held[1].begin();
        held[2].begin();
        assert_eq!(clients.shed(client), None);
        held.iter().for_each(|held| clients.leave(client, held));
        assert!(locked(&clients.0).is_empty());
    }
}
