//! Statuses as the API has them (`gateway.networking.k8s.io/v1`, `networking.k8s.io/v1`), without the times of
//! transition.

use std::{borrow::Cow, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{ConditionType, bounded};
use crate::{
    ir::{Meta, route::ParentRef},
    problem::Topic,
};

/// `metav1.Condition` without `lastTransitionTime`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: ConditionType,
    pub status: ConditionStatus,
    pub reason: &'static str,
    pub message: Cow<'static, str>,
    /// The object's generation that was read.
    pub observed_generation: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// A status, and what its kind has no field for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub status: Status,
    /// For the owner; shown at the admin port and by `portcullis check`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub messages: Box<[Message]>,
}

/// A status, in the shape that the object's kind has ([`crate::kinds::StatusShape`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Status {
    Conditions(Box<GatewayClassStatus>),
    Listeners(Box<GatewayStatus>),
    Parents(RouteStatus),
    Ancestors(PolicyStatus),
    LoadBalancer(IngressStatus),
    /// The kind has none that is written: there are only messages.
    None,
}

/// Whose conditions they are.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'s> {
    /// The object's.
    Object,
    Listener(&'s ListenerStatus),
    Parent(&'s RouteParentStatus),
    Ancestor(&'s PolicyAncestorStatus),
}

/// Something that the owner of an object should know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Message {
    pub level: Level,
    pub text: String,
    /// The topic under which it is counted, if it is.
    #[serde(skip)]
    pub topic: Option<Topic>,
    /// Its cause, if it is one of these.
    #[serde(skip)]
    pub cause: Option<Cause>,
}

/// A cause of messages that `portcullis migrate` treats in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// An object that is referred to does not exist.
    Missing,
    /// Another Ingress takes precedence by its age.
    Precedence,
    /// The path is a regular expression that is refused.
    Pattern,
    /// The path is rewritten with the groups of a regular expression that is too large for that.
    Groups,
    /// The regular expressions of the object, or of its namespace, would need too much memory.
    Budget,
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something that the object asks for is not served.
    Refused,
    /// Something that the object says has no effect.
    Warning,
    /// All of it is served; something about it may surprise.
    Note,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassStatus {
    pub conditions: Vec<Condition>,
    /// In alphabetical order, as the API asks. An empty list is written too: it replaces the last one.
    pub supported_features: Vec<SupportedFeature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SupportedFeature {
    pub name: &'static str,
}

/// The status of a Gateway. That of a ListenerSet has its conditions and listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayStatusAddress>,
    pub conditions: Vec<Condition>,
    pub listeners: Vec<ListenerStatus>,
    /// Left out where it is 0: CRDs before release 1.5 have no such field.
    #[serde(skip_serializing_if = "is_zero")]
    pub attached_listener_sets: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayStatusAddress {
    /// `IPAddress` or `Hostname`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: String,
    /// `Cluster`, of an address of which a Gateway asks for that. CRDs of the standard channel have no such field, and a
    /// Gateway cannot ask there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routability: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    pub name: Box<str>,
    pub supported_kinds: Vec<RouteGroupKind>,
    pub attached_routes: u32,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteGroupKind {
    pub group: &'static str,
    pub kind: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// Ours alone; the writer keeps those of other controllers.
    pub parents: Box<[RouteParentStatus]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// As the route names it: it has to be found again in the route's `parentRefs`.
    #[serde(serialize_with = "shared")]
    pub parent_ref: Arc<ParentRef>,
    #[serde(serialize_with = "shared")]
    pub controller_name: Arc<str>,
    pub conditions: Box<[Condition]>,
}

/// The status of any kind of policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// Ours alone, as with [`RouteStatus::parents`]. The API takes 16, of all controllers together.
    pub ancestors: Box<[PolicyAncestorStatus]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The Gateway through which the policy has an effect.
    #[serde(serialize_with = "shared")]
    pub ancestor_ref: Arc<ParentRef>,
    #[serde(serialize_with = "shared")]
    pub controller_name: Arc<str>,
    pub conditions: Box<[Condition]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressStatus {
    pub load_balancer: IngressLoadBalancer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngressLoadBalancer {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IngressLoadBalancerIngress>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressLoadBalancerIngress {
    Ip(String),
    Hostname(String),
}

/// A condition to be completed by [`Condition::yes`] or [`Condition::no`].
pub(super) fn condition(observed_generation: i64, kind: ConditionType) -> Condition {
    Condition {
        kind,
        status: ConditionStatus::Unknown,
        reason: "Pending",
        message: Cow::Borrowed(""),
        observed_generation,
    }
}

impl Condition {
    pub(super) fn yes(self, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: ConditionStatus::True, reason, message: bounded::text(message), ..self }
    }

    pub(super) fn no(self, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: ConditionStatus::False, reason, message: bounded::text(message), ..self }
    }

    pub(super) fn unknown(self, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: ConditionStatus::Unknown, reason, message: bounded::text(message), ..self }
    }

    /// Whether its status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }

    /// Whether it says that something is wrong.
    pub(crate) fn is_bad(&self) -> bool {
        self.status != self.kind.meaning().good && self.status != ConditionStatus::Unknown
    }
}

impl ConditionStatus {
    /// The status as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Status {
    /// That of a Gateway.
    pub fn of_gateway(&self) -> Option<&GatewayStatus> {
        match self {
            Self::Listeners(status) => Some(status),
            Self::Conditions(_)
            | Self::Parents(_)
            | Self::Ancestors(_)
            | Self::LoadBalancer(_)
            | Self::None => None,
        }
    }

    /// Its conditions: the object's, then those of its parts.
    pub fn conditions(&self) -> Vec<(Subject<'_>, &[Condition])> {
        match self {
            Self::Conditions(status) => vec![(Subject::Object, &status.conditions)],
            Self::Listeners(status) => {
                let listeners = status.listeners.iter().map(|l| (Subject::Listener(l), &*l.conditions));
                [(Subject::Object, &*status.conditions)].into_iter().chain(listeners).collect()
            }
            Self::Parents(status) => {
                status.parents.iter().map(|parent| (Subject::Parent(parent), &*parent.conditions)).collect()
            }
            Self::Ancestors(status) => {
                status.ancestors.iter().map(|of| (Subject::Ancestor(of), &*of.conditions)).collect()
            }
            Self::LoadBalancer(_) | Self::None => Vec::new(),
        }
    }

    /// The addresses at which clients reach the object.
    pub fn addresses(&self) -> Vec<Cow<'_, str>> {
        let of_gateway = |address: &'_ GatewayStatusAddress| match address.routability {
            None => address.value.clone().into(),
            Some(routability) => format!("{} ({routability})", address.value).into(),
        };
        match self {
            Self::Listeners(status) => status.addresses.iter().map(of_gateway).collect(),
            Self::LoadBalancer(status) => {
                status.load_balancer.ingress.iter().map(|ingress| ingress.as_str().into()).collect()
            }
            Self::Conditions(_) | Self::Parents(_) | Self::Ancestors(_) | Self::None => Vec::new(),
        }
    }

    /// The generation of the object that it was made from, if it has conditions: they all name the same one.
    pub fn observed_generation(&self) -> Option<i64> {
        let conditions = match self {
            Self::Conditions(status) => &*status.conditions,
            Self::Listeners(status) => &*status.conditions,
            Self::Parents(status) => &status.parents.first()?.conditions,
            Self::Ancestors(status) => &status.ancestors.first()?.conditions,
            Self::LoadBalancer(_) | Self::None => return None,
        };
        conditions.first().map(|condition| condition.observed_generation)
    }
}

