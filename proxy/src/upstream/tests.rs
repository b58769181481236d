use portcullis_routing::{BackendKey, BackendObject, BackendProtocol, Port, Protocol};

use super::*;
use crate::{LocalBackends, Options, Own};

fn backend(addresses: &[&str]) -> Backend {
    let pool = EndpointPool::new(Endpoints::Addresses(Box::default()));
    pool.store_addresses(&addresses.iter().map(|address| address.parse().unwrap()).collect::<Vec<_>>());
    let key = BackendKey {
        kind: BackendObject::Service,
        namespace: "shop".into(),
        service: "web".into(),
        port: PortKey::tcp(80),
    };
    Backend {
        key,
        protocol: BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        endpoints: Arc::new(pool),
    }
}

async fn is_permitted(dialler: &Dialler, transport: Transport, backend: &Backend) -> bool {
    let seeker = Seeker { kind: RouteKind::Http, spread: Spread::LessLoaded, tried: &[] };
    // Each thread and each request finds the same.
    let [first, second] = [
        dialler.choose_for(transport, backend, seeker).await,
        dialler.choose_for(transport, backend, seeker).await,
    ];
    assert_eq!(first.is_ok(), second.is_ok());
    first.is_ok()
}

fn table(ports: &[PortKey]) -> Arc<Table> {
    let mut table = Table::default();
    for key in ports {
        table.ports.insert(*key, Arc::new(Port::new(Protocol::Http, key.number)));
    }
    Arc::new(table)
}

#[tokio::test]
async fn an_endpoint_is_checked_anew_when_our_own_addresses_change() {
    let shared = Shared::new(Options::default());
    let (dialler, backend) = (Dialler::new(Arc::clone(&shared)), backend(&["10.0.0.7:8000"]));
    let own = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        shared.own.store(Arc::new(Own { addresses, admin: None }));
    };
    for (addresses, want) in [
        (&[][..], true),
        (&["10.0.0.8"], true),
        (&["10.0.0.7"], false),
        (&["10.0.0.9"], true),
        (&["10.0.0.7"], false),
    ] {
        own(addresses);
        assert_eq!(is_permitted(&dialler, Transport::Tcp, &backend).await, want, "{addresses:?}");
    }
}

#[tokio::test]
async fn an_endpoint_is_checked_anew_when_the_table_changes() {
    let options = || Options { local_backends: LocalBackends::Allowed, ..Options::default() };
    let shared = Shared::new(options());
    let (dialler, backend) = (Dialler::new(Arc::clone(&shared)), backend(&["127.0.0.1:8000"]));
    let (tcp, udp) = (PortKey::tcp(8000), PortKey { transport: Transport::Udp, number: 8000 });
    for (ports, want_tcp, want_udp) in [
        (&[][..], true, true),
        (&[tcp], false, true),
        (&[udp], true, false),
        (&[tcp, udp], false, false),
        (&[PortKey::tcp(80)], true, true),
    ] {
        shared.table.store(table(ports));
        for (transport, want) in [(Transport::Tcp, want_tcp), (Transport::Udp, want_udp)] {
            assert_eq!(is_permitted(&dialler, transport, &backend).await, want, "{transport:?} {ports:?}");
        }
    }
    // A permission of one proxy does not hold for another.
    shared.table.store(table(&[]));
    assert!(is_permitted(&dialler, Transport::Tcp, &backend).await);
    let other = Dialler::new(Shared::new(Options::default()));
    assert!(!is_permitted(&other, Transport::Tcp, &backend).await);
}

#[tokio::test]
async fn what_endpoints_may_lead_to_names_may_not() {
    let shared = Shared::new(Options::default());
    let (dialler, backend) = (Dialler::new(Arc::clone(&shared)), backend(&["10.0.0.20:80"]));
    let db = portcullis_routing::ServiceName { namespace: "data".into(), name: "db".into() };
    shared.options.cluster_addresses.set(db, ["10.0.0.20".parse().unwrap()]);
    assert!(is_permitted(&dialler, Transport::Tcp, &backend).await);
    let origin = Origin::Check { namespace: Some("shop") };
    assert_eq!(dialler.choose_service(&backend, origin, false).await.unwrap_err(), NoEndpoint::Refused);
}
