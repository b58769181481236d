//! Lists and watches of one kind, as requests. What is done with their answers, and when to ask again, is decided in
//! `watching.rs`.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::BoxStream};
use kube::{
    Client, Resource as _,
    api::{DynamicObject, ListParams, ObjectList, Request, WatchEvent, WatchParams},
    core::Status,
};
use rand::Rng as _;
use serde_json::Value;
use tokio::time::timeout;

use super::kinds::Watched;

/// How long the beginning of an answer, a page of a list, or the next object of a list may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How much longer than it asked for a watch is believed to be alive.
const MARGIN: Duration = Duration::from_secs(10);
/// Objects in a page.
const PAGE: u32 = 100;

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The API server does not know the kind.
    Absent,
    /// We may not read it.
    Forbidden(String),
    /// The version to go on from is forgotten.
    Expired,
    /// The API server does not stream lists.
    NotStreamed,
    /// There was no API server to ask.
    Unreachable(String),
    /// Anything else; it passes or it does not.
    Failing(String),
}

/// Asks for the objects of one kind, in one namespace or in all.
pub(super) struct Reader {
    client: Client,
    request: Request,
    fields: Option<String>,
    metadata_only: bool,
    lasts: Duration,
}

impl Reader {
    /// `lasts` is how long a watch is asked to last, about.
    pub(super) fn new(
        client: Client,
        watched: &Watched,
        version: &str,
        namespace: Option<&str>,
        lasts: Duration,
    ) -> Self {
        let path = DynamicObject::url_path(&watched.resource(version), namespace);
        let (fields, metadata_only) = (watched.fields.as_deref().map(str::to_owned), watched.metadata_only());
        Self { client, request: Request::new(path), fields, metadata_only, lasts }
    }

    /// A page of a list, the first one or the one that `more` leads to.
    pub(super) async fn page(&self, more: Option<&str>) -> Result<ObjectList<Value>, Failure> {
        let mut params = ListParams::default().limit(PAGE);
        params.field_selector.clone_from(&self.fields);
        params.continue_token = more.map(str::to_owned);
        let request = match self.metadata_only {
            true => self.request.list_metadata(&params),
            false => self.request.list(&params),
        };
        let request = request.map_err(|error| Failure::Failing(chain(&error)))?;
        in_time(self.client.request(request)).await
    }

    /// A watch that goes on from a version, or that begins with everything there is.
    pub(super) async fn watch(&self, from: Option<&str>) -> Result<Events, Failure> {
        // Not all of them at the same time again.
        let lasts = self.lasts.mul_f64(rand::rng().random_range(1.0..1.5));
        let params = WatchParams {
            field_selector: self.fields.clone(),
            timeout: u32::try_from(lasts.as_secs()).ok(),
            bookmarks: true,
            send_initial_events: from.is_none(),
            ..WatchParams::default()
        };
        // No version is the latest one: what comes is never older than what was read before.
        let version = from.unwrap_or_default();
        let request = match self.metadata_only {
            true => self.request.watch_metadata(&params, version),
            false => self.request.watch(&params, version),
        };
        let request = request.map_err(|error| Failure::Failing(chain(&error)))?;
        let events = in_time(self.client.request_events::<Value>(request)).await?;
        let silence = if from.is_none() { ANSWER } else { lasts + MARGIN };
        Ok(Events { events: events.boxed(), silence, lasts: lasts + MARGIN })
    }
}

/// What a watch tells.
pub(super) struct Events {
    events: BoxStream<'static, kube::Result<WatchEvent<Value>>>,
    /// How long it may be silent; an API server that does not end a watch in time is gone, whatever TCP says.
    silence: Duration,
    lasts: Duration,
}

impl Events {
    /// The next event; `None` where the watch has ended.
    pub(super) async fn next(&mut self) -> Result<Option<WatchEvent<Value>>, Failure> {
        match timeout(self.silence, self.events.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(WatchEvent::Error(status)))) => Err(refused(&status)),
            Ok(Some(Ok(event))) => Ok(Some(event)),
            Ok(Some(Err(error))) => Err(failure(&error)),
            Err(_) => Err(Failure::Failing(format!("silent for {:?}", self.silence))),
        }
    }

    /// The list that it began with is over.
    pub(super) fn is_listed(&mut self) {
        self.silence = self.lasts;
    }
}

/// One object as it is now; `None` where there is none.
pub(super) async fn one(client: &Client, path: &str) -> Result<Option<Value>, Failure> {
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| Failure::Failing(error.to_string()))?;
    let answer = timeout(ANSWER, client.request(request)).await;
    match answer {
        Ok(Ok(object)) => Ok(Some(object)),
        // Only the API server knows this reason; whatever stands before it answers with a page.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 && status.reason == "NotFound" => Ok(None),
        Ok(Err(error)) => Err(match failure(&error) {
            Failure::Absent => Failure::Failing(chain(&error)),
            other => other,
        }),
        Err(_) => Err(no_answer()),
    }
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(|error| failure(&error)),
        Err(_) => Err(no_answer()),
    }
}

fn no_answer() -> Failure {
    Failure::Failing(format!("no response within {ANSWER:?}"))
}

fn failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => refused(status),
        kube::Error::Service(_) | kube::Error::HyperError(_) => Failure::Unreachable(chain(error)),
        error => Failure::Failing(chain(error)),
    }
}

fn refused(status: &Status) -> Failure {
    match status.code {
        // Lists by watches are an option of the API server up to 1.33.
        _ if status.message.contains("sendInitialEvents") => Failure::NotStreamed,
        404 => Failure::Absent,
        403 => Failure::Forbidden(status.message.clone()),
        410 => Failure::Expired,
        code => Failure::Failing(format!("{} ({code})", status.message.trim())),
    }
}

/// An error with its causes: the outermost one alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
