//! What there is: what was made for Gateways, and the EndpointSlices of the Service that everything else comes in
//! through. A few objects, by watches of their own: whoever compares needs all of each.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures_util::StreamExt as _;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    runtime::watcher,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::warn;

use super::{DedicatedOptions, plan::Made};
use crate::objects::MARK;

/// Between two tries of a watch.
const PAUSE: Duration = Duration::from_secs(3);

/// `(namespace, name)`.
pub(super) type Name = (Box<str>, Box<str>);

/// Everything that the watches have told.
#[derive(Debug, Default)]
pub(super) struct Live {
    watches: Vec<Watched>,
}

/// One of the watches, and what there is by it.
#[derive(Debug)]
struct Watched {
    of: Of,
    objects: BTreeMap<Name, Value>,
    /// What a listing has had so far.
    listing: Option<BTreeMap<Name, Value>>,
    /// Whether all that there is has been told once.
    complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Made(Made),
    /// The slices of the Service that everything else comes in through.
    Own,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) struct Happened {
    watch: usize,
    event: watcher::Event<DynamicObject>,
}

impl Live {
    /// Begins to watch; what happens is told to `to`, until nobody listens.
    pub(super) fn watch(client: &Client, options: &DedicatedOptions, to: &mpsc::Sender<Happened>) -> Self {
        let mut live = Self::default();
        let mark = format!("{}={}", MARK.0, MARK.1);
        let places = options.namespaces.iter().map(|namespace| Some(namespace.as_str()));
        let places: Vec<_> = if options.namespaces.is_empty() { vec![None] } else { places.collect() };
        for namespace in places {
            live.add(Of::Made(Made::Service), client, namespace, &mark, to);
            live.add(Of::Made(Made::EndpointSlice), client, namespace, &mark, to);
        }
        if let Some((namespace, name)) = &options.own_service {
            let label = format!("kubernetes.io/service-name={name}");
            live.add(Of::Own, client, Some(namespace), &label, to);
        }
        live
    }

    fn add(
        &mut self,
        of: Of,
        client: &Client,
        namespace: Option<&str>,
        label: &str,
        to: &mpsc::Sender<Happened>,
    ) {
        let kind = match of {
            Of::Made(made) => made,
            Of::Own => Made::EndpointSlice,
        };
        let resource = kind.resource();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let config = watcher::Config::default().labels(label);
        tokio::spawn(follow(api, config, self.watches.len(), resource.plural, to.clone()));
        self.watches.push(Watched { of, objects: BTreeMap::new(), listing: None, complete: false });
    }

    /// Whether all that there is has been told.
    pub(super) fn is_complete(&self) -> bool {
        self.watches.iter().all(|watch| watch.complete)
    }

    pub(super) fn take(&mut self, happened: Happened) {
        if let Some(watch) = self.watches.get_mut(happened.watch) {
            watch.take(happened.event);
        }
    }

    /// What was made for Gateways.
    pub(super) fn made(&self, kind: Made) -> impl Iterator<Item = (&Name, &Value)> {
        self.watches.iter().filter(move |watch| watch.of == Of::Made(kind)).flat_map(|watch| &watch.objects)
    }

    pub(super) fn find(&self, kind: Made, name: &Name) -> Option<&Value> {
        let mut watches = self.watches.iter().filter(|watch| watch.of == Of::Made(kind));
        watches.find_map(|watch| watch.objects.get(name))
    }

    /// The slices that lead to us.
    pub(super) fn own_slices(&self) -> impl Iterator<Item = &Value> {
        self.watches.iter().filter(|watch| watch.of == Of::Own).flat_map(|watch| watch.objects.values())
    }
}

impl Watched {
    fn take(&mut self, event: watcher::Event<DynamicObject>) {
        match event {
            watcher::Event::Init => self.listing = Some(BTreeMap::new()),
            watcher::Event::InitApply(object) => {
                let (name, value) = parts(&object);
                self.listing.get_or_insert_default().insert(name, value);
            }
            // Nothing is taken for gone because a listing begins again.
            watcher::Event::InitDone => {
                self.objects = self.listing.take().unwrap_or_default();
                self.complete = true;
            }
            watcher::Event::Apply(object) => {
                let (name, value) = parts(&object);
                self.objects.insert(name, value);
            }
            watcher::Event::Delete(object) => drop(self.objects.remove(&parts(&object).0)),
        }
    }
}

fn parts(object: &DynamicObject) -> (Name, Value) {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    let name = (text(&object.metadata.namespace), text(&object.metadata.name));
    (name, serde_json::to_value(object).unwrap_or_default())
}

async fn follow(
    api: Api<DynamicObject>,
    config: watcher::Config,
    watch: usize,
    kind: String,
    to: mpsc::Sender<Happened>,
) {
    let mut events = pin!(watcher(api, config));
    let mut told = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // The beginning of a try says nothing of success.
                told &= matches!(event, watcher::Event::Init);
                if to.send(Happened { watch, event }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(kind, %error, "what was made for Gateways cannot be read; nothing is made meanwhile");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Made {
    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
        }
    }
}

#[cfg(test)]
impl Live {
    /// What there is, for a test: Services, slices of theirs, slices of ours.
    pub(super) fn of(services: &[Value], slices: &[Value], own: &[Value]) -> Self {
        let watched = |of, objects: &[Value]| Watched {
            of,
            objects: objects.iter().map(|object| (name(object), object.clone())).collect(),
            listing: None,
            complete: true,
        };
        let of =
            [(Of::Made(Made::Service), services), (Of::Made(Made::EndpointSlice), slices), (Of::Own, own)];
        Self { watches: of.into_iter().map(|(of, objects)| watched(of, objects)).collect() }
    }
}

#[cfg(test)]
fn name(object: &Value) -> Name {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().into();
    (text("namespace"), text("name"))
}
