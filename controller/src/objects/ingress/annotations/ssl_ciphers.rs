//! Cipher suites of a host.

use portcullis_tls::{CipherPolicy, CipherSuites};

use super::{
    super::annotation,
    NGINX,
    family::{Denied, Family, Written},
};
use crate::{
    objects::{checks::Checks, names::quoted},
    problem::Topic,
};

const CIPHERS: &str = "ssl-ciphers";
const SERVER_ORDER: &str = "ssl-prefer-server-ciphers";

impl Family for CipherPolicy {
    const NAMES: &'static [&'static str] = &[CIPHERS, SERVER_ORDER];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let server_order = written.switch(SERVER_ORDER, checks);
        let text = written.value(CIPHERS).filter(|text| !text.is_empty());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+:_-!".contains(c);
        if let Some(text) = text.filter(|text| !text.chars().all(is_plain)) {
            let why = format!("{} has characters other than letters, digits and +:_-!", quoted(text));
            return Err(Denied { name: CIPHERS, why });
        }
        let suites = text.and_then(|_| written.parse(CIPHERS, checks, CipherSuites::parse));
        let suites = suites.map(|(suites, others)| {
            if !others.is_empty() {
                let message = format!("not supported and not offered: {}", quoted(&others.join(", ")));
                checks.warning_of(
                    Topic::InvalidAnnotation,
                    &annotation(&format!("{NGINX}{CIPHERS}")),
                    message,
                );
            }
            suites
        });
        Ok(Self { suites, server_order })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    #[test]
    fn suites_have_the_names_of_openssl() {
        for (value, want, warnings) in [
            ("ECDHE-RSA-AES128-GCM-SHA256", &["ECDHE-RSA-AES128-GCM-SHA256"][..], 0),
            ("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256", &["ECDHE-RSA-AES128-GCM-SHA256"], 1),
            ("AES128-SHA", &[], 1),
            ("", &[], 0),
        ] {
            let (read, warned) = family(&[(CIPHERS, value)], |annotations| annotations.ciphers.clone());
            let names: Vec<_> = read.suites.iter().flat_map(CipherSuites::names).collect();
            assert_eq!((&*names, warned), (want, warnings), "{value}");
        }
        for value in ["bad ciphers;", "ALL:@STRENGTH", "a\nb"] {
            assert!(refused(&[(CIPHERS, value)]).contains("has characters other than"), "{value}");
        }
        for (value, want, warnings) in [("true", Some(true), 0), ("false", Some(false), 0), ("on", None, 1)] {
            let read = family(&[(SERVER_ORDER, value)], |annotations| annotations.ciphers.server_order);
            assert_eq!(read, (want, warnings), "{value}");
        }
    }
}
