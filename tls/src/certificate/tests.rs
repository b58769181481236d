use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType};

use super::*;

const RSA: &str = include_str!("../../testdata/rsa.pkcs8.pem");
const RSA_PKCS1: &str = include_str!("../../testdata/rsa.pkcs1.pem");
const RSA_1024: &str = include_str!("../../testdata/rsa-1024.pem");
const P256: &str = include_str!("../../testdata/p256.pkcs8.pem");
const P256_SEC1: &str = include_str!("../../testdata/p256.sec1.pem");
const P521: &str = include_str!("../../testdata/p521.sec1.pem");
const ENCRYPTED: &str = include_str!("../../testdata/encrypted.pkcs8.pem");
const ENCRYPTED_PKCS1: &str = include_str!("../../testdata/encrypted.pkcs1.pem");

#[test]
fn keys_are_read_in_every_form() {
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let (of_rsa, of_p256) = (self_signed(&key(RSA)), self_signed(&key(P256)));
    for (name, chain, private, algorithm) in [
        ("RSA, PKCS #8", &of_rsa, RSA, SignatureAlgorithm::RSA),
        ("RSA, PKCS #1", &of_rsa, RSA_PKCS1, SignatureAlgorithm::RSA),
        ("ECDSA, PKCS #8", &of_p256, P256, SignatureAlgorithm::ECDSA),
        ("ECDSA, SEC 1 behind its parameters", &of_p256, P256_SEC1, SignatureAlgorithm::ECDSA),
        ("Ed25519", &self_signed(&ed25519), &ed25519.serialize_pem(), SignatureAlgorithm::ED25519),
    ] {
        let certificate = Certificate::from_pem(chain.as_bytes(), private.as_bytes());
        assert_eq!(certificate.map(|c| c.key.key.algorithm()), Ok(algorithm), "{name}");
    }
}

#[test]
fn a_certificate_is_identified_by_its_serial_number_and_that_of_its_issuer() {
    let key = key(P256);
    for (of_issuer, serial, want) in [(None, 255, "-255"), (Some("7a"), 1 << 40, "7a-1099511627776")] {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        if let Some(text) = of_issuer {
            params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), text);
        }
        let chain = params.self_signed(&key).unwrap().pem();
        let certificate = Certificate::from_pem(chain.as_bytes(), P256.as_bytes()).unwrap();
        assert_eq!(&*certificate.identifier, want);
    }
}

#[test]
fn an_error_names_what_is_wrong() {
    let chain = self_signed(&key(P256));
    let damaged = chain.replacen("MI", "M!", 1);
    let cut = chain.replace("-----END CERTIFICATE-----", "");
    let not_der = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let second_is_none = format!("{chain}{not_der}");
    let damaged_key = P256.replacen("MI", "M!", 1);
    let damaged_der = P256.replacen("MI", "MA", 1);
    for (name, chain, key, want) in [
        ("nothing", "", P256, "tls.crt holds no PEM certificate"),
        ("a key for a certificate", P256, P256, "tls.crt holds no PEM certificate"),
        ("damaged text", &damaged, P256, "certificate 1 of tls.crt is not valid PEM"),
        ("text without end", &cut, P256, "certificate 1 of tls.crt is not valid PEM"),
        ("no DER", not_der, P256, "certificate 1 of tls.crt is not an X.509 certificate"),
        ("no DER behind", &second_is_none, P256, "certificate 2 of tls.crt is not an X.509 certificate"),
        ("no key", &chain, "", "tls.key holds no PEM private key"),
        ("a certificate for a key", &chain, &chain, "tls.key holds no PEM private key"),
        ("damaged key", &chain, &damaged_key, "tls.key is not valid PEM"),
        ("damaged key bytes", &chain, &damaged_der, "tls.key cannot be used"),
        ("encrypted", &chain, ENCRYPTED, "tls.key is encrypted"),
        ("encrypted by header", &chain, ENCRYPTED_PKCS1, "tls.key is encrypted"),
        ("short RSA", &chain, RSA_1024, "tls.key cannot be used"),
        ("P-521", &chain, P521, "tls.key cannot be used"),
        ("another key", &chain, RSA, "tls.key does not belong to the certificate"),
    ] {
        let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(want), "{name}: {error}");
    }
}

