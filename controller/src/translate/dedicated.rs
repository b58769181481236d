//! Gateways with addresses of their own: the name of each one's Service, and which ports are bound for it.
//!
//! The ports in the Service are not trusted: whoever may write Services in a namespace can write anything there. The
//! controller's own record says which port belongs to which Gateway (`translate/allocation.rs`).

use portcullis_routing::PortKey;

use super::Reader;
use crate::ir::{
    Address, Gateway, Kind, ObjectKey, Service, core::GatewayService, parameters::ServiceParameters,
};

/// A Gateway with addresses of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedicated {
    /// The Service that is or will be made for it.
    pub service: ObjectKey,
    /// The parameters of that Service.
    pub parameters: ServiceParameters,
    pub state: DedicatedState,
}

/// The state of a Gateway's Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DedicatedState {
    /// Nothing yet.
    Missing,
    /// A Service of that name which is not this Gateway's.
    Foreign,
    /// It is there, and clients reach it at these addresses. `cluster` are those that are reached from inside the cluster;
    /// empty if the Gateway does not ask for any.
    Made { addresses: Vec<Address>, cluster: Vec<Address> },
}

/// How the names of those Services begin.
const PREFIX: &str = "portcullis-";

/// The name of a Gateway's Service: a DNS label that begins with a letter, whatever the Gateway is called.
pub fn service_name(gateway: &str) -> String {
    let dashed = gateway.replace('.', "-");
    let hash = hash(gateway);
    // A name has at most 63 characters; nine of them are the hash and the dash before it.
    let kept = cut(&dashed, 63 - PREFIX.len() - 9);
    format!("{PREFIX}{kept}-{hash:08x}")
}

/// A name as the value of a label, which has no more than 63 characters.
pub fn label_value(name: &str) -> String {
    match name.len() {
        0..=63 => name.to_owned(),
        _ => format!("{}-{:08x}", cut(name, 63 - 9), hash(name)),
    }
}

fn cut(name: &str, most: usize) -> &str {
    // Names of objects are ASCII.
    name.get(..most.min(name.len())).unwrap_or_default().trim_end_matches(['-', '.'])
}

/// FNV-1a: names must stay what they are from one release to the next.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Looks up the Service of a Gateway.
pub(super) fn dedicated(reader: &Reader<'_>, gateway: &Gateway, parameters: ServiceParameters) -> Dedicated {
    let state = match (own_service(reader, gateway), service_of(reader, gateway)) {
        (Some(service), _) => {
            let cluster = service.cluster_ips.iter().filter(|_| gateway.asks_for_cluster_address());
            DedicatedState::Made {
                addresses: addresses(service),
                cluster: cluster.map(Address::Ip).collect(),
            }
        }
        (None, Some(_)) => DedicatedState::Foreign,
        (None, None) => DedicatedState::Missing,
    };
    Dedicated { service: service_key(gateway), parameters, state }
}

/// Returns the port that is bound for a port of a Gateway with addresses of its own, once there is one.
pub(super) fn bound(reader: &Reader<'_>, gateway: &Gateway, port: PortKey) -> Option<PortKey> {
    let number = reader.allocation().of(&gateway.meta.uid(), port)?;
    let is_ours = reader.settings().dedicated.range().contains(number);
    is_ours.then_some(PortKey { number, ..port })
}

fn service_key(gateway: &Gateway) -> ObjectKey {
    ObjectKey::new(Kind::Service, gateway.meta.namespace(), &service_name(gateway.meta.name()))
}

/// The Service with the name of the Gateway's, whoever made it.
fn service_of<'s>(reader: &Reader<'s>, gateway: &Gateway) -> Option<&'s Service> {
    reader.service(gateway.meta.namespace(), &service_name(gateway.meta.name()))
}

/// The Service that was made for this Gateway, not for an earlier one of the same name.
fn own_service<'s>(reader: &Reader<'s>, gateway: &Gateway) -> Option<&'s Service> {
    let service = service_of(reader, gateway)?;
    let owner = &service.gateway()?.owner;
    (**owner == *gateway.meta.uid()).then_some(service)
}

fn addresses(service: &Service) -> Vec<Address> {
    service.gateway().map(|GatewayService { addresses, .. }| addresses.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_name_whatever_the_gateway_is_called() {
        let long = "a".repeat(253);
        let dotted = format!("{}.{}", "a".repeat(42), "b".repeat(100));
        for (gateway, want) in [
            ("public", "portcullis-public-"),
            ("1st.gateway.example.com", "portcullis-1st-gateway-example-com-"),
            (&long, "portcullis-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-"),
            (&dotted, "portcullis-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-"),
        ] {
            let name = service_name(gateway);
            assert!(name.starts_with(want), "{name} for {gateway}");
            assert!(name.len() <= 63 && name.len() == want.len() + 8, "{name} for {gateway}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
        }
        assert_ne!(service_name("a.b"), service_name("a-b"));
        // Whoever changes this gives every Gateway another Service, and another address.
        assert_eq!(service_name("public"), "portcullis-public-cc909380");
    }

    #[test]
    fn a_label_has_63_characters() {
        assert_eq!(label_value("public"), "public");
        assert_eq!(label_value(&"a".repeat(63)), "a".repeat(63));
        for name in ["a".repeat(253), format!("{}.{}", "a".repeat(53), "b".repeat(53))] {
            let value = label_value(&name);
            assert!((62..=63).contains(&value.len()), "{value}");
            assert!(value.starts_with(&"a".repeat(53)) && !value.contains(".-"), "{value}");
        }
        assert_ne!(label_value(&"a".repeat(252)), label_value(&"a".repeat(253)));
    }
}
