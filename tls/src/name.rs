//! Names and texts of certificates.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use x509_parser::{
    objects::{oid_registry, oid2abbrev},
    x509::X509Name,
};

/// A distinguished name in the form of RFC 2253, as OpenSSL writes it for nginx: the last relative name first; what is not
/// ASCII escaped.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> String {
    let relative: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (place, relative) in relative.into_iter().rev().enumerate() {
        if place > 0 {
            text.push(',');
        }
        for (place, attribute) in relative.iter().enumerate() {
            if place > 0 {
                text.push('+');
            }
            match oid2abbrev(attribute.attr_type(), oid_registry()) {
                Ok(abbreviation) => text.push_str(abbreviation),
                Err(_) => text.push_str(&attribute.attr_type().to_id_string()),
            }
            text.push('=');
            escape(attribute.as_str().unwrap_or("?"), &mut text);
        }
    }
    text
}

/// Writes a value (RFC 2253, section 2.4).
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (place, byte) in value.bytes().enumerate() {
        let at_an_end = (place == 0 && matches!(byte, b' ' | b'#')) || (place == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', char::from(byte)]),
            _ if at_an_end => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => drop(write!(text, "\\{byte:02X}")),
        }
    }
}

/// A certificate in PEM (RFC 7468).
pub(crate) fn pem_of(der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let mut text = String::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
