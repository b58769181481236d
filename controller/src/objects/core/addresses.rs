//! Where clients reach what is behind a Service.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;

use crate::ir::Address;

/// Where clients reach what is behind a Service: the load balancer's addresses and `externalIPs`; its name for an
/// ExternalName; without a load balancer in the play its cluster addresses.
pub fn addresses_of_service(service: &Service) -> Vec<Address> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    if kind == "ExternalName" {
        return spec.external_name.iter().map(|name| Address::Hostname(name.as_str().into())).collect();
    }
    let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let given = balancer.and_then(|b| b.ingress.as_deref()).unwrap_or_default().iter().flat_map(|ingress| {
        let ip = ingress.ip.as_deref().and_then(ip);
        let name = ingress.hostname.as_deref().map(|name| Address::Hostname(name.into()));
        ip.into_iter().chain(name)
    });
    let external = spec.external_ips.iter().flatten().filter_map(|text| ip(text));
    let mut found: Vec<_> = given.chain(external).collect();
    if found.is_empty() && kind != "LoadBalancer" {
        found.extend(spec.cluster_ips.iter().flatten().filter_map(|text| ip(text)));
    }
    let mut known = BTreeSet::new();
    found.retain(|address| known.insert(address.clone()));
    found
}

fn ip(text: &str) -> Option<Address> {
    text.parse().ok().map(Address::Ip)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_those_at_which_clients_come() {
        for (what, object, want) in [
            (
                "waits for its address",
                json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.7"]}}),
                &[][..],
            ),
            (
                "address and name",
                json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [
                    {"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}, {"ip": "no address"}]}}}),
                &["192.0.2.1", "lb.example.com"],
            ),
            (
                "externalIPs once",
                json!({"spec": {"type": "LoadBalancer", "externalIPs": ["192.0.2.1", "2001:db8::1"]},
                    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
                &["192.0.2.1", "2001:db8::1"],
            ),
            (
                "inside the cluster",
                json!({"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.7", "fd00::7"]}}),
                &["10.96.0.7", "fd00::7"],
            ),
            ("headless", json!({"spec": {"type": "ClusterIP", "clusterIPs": ["None"]}}), &[]),
            (
                "a name",
                json!({"spec": {"type": "ExternalName", "externalName": "lb.example.com"}}),
                &["lb.example.com"],
            ),
            ("nothing", json!({}), &[]),
        ] {
            let service = serde_json::from_value(object).unwrap();
            let text = |address: &Address| match address {
                Address::Ip(ip) => ip.to_string(),
                Address::Hostname(name) => name.to_string(),
            };
            let got: Vec<_> = addresses_of_service(&service).iter().map(text).collect();
            assert_eq!(got, want, "{what}");
        }
    }
}
