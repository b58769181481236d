//! Which of our ports is bound for each port of a Gateway that has addresses of its own.
//!
//! As text, a line for each: the Gateway's uid, its port, ours.
//!
//! ```text
//! 6f0e2c5a-6d7c-4c0e-9a43-0d6a2a2f3f0b 80 20000
//! 6f0e2c5a-6d7c-4c0e-9a43-0d6a2a2f3f0b 443 20001
//! 6f0e2c5a-6d7c-4c0e-9a43-0d6a2a2f3f0b 53/udp 20002
//! ```
//!
//! TCP and UDP ports of the same number are two ports, and get two numbers of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use portcullis_routing::PortKey;

/// The most characters of a uid; the API server's have 36.
const LONGEST_UID: usize = 128;

/// The ports of all Gateways; each of our ports belongs to one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    gateways: BTreeMap<Box<str>, BTreeMap<PortKey, u16>>,
    ours: BTreeSet<u16>,
}

impl Allocation {
    /// Reads the lines of a text. Lines that cannot be read, and those that name a port of an earlier line, are left
    /// out and returned.
    pub fn parse(text: &str) -> (Self, Vec<&str>) {
        let mut read = Self::default();
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let broken = lines.filter(|line| !read.take(line).is_some_and(|is_new| is_new));
        let broken = broken.collect();
        (read, broken)
    }

    fn take(&mut self, line: &str) -> Option<bool> {
        let mut words = line.split_ascii_whitespace();
        let (uid, port, ours) = (words.next()?, port_key(words.next()?)?, number(words.next()?)?);
        (words.next().is_none() && is_uid(uid)).then(|| self.insert(uid, port, ours))
    }

    /// Assigns a port of ours to a Gateway's; `false` if either is assigned already.
    pub fn insert(&mut self, uid: &str, port: PortKey, ours: u16) -> bool {
        let has = self.gateways.get(uid).is_some_and(|ports| ports.contains_key(&port));
        if has || !self.ours.insert(ours) {
            return false;
        }
        self.gateways.entry(uid.into()).or_default().insert(port, ours);
        true
    }

    /// Removes a Gateway's port.
    pub fn remove(&mut self, uid: &str, port: PortKey) {
        let Some(ports) = self.gateways.get_mut(uid) else { return };
        if let Some(ours) = ports.remove(&port) {
            self.ours.remove(&ours);
        }
        if ports.is_empty() {
            self.gateways.remove(uid);
        }
    }

    /// The port of ours that is assigned to a Gateway's.
    pub fn of(&self, uid: &str, port: PortKey) -> Option<u16> {
        self.gateways.get(uid)?.get(&port).copied()
    }

    /// Whether a port of ours is assigned.
    pub fn holds(&self, ours: u16) -> bool {
        self.ours.contains(&ours)
    }

    /// The ports of ours that are assigned.
    pub fn ours(&self) -> impl Iterator<Item = u16> {
        self.ours.iter().copied()
    }

    /// Uid, the Gateway's port and ours.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PortKey, u16)> {
        self.gateways.iter().flat_map(|(uid, ports)| {
            let uid: &str = uid;
            ports.iter().map(move |(port, ours)| (uid, *port, *ours))
        })
    }
}

/// Whether a uid can be told from the rest of a line.
pub fn is_uid(text: &str) -> bool {
    (1..=LONGEST_UID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A Gateway's port, as [`PortKey`] writes it.
fn port_key(text: &str) -> Option<PortKey> {
    match text.strip_suffix("/udp") {
        Some(text) => number(text).map(PortKey::udp),
        None => number(text).map(PortKey::tcp),
    }
}

/// A port, in figures alone.
fn number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port > 0)
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(uid, port, ours)| writeln!(f, "{uid} {port} {ours}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_broken_costs_itself() {
        let long = format!("{} 80 20009", "u".repeat(129));
        for line in [
            "a",
            "a 80",
            "a 80 x",
            "a 80 20001 more",
            "a 0 20001",
            "a 80 65536",
            "a +80 20001",
            "a -1 20001",
            "a 80/tcp 20001",
            "a /udp 20001",
            "a +80/udp 20001",
            "a 80 20001/udp",
            "a 80 20000",
            "a 81 20000",
            "b 80 20005",
            "\u{e4} 80 20001",
            "a 80 99999999999999999999",
            &long,
        ] {
            let text = format!("b 80 20000\n\n{line}\n  c  443  20001  \n");
            let (read, broken) = Allocation::parse(&text);
            let left: Vec<_> = read.iter().collect();
            assert_eq!(left, [("b", PortKey::tcp(80), 20000), ("c", PortKey::tcp(443), 20001)], "{line}");
            assert_eq!(broken, [line], "{line}");
            assert_eq!(Allocation::parse(&read.to_string()), (read, vec![]), "{line}");
        }
    }

    #[test]
    fn each_port_is_of_one() {
        let mut all = Allocation::default();
        assert!(all.insert("a", PortKey::tcp(80), 20000) && all.insert("a", PortKey::tcp(443), 20001));
        assert!(!all.insert("b", PortKey::tcp(80), 20001) && !all.insert("a", PortKey::tcp(80), 20002));
        all.remove("a", PortKey::tcp(80));
        assert!(!all.holds(20000) && all.holds(20001) && all.of("a", PortKey::tcp(80)).is_none());
        assert!(all.insert("b", PortKey::tcp(80), 20000));
        all.remove("a", PortKey::tcp(443));
        all.remove("a", PortKey::tcp(443));
        assert_eq!(all.iter().collect::<Vec<_>>(), [("b", PortKey::tcp(80), 20000)]);
    }

    #[test]
    fn ports_of_tcp_and_udp_are_two() {
        let (tcp, udp) = (PortKey::tcp(53), PortKey::udp(53));
        let mut all = Allocation::default();
        assert!(all.insert("a", tcp, 20000) && all.insert("a", udp, 20001));
        assert!(!all.insert("a", udp, 20002), "it has one");
        assert!(!all.insert("b", udp, 20000), "the number is that of a port of TCP");
        assert_eq!(all.to_string(), "a 53 20000\na 53/udp 20001\n");
        assert_eq!(Allocation::parse(&all.to_string()), (all.clone(), vec![]));
        all.remove("a", tcp);
        assert_eq!((all.of("a", tcp), all.of("a", udp)), (None, Some(20001)));
    }
}