#[test]
fn the_leaf_comes_first_in_the_chain() {
    let (leaf, ca) = issued(&key(P256));
    let served = Certificate::from_pem(format!("{leaf}{ca}").as_bytes(), P256.as_bytes()).unwrap();
    assert_eq!(served.key.cert.len(), 2, "the chain is served whole");
    assert_eq!(
        Certificate::from_pem(format!("{ca}{leaf}").as_bytes(), P256.as_bytes()).unwrap_err(),
        CertificateError::LeafNotFirst { position: 2 }
    );
}

#[test]
fn names_come_from_the_alternative_names_alone_where_there_are_any() {
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let address = SanType::IpAddress([127, 0, 0, 1].into());
    for (name, common_name, alternative, want) in [
        (
            "several",
            "cn.example.com",
            vec![dns("A.example.com"), dns("*.b.example.com")],
            "a.example.com *.b.example.com",
        ),
        ("a last dot", "", vec![dns("a.example.com.")], "a.example.com"),
        ("common name alone", "cn.example.com", vec![], "cn.example.com"),
        ("an address takes the common name's place", "cn.example.com", vec![address.clone()], ""),
        ("an address beside a name", "", vec![address, dns("a.example.com")], "a.example.com"),
        (
            "no host can have it",
            "",
            vec![dns("a_b.example.com"), dns("*"), dns("b.example.com")],
            "b.example.com",
        ),
        ("a sentence for a common name", "Example Inc.", vec![], ""),
    ] {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = alternative;
        let chain = params.self_signed(&key(P256)).unwrap().pem();
        let certificate = Certificate::from_pem(chain.as_bytes(), P256.as_bytes()).unwrap();
        let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
        assert_eq!(names.join(" "), want, "{name}");
    }
}

#[test]
fn a_wildcard_name_stands_for_one_label() {
    let chain =
        CertificateParams::new(["*.example.com".to_owned()]).unwrap().self_signed(&key(P256)).unwrap().pem();
    let certificate = Certificate::from_pem(chain.as_bytes(), P256.as_bytes()).unwrap();
    assert!(certificate.names[0].matches("a.example.com"));
    assert!(!certificate.names[0].matches("a.b.example.com"));
}

#[test]
fn the_fingerprint_is_the_leafs_and_the_end_its_not_after() {
    let mut params = CertificateParams::new(["a.example.com".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2040, 1, 2);
    let leaf = params.self_signed(&key(P256)).unwrap();
    let certificate = Certificate::from_pem(leaf.pem().as_bytes(), P256.as_bytes()).unwrap();
    assert_eq!(certificate.not_after, 2_209_075_200, "2040-01-02T00:00:00Z");
    assert_eq!(certificate.fingerprint.len(), 64);
    assert_eq!(certificate.fingerprint, fingerprint(leaf.der()));
    assert_ne!(certificate.fingerprint, fingerprint(&CertificateDer::from(vec![1])));
}

#[test]
fn damaged_bytes_never_panic() {
    let der = pem_bytes(&self_signed(&key(P256)));
    let private = pem_bytes(P256);
    let mut refused = 0;
    for index in 0..der.len() {
        for (der, private) in [
            (flipped(&der, index), private.clone()),
            (der[..index].to_vec(), private.clone()),
            (der.clone(), flipped(&private, index % private.len())),
            (der.clone(), private[..index % private.len()].to_vec()),
        ] {
            let chain = pem("CERTIFICATE", &der);
            refused += usize::from(
                Certificate::from_pem(chain.as_bytes(), pem("PRIVATE KEY", &private).as_bytes()).is_err(),
            );
        }
    }
    assert!(refused >= der.len() * 2, "cut bytes are always refused: {refused}");
}

fn key(pem: &str) -> KeyPair {
    KeyPair::from_pem(pem).unwrap()
}

fn self_signed(key: &KeyPair) -> String {
    CertificateParams::new(["a.example.com".to_owned()]).unwrap().self_signed(key).unwrap().pem()
}

/// A leaf, and the authority that issued it.
fn issued(leaf_key: &KeyPair) -> (String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(params, ca_key);
    let leaf =
        CertificateParams::new(["a.example.com".to_owned()]).unwrap().signed_by(leaf_key, &issuer).unwrap();
    (leaf.pem(), ca)
}

fn flipped(bytes: &[u8], index: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[index] ^= 0x55;
    bytes
}

fn pem_bytes(text: &str) -> Vec<u8> {
    let (_, section) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
    section.contents
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}
