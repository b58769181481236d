//! A set of networks. Whether it holds an address is a binary search, however many networks it was made of.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A set of networks of IPv4 and IPv6.
///
/// An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is treated as the IPv4 address, both in the set and for a client: a
/// client cannot bypass a list by the way its address is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// First and last address of each range; sorted, and neither overlapping nor adjacent.
type Ranges<T> = Box<[(T, T)]>;

/// How many ranges are written out of a set; the others are counted.
const SHOWN: usize = 4;

impl Networks {
    /// Whether one of the networks holds the address.
    pub fn hold(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// Of an address in each network, and its prefix length. Bits beyond the length do not count.
impl FromIterator<(IpAddr, u8)> for Networks {
    fn from_iter<I: IntoIterator<Item = (IpAddr, u8)>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (address, length) in networks {
            match (address, address.to_canonical()) {
                (IpAddr::V4(address), _) => v4.push(range_of_v4(address, length)),
                (IpAddr::V6(_), IpAddr::V4(address)) if length >= MAPPED => {
                    v4.push(range_of_v4(address, length - MAPPED));
                }
                (IpAddr::V6(address), _) => {
                    let mask = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                    v6.push((address.to_bits() & !mask, address.to_bits() | mask));
                }
            }
        }
        Self { v4: merged(v4, u32::checked_add), v6: merged(v6, u128::checked_add) }
    }
}

/// The prefix length of the IPv6 network in which IPv4 addresses are mapped (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

fn range_of_v4(address: Ipv4Addr, length: u8) -> (u32, u32) {
    let mask = u32::MAX.checked_shr(length.into()).unwrap_or(0);
    (address.to_bits() & !mask, address.to_bits() | mask)
}

fn merged<T: Copy + Ord + From<u8>>(
    mut ranges: Vec<(T, T)>,
    checked_add: impl Fn(T, T) -> Option<T>,
) -> Ranges<T> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if checked_add(*end, 1.into()).is_none_or(|next| first <= next) => {
                *end = last.max(*end);
            }
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| ranges[at].1 >= address)
}

/// The first ranges; a list may have thousands.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 =
            self.v4.iter().map(|(first, last)| [*first, *last].map(|bits| Ipv4Addr::from_bits(bits).into()));
        let v6 =
            self.v6.iter().map(|(first, last)| [*first, *last].map(|bits| Ipv6Addr::from_bits(bits).into()));
        for (at, [first, last]) in v4.chain(v6).take(SHOWN).enumerate() {
            let (first, last): (IpAddr, IpAddr) = (first, last);
            write!(f, "{}{first}", if at == 0 { "" } else { "," })?;
            if first != last {
                write!(f, "-{last}")?;
            }
        }
        match (self.v4.len() + self.v6.len()).checked_sub(SHOWN) {
            None | Some(0) if self.is_empty() => f.write_str("nobody"),
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        let network = |text: &&str| {
            let (address, length) = text.split_once('/').unwrap();
            (address.parse().unwrap(), length.parse().unwrap())
        };
        texts.iter().map(network).collect()
    }

    #[test]
    fn a_network_holds_what_has_its_first_bits() {
        for (set, address, want) in [
            (&["10.0.0.0/8"][..], "10.255.255.255", true),
            (&["10.0.0.0/8"], "11.0.0.0", false),
            (&["10.55.0.21/24"], "10.55.0.0", true),
            (&["10.55.0.21/32"], "10.55.0.22", false),
            (&["0.0.0.0/0"], "255.255.255.255", true),
            (&["0.0.0.0/0"], "::1", false),
            (&["::/0"], "2001:db8::1", true),
            (&["::/0"], "10.0.0.1", false),
            (&["2001:db8::/32"], "2001:db8:ffff::", true),
            (&["2001:db8::/32"], "2001:db9::", false),
            (&["255.255.255.255/32", "0.0.0.0/32"], "255.255.255.255", true),
            (&[], "10.0.0.1", false),
        ] {
            assert_eq!(networks(set).hold(address.parse().unwrap()), want, "{set:?}: {address}");
        }
    }

    /// A client with an IPv4 address may be seen as `::ffff:a.b.c.d`, and a tenant may write it so.
    #[test]
    fn no_spelling_of_an_address_gets_around_a_list() {
        for set in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            for address in ["10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203"] {
                assert!(networks(&[set]).hold(address.parse().unwrap()), "{set}: {address}");
            }
        }
    }

    #[test]
    fn networks_are_kept_as_few_ranges() {
        let set = networks(&["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "11.0.0.0/8", "12.0.0.1/32"]);
        assert_eq!(set.to_string(), "10.0.0.0-11.255.255.255,12.0.0.1");
        let many: Networks = (0..9_u32).map(|n| (Ipv4Addr::from_bits(n * 2).into(), 32)).collect();
        assert_eq!(many.to_string(), "0.0.0.0,0.0.0.2,0.0.0.4,0.0.0.6 and 5 more");
        assert_eq!(Networks::default().to_string(), "nobody");
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few different bits, so that addresses meet.
        let v4 = (0..4_u32, 0..4_u32).prop_map(|(high, low)| Ipv4Addr::from_bits(high << 30 | low).into());
        let v6 = (0..4_u128, 0..4_u128).prop_map(|(high, low)| Ipv6Addr::from_bits(high << 126 | low).into());
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn a_set_is_what_a_look_at_each_network_says(
            networks in prop::collection::vec((address(), 0..=128_u8), 0..8),
            asked in address(),
        ) {
            let networks: Vec<_> =
                networks.into_iter().map(|(ip, len)| (ip, if ip.is_ipv4() { len.min(32) } else { len })).collect();
            let same = |(network, length): &(IpAddr, u8)| match (network, asked) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(*length)
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(*length)
                }
                _ => false,
            };
            let want = networks.iter().any(same);
            prop_assert_eq!(networks.into_iter().collect::<Networks>().hold(asked), want);
        }
    }
}
