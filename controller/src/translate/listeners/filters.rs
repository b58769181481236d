//! The filters of a listener, resolved: what every request has to pass before a route is chosen.
//!
//! A filter that cannot be carried out lets no request pass, so that the others need not be asked. The protection that
//! cannot be given closes the listener, which keeps its hosts: another listener with the same routes, but without the
//! filter, must not get their requests.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_routing::{BackendError, step::Check};

use crate::{
    ir::{
        ObjectKey,
        gateway::{GatewayListener, InvalidFilter},
    },
    translate::{
        Pools, Reader,
        backend_refs::{BackendRefs, Connecting},
    },
};

/// The filters of a listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerFilters {
    /// In the order of the listener; those alone that let no request pass, if there are any.
    pub checks: Arc<[Check]>,
    /// Why no request passes; empty if requests may pass.
    pub errors: Vec<FilterError>,
    /// The policies that concern their backends.
    pub policies: BTreeSet<ObjectKey>,
}

/// Why a filter of a listener lets no request pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("{0}")]
    Invalid(InvalidFilter),
    #[error("filters.requests[{index}].externalAuth.backendRef: {error}")]
    Unresolved { index: usize, error: BackendError },
}

impl ListenerFilters {
    /// Those of a listener of `owner`, a Gateway or a ListenerSet.
    pub(super) fn of(
        reader: &Reader<'_>,
        pools: &Pools,
        owner: &ObjectKey,
        connecting: &Connecting,
        listener: &GatewayListener,
    ) -> Self {
        if listener.filters.is_empty() {
            return Self::default();
        }
        let mut refs = BackendRefs::new(reader, &pools.backends, owner, connecting);
        let (mut checks, mut closed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (index, filter) in listener.filters.iter().enumerate() {
            let (check, error) = match filter {
                Ok(filter) => {
                    let auth = refs.external_auth(filter);
                    let error = auth.backend.as_ref().err().cloned();
                    let error = error.map(|error| FilterError::Unresolved { index, error });
                    (Check::ExternalAuth(Arc::new(auth)), error)
                }
                Err(invalid) => {
                    let error = FilterError::Invalid(invalid.clone());
                    (Check::Closed(Arc::new(error.to_string())), Some(error))
                }
            };
            match error {
                None => checks.push(check),
                Some(error) => {
                    closed.push(check);
                    errors.push(error);
                }
            }
        }
        let checks = if errors.is_empty() { checks } else { closed };
        Self { checks: checks.into(), errors, policies: refs.into_policies() }
    }

    /// Returns whether the listener cannot be accepted with them.
    pub fn are_refused(&self) -> bool {
        self.errors.iter().any(|error| matches!(error, FilterError::Invalid(_)))
    }
}
