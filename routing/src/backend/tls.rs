//! TLS towards a backend: the name that is asked for, what the certificate is verified against, and what we present.

use std::{
    any::Any,
    fmt::{self, Debug, Display},
    hash::{Hash, Hasher},
    sync::Arc,
};

/// TLS towards a backend. Connections to an address are interchangeable only if this is equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendTls {
    /// The server name that is sent (SNI, RFC 6066, section 3). The certificate must be valid for it unless
    /// [`BackendTls::subject_names`] has any.
    pub server_name: Box<str>,
    /// What the certificate is verified against.
    pub verify: Verify,
    /// If there are any: the names of which the certificate must have at least one, in place of the server name.
    pub subject_names: Box<[SubjectName]>,
    /// The certificate that we present if the backend asks for one.
    pub client_certificate: Option<TlsMaterial>,
    /// Whether the server name is not sent, and only serves for verification.
    pub hides_name: bool,
    /// The versions of TLS that are offered.
    pub versions: TlsVersions,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    All,
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

/// What a backend's certificate is verified against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// The authorities that the system trusts.
    System,
    /// The authorities of these sets alone.
    Authorities(Box<[TlsMaterial]>),
    /// Nothing: encrypted, not authenticated.
    Nothing,
}

/// A subject alternative name that a backend's certificate may have (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectName {
    /// A DNS name in lower case. If it begins with `*.`, it stands for the names with one label in place of the `*`.
    Dns(Box<str>),
    /// A URI, compared byte for byte, as SPIFFE requires.
    Uri(Box<str>),
}

/// Certificate authorities, or a certificate with its key, in the form that the TLS implementation needs. This crate
/// knows nothing of that form. Two are equal if their fingerprints are.
#[derive(Clone)]
pub struct TlsMaterial {
    fingerprint: [u8; 32],
    value: Arc<dyn Any + Send + Sync>,
}

impl BackendTls {
    /// TLS for this server name, verified in this way, without other names and without a certificate of ours.
    pub fn new(server_name: impl Into<Box<str>>, verify: Verify) -> Self {
        Self {
            server_name: server_name.into(),
            verify,
            subject_names: Box::default(),
            client_certificate: None,
            hides_name: false,
            versions: TlsVersions::All,
        }
    }
}

impl TlsMaterial {
    /// Wraps a value. `fingerprint` is a hash of its contents that nobody can make collide, such as SHA-256.
    pub fn new<T: Any + Send + Sync>(fingerprint: [u8; 32], value: Arc<T>) -> Self {
        Self { fingerprint, value }
    }

    /// Returns the value, or `None` if it is of another type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.value).downcast().ok()
    }
}

impl PartialEq for TlsMaterial {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for TlsMaterial {}

impl Hash for TlsMaterial {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// The beginning of the fingerprint: the value may be a private key.
impl Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Dns(name) | Self::Uri(name)) = self;
        f.write_str(name)
    }
}

/// `shop.example verified by 1a2b3c4d as spiffe://shop.example/web, presenting 5e6f7a8b`.
impl Display for BackendTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server_name)?;
        match &self.verify {
            Verify::System => {}
            Verify::Authorities(sets) => {
                for (n, set) in sets.iter().enumerate() {
                    write!(f, "{}{set:?}", if n == 0 { " verified by " } else { " or " })?;
                }
            }
            Verify::Nothing => f.write_str(" unverified")?,
        }
        for (n, name) in self.subject_names.iter().enumerate() {
            write!(f, "{}{name}", if n == 0 { " as " } else { " or " })?;
        }
        self.client_certificate.iter().try_for_each(|ours| write!(f, ", presenting {ours:?}"))?;
        f.write_str(if self.hides_name { ", name not sent" } else { "" })?;
        f.write_str(match self.versions {
            TlsVersions::All => "",
            TlsVersions::Tls12 => ", TLS 1.2",
            TlsVersions::Tls13 => ", TLS 1.3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_is_compared_by_its_fingerprint_and_read_as_its_own_type_alone() {
        let one = TlsMaterial::new([1; 32], Arc::new("secret".to_owned()));
        assert_eq!(one, TlsMaterial::new([1; 32], Arc::new(7)));
        assert_ne!(one, TlsMaterial::new([2; 32], Arc::new("secret".to_owned())));
        assert_eq!(one.get::<String>().as_deref().map(String::as_str), Some("secret"));
        assert_eq!(one.get::<u32>(), None);
        assert_eq!(format!("{one:?}"), "01010101");
    }

    #[test]
    fn all_of_it_is_told() {
        let material = |byte| TlsMaterial::new([byte; 32], Arc::new(()));
        let mut tls = BackendTls::new("a.example", Verify::Authorities([material(1), material(3)].into()));
        assert_eq!(tls.to_string(), "a.example verified by 01010101 or 03030303");
        tls.subject_names =
            [SubjectName::Dns("b.example".into()), SubjectName::Uri("spiffe://c".into())].into();
        tls.client_certificate = Some(material(2));
        let want =
            "a.example verified by 01010101 or 03030303 as b.example or spiffe://c, presenting 02020202";
        assert_eq!(tls.to_string(), want);
        assert_eq!(BackendTls::new("a.example", Verify::Nothing).to_string(), "a.example unverified");
    }
}
