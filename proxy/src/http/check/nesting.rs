//! Checks of checks, and copies of copies. A service may be behind a listener of ours, and so its requests may be checked in turn: the usual way
//! to run one. A check that leads to itself would never end.
//!
//! Each proxy adds a mark of its own to the header [`CHECKED`](portcullis_routing::step::ingress_auth::CHECKED). It is
//! believed from our own pods. Mirrored requests have a header of their own for it. Where a load balancer hides which pod a request is from, a proxy knows at least the marks that
//! are its own: nobody can guess them.

use http::HeaderValue;

/// So many checks may lead to one another: that of a client's request, and one of that check's.
const MOST: usize = 2;
/// So many marks are passed on. Whatever leads in a circle through more proxies comes back to one of them before.
const KEPT: usize = 32;

/// The marks for the check of a request with these; `None` if there have been enough. `is_ours`: the request is from one of
/// our pods. `own`: the mark of this proxy.
pub(in crate::http) fn marks(of_request: &[u8], is_ours: bool, own: &str) -> Option<HeaderValue> {
    let marks = of_request.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let marks: Vec<_> = marks.filter(|mark| !mark.is_empty()).collect();
    let counted = match is_ours {
        true => marks.len(),
        false => marks.iter().filter(|mark| **mark == own.as_bytes()).count(),
    };
    if counted >= MOST {
        return None;
    }
    let mut all = marks[marks.len().saturating_sub(KEPT - 1)..].to_vec();
    all.push(own.as_bytes());
    // Those of a client may be no marks at all.
    HeaderValue::from_bytes(&all.join(&b","[..])).or_else(|_| HeaderValue::from_str(own)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_check_of_a_check_is_not_made() {
        for (of_request, is_ours, want) in [
            ("", false, Some("me")),
            ("me", false, Some("me,me")),
            ("me,me", false, None),
            ("me, other,me", false, None),
            ("x", true, Some("x,me")),
            ("x,y", true, None),
            // Forged by a client: ends nothing.
            ("x,y,z", false, Some("x,y,z,me")),
            (",, ,", false, Some("me")),
        ] {
            let marks = marks(of_request.as_bytes(), is_ours, "me");
            assert_eq!(marks.as_ref().map(|marks| marks.to_str().unwrap()), want, "{of_request} {is_ours}");
        }
        assert_eq!(marks(b"\x01", false, "me").unwrap(), "me");
        let many = "x,".repeat(1000);
        let kept = marks(many.as_bytes(), false, "me").unwrap();
        assert_eq!(kept.len(), 2 * 31 + 2);
    }

    /// Each sees another's pod as a client: the circle still ends.
    #[test]
    fn a_circle_through_several_proxies_ends() {
        let (mut said, mut steps) = (HeaderValue::from_static(""), 0);
        while let Some(next) = marks(said.as_bytes(), false, ["a", "b", "c"][steps % 3]) {
            (said, steps) = (next, steps + 1);
        }
        assert_eq!(steps, 6);
    }
}
