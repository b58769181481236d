//! Ranges of addresses that something is granted to: forwarding headers, the PROXY protocol.

use std::net::IpAddr;

/// Whether one of the ranges (`address/prefix length`) holds the address. An IPv4 address is the same one where a socket
/// for both families shows it as `::ffff:a.b.c.d`.
pub(crate) fn hold(ranges: &[(IpAddr, u8)], ip: IpAddr) -> bool {
    any_holds(ranges.iter(), ip)
}

/// The same without ranges of all addresses, in which anybody can connect.
pub(crate) fn hold_named(ranges: &[(IpAddr, u8)], ip: IpAddr) -> bool {
    any_holds(ranges.iter().filter(|(_, length)| *length > 0), ip)
}

fn any_holds<'r>(mut ranges: impl Iterator<Item = &'r (IpAddr, u8)>, ip: IpAddr) -> bool {
    ranges.any(|(network, length)| match (network, ip.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let shift = 32_u32.saturating_sub(u32::from(*length));
            (network.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let shift = 128_u32.saturating_sub(u32::from(*length));
            (network.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
        }
        _ => false,
    })
}
