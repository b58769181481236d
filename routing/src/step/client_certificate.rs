//! `auth-tls-*` of Ingresses: the requirements of a rule for the client certificate.
//!
//! The handshake requests a certificate and verifies it, but succeeds regardless of the result
//! ([`ClientAuth::Reported`](crate::ClientAuth)): the rule rejects requests, as in nginx. Over plain HTTP, no certificate is
//! required, as in ingress-nginx: hosts with `auth-tls-*` redirect to HTTPS.

use http::{HeaderName, HeaderValue, StatusCode};

use super::{HeaderModifier, Step};
use crate::Pattern;

/// The requirements of a rule for the client certificate.
#[derive(Clone, Debug)]
pub struct ClientCertificateCheck {
    /// The condition for a request to be allowed.
    pub demand: Demand,
    /// What the subject must contain (`auth-tls-match-cn`): a regular expression over the distinguished name in the form of
    /// RFC 2253.
    pub subject: Option<Pattern>,
    /// The URL to which clients without a valid certificate are redirected, instead of a 400 (`auth-tls-error-page`).
    pub error_page: Option<Box<str>>,
    /// Whether the certificate itself is sent to the backend (`auth-tls-pass-certificate-to-upstream`).
    pub pass: bool,
}

/// The condition for a request to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// None: no certificate is requested (`off`).
    Nothing,
    /// A certificate must be valid if one is presented (`optional`).
    ValidIfAny,
    /// None; the result of the verification is sent to the backend (`optional_no_ca`).
    Any,
    /// A valid certificate (`on`).
    Valid,
    /// All requests are rejected, over TLS or not: there is no authority to verify certificates with.
    Impossible,
}

/// A certificate that a client has presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Why it is not valid; `None` if it is.
    pub failure: Option<Box<str>>,
    /// The distinguished name of its subject, in the form of RFC 2253.
    pub subject: Box<str>,
    /// The same of its issuer.
    pub issuer: Box<str>,
    /// The certificate in PEM, percent-encoded.
    pub pem: Box<str>,
}

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The response has this status.
    With(StatusCode, &'static str),
    /// The client is redirected.
    SentTo(Box<str>),
}

const VERIFY: HeaderName = HeaderName::from_static("ssl-client-verify");
const SUBJECT: HeaderName = HeaderName::from_static("ssl-client-subject-dn");
const ISSUER: HeaderName = HeaderName::from_static("ssl-client-issuer-dn");
const CERTIFICATE: HeaderName = HeaderName::from_static("ssl-client-cert");

impl ClientCertificateCheck {
    /// Checks the certificate of a request over TLS (`Some`), or a request over plain HTTP (`None`). Returns the step that
    /// sends the result to the backend.
    pub(crate) fn check(&self, tls: Option<Option<&ClientCertificate>>) -> Result<Option<Step>, Refused> {
        if self.demand == Demand::Impossible {
            return Err(Refused::With(StatusCode::FORBIDDEN, "client certificates cannot be verified"));
        }
        let Some(shown) = tls else { return Ok(self.headers(None, None)) };
        let shown = shown.filter(|_| self.demand != Demand::Nothing);
        let is_enough = match (self.demand, shown) {
            (Demand::Nothing | Demand::Any, _) | (Demand::ValidIfAny, None) => true,
            (Demand::Valid | Demand::ValidIfAny, Some(shown)) => shown.failure.is_none(),
            (Demand::Valid | Demand::Impossible, _) => false,
        };
        if !is_enough {
            return Err(match (&self.error_page, shown) {
                (Some(page), _) => Refused::SentTo(page.clone()),
                (None, Some(_)) => {
                    Refused::With(StatusCode::BAD_REQUEST, "the client certificate is not valid")
                }
                (None, None) => Refused::With(StatusCode::BAD_REQUEST, "a client certificate is required"),
            });
        }
        let subject = shown.map_or("", |shown| &*shown.subject);
        if self.subject.as_ref().is_some_and(|pattern| !pattern.is_match(subject)) {
            return Err(Refused::With(StatusCode::FORBIDDEN, "client certificate unauthorized"));
        }
        let verified = match shown {
            None => "NONE".to_owned(),
            Some(ClientCertificate { failure: None, .. }) => "SUCCESS".to_owned(),
            Some(ClientCertificate { failure: Some(why), .. }) => format!("FAILED:{why}"),
        };
        Ok(self.headers(Some(verified), shown))
    }

