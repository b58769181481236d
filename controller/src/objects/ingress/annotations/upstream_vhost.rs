//! The Host header of backends.

use super::family::{Denied, Family, Written};
use crate::{
    ir::ingress::UpstreamVhost,
    objects::{checks::Checks, names::quoted},
};

const VHOST: &str = "upstream-vhost";

impl Family for UpstreamVhost {
    const NAMES: &'static [&'static str] = &[VHOST];

    fn parse(written: Written<'_>, _: &mut Checks) -> Result<Self, Denied> {
        let Some(host) = written.value(VHOST).filter(|host| !host.is_empty()) else {
            return Ok(Self::default());
        };
        let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte));
        match is_host {
            true => Ok(Self { host: Some(host.into()) }),
            false => Err(Denied {
                name: VHOST,
                why: format!("{} is not a host, with or without a port", quoted(host)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    #[test]
    fn a_host_may_have_a_port() {
        for (value, want) in
            [("", None), ("internal.test", Some("internal.test")), ("a:8080", Some("a:8080"))]
        {
            let (read, warnings) =
                family(&[(VHOST, value)], |annotations| annotations.upstream_vhost.clone());
            assert_eq!((read.host.as_deref(), warnings), (want, 0), "{value}");
        }
        for value in ["a b", "$host", "http://a", "a\r\nx: y"] {
            assert!(refused(&[(VHOST, value)]).contains("is not a host"), "{value}");
        }
    }
}
