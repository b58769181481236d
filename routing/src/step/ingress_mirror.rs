//! `mirror-target` of an Ingress: a copy of each request is sent to a URL, without the changes that the rule makes to the
//! request. The response is discarded.

use std::{fmt, sync::Arc};

use http::HeaderName;

use super::ServiceUrl;
use crate::template::{FilledTooLong, Values};

/// The destination of mirrored requests of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressMirror {
    /// `mirror-target`.
    pub url: ServiceUrl,
    /// `mirror-host`: the Host of mirrored requests; `None` is the URL's host.
    pub host: Option<Box<str>>,
    /// `mirror-request-body`: whether mirrored requests have the body.
    pub body: bool,
    /// The namespace of the Ingress.
    pub namespace: Box<str>,
}

/// Lists the proxies that have mirrored a request to an address outside the cluster: this can be the address of a load
/// balancer in front of them, so that the copy would be mirrored again.
pub const COPIED: HeaderName = HeaderName::from_static("x-portcullis-copied");

/// A mirrored request, without the client's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressCopy {
    /// The mirror that it is sent to.
    pub mirror: Arc<IngressMirror>,
    /// The name or address of the destination, without port.
    pub to: Box<str>,
    /// Path and query.
    pub target: Box<str>,
}

impl IngressMirror {
    /// The mirrored request for a request with these values.
    ///
    /// # Errors
    /// The values are too long.
    pub fn copy(self: &Arc<Self>, values: &Values<'_>) -> Result<IngressCopy, FilledTooLong> {
        let (to, target) = (self.url.host_of(values)?, self.url.target_of(values)?);
        Ok(IngressCopy { mirror: Arc::clone(self), to, target })
    }
}

impl IngressCopy {
    /// Its Host.
    pub fn host(&self) -> &str {
        self.mirror.host.as_deref().unwrap_or(&self.to)
    }
}

impl fmt::Display for IngressMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copy to {}", self.url)?;
        self.host.iter().try_for_each(|host| write!(f, " as {host}"))?;
        if self.body { Ok(()) } else { f.write_str(" without the body") }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{Template, template::NoGroups};

    #[test]
    fn a_copy_has_what_the_client_sent() {
        let headers = HeaderMap::new();
        let values = Values {
            host: "shop.test",
            sent_host: "Shop.test:8080",
            path: "/a b",
            sent_path: "/a%20b",
            query: Some("c=d"),
            scheme: "http",
            method: "GET",
            client: [192, 0, 2, 1].into(),
            port: 80,
            headers: &headers,
            groups: &NoGroups,
        };
        for (host, target, named, want) in [
            ("10.0.0.1", "$request_uri", None, ("10.0.0.1", "/a%20b?c=d", "10.0.0.1")),
            ("10.0.0.1", "/fixed$is_args$args", Some("m.test"), ("10.0.0.1", "/fixed?c=d", "m.test")),
            ("m.$host", "/x$uri", None, ("m.shop.test", "/x/a%20b", "m.shop.test")),
        ] {
            let text = |text| Template::parse(text, &[]).unwrap();
            let url = ServiceUrl { tls: false, host: text(host), port: 80, target: text(target) };
            let mirror =
                IngressMirror { url, host: named.map(Into::into), body: true, namespace: "shop".into() };
            let copy = Arc::new(mirror).copy(&values).unwrap();
            assert_eq!((&*copy.to, &*copy.target, copy.host()), want, "{host}{target}");
        }
    }
}