    /// The headers for the backend; headers of these names from the client are removed.
    fn headers(&self, verified: Option<String>, shown: Option<&ClientCertificate>) -> Option<Step> {
        let value = |text: &str| HeaderValue::try_from(text).ok();
        let set = [
            (VERIFY, verified.as_deref().and_then(value)),
            (SUBJECT, shown.and_then(|shown| value(&shown.subject))),
            (ISSUER, shown.and_then(|shown| value(&shown.issuer))),
            (CERTIFICATE, shown.filter(|_| self.pass).and_then(|shown| value(&shown.pem))),
        ];
        let (there, gone): (Vec<_>, Vec<_>) = set.into_iter().partition(|(_, value)| value.is_some());
        let there: Vec<_> = there.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let gone: Vec<_> = gone.into_iter().map(|(name, _)| name).collect();
        HeaderModifier::new(there, [], gone).ok().map(Step::RequestHeaders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(demand: Demand) -> ClientCertificateCheck {
        ClientCertificateCheck { demand, subject: None, error_page: None, pass: false }
    }

    fn shown(failure: Option<&str>) -> ClientCertificate {
        ClientCertificate {
            failure: failure.map(Into::into),
            subject: "CN=alice,O=Org".into(),
            issuer: "CN=ca".into(),
            pem: "PEM".into(),
        }
    }

    fn outcome(
        check: &ClientCertificateCheck,
        tls: Option<Option<&ClientCertificate>>,
    ) -> Result<String, u16> {
        match check.check(tls) {
            Ok(step) => Ok(step.map_or(String::new(), |step| step.to_string())),
            Err(Refused::With(status, _)) => Err(status.as_u16()),
            Err(Refused::SentTo(_)) => Err(302),
        }
    }

    #[test]
    fn a_certificate_passes_as_it_is_demanded() {
        let (good, bad) = (shown(None), shown(Some("unknown issuer")));
        for (demand, none, of_good, of_bad) in [
            (Demand::Valid, Err(400), Ok("SUCCESS"), Err(400)),
            (Demand::ValidIfAny, Ok("NONE"), Ok("SUCCESS"), Err(400)),
            (Demand::Any, Ok("NONE"), Ok("SUCCESS"), Ok("FAILED:unknown issuer")),
            (Demand::Nothing, Ok("NONE"), Ok("NONE"), Ok("NONE")),
            (Demand::Impossible, Err(403), Err(403), Err(403)),
        ] {
            for (certificate, want) in [(None, none), (Some(&good), of_good), (Some(&bad), of_bad)] {
                let got = outcome(&check(demand), Some(certificate));
                match want {
                    Ok(verified) => {
                        let header = format!("ssl-client-verify={verified}");
                        assert!(got.as_ref().is_ok_and(|step| step.contains(&header)), "{demand:?} {got:?}");
                    }
                    Err(status) => assert_eq!(got, Err(status), "{demand:?}"),
                }
            }
        }
    }

    #[test]
    fn over_plain_http_nothing_is_asked_and_nothing_that_the_client_claims_goes_on() {
        let step = outcome(&check(Demand::Valid), None).unwrap();
        for name in ["verify", "subject-dn", "issuer-dn", "cert"] {
            assert!(step.contains(&format!("-ssl-client-{name}")), "{step}");
        }
        assert_eq!(outcome(&check(Demand::Impossible), None), Err(403));
    }

    #[test]
    fn a_subject_has_to_match_whether_it_is_there_or_not() {
        let alice = ClientCertificateCheck {
            subject: Some(Pattern::compile("(?s:.*)(?:CN=alice)(?s:.*)").unwrap()),
            ..check(Demand::ValidIfAny)
        };
        let bob = ClientCertificate { subject: "CN=bob".into(), ..shown(None) };
        assert!(outcome(&alice, Some(Some(&shown(None)))).is_ok());
        assert_eq!(outcome(&alice, Some(Some(&bob))), Err(403));
        assert_eq!(outcome(&alice, Some(None)), Err(403));
    }

    #[test]
    fn the_certificate_goes_on_where_it_is_asked_for_and_the_page_is_where_clients_are_sent() {
        let passing = ClientCertificateCheck { pass: true, ..check(Demand::Valid) };
        assert!(outcome(&passing, Some(Some(&shown(None)))).unwrap().contains("ssl-client-cert=PEM"));
        assert!(
            outcome(&check(Demand::Valid), Some(Some(&shown(None)))).unwrap().contains("-ssl-client-cert")
        );
        let page = ClientCertificateCheck { error_page: Some("http://e".into()), ..check(Demand::Valid) };
        assert_eq!(page.check(Some(None)).unwrap_err(), Refused::SentTo("http://e".into()));
    }
}
