//! Events: what `kubectl describe` shows of what became of an object, when that changes and not otherwise.
//!
//! Nobody waits for them, and nothing is made up for: where there are too many, or one is refused, it is left out.

mod happened;

pub(crate) use happened::{Happened, refused, remarked, transitions};

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::debug;

use super::{FIELD_MANAGER, tokens::Tokens};
use crate::ir::ObjectKey;

/// Events that may wait to be written.
const WAITING: usize = 64;
/// Events in a second, once the first [`BURST`] are spent.
const A_SECOND: f64 = 2.0;
const BURST: f64 = 50.0;
/// How long one may take to be written.
const CALL: Duration = Duration::from_secs(5);
/// The most bytes of a note that the API takes (`events.k8s.io/v1`).
const NOTE: usize = 1024;
/// The most characters of an object's name.
const NAME: usize = 253;

/// Takes what happened, and has it written.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(mpsc::Sender<(ObjectKey, Box<str>, Happened)>);

impl Recorder {
    /// Events are told in the name of `reporter`, and of this `instance` of it. Ends with its last clone.
    pub(crate) fn start(client: Client, reporter: &str, instance: &str) -> Self {
        let (sender, received) = mpsc::channel(WAITING);
        tokio::spawn(write_all(client, reporter.to_owned(), instance.to_owned(), received));
        Self(sender)
    }

    /// Notes what happened to an object of this uid.
    pub(crate) fn record(&self, key: &ObjectKey, uid: &str, happened: Happened) {
        if !self.try_record(key, uid, happened) {
            debug!(object = %key, "too many events; one is left out");
        }
    }

    /// The same, where there is room; says whether there was.
    pub(crate) fn try_record(&self, key: &ObjectKey, uid: &str, happened: Happened) -> bool {
        self.0.try_send((key.clone(), uid.into(), happened)).is_ok()
    }
}

async fn write_all(
    client: Client,
    reporter: String,
    instance: String,
    mut received: mpsc::Receiver<(ObjectKey, Box<str>, Happened)>,
) {
    let mut tokens = Tokens::full(BURST, A_SECOND, Instant::now());
    while let Some((key, uid, happened)) = received.recv().await {
        // Whoever tells of what is not to be left out keeps to a pace of its own.
        if !happened.is_lasting {
            if !tokens.any(Instant::now()) {
                debug!(object = %key, "too many events; one is left out");
                continue;
            }
            tokens.take();
        }
        let event = event(&key, &uid, happened, &reporter, &instance);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
        match timeout(CALL, events.create(&params, &event)).await {
            Ok(Ok(_)) => {}
            Ok(Err(kube::Error::Api(status))) if status.code == 409 && status.reason == "AlreadyExists" => {}
            Ok(Err(error)) => debug!(object = %key, %error, "an event is left out"),
            Err(_) => debug!(object = %key, "no answer about an event"),
        }
    }
}

fn event(key: &ObjectKey, uid: &str, happened: Happened, reporter: &str, instance: &str) -> Event {
    let now = Timestamp::now();
    let namespace = Some(key.namespace.to_string()).filter(|namespace| !namespace.is_empty());
    // What lasts has the same name whoever tells it and however often: the API server keeps the first one.
    let suffix = match happened.is_lasting {
        true => format!(".{:x}", hash(uid, &happened)),
        false => format!(".{:x}", now.as_nanosecond()),
    };
    let name = format!("{}{suffix}", cut(&key.name, NAME - suffix.len()).trim_end_matches(['.', '-']));
    Event {
        action: Some(happened.action.into()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            name: Some(name),
            // Objects without a namespace have theirs in this one.
            namespace: Some(namespace.clone().unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        note: Some(cut(&happened.note, NOTE).to_owned()),
        reason: Some(happened.reason),
        regarding: Some(ObjectReference {
            api_version: Some(key.kind.resource().api_version.to_owned()),
            kind: Some(key.kind.as_str().to_owned()),
            name: Some(key.name.to_string()),
            namespace,
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(reporter.to_owned()),
        reporting_instance: Some(cut(instance, 128).to_owned()),
        type_: Some(if happened.is_warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

fn hash(uid: &str, Happened { reason, note, .. }: &Happened) -> u64 {
    // The standard library's hasher with its fixed keys: the same in every run of one build, and no secret.
    let mut hasher = DefaultHasher::new();
    (uid, reason, note).hash(&mut hasher);
    hasher.finish()
}

/// The beginning of a text, at most so many bytes of it.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Kind;

    #[test]
    fn an_event_is_one_that_the_api_takes() {
        let happened = |note: &str| Happened {
            action: "Accepted",
            reason: "NoMatchingParent".to_owned(),
            note: note.to_owned(),
            is_warning: true,
            is_lasting: false,
        };
        for (what, name, namespace, note, want) in [
            ("short", "web".to_owned(), "shop", "why".to_owned(), "shop"),
            ("without a namespace", "web".to_owned(), "", "why".to_owned(), "default"),
            ("as long as may be", "a.".repeat(126) + "a", "shop", "é".repeat(1000), "shop"),
        ] {
            let key = ObjectKey::new(Kind::HttpRoute, namespace, &name);
            let event = event(&key, "uid", happened(&note), "portcullis.dev/gateway-controller", "pod");
            assert!(event.metadata.name.as_ref().unwrap().len() <= NAME, "{what}");
            assert!(
                !event.metadata.name.unwrap().contains("..") && event.note.unwrap().len() <= NOTE,
                "{what}"
            );
            assert_eq!(event.metadata.namespace.as_deref(), Some(want), "{what}");
            assert_eq!(event.regarding.unwrap().name, Some(name), "{what}");
        }
    }
}
