//! Redirects.

use super::family::{Denied, Family, Written};
use crate::{ir::ingress::Redirect, objects::checks::Checks};

const SSL_REDIRECT: &str = "ssl-redirect";

impl Family for Redirect {
    const NAMES: &'static [&'static str] = &[SSL_REDIRECT];

    /// As in ingress-nginx, a value that is wrong is the same as none.
    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        Ok(Self { ssl_redirect: written.switch(SSL_REDIRECT, checks) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::ingress;

    #[test]
    fn https_is_redirected_to_as_the_annotation_says() {
        for (value, want, is_warned_of) in [
            (None, None, false),
            (Some("true"), Some(true), false),
            (Some("false"), Some(false), false),
            (Some("yes"), None, true),
            (Some(""), None, true),
        ] {
            let annotations = value.map(|value| ("nginx.ingress.kubernetes.io/ssl-redirect", value));
            let ingress = ingress(annotations.as_slice());
            assert_eq!(ingress.redirect, Redirect { ssl_redirect: want }, "{value:?}");
            assert_eq!(ingress.meta.warnings.len(), usize::from(is_warned_of), "{value:?}");
        }
    }
}
