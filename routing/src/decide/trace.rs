//! What a decision passes on its way, for whoever explains it. Carriers listen to nothing, and pay nothing.

use std::sync::Arc;

use crate::{Listener, Port, Selected, Step};

/// Listens to a decision.
pub(crate) trait Trace<'t> {
    /// Whether checks are taken as passed, so that the decision waits for none.
    const PASSES: bool = false;

    /// The listener of the host.
    fn listener(&mut self, _port: &'t Port, _listener: &'t Arc<Listener>) {}
    /// The rule that takes the request.
    fn selected(&mut self, _selected: &Selected<'t>) {}
    /// A step of the rule that is looked at.
    fn step(&mut self, _step: &'t Step) {}
}

/// Listens to nothing.
pub(crate) struct Silent;

impl Trace<'_> for Silent {}
