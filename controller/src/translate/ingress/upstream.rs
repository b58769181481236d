//! How long the backends of an Ingress may take, and when another one is asked.

use std::sync::{Arc, LazyLock};

use portcullis_routing::{OwnTimeouts, Repeats, Retry, Timeouts};

use super::steps::Site;
use crate::ir::ingress::{NextUpstream, Upstream};

/// The number of attempts where nginx has no limit.
const UNLIMITED: u32 = 10;
/// The most attempts of a request.
const MOST: u32 = 100;

pub(super) fn timeouts(site: &Site<'_>) -> Option<Arc<Timeouts>> {
    let (own, global) = both(site);
    let (own, global) = (own.timeouts, global.timeouts);
    let own = OwnTimeouts {
        connect: own.connect.or(global.connect),
        send: own.send.or(global.send),
        read: own.read.or(global.read),
    };
    site.common.timeouts(Timeouts { own, ..Timeouts::default() })
}

/// What most Ingresses have, once for all of them.
static DEFAULT: LazyLock<Arc<Retry>> = LazyLock::new(|| Arc::new(Retry::of_ingresses()));

/// When another attempt is made, if nothing is configured.
pub(super) fn default_retry() -> Arc<Retry> {
    Arc::clone(&DEFAULT)
}

pub(super) fn retry(site: &Site<'_>) -> Arc<Retry> {
    let retry = own_retry(site);
    if retry == **DEFAULT { default_retry() } else { site.common.retry(retry) }
}

fn own_retry(site: &Site<'_>) -> Retry {
    let (own, global) = both(site);
    let default = Retry::of_ingresses();
    let tries = own.tries.or(global.tries).map_or(default.attempts + 1, |tries| match tries {
        0 => UNLIMITED,
        tries => tries.min(MOST),
    });
    let within = own.next_timeout.or(global.next_timeout).filter(|limit| !limit.is_zero());
    let repeats_all = site.settings.live.ingress.repeats_all;
    let repeats = if repeats_all { Repeats::All } else { default.repeats };
    let default = Retry { attempts: tries - 1, within, repeats, ..default };
    match own.next.as_ref().or(global.next.as_ref()) {
        None => default,
        // `off`.
        Some(next) if next.is_off() => Retry { attempts: 0, ..default },
        Some(NextUpstream { failures, codes, repeats }) => {
            let repeats = if repeats_all { Repeats::All } else { *repeats };
            Retry { failures: *failures, codes: codes.clone(), repeats, ..default }
        }
    }
}

fn both<'s>(site: &Site<'s>) -> (&'s Upstream, &'s Upstream) {
    (&site.annotations.upstream, &site.settings.live.ingress.upstream)
}
