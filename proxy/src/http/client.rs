//! Who the client is where proxies stand between it and us.

use std::{
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
};

use portcullis_routing::Headers;

use crate::{ForwardedFor, LiveOptions, ranges};

/// So many addresses of a list are looked at. Nobody has that many proxies of their own in a row.
const MAX_PROXIES: usize = 64;

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// Whether the peer is a trusted proxy, whose `X-Forwarded-*` are believed.
    pub(crate) trusted: bool,
    pub(crate) forwarded_for: ForwardedFor,
}

impl Client {
    /// A peer that is no proxy of ours.
    pub(crate) fn untrusted(peer: IpAddr) -> Self {
        Self { address: peer.to_canonical(), trusted: false, forwarded_for: ForwardedFor::Client }
    }
}

/// The client behind a peer. `lists` are the values of `X-Forwarded-For` in their order, `headers` those of the request; both
/// are asked of trusted peers alone.
pub(crate) fn of<'l, L: DoubleEndedIterator<Item = &'l [u8]>>(
    peer: IpAddr,
    lists: impl FnOnce() -> L,
    headers: &'l dyn Headers,
    options: &LiveOptions,
) -> Client {
    let is_trusted = ranges::hold(&options.trusted, peer.to_canonical());
    let (networks, forwarded_for) = match is_trusted {
        true => (&options.trusted, options.forwarded_for),
        false => (&options.trusted_for_address, ForwardedFor::Client),
    };
    let (address, _) = match &options.client_header {
        None => address(peer, lists, networks),
        Some(name) => {
            let lists = || {
                let mut values = Vec::new();
                headers.each(name, &mut |value| {
                    values.push(value);
                    ControlFlow::Continue(())
                });
                values.into_iter()
            };
            address(peer, lists, networks)
        }
    };
    Client { address, trusted: is_trusted, forwarded_for }
}

/// The client's address: that of the peer, or where that is a trusted proxy, the last one in `X-Forwarded-For` that is no
/// trusted proxy itself. What stands before it came from somebody who is not trusted.
///
/// A proxy that says no valid address (`unknown`) is itself the client, and so is the first of a list of nothing but
/// trusted proxies. Also returns whether the peer is a trusted proxy.
///
/// `lists` are the values of `X-Forwarded-For` in their order; asked for of trusted peers alone.
pub(crate) fn address<'l, L: DoubleEndedIterator<Item = &'l [u8]>>(
    peer: IpAddr,
    lists: impl FnOnce() -> L,
    trusted: &[(IpAddr, u8)],
) -> (IpAddr, bool) {
    let mut client = peer.to_canonical();
    if !ranges::hold(trusted, client) {
        return (client, false);
    }
    let entries = lists().rev().flat_map(|list| list.rsplit(|byte| *byte == b','));
    for entry in entries.take(MAX_PROXIES).map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        let Some(before) = parse(entry) else { break };
        client = before;
        if !ranges::hold(trusted, client) {
            break;
        }
    }
    (client, true)
}

/// An address, maybe with a port, as proxies write it.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_from_its_trusted_end() {
        let trusted =
            [("10.0.0.0", 8), ("fd00::", 8)].map(|(network, length)| (network.parse().unwrap(), length));
        for (peer, lists, want) in [
            ("192.0.2.1", &["1.2.3.4"][..], "192.0.2.1"),
            ("::ffff:192.0.2.1", &["1.2.3.4"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("::ffff:10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4", "fd00::2,,10.0.0.2, "], "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4:80,[fd00::2]:80"], "1.2.3.4"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.2.3.4 5"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let lists_in_bytes = || lists.iter().map(|list| list.as_bytes());
            let (got, _) = address(peer.parse().unwrap(), lists_in_bytes, &trusted);
            assert_eq!(got.to_string(), want, "{lists:?} from {peer}");
        }
    }

    #[test]
    fn a_list_is_read_up_to_a_bound() {
        let trusted = [(IpAddr::from([10, 0, 0, 0]), 8)];
        let list = format!("1.2.3.4{}", ",10.0.0.2".repeat(MAX_PROXIES));
        let lists = || std::iter::once(list.as_bytes());
        assert_eq!(address([10, 0, 0, 1].into(), lists, &trusted).0.to_string(), "10.0.0.2");
    }
}
