//! Keys of ingress-nginx's ConfigMap for the access log.

use std::sync::Arc;

use portcullis_routing::{
    log_format::{Escape, LogFormat},
    step::MapKeys,
};

use super::{Read, Wrong, boolean, or_default};
use crate::problem::Topic;

/// All of these keys.
pub(super) const KEYS: &[(&str, Read)] = &[
    ("disable-access-log", |to, text, _, _| or_default(boolean(text)).map(|read| to.proxy.log.is_off = read)),
    ("disable-http-access-log", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.log.is_off_for_requests = read)
    }),
    ("skip-access-log-urls", |to, text, _, _| {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        let read = MapKeys::parse(urls).map_err(|error| error.to_string());
        or_default(read).map(|read| {
            to.proxy.log.skipped = Some(read).filter(|read| !read.is_empty()).map(Arc::new);
        })
    }),
    ("log-format-upstream", |to, text, checks, at| {
        if text.trim().is_empty() {
            return Ok(());
        }
        let format = LogFormat::parse(text, Escape::Default)
            .map_err(|error| Wrong::new(error.to_string(), "the default format applies"))?;
        if let [first, ..] = format.unknown() {
            let message = format!("unsupported variables are logged as missing; the first is ${first}");
            checks.warning_of(Topic::Invalid, at, message);
        }
        to.proxy.log.format = Some(text.trim_end_matches(['\n', '\r']).into());
        Ok(())
    }),
    ("log-format-escape-json", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.log.escapes_as_json = read)
    }),
    ("log-format-escape-none", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.log.escapes_nothing = read)
    }),
];
