//! What a decision passed on its way.

use std::sync::Arc;

use crate::{Listener, Port, Selected, decide::trace::Trace};

/// What a decision passed on its way.
#[derive(Debug, Default)]
pub(super) struct Listened<'t> {
    pub(super) listener: Option<(&'t Port, &'t Arc<Listener>)>,
    pub(super) selected: Option<Selected<'t>>,
}

impl<'t> Trace<'t> for Listened<'t> {
    const PASSES: bool = true;

    fn listener(&mut self, port: &'t Port, listener: &'t Arc<Listener>) {
        self.listener = Some((port, listener));
    }

    fn selected(&mut self, selected: &Selected<'t>) {
        self.selected = Some(*selected);
    }
}
