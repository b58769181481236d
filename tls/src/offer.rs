//! What is offered in handshakes with clients: protocol versions, cipher suites and groups, under the names that nginx and
//! OpenSSL have for them.
//!
//! Cipher suites are those of TLS 1.2. As in nginx, the suites of TLS 1.3 are not configurable.

use portcullis_routing::TlsVersions;
use rustls::{CipherSuite, NamedGroup, crypto::CryptoProvider};

/// What is offered to all clients. `None` is everything that is supported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The protocol versions.
    pub versions: TlsVersions,
    /// The cipher suites.
    pub suites: Option<CipherSuites>,
    /// The groups of the key exchange.
    pub groups: Option<Groups>,
}

/// The cipher suites of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CipherPolicy {
    /// `None` are those of [`Offer`].
    pub suites: Option<CipherSuites>,
    /// Whether the order of the server decides, and not that of the client. `None`: it does if suites are configured.
    pub server_order: Option<bool>,
}

/// Cipher suites of TLS 1.2, at least one, in the order of preference: places in `SUITES`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CipherSuites(Box<[usize]>);

/// Groups of the key exchange, at least one, in the order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups(Box<[NamedGroup]>);

/// A list without anything that is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("contains nothing that is supported; {supported}")]
pub struct NothingSupported {
    /// A sentence about what is supported.
    supported: &'static str,
}

/// A supported cipher suite, and the words of OpenSSL's cipher strings that select it.
struct Known {
    suite: CipherSuite,
    name: &'static str,
    standard_name: &'static str,
    words: &'static [&'static str],
}

