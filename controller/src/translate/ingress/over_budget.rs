//! Regular expressions beyond a budget on a host that namespaces share.
//!
//! Where a host has paths of one namespace alone, all requests that begin like such an expression are closed. On a shared host
//! that would close paths of other namespaces. There the paths of the expression's own namespace are closed instead: no other
//! path leads to what the expression protects.

use std::collections::BTreeMap;

use portcullis_routing::{BackendError, HostPattern};

use super::{OtherHosts, compiler::Compiler};
use crate::{
    ir::{Ingress, ObjectKey},
    problem::Topic,
    status::Message,
    translate::Reader,
};

/// The namespaces of a host's Ingresses, as far as it matters for budgets.
#[derive(Debug, Default)]
pub(super) struct Shared<'a> {
    /// Whether there are several.
    pub(super) is_shared: bool,
    /// If there are: for each with regular expressions beyond a budget at the host, the first Ingress that has them.
    over: BTreeMap<&'a str, &'a ObjectKey>,
}

impl<'a> Shared<'a> {
    pub(super) fn of(
        ingresses: &[&'a Ingress],
        others: OtherHosts<'_>,
        reader: &Reader<'_>,
        served_as: &HostPattern,
    ) -> Self {
        let mut keys = ingresses.iter().map(|ingress| &ingress.meta.key);
        let Some(first) = keys.next() else { return Self::default() };
        if keys.all(|key| key.namespace == first.namespace) {
            return Self::default();
        }
        let quotas = others.quotas;
        let is_over = |key: &ObjectKey| {
            quotas.exceeds(key, served_as)
                || (!quotas.of_host(key, served_as).is_empty() && quotas.read(reader, key).is_err())
        };
        let mut over = BTreeMap::new();
        for key in ingresses.iter().map(|ingress| &ingress.meta.key).filter(|key| is_over(key)) {
            over.entry(&*key.namespace).or_insert(key);
        }
        Self { is_shared: true, over }
    }
}

impl Compiler<'_> {
    /// Closes the Ingress if its namespace has regular expressions beyond a budget at a host that it shares.
    pub(super) fn close_beside_other_namespaces(&mut self) {
        let Some(over) = self.host.shared.over.get(self.ingress.meta.namespace()) else { return };
        let text = format!(
            "its paths at host {} are closed (503): regular expressions of {over} there are beyond a budget, and other \
             namespaces have paths at this host, too",
            self.host.host
        );
        self.tell(Message::about(Topic::Closed, text));
        let why = format!("regular expressions of {over} at the host are beyond a budget");
        self.closed.get_or_insert(BackendError::Closed(why.into()));
    }
}