impl IngressLoadBalancerIngress {
    fn as_str(&self) -> &str {
        match self {
            Self::Ip(text) | Self::Hostname(text) => text,
        }
    }
}

impl Message {
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::new(Level::Refused, None, text)
    }

    /// The same, to be counted by its topic.
    pub(crate) fn about(topic: Topic, text: impl Into<String>) -> Self {
        Self::new(Level::Refused, Some(topic), text)
    }

    /// Something that the object contains has no effect.
    pub(crate) fn warning(topic: Topic, text: impl Into<String>) -> Self {
        Self::new(Level::Warning, Some(topic), text)
    }

    /// What was found when the object was read.
    pub(crate) fn warnings(meta: &Meta) -> impl Iterator<Item = Self> {
        meta.warnings.iter().map(|warning| Self::new(Level::Warning, Some(warning.topic), &*warning.text))
    }

    fn new(level: Level, topic: Option<Topic>, text: impl Into<String>) -> Self {
        Self { level, text: bounded::text(text.into()).into_owned(), topic, cause: None }
    }

    pub(crate) fn caused_by(self, cause: impl Into<Option<Cause>>) -> Self {
        Self { cause: cause.into(), ..self }
    }

    pub(crate) fn note(text: impl Into<String>) -> Self {
        Self::new(Level::Note, None, text)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde calls
fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn shared<T: Serialize + ?Sized, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    T::serialize(value, serializer)
}

impl Serialize for IngressLoadBalancerIngress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Ip(ip) => ("ip", ip),
            Self::Hostname(name) => ("hostname", name),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, value)?;
        map.end()
    }
}
