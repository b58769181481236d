//! Cookies that a client sends (RFC 6265, 4.2).

use std::ops::ControlFlow;

use http::header;

use crate::Headers;

/// The last value of a cookie of exactly this name.
pub(super) fn last<'r>(headers: &'r dyn Headers, name: &str) -> Option<&'r [u8]> {
    let mut found = None;
    headers.each(&header::COOKIE, &mut |line| {
        for pair in line.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            if let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                found = Some(value);
            }
        }
        ControlFlow::Continue(())
    });
    found
}
