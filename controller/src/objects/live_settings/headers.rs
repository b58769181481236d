//! Headers that ConfigMaps have which the settings name: `add-headers` and `proxy-set-headers` of ingress-nginx.

use http::{HeaderName, HeaderValue, header};
use portcullis_routing::{Template, step::Change};

use super::{Read, Wrong, boolean, or_default};
use crate::{
    Problem,
    ir::{ConfigMap, Kind, ObjectKey, ingress::CONSTANTS},
    objects::names::{LABEL, SUBDOMAIN, quoted},
};

/// All of these keys.
pub(super) const KEYS: &[(&str, Read)] = &[
    ("add-headers", |to, text, _, _| map(text).map(|read| to.ingress.headers.add.map = read)),
    ("proxy-set-headers", |to, text, _, _| map(text).map(|read| to.ingress.headers.send.map = read)),
    ("proxy-add-original-uri-header", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.ingress.headers.original_uri = read)
    }),
];

/// The ConfigMap of a key; `None` if the value is empty.
fn map(text: &str) -> Result<Option<ObjectKey>, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let key = text.split_once('/').filter(|(namespace, name)| LABEL.fits(namespace) && SUBDOMAIN.fits(name));
    let key = key.map(|(namespace, name)| ObjectKey::new(Kind::ConfigMap, namespace, name));
    let wrong = || Wrong::new(format!("{} is not NAMESPACE/NAME", quoted(text)), "no headers are set");
    key.map(Some).ok_or_else(wrong)
}

/// A header and its value, which can contain variables.
pub(crate) type Header = (HeaderName, Box<str>);

/// The headers of a ConfigMap, and the problems of those that cannot be set. One without a valid value is removed: a client
/// or a backend must not set it instead.
pub(crate) fn read(map: &ConfigMap) -> (Box<[Header]>, Vec<Problem>) {
    let (mut headers, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in &map.data {
        let (key, field) = (&map.meta.key, format!("data.{name}"));
        let name = match header(name) {
            Ok(name) => name,
            Err(why) => {
                problems.push(Problem::warning(key, field, format!("{why}; this header is not set")));
                continue;
            }
        };
        let value = checked(value).unwrap_or_else(|why| {
            let effect = match name == header::HOST {
                true => "Host is not changed",
                false => "messages are sent without this header",
            };
            problems.push(Problem::error(key, field, format!("{why}; {effect}")));
            ""
        });
        headers.push((name, value.into()));
    }
    (headers.into(), problems)
}

/// The name of a header that can be set.
fn header(name: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(name).map_err(|_| format!("{} is not a header", quoted(name)))?;
    Change::Set.check(&name).map_err(|why| why.to_string())?;
    Ok(name)
}

/// The value of a header.
fn checked(value: &str) -> Result<&str, String> {
    if ConfigMap::is_too_long(value) {
        return Err(format!("the value is longer than {} bytes", ConfigMap::MAX_HEADER));
    }
    let value = value.trim();
    if HeaderValue::try_from(value).is_err() {
        return Err(format!("{} is not the value of a header", quoted(value)));
    }
    let constants = CONSTANTS.map(|constant| (constant, ""));
    Template::parse_with(value, &[], &constants).map_err(|why| why.to_string())?;
    Ok(value)
}
