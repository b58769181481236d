//! The protocol of backends.

use portcullis_routing::TlsVersions;

use super::family::{Denied, Family, Written};
use crate::{
    ir::ingress::{BackendSpeech, ProxySsl, Speech},
    objects::{checks::Checks, names::quoted},
};

const PROTOCOL: &str = "backend-protocol";
const SERVICE_UPSTREAM: &str = "service-upstream";
const SECRET: &str = "proxy-ssl-secret";
const VERIFY: &str = "proxy-ssl-verify";
const DEPTH: &str = "proxy-ssl-verify-depth";
const NAME: &str = "proxy-ssl-name";
const SERVER_NAME: &str = "proxy-ssl-server-name";
const PROTOCOLS: &str = "proxy-ssl-protocols";
const CIPHERS: &str = "proxy-ssl-ciphers";

impl Family for BackendSpeech {
    const NAMES: &'static [&'static str] =
        &[PROTOCOL, SERVICE_UPSTREAM, SECRET, VERIFY, DEPTH, NAME, SERVER_NAME, PROTOCOLS, CIPHERS];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let speech = written.parse(PROTOCOL, checks, |text| {
            Speech::parse(&text.to_ascii_uppercase()).ok_or("is not a supported protocol")
        });
        let service_upstream = written.switch(SERVICE_UPSTREAM, checks);
        let verify = match written.value(VERIFY) {
            None | Some("off") => false,
            Some("on") => true,
            Some(text) => {
                return Err(Denied { name: VERIFY, why: format!("{} is neither on nor off", quoted(text)) });
            }
        };
        let Some(secret) = written.value(SECRET) else {
            if verify {
                let why =
                    "cannot verify certificates without proxy-ssl-secret, which contains the authorities"
                        .to_owned();
                return Err(Denied { name: VERIFY, why });
            }
            for name in [DEPTH, NAME, SERVER_NAME, PROTOCOLS, CIPHERS] {
                if written.value(name).is_some() {
                    written.without_effect(name, "requires proxy-ssl-secret, as in ingress-nginx", checks);
                }
            }
            return Ok(Self { speech, tls: None, service_upstream });
        };
        if written.value(CIPHERS).is_some() {
            let why = "is not supported: the secure cipher suites of TLS 1.2 and 1.3 are offered".to_owned();
            return Err(Denied { name: CIPHERS, why });
        }
        let Some((namespace, name)) = secret.split_once('/').filter(|(_, name)| !name.contains('/')) else {
            let why = format!("{} is not namespace/name", quoted(secret));
            return Err(Denied { name: SECRET, why });
        };
        if written.value(DEPTH).is_some() {
            written.without_effect(DEPTH, "the length of certificate chains is not limited", checks);
        }
        let tls = ProxySsl {
            secret: (namespace.into(), name.into()),
            verify,
            name: written.value(NAME).filter(|name| !name.is_empty()).map(Into::into),
            sends_name: written.parse(SERVER_NAME, checks, on_or_off).unwrap_or_default(),
            versions: written.parse(PROTOCOLS, checks, versions).unwrap_or_default(),
        };
        Ok(Self { speech, tls: Some(tls), service_upstream })
    }
}

fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("is neither on nor off"),
    }
}

/// Versions before 1.2 are never offered.
fn versions(text: &str) -> Result<TlsVersions, &'static str> {
    let has = |version| text.split_ascii_whitespace().any(|word| word == version);
    match (has("TLSv1.2"), has("TLSv1.3")) {
        (true, true) => Ok(TlsVersions::All),
        (true, false) => Ok(TlsVersions::Tls12),
        (false, true) => Ok(TlsVersions::Tls13),
        (false, false) => Err("has neither TLSv1.2 nor TLSv1.3"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{closed_by, family};

    fn speech(annotations: &[(&str, &str)]) -> (BackendSpeech, usize) {
        family(annotations, |annotations| annotations.backend.clone())
    }

    #[test]
    fn a_protocol_is_one_of_ingress_nginx_in_any_case() {
        for (value, want) in [
            ("HTTP", Some(Speech::Http)),
            ("https", Some(Speech::Https)),
            ("GRPC", Some(Speech::Grpc)),
            ("Grpcs", Some(Speech::Grpcs)),
            ("AUTO_HTTP", Some(Speech::AutoHttp)),
            ("FCGI", Some(Speech::Fcgi)),
            ("AJP", None),
            ("h2c", None),
            ("", None),
        ] {
            let (read, warnings) = speech(&[(PROTOCOL, value)]);
            assert_eq!((read.speech, warnings), (want, usize::from(want.is_none())), "{value:?}");
        }
    }

    #[test]
    fn the_address_of_the_service_is_a_switch() {
        for (value, want) in [("true", Some(true)), ("0", Some(false)), ("on", None)] {
            let (read, warnings) = speech(&[(SERVICE_UPSTREAM, value)]);
            assert_eq!((read.service_upstream, warnings), (want, usize::from(want.is_none())), "{value}");
        }
    }

    #[test]
    fn tls_needs_its_secret() {
        let secret = (SECRET, "shop/client");
        let plain = ProxySsl {
            secret: ("shop".into(), "client".into()),
            verify: false,
            name: None,
            sends_name: false,
            versions: TlsVersions::All,
        };
        for (annotations, want, warnings) in [
            (&[secret][..], Some(plain.clone()), 0),
            (
                &[secret, (VERIFY, "on"), (NAME, "a.example")],
                Some(ProxySsl { verify: true, name: Some("a.example".into()), ..plain.clone() }),
                0,
            ),
            (&[secret, (VERIFY, "off"), (NAME, "")], Some(plain.clone()), 0),
            (&[secret, (SERVER_NAME, "on")], Some(ProxySsl { sends_name: true, ..plain.clone() }), 0),
            (&[secret, (SERVER_NAME, "true")], Some(plain.clone()), 1),
            (
                &[secret, (PROTOCOLS, "TLSv1.2 TLSv1.1")],
                Some(ProxySsl { versions: TlsVersions::Tls12, ..plain.clone() }),
                0,
            ),
            (&[secret, (PROTOCOLS, "TLSv1")], Some(plain.clone()), 1),
            (&[secret, (DEPTH, "3")], Some(plain), 1),
            (&[(SERVER_NAME, "on"), (NAME, "a.example"), (CIPHERS, "HIGH")], None, 3),
            (&[(VERIFY, "off")], None, 0),
        ] {
            let (read, warned) = speech(annotations);
            assert_eq!((read.tls, warned), (want, warnings), "{annotations:?}");
        }
    }

    #[test]
    fn what_cannot_be_given_closes() {
        let secret = (SECRET, "shop/client");
        for (annotations, by) in [
            (&[(SECRET, "client")][..], SECRET),
            (&[(SECRET, "a/b/c")], SECRET),
            (&[(SECRET, "")], SECRET),
            (&[(VERIFY, "on")], VERIFY),
            (&[(VERIFY, "yes"), secret], VERIFY),
            (&[(CIPHERS, "HIGH"), secret], CIPHERS),
        ] {
            assert_eq!(closed_by(annotations).as_deref(), Some(by), "{annotations:?}");
        }
    }
}
