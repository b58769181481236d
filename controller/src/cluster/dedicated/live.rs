//! What there is: what was made for Gateways, the EndpointSlices of the Service that everything else comes in through,
//! the record of ports, and what pods report. A few objects, by watches of their own: whoever compares needs all of each.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures_util::StreamExt as _;
use kube::{Api, Client, api::DynamicObject, runtime::watcher};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    DedicatedOptions,
    record::{self, Record},
    reports::Reports,
    target::{Name, TargetKind},
};
use crate::objects::MARK;

/// Between two tries of a watch.
const PAUSE: Duration = Duration::from_secs(3);
/// So many refusals in a row are believed: just after a start of the API server they may pass.
const BELIEVED: u32 = 3;

/// Everything that the watches have told.
#[derive(Debug, Default)]
pub(super) struct Live {
    watches: Vec<Watched>,
    record: record::Read,
    reports: Reports,
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
    /// Why it may not be read.
    refused: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Made(TargetKind),
    /// The slices of the Service that everything else comes in through.
    Own,
    Record,
    Reports,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) struct Happened {
    watch: usize,
    news: News,
}

#[derive(Debug)]
enum News {
    Event(Box<watcher::Event<DynamicObject>>),
    Refused(String),
}

impl Live {
    /// Begins to watch; what happens is told to `to`, until nobody listens.
    pub(super) fn watch(client: &Client, options: &DedicatedOptions, to: &mpsc::Sender<Happened>) -> Self {
        let mut live = Self::default();
        let mark = format!("{}={}", MARK.0, MARK.1);
        let places = options.namespaces.iter().map(|namespace| Some(namespace.as_str()));
        let places: Vec<_> = if options.namespaces.is_empty() { vec![None] } else { places.collect() };
        for namespace in places {
            for kind in [TargetKind::Service, TargetKind::EndpointSlice] {
                live.add(Of::Made(kind), client, namespace, watcher::Config::default().labels(&mark), to);
            }
        }
        if let Some((namespace, name)) = &options.own_service {
            let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={name}"));
            live.add(Of::Own, client, Some(namespace), config, to);
        }
        for (of, (namespace, name)) in [(Of::Record, &options.record), (Of::Reports, &options.reports)] {
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            live.add(of, client, Some(namespace), config, to);
        }
        live
    }

    fn add(
        &mut self,
        of: Of,
        client: &Client,
        namespace: Option<&str>,
        config: watcher::Config,
        to: &mpsc::Sender<Happened>,
    ) {
        let kind = match of {
            Of::Made(made) => made,
            Of::Own => TargetKind::EndpointSlice,
            Of::Record | Of::Reports => TargetKind::ConfigMap,
        };
        let resource = kind.resource();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        tokio::spawn(follow(api, config, self.watches.len(), resource.plural, to.clone()));
        self.watches.push(Watched {
            of,
            objects: BTreeMap::new(),
            listing: None,
            complete: false,
            refused: None,
        });
    }

    /// Whether all that there is has been told.
    pub(super) fn is_complete(&self) -> bool {
        self.watches.iter().all(|watch| watch.complete)
    }

    pub(super) fn take(&mut self, happened: Happened) {
        let Some(watch) = self.watches.get_mut(happened.watch) else { return };
        watch.take(happened.news);
        let object = watch.objects.values().next().unwrap_or(&Value::Null);
        match watch.of {
            Of::Record => self.record = Record::read(object),
            Of::Reports => self.reports = Reports::read(object),
            Of::Made(_) | Of::Own => {}
        }
    }

    /// The record, once it has been read.
    pub(super) fn record(&self) -> &record::Read {
        &self.record
    }

    /// Whether the record has been read, or why it may not be.
    pub(super) fn knows_record(&self) -> Option<Result<(), &str>> {
        let watch = self.watches.iter().find(|watch| watch.of == Of::Record)?;
        match &watch.refused {
            _ if watch.complete => Some(Ok(())),
            why => why.as_deref().map(Err),
        }
    }

    /// The version of the ConfigMap of the record; `None` where there is none.
    pub(super) fn record_version(&self) -> Option<&str> {
        self.config_map(Of::Record)?["metadata"]["resourceVersion"].as_str()
    }

    /// What pods say that they have bound.
    pub(super) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Whether there is a ConfigMap of reports.
    pub(super) fn has_reports(&self) -> bool {
        self.config_map(Of::Reports).is_some()
    }

    fn config_map(&self, of: Of) -> Option<&Value> {
        self.watches.iter().find(|watch| watch.of == of)?.objects.values().next()
    }

    /// What was made for Gateways.
    pub(super) fn made(&self, kind: TargetKind) -> impl Iterator<Item = (&Name, &Value)> {
        self.watches.iter().filter(move |watch| watch.of == Of::Made(kind)).flat_map(|watch| &watch.objects)
    }

    pub(super) fn find(&self, kind: TargetKind, name: &Name) -> Option<&Value> {
        let mut watches = self.watches.iter().filter(|watch| watch.of == Of::Made(kind));
        watches.find_map(|watch| watch.objects.get(name))
    }

    /// The slices that lead to us.
    pub(super) fn own_slices(&self) -> impl Iterator<Item = &Value> {
        self.watches.iter().filter(|watch| watch.of == Of::Own).flat_map(|watch| watch.objects.values())
    }
}

impl Watched {
    fn take(&mut self, news: News) {
        let event = match news {
            News::Event(event) => *event,
            News::Refused(why) => return self.refused = Some(why),
        };
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
                self.refused = None;
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
    let (mut told, mut refusals) = (false, 0);
    while let Some(event) = events.next().await {
        let news = match event {
            Ok(event) => {
                // The beginning of a try says nothing of success.
                if !matches!(event, watcher::Event::Init) {
                    (told, refusals) = (false, 0);
                }
                News::Event(Box::new(event))
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(kind, %error, "objects of Gateways with dedicated addresses cannot be read; none are created meanwhile");
                }
                refusals = if is_refusal(&error) { refusals + 1 } else { 0 };
                tokio::time::sleep(PAUSE).await;
                if refusals < BELIEVED {
                    continue;
                }
                News::Refused(error.to_string())
            }
        };
        if to.send(Happened { watch, news }).await.is_err() {
            return;
        }
    }
}

fn is_refusal(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error)
    | watcher::Error::WatchStartFailed(error)
    | watcher::Error::WatchFailed(error)) = error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

#[cfg(test)]
impl Live {
    /// What there is, for a test: Services, slices of theirs, slices of ours.
    pub(super) fn of(services: &[Value], slices: &[Value], own: &[Value]) -> Self {
        let mut live = Self::default();
        live.put(Of::Made(TargetKind::Service), services);
        live.put(Of::Made(TargetKind::EndpointSlice), slices);
        live.put(Of::Own, own);
        live
    }

    /// With the ConfigMap of the record.
    pub(super) fn recorded(mut self, config_map: &Value) -> Self {
        self.put(Of::Record, std::slice::from_ref(config_map));
        self.record = Record::read(config_map);
        self
    }

    /// With the ConfigMap of what pods report.
    pub(super) fn reported(mut self, config_map: &Value) -> Self {
        self.put(Of::Reports, std::slice::from_ref(config_map));
        self.reports = Reports::read(config_map);
        self
    }

    fn put(&mut self, of: Of, objects: &[Value]) {
        let objects = objects.iter().map(|object| (name(object), object.clone())).collect();
        self.watches.push(Watched { of, objects, listing: None, complete: true, refused: None });
    }
}

#[cfg(test)]
fn name(object: &Value) -> Name {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().into();
    (text("namespace"), text("name"))
}
