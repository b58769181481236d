//! The labels that the metrics of ingress-nginx have for the requests of an Ingress.

/// The labels of a path of an Ingress. All of them come from objects, none from requests.
///
/// The controller creates equal labels once, so that the counters of a path outlive changes of its rule.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IngressLabels {
    /// The namespace of the Ingress.
    pub namespace: Box<str>,
    /// The name of the Ingress.
    pub ingress: Box<str>,
    /// The host of the rule; `_` if it has none.
    pub host: Box<str>,
    /// The path as written in the Ingress; `/` for requests that no path matches.
    pub path: Box<str>,
    /// The Service of the path; empty if there is none.
    pub service: Box<str>,
}
