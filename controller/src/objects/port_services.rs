//! The entries of the ConfigMaps of TCP and UDP services, as in ingress-nginx (`--tcp-services-configmap`):
//! `"9000": namespace/service:port[:PROXY][:PROXY]`.

use super::names::{LABEL, LABEL_1035, quoted};
use crate::ir::{Kind, ObjectKey, ingress::PortRef, port_services::PortService};

/// The word that enables the PROXY protocol: towards clients in the third part of an entry, towards the Service in the
/// fourth.
const PROXY: &str = "PROXY";

/// Reads the key of an entry, a port.
///
/// # Errors
/// The reason why it is invalid.
pub(crate) fn port(key: &str) -> Result<u16, String> {
    // Two spellings of one port would be two entries for it.
    let number = key.parse().ok().filter(|number: &u16| *number > 0 && number.to_string() == key);
    number.ok_or_else(|| format!("{} is not a port number from 1 to 65535", quoted(key)))
}

/// Reads the value of an entry.
///
/// # Errors
/// The reason why it is invalid.
pub(crate) fn service(map: &ObjectKey, text: &str) -> Result<PortService, String> {
    let wrong = || format!("{} is not NAMESPACE/SERVICE:PORT, optionally with :PROXY", quoted(text));
    let mut parts = text.trim().split(':');
    let (name, port) = (parts.next().ok_or_else(wrong)?, parts.next().ok_or_else(wrong)?);
    let (namespace, name) = name.split_once('/').ok_or_else(wrong)?;
    let port = match port.parse::<u16>() {
        Ok(number) if number > 0 => PortRef::Number(number),
        Err(_) if LABEL.fits(port) => PortRef::Name(port.into()),
        _ => return Err(wrong()),
    };
    if !LABEL.fits(namespace) || !LABEL_1035.fits(name) {
        return Err(wrong());
    }
    let [decodes_proxy_protocol, encodes_proxy_protocol] = match parts.collect::<Vec<_>>()[..] {
        [] => [false, false],
        [client] => [is_proxy(client)?, false],
        [client, service] => [is_proxy(client)?, is_proxy(service)?],
        _ => return Err(wrong()),
    };
    let service = ObjectKey::new(Kind::Service, namespace, name);
    Ok(PortService { map: map.clone(), service, port, decodes_proxy_protocol, encodes_proxy_protocol })
}

/// Whether a part enables the PROXY protocol. ingress-nginx ignores other words; here they are an error, so that no client
/// address is lost because of a typing error.
fn is_proxy(part: &str) -> Result<bool, String> {
    match part.trim() {
        "" => Ok(false),
        word if word.eq_ignore_ascii_case(PROXY) => Ok(true),
        word => Err(format!("{} is not {PROXY}", quoted(word))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_port_in_one_spelling() {
        for (key, want) in [
            ("9000", Some(9000)),
            ("1", Some(1)),
            ("65535", Some(65_535)),
            ("0", None),
            ("65536", None),
            ("09000", None),
            ("+9000", None),
            ("-1", None),
            ("http", None),
            ("", None),
        ] {
            assert_eq!(port(key).ok(), want, "{key}");
        }
    }

    #[test]
    fn a_value_is_a_service_and_its_port_with_two_options() {
        let map = ObjectKey::new(Kind::ConfigMap, "edge", "tcp");
        let number = PortRef::Number;
        for (text, want) in [
            ("db/mysql:3306", Some((number(3306), false, false))),
            (" db/mysql:3306\n", Some((number(3306), false, false))),
            ("db/mysql:client", Some((PortRef::Name("client".into()), false, false))),
            ("db/mysql:3306:PROXY", Some((number(3306), true, false))),
            ("db/mysql:3306:proxy:PROXY", Some((number(3306), true, true))),
            ("db/mysql:3306::PROXY", Some((number(3306), false, true))),
            ("db/mysql:3306::", Some((number(3306), false, false))),
            ("db/mysql:3306:PROXY:PROXY:PROXY", None),
            ("db/mysql:3306:PROXI", None),
            ("db/mysql", None),
            ("db/mysql:", None),
            ("db/mysql:0", None),
            ("db/mysql:65536x", Some((PortRef::Name("65536x".into()), false, false))),
            ("db/mysql:a b", None),
            ("mysql:3306", None),
            ("a/b/c:3306", None),
            ("db/My_SQL:3306", None),
            ("", None),
        ] {
            let got = service(&map, text).ok();
            let got = got.map(|read| (read.port, read.decodes_proxy_protocol, read.encodes_proxy_protocol));
            assert_eq!(got, want, "{text:?}");
        }
        let read = service(&map, "db/mysql:3306").expect("an entry");
        assert_eq!((&*read.service.namespace, &*read.service.name, read.map), ("db", "mysql", map));
    }
}
