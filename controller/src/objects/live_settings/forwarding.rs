//! Keys of ingress-nginx's ConfigMap for the addresses of clients.

use http::HeaderName;

use super::{Read, Wrong, boolean, networks, or_default};

/// All of these keys.
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
        let read = networks(text);
        // With an invalid value, nobody is trusted; the default would trust everybody.
        to.proxy.forwarding.networks = Some(read.clone().unwrap_or_default());
        read.map(drop).map_err(|why| Wrong::new(why, "nobody is trusted"))
    }),
    ("use-proxy-protocol", |to, text, _, _| {
        or_default(boolean(text)).map(|read| to.proxy.forwarding.use_proxy_protocol = read)
    }),
];

/// The name of a header; `None` for `X-Forwarded-For`.
fn header(text: &str) -> Result<Option<HeaderName>, String> {
    let name: HeaderName =
        text.trim().parse().map_err(|_| format!("{text:?} is not the name of a header"))?;
    Ok(Some(name).filter(|name| name != "x-forwarded-for"))
}
