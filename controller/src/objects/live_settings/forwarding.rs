//! Keys of ingress-nginx's ConfigMap about the addresses of clients, by the names that they have there.

use http::HeaderName;

use super::{Read, boolean, networks, or_default};

/// Every key of these.
pub(super) const KEYS: &[(&str, Read)] = &[
    ("use-forwarded-headers", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.forwarding.use_forwarded_headers = read)
    }),
    ("compute-full-forwarded-for", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.forwarding.whole_list = read)
    }),
    ("enable-real-ip", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.forwarding.enable_real_ip = read)
    }),
    ("forwarded-for-header", |to, text, _, _| {
        or_default(header(text)).map(|read| to.proxy.forwarding.header = read)
    }),
    ("proxy-real-ip-cidr", |to, text, _, _| {
        or_nobody(networks(text)).map(|read| to.proxy.forwarding.networks = Some(read)).or_else(|wrong| {
            to.proxy.forwarding.networks = Some(Vec::new());
            Err(wrong)
        })
    }),
    ("use-proxy-protocol", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.forwarding.use_proxy_protocol = read)
    }),
];

/// A mistake trusts nobody, where the default would trust everybody.
fn or_nobody<T>(read: Result<T, String>) -> Result<T, super::Wrong> {
    read.map_err(|why| super::Wrong::new(why, "nobody is trusted"))
}

/// The name of a header, if it is another than `X-Forwarded-For`.
fn header(text: &str) -> Result<Option<HeaderName>, String> {
    let name: HeaderName =
        text.trim().parse().map_err(|_| format!("{text:?} is not the name of a header"))?;
    Ok(Some(name).filter(|name| name != "x-forwarded-for"))
}
