//! Addresses that are nobody's backend: those of the machine itself, of what only a link reaches, of groups.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What is special about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Special {
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`; most clouds' metadata services are there.
    LinkLocal,
    /// A metadata service that a cloud has elsewhere.
    Metadata,
    /// `0.0.0.0`, `::`: connections to it are connections to loopback.
    Unspecified,
    /// Multicast, and the broadcast address.
    Multicast,
}

/// Metadata and host services of clouds that are not link-local: Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// The same over IPv6: Google, Scaleway. Those of Amazon are `fd00:ec2::/32`.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)];

impl Special {
    /// What is special about an address, or about the IPv4 address that it stands for ([`embedded`]).
    pub fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip).or_else(|| embedded(ip).and_then(Self::of_v4)),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        match ip {
            _ if ip.is_loopback() => Some(Self::Loopback),
            _ if ip.is_link_local() => Some(Self::LinkLocal),
            _ if ip.is_unspecified() => Some(Self::Unspecified),
            _ if ip.is_multicast() || ip.is_broadcast() => Some(Self::Multicast),
            _ if METADATA_V4.contains(&ip) => Some(Self::Metadata),
            _ => None,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        match ip.segments() {
            _ if ip.is_loopback() => Some(Self::Loopback),
            _ if ip.is_unspecified() => Some(Self::Unspecified),
            _ if ip.is_unicast_link_local() => Some(Self::LinkLocal),
            _ if ip.is_multicast() => Some(Self::Multicast),
            [0xfd00, 0xec2, ..] => Some(Self::Metadata),
            _ if METADATA_V6.contains(&ip) => Some(Self::Metadata),
            _ => None,
        }
    }
}

/// The IPv4 address to which packets to this one are carried in the end: mapped (RFC 4291, 2.5.5.2), compatible
/// (2.5.5.1), translated (RFC 6052 and RFC 8215, each with a prefix of 96 bits), 6to4 (RFC 3056), Teredo (RFC 4380).
pub fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [0x2001, 0, .., high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Unspecified => "the unspecified address",
            Self::Multicast => "a multicast or broadcast address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_told_in_every_form() {
        use Special::{LinkLocal, Loopback, Metadata, Multicast, Unspecified};
        for (address, want) in [
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.254", Some(Loopback)),
            ("::1", Some(Loopback)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::127.0.0.1", Some(Loopback)),
            ("169.254.0.1", Some(LinkLocal)),
            ("169.254.169.254", Some(LinkLocal)),
            ("169.254.170.2", Some(LinkLocal)),
            ("::ffff:169.254.169.254", Some(LinkLocal)),
            ("64:ff9b::169.254.169.254", Some(LinkLocal)),
            ("64:ff9b:1:2:3:4:169.254.169.254", Some(LinkLocal)),
            ("2002:a9fe:a9fe::1", Some(LinkLocal)),
            // Teredo has the client's address with all bits turned round.
            ("2001:0:4136:e378:8000:63bf:5601:5601", Some(LinkLocal)),
            ("fe80::1", Some(LinkLocal)),
            ("febf::1", Some(LinkLocal)),
            ("fd00:ec2::254", Some(Metadata)),
            ("fd00:ec2::23", Some(Metadata)),
            ("fd20:ce::254", Some(Metadata)),
            ("fd00:42::42", Some(Metadata)),
            ("100.100.100.200", Some(Metadata)),
            ("168.63.129.16", Some(Metadata)),
            ("192.0.0.192", Some(Metadata)),
            ("64:ff9b::100.100.100.200", Some(Metadata)),
            ("0.0.0.0", Some(Unspecified)),
            ("::", Some(Unspecified)),
            ("::ffff:0.0.0.0", Some(Unspecified)),
            ("64:ff9b::", Some(Unspecified)),
            ("224.0.0.1", Some(Multicast)),
            ("239.255.255.255", Some(Multicast)),
            ("255.255.255.255", Some(Multicast)),
            ("ff02::1", Some(Multicast)),
            ("2002:e000:0001::", Some(Multicast)),
            ("10.0.0.1", None),
            ("100.64.0.1", None),
            ("126.255.255.255", None),
            ("128.0.0.1", None),
            ("169.253.255.255", None),
            ("192.168.1.1", None),
            ("223.255.255.255", None),
            ("240.0.0.1", None),
            ("8.8.8.8", None),
            ("::ffff:10.0.0.1", None),
            ("64:ff9b::10.0.0.1", None),
            ("2002:0a00:0001::", None),
            ("2001:db8::1", None),
            ("2001:0:4136:e378:8000:63bf:f5ff:fffe", None),
            ("fd00::1", None),
            ("fec0::1", None),
            ("2607:f8b0::1", None),
        ] {
            assert_eq!(Special::of(address.parse().unwrap()), want, "{address}");
        }
    }

    #[test]
    fn an_address_stands_for_the_ipv4_address_that_it_is_carried_to() {
        for (address, want) in [
            ("::ffff:10.1.2.3", Some("10.1.2.3")),
            ("::10.1.2.3", Some("10.1.2.3")),
            ("64:ff9b::10.1.2.3", Some("10.1.2.3")),
            ("64:ff9b:1::10.1.2.3", Some("10.1.2.3")),
            ("2002:a01:203:4::5", Some("10.1.2.3")),
            ("2001:0:1:2:3:4:f5fe:fdfc", Some("10.1.2.3")),
            ("::", None),
            ("::1", None),
            ("64:ff9b:2::10.1.2.3", None),
            ("2001:db8::10.1.2.3", None),
        ] {
            let want = want.map(|text| text.parse().unwrap());
            assert_eq!(embedded(address.parse().unwrap()), want, "{address}");
        }
    }
}
