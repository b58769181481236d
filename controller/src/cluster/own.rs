//! Which addresses in the cluster are ours: those of the Service that everything comes in through, and those of the
//! pods behind it. No backend has one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    pin::pin,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::watcher::{self, Error, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use crate::ir::core::ClusterIps;

/// Between two tries of a watch.
const PAUSE: Duration = Duration::from_secs(3);
/// Seconds that a watch is asked to last; an API server that is silent for longer is taken for gone.
const WATCH_LASTS: u32 = 60;

/// Follows the Service and its EndpointSlices until nobody listens. While they cannot be read, what is known stays.
pub async fn follow(client: Client, namespace: &str, name: &str, to: watch::Sender<BTreeSet<IpAddr>>) {
    let config = || watcher::Config::default().timeout(WATCH_LASTS);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client, namespace);
    let services = events(services, config().fields(&format!("metadata.name={name}")), cluster_ips);
    let label = format!("kubernetes.io/service-name={name}");
    let slices = events(slices, config().labels(&label), endpoints);
    let mut events = pin!(stream::select(services.map(|event| (0, event)), slices.map(|event| (1, event))));
    let mut seen = [Seen::default(), Seen::default()];
    let mut told = false;
    while let Some((of, event)) = events.next().await {
        match event {
            Ok(event) => {
                told &= matches!(event, Event::Init);
                seen[of].take(event);
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(service = %format_args!("{namespace}/{name}"), %error, "our own addresses cannot be read");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        let now = seen.iter().flat_map(Seen::addresses).collect();
        to.send_if_modified(|before| std::mem::replace(before, now) != *before);
        if to.is_closed() {
            return;
        }
    }
}

/// The addresses of one object.
type Addresses = (String, Vec<IpAddr>);

/// What a watch has told of.
#[derive(Debug, Default)]
struct Seen {
    objects: BTreeMap<String, Vec<IpAddr>>,
    listing: Option<BTreeMap<String, Vec<IpAddr>>>,
}

impl Seen {
    fn take(&mut self, event: Event<Addresses>) {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply((name, addresses)) => {
                self.listing.get_or_insert_default().insert(name, addresses);
            }
            // Nothing is taken for gone because a listing begins again.
            Event::InitDone => self.objects = self.listing.take().unwrap_or_default(),
            Event::Apply((name, addresses)) => drop(self.objects.insert(name, addresses)),
            Event::Delete((name, _)) => drop(self.objects.remove(&name)),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.objects.values().flatten().copied()
    }
}

fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    addresses: fn(&K) -> Vec<IpAddr>,
) -> impl Stream<Item = Result<Event<Addresses>, Error>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let read = move |object: K| (object.name_any(), addresses(&object));
    watcher(api, config).map(move |event| {
        event.map(|event| match event {
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply(read(object)),
            Event::InitDone => Event::InitDone,
            Event::Apply(object) => Event::Apply(read(object)),
            Event::Delete(object) => Event::Delete(read(object)),
        })
    })
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let spec = service.spec.iter();
    let ips = spec.flat_map(|spec| spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip));
    ClusterIps::parse(ips.map(String::as_str)).iter().collect()
}

/// Of pods that are not ready too.
fn endpoints(slice: &EndpointSlice) -> Vec<IpAddr> {
    let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    addresses.filter_map(|address| address.parse().ok()).collect()
}
