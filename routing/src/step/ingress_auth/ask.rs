//! The request to an authorization service.

use std::{borrow::Cow, fmt::Write};

use http::{HeaderName, HeaderValue};

use super::{super::header_templates::ValueBudget, IngressAuth};
use crate::template::{FilledTooLong, Values};

/// Lists the proxies that a check has passed, so that a check of a check, recursively, ends.
pub const CHECKED: HeaderName = HeaderName::from_static("x-portcullis-checked");

/// A request to a service, without the client's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthQuestion {
    /// The service's name or address, without port.
    pub host: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// Headers that replace those of the client.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// The cache key: a response is reused for requests with an equal key.
    pub cache_key: Option<Box<str>>,
    /// The value of [`CHECKED`] in the client's request.
    pub checked: Box<[u8]>,
}

const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_SENT_FROM: HeaderName = HeaderName::from_static("x-sent-from");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_AUTH_REQUEST_REDIRECT: HeaderName = HeaderName::from_static("x-auth-request-redirect");

impl IngressAuth {
    /// The request to the service for a request with these values.
    ///
    /// # Errors
    /// The values are too long. The service must not decide without a part of them.
    pub fn question(&self, values: &Values<'_>) -> Result<AuthQuestion, FilledTooLong> {
        let uri = values.request_uri();
        let client: HeaderValue = value(&values.client.to_canonical().to_string());
        let redirect = match &self.redirect {
            Some(to) => Cow::Owned(to.fill(values)?),
            None => Cow::Borrowed(&*uri),
        };
        let mut headers = vec![
            (X_ORIGINAL_URL, value(&format!("{}://{}{uri}", values.scheme, values.sent_host))),
            (X_ORIGINAL_METHOD, value(values.method)),
            // Services identify the caller by this header.
            (X_SENT_FROM, HeaderValue::from_static("nginx-ingress-controller")),
            (X_REAL_IP, client.clone()),
            (X_FORWARDED_FOR, client),
            (X_AUTH_REQUEST_REDIRECT, value(&redirect)),
        ];
        if self.method.is_some() {
            headers.extend([(X_ORIGINAL_URI, value(&uri)), (X_SCHEME, value(values.scheme))]);
        }
        let mut budget = ValueBudget::default();
        for (name, text) in &self.set_headers {
            headers.push((name.clone(), value(&budget.fill(text, values)?)));
        }
        let cache_key = self.caching.as_ref().map(|caching| caching.key.fill(values)).transpose()?;
        Ok(AuthQuestion {
            host: self.url.host_of(values)?,
            target: self.url.target_of(values)?,
            headers: headers.into(),
            cache_key: cache_key.map(Into::into),
            checked: values.headers.first(&CHECKED).unwrap_or_default().into(),
        })
    }
}

/// The value of a header. Control characters, which variables can contain, are escaped, since they would end the header.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text)
        .or_else(|_| HeaderValue::from_str(&visible(text)))
        .unwrap_or(HeaderValue::from_static(""))
}

/// A text with control characters and non-ASCII characters escaped as in a URL.
pub(super) fn visible(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => escaped.push(byte.into()),
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}