/// In the order of OpenSSL: by strength.
const SUITES: [Known; 6] = [
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        standard_name: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        words: &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "FIPS"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        standard_name: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        words: &["aRSA", "AES", "AES256", "AESGCM", "FIPS"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        standard_name: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        words: &["aECDSA", "ECDSA", "CHACHA20"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        standard_name: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        words: &["aRSA", "CHACHA20"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        standard_name: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        words: &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "FIPS"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        standard_name: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        words: &["aRSA", "AES", "AES128", "AESGCM", "FIPS"],
    },
];

/// Words that select every supported suite.
const EVERY: [&str; 8] = ["ALL", "DEFAULT", "HIGH", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH"];

/// Suites of TLS 1.3. A list may contain them, without effect.
const TLS13: [&str; 3] = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"];

const SUPPORTED_SUITES: &str =
    "the cipher suites of TLS 1.2 are those with ECDHE and AES-GCM or ChaCha20-Poly1305";
const SUPPORTED_GROUPS: &str = "the groups are X25519, prime256v1 and secp384r1";
const SUPPORTED_VERSIONS: &str = "the versions are TLSv1.2 and TLSv1.3";

/// The most elements that are evaluated of a list.
const MOST: usize = 256;
/// The most elements that are reported as not supported.
const REPORTED: usize = 5;

impl Known {
    /// Whether a word of a cipher string selects the suite.
    fn is_named(&self, word: &str) -> bool {
        word == self.name || word == self.standard_name || EVERY.contains(&word) || self.words.contains(&word)
    }
}

impl CipherSuites {
    /// Parses a cipher string of OpenSSL (`openssl-ciphers`): names and words, several words joined by `+`, and the
    /// operators `!`, `-` and `+` before them. Returns the elements that select nothing, too.
    ///
    /// # Errors
    /// If no suite is selected.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), NothingSupported> {
        let (mut chosen, mut never, mut unsupported) = (Vec::new(), [false; SUITES.len()], Vec::new());
        for element in elements(text).filter(|element| !element.starts_with('@')) {
            let operator = element.chars().next().filter(|first| matches!(first, '!' | '-' | '+'));
            let words = element.trim_start_matches(['!', '-', '+']);
            let is_meant = |known: &Known| words.split('+').all(|word| known.is_named(word));
            let meant: Vec<_> = (0..SUITES.len()).filter(|place| is_meant(&SUITES[*place])).collect();
            let (moved, rest): (Vec<_>, Vec<_>) =
                chosen.iter().copied().partition(|place| meant.contains(place));
            match operator {
                None => {
                    chosen.extend(meant.iter().filter(|place| !never[**place] && !moved.contains(place)));
                    if meant.is_empty() && !TLS13.contains(&words) {
                        unsupported.push(element.to_owned());
                    }
                }
                Some('+') => chosen = [rest, moved].concat(),
                Some(operator) => {
                    chosen = rest;
                    meant.iter().filter(|_| operator == '!').for_each(|place| never[*place] = true);
                }
            }
        }
        unsupported.truncate(REPORTED);
        match chosen.is_empty() {
            true => Err(NothingSupported { supported: SUPPORTED_SUITES }),
            false => Ok((Self(chosen.into()), unsupported)),
        }
    }

    /// The names in OpenSSL, in the order of preference.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter_map(|place| SUITES.get(*place)).map(|known| known.name)
    }

    fn ids(&self) -> impl Iterator<Item = CipherSuite> {
        self.0.iter().filter_map(|place| SUITES.get(*place)).map(|known| known.suite)
    }
}

impl Groups {
    /// Parses the value of `ssl_ecdh_curve`: names of groups, separated by `:`. `auto` is `None`. Returns the names that are
    /// not supported, too.
    ///
    /// # Errors
    /// If none is supported.
    pub fn parse(text: &str) -> Result<(Option<Self>, Vec<String>), NothingSupported> {
        if text.trim() == "auto" {
            return Ok((None, Vec::new()));
        }
        let (mut groups, mut unsupported) = (Vec::new(), Vec::new());
        for name in elements(text) {
            let group = match name {
                "X25519" | "x25519" => NamedGroup::X25519,
                "prime256v1" | "secp256r1" | "P-256" => NamedGroup::secp256r1,
                "secp384r1" | "P-384" => NamedGroup::secp384r1,
                _ => {
                    unsupported.push(name.to_owned());
                    continue;
                }
            };
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        unsupported.truncate(REPORTED);
        match groups.is_empty() {
            true => Err(NothingSupported { supported: SUPPORTED_GROUPS }),
            false => Ok((Some(Self(groups.into())), unsupported)),
        }
    }
}

/// Parses the value of `ssl_protocols`: versions, separated by blanks. Returns those that are not supported, too.
///
/// # Errors
/// If none is supported.
pub fn parse_versions(text: &str) -> Result<(TlsVersions, Vec<String>), NothingSupported> {
    let is_supported = |word: &str| matches!(word, "TLSv1.2" | "TLSv1.3");
    let words = || elements(text);
    let has = |version: &str| words().any(|word| word == version);
    let versions = match (has("TLSv1.2"), has("TLSv1.3")) {
        (true, true) => TlsVersions::All,
        (true, false) => TlsVersions::Tls12,
        (false, true) => TlsVersions::Tls13,
        (false, false) => return Err(NothingSupported { supported: SUPPORTED_VERSIONS }),
    };
    let others = words().filter(|word| !is_supported(word)).take(REPORTED);
    Ok((versions, others.map(str::to_owned).collect()))
}

/// The elements of a list.
fn elements(text: &str) -> impl Iterator<Item = &str> {
    let elements = text.split(|c: char| matches!(c, ':' | ',' | ';') || c.is_whitespace());
    elements.filter(|element| !element.is_empty()).take(MOST)
}

impl Offer {
    /// Restricts what a provider offers at a listener; `None` if that is everything that the provider has.
    pub fn provider(&self, of_listener: &CipherPolicy, all: &CryptoProvider) -> Option<CryptoProvider> {
        let suites = of_listener.suites.as_ref().or(self.suites.as_ref());
        if suites.is_none() && self.groups.is_none() {
            return None;
        }
        let mut provider = all.clone();
        if let Some(suites) = suites {
            let (of_tls12, mut of_tls13): (Vec<_>, Vec<_>) =
                all.cipher_suites.iter().copied().partition(|suite| suite.tls13().is_none());
            let chosen = suites.ids().filter_map(|id| of_tls12.iter().find(|suite| suite.suite() == id));
            of_tls13.extend(chosen.copied());
            provider.cipher_suites = of_tls13;
        }
        if let Some(Groups(groups)) = &self.groups {
            let chosen =
                groups.iter().filter_map(|name| all.kx_groups.iter().find(|group| group.name() == *name));
            provider.kx_groups = chosen.copied().collect();
        }
        Some(provider)
    }

    /// Whether the order of the server decides between cipher suites at a listener.
    pub fn is_in_server_order(&self, of_listener: &CipherPolicy) -> bool {
        let is_configured = of_listener.suites.is_some() || self.suites.is_some();
        of_listener.server_order.unwrap_or(is_configured)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;

    use super::*;

    const ECDSA_256: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
    const RSA_256: &str = "ECDHE-RSA-AES256-GCM-SHA384";
    const ECDSA_CHACHA: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";
    const RSA_CHACHA: &str = "ECDHE-RSA-CHACHA20-POLY1305";
    const ECDSA_128: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
    const RSA_128: &str = "ECDHE-RSA-AES128-GCM-SHA256";

    #[test]
    fn a_list_of_suites_is_read_as_openssl_does() {
        for (text, want, unsupported) in [
            ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384", &[RSA_128, ECDSA_256][..], &[][..]),
            (
                "ECDHE-RSA-AES128-GCM-SHA256 DHE-RSA-AES128-GCM-SHA256",
                &[RSA_128],
                &["DHE-RSA-AES128-GCM-SHA256"],
            ),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", &[RSA_128], &[]),
            ("TLS_AES_128_GCM_SHA256,ECDHE-RSA-AES128-GCM-SHA256", &[RSA_128], &[]),
            ("HIGH:!aNULL:!MD5", &[ECDSA_256, RSA_256, ECDSA_CHACHA, RSA_CHACHA, ECDSA_128, RSA_128], &[]),
            ("EECDH+AESGCM:EDH+AESGCM", &[ECDSA_256, RSA_256, ECDSA_128, RSA_128], &["EDH+AESGCM"]),
            ("ECDHE+CHACHA20:ECDHE+AES128+aRSA", &[ECDSA_CHACHA, RSA_CHACHA, RSA_128], &[]),
            ("AES256:!aECDSA:ALL", &[RSA_256, RSA_CHACHA, RSA_128], &[]),
            ("CHACHA20:-aRSA:aRSA+AES128", &[ECDSA_CHACHA, RSA_128], &[]),
            ("AES:+AES256:@STRENGTH", &[ECDSA_128, RSA_128, ECDSA_256, RSA_256], &[]),
            ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", &[RSA_128], &[]),
        ] {
            let (suites, others) = CipherSuites::parse(text).unwrap();
            assert_eq!(suites.names().collect::<Vec<_>>(), want, "{text}");
            assert_eq!(others, unsupported, "{text}");
        }
        for text in [
            "",
            ":",
            "AES128-SHA",
            "RC4:MD5",
            "ALL:!ALL",
            "!ALL",
            "ALL:-ECDHE",
            "TLS_AES_128_GCM_SHA256",
            "ecdhe",
            "+",
        ] {
            let error = CipherSuites::parse(text).unwrap_err();
            assert!(error.to_string().contains("AES-GCM or ChaCha20"), "{text}");
        }
        let many = "X:".repeat(MOST) + "ALL";
        assert!(CipherSuites::parse(&many).is_err(), "a long list is not read to its end");
    }

    #[test]
    fn groups_and_versions_have_the_names_of_nginx() {
        for (text, want, unsupported) in [
            (
                "X25519:prime256v1:secp521r1",
                &[NamedGroup::X25519, NamedGroup::secp256r1][..],
                &["secp521r1"][..],
            ),
            ("P-384", &[NamedGroup::secp384r1], &[]),
            ("P-256:secp256r1", &[NamedGroup::secp256r1], &[]),
        ] {
            let (groups, others) = Groups::parse(text).unwrap();
            assert_eq!(&*groups.unwrap().0, want, "{text}");
            assert_eq!(others, unsupported, "{text}");
        }
        assert_eq!(Groups::parse("auto").unwrap(), (None, Vec::new()));
        assert!(Groups::parse("X448").is_err() && Groups::parse("").is_err());
        for (text, want, unsupported) in [
            ("TLSv1.2 TLSv1.3", TlsVersions::All, 0),
            ("TLSv1.3", TlsVersions::Tls13, 0),
            ("TLSv1 TLSv1.1 TLSv1.2", TlsVersions::Tls12, 2),
        ] {
            let (versions, others) = parse_versions(text).unwrap();
            assert_eq!((versions, others.len()), (want, unsupported), "{text}");
        }
        assert!(parse_versions("TLSv1.1").is_err() && parse_versions("").is_err());
    }

    #[test]
    fn a_provider_is_restricted_to_what_is_offered() {
        let all = ring::default_provider();
        let suites = |text: &str| Some(CipherSuites::parse(text).unwrap().0);
        let of_tls12 = |provider: &CryptoProvider| -> Vec<_> {
            let suites = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none());
            suites.map(|suite| suite.suite()).collect()
        };
        assert!(Offer::default().provider(&CipherPolicy::default(), &all).is_none());
        let offer = Offer { suites: suites("AES128"), ..Offer::default() };
        let restricted = offer.provider(&CipherPolicy::default(), &all).unwrap();
        let want = [
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ];
        assert_eq!(of_tls12(&restricted), want);
        assert_eq!(restricted.cipher_suites.len(), 5, "and those of TLS 1.3");
        let own = CipherPolicy { suites: suites("ECDHE-RSA-CHACHA20-POLY1305"), server_order: None };
        let restricted = offer.provider(&own, &all).unwrap();
        assert_eq!(of_tls12(&restricted), [CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]);
        let groups = Groups::parse("secp384r1").unwrap().0;
        let restricted =
            Offer { groups, ..Offer::default() }.provider(&CipherPolicy::default(), &all).unwrap();
        let names: Vec<_> = restricted.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(
            (names, restricted.cipher_suites.len()),
            (vec![NamedGroup::secp384r1], all.cipher_suites.len())
        );
    }

    #[test]
    fn the_order_of_a_configured_list_is_the_preference_unless_the_listener_says_otherwise() {
        let list = || Some(CipherSuites::parse("AES128").unwrap().0);
        for (of_all, of_listener, server_order, want) in [
            (None, None, None, false),
            (list(), None, None, true),
            (None, list(), None, true),
            (list(), list(), Some(false), false),
            (None, None, Some(true), true),
        ] {
            let offer = Offer { suites: of_all, ..Offer::default() };
            assert_eq!(offer.is_in_server_order(&CipherPolicy { suites: of_listener, server_order }), want);
        }
    }
}
