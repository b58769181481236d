//! The PROXY protocol, versions 1 and 2: a load balancer in front says whose connection it is, and the backend of a
//! stream is told whose it is.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use portcullis_routing::ProxyProtocol;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

/// The client's address and the one that it connected to, as the load balancer saw them.
pub(crate) type Addresses = (SocketAddr, SocketAddr);

const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 and the command: the load balancer speaks for itself, or for a client.
const LOCAL: u8 = 0x20;
const PROXIED: u8 = 0x21;
/// The family of the addresses, and the transport.
const TCP_4: u8 = 0x11;
const TCP_6: u8 = 0x21;
const V1: &[u8] = b"PROXY ";
/// The longest line of version 1, with its end.
const V1_MAX: usize = 107;
/// Addresses and extensions of version 2; the protocol would allow 64 KiB.
const V2_MAX: usize = 4096;

/// Why a header is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("the PROXY header could not be read: {0}")]
    Io(#[from] io::Error),
    #[error("no PROXY header, though this peer has to send one")]
    Missing,
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Whether the bytes of a connection begin with a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// No byte has been read.
    #[default]
    Unread,
    /// All bytes match the signature of a version. These are missing.
    Partial(&'static [u8]),
    /// They begin with a header.
    Header,
    /// They do not.
    Other,
}

impl Beginning {
    /// The beginning with more bytes.
    pub(crate) fn with(self, bytes: &[u8]) -> Self {
        let possible: &[&'static [u8]] = match self {
            Self::Unread => &[V1, V2],
            Self::Partial(missing) => &[missing],
            decided => return decided,
        };
        let next = |missing: &&'static [u8]| match (bytes.starts_with(missing), missing.strip_prefix(bytes)) {
            (true, _) => Some(Self::Header),
            (false, missing) => missing.map(Self::Partial),
        };
        possible.iter().find_map(next).unwrap_or(Self::Other)
    }
}

/// Reads the header and nothing that comes after it. `None`: the load balancer speaks for itself (its health check),
/// or of something that is no TCP.
pub(crate) async fn read(tcp: &mut TcpStream) -> Result<Option<Addresses>, ProxyHeaderError> {
    read_from(tcp).await
}

/// The header of a client's connection.
pub(crate) fn header(version: ProxyProtocol, (source, destination): Addresses) -> Vec<u8> {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (from_port, to_port) = (source.port(), destination.port());
    match (version, from, to) {
        (ProxyProtocol::V1, IpAddr::V4(_), IpAddr::V4(_)) => {
            format!("PROXY TCP4 {from} {to} {from_port} {to_port}\r\n").into()
        }
        (ProxyProtocol::V1, ..) => {
            let (from, to) = (v6(from), v6(to));
            format!("PROXY TCP6 {from} {to} {from_port} {to_port}\r\n").into()
        }
        (ProxyProtocol::V2, IpAddr::V4(from), IpAddr::V4(to)) => {
            binary(TCP_4, &[&from.octets()[..], &to.octets()], [from_port, to_port])
        }
        (ProxyProtocol::V2, ..) => {
            binary(TCP_6, &[&v6(from).octets()[..], &v6(to).octets()], [from_port, to_port])
        }
    }
}

/// Both addresses have to be of one family.
fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn binary(family: u8, addresses: &[&[u8]; 2], ports: [u16; 2]) -> Vec<u8> {
    let ports = ports.map(u16::to_be_bytes).concat();
    let content = [addresses[0], addresses[1], &ports].concat();
    // At most 36.
    let len = u8::try_from(content.len()).unwrap_or_default();
    [&V2[..], &[PROXIED, family, 0, len], &content].concat()
}

async fn read_from(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<Addresses>, ProxyHeaderError> {
    let mut start = [0; 12];
    io.read_exact(&mut start).await?;
    if start == *V2 {
        let mut rest = [0; 4];
        io.read_exact(&mut rest).await?;
        let [command, family, high, low] = rest;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > V2_MAX {
            return Err(ProxyHeaderError::Malformed);
        }
        let mut body = vec![0; len];
        io.read_exact(&mut body).await?;
        return v2(command, family, &body);
    }
    if !start.starts_with(V1) {
        return Err(ProxyHeaderError::Missing);
    }
    // Byte by byte, as there is no telling how long it is; it is once for a connection.
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == V1_MAX {
            return Err(ProxyHeaderError::Malformed);
        }
        line.push(io.read_u8().await?);
    }
    v1(&line)
}

fn v1(line: &[u8]) -> Result<Option<Addresses>, ProxyHeaderError> {
    let text = std::str::from_utf8(line).ok().and_then(|l| l.strip_suffix("\r\n"));
    let text = text.ok_or(ProxyHeaderError::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next().ok_or(ProxyHeaderError::Malformed)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut ip = || words.next().and_then(|w| w.parse::<IpAddr>().ok()).ok_or(ProxyHeaderError::Malformed);
    let (source, destination) = (ip()?, ip()?);
    let mut port = || words.next().and_then(|w| w.parse::<u16>().ok()).ok_or(ProxyHeaderError::Malformed);
    let (source_port, destination_port) = (port()?, port()?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    if !fits || words.next().is_some() {
        return Err(ProxyHeaderError::Malformed);
    }
    Ok(Some((SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port))))
}

fn v2(command: u8, family: u8, body: &[u8]) -> Result<Option<Addresses>, ProxyHeaderError> {
    match command {
        LOCAL => return Ok(None),
        PROXIED => {}
        _ => return Err(ProxyHeaderError::Malformed),
    }
    let port = |at: &[u8; 2]| u16::from_be_bytes(*at);
    match family {
        TCP_4 => {
            let (source, rest) = body.split_first_chunk::<4>().ok_or(ProxyHeaderError::Malformed)?;
            let (destination, rest) = rest.split_first_chunk::<4>().ok_or(ProxyHeaderError::Malformed)?;
            let (source_port, rest) = rest.split_first_chunk().ok_or(ProxyHeaderError::Malformed)?;
            let (destination_port, _) = rest.split_first_chunk().ok_or(ProxyHeaderError::Malformed)?;
            let address = |ip: &[u8; 4], at| SocketAddr::new(Ipv4Addr::from(*ip).into(), port(at));
            Ok(Some((address(source, source_port), address(destination, destination_port))))
        }
        TCP_6 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(ProxyHeaderError::Malformed)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(ProxyHeaderError::Malformed)?;
            let (source_port, rest) = rest.split_first_chunk().ok_or(ProxyHeaderError::Malformed)?;
            let (destination_port, _) = rest.split_first_chunk().ok_or(ProxyHeaderError::Malformed)?;
            let address = |ip: &[u8; 16], at| SocketAddr::new(Ipv6Addr::from(*ip).into(), port(at));
            Ok(Some((address(source, source_port), address(destination, destination_port))))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_however_its_bytes_arrive() {
        for (pieces, want) in [
            (&[&b"PROXY TCP4 "[..]][..], Beginning::Header),
            (&[b"P", b"ROXY", b" TCP4"], Beginning::Header),
            (&[b"\r\n\r\n\0\r\nQUIT\n"], Beginning::Header),
            (&[b"\r\n\r\n\0\r\nQUI", b"T\n\x21"], Beginning::Header),
            (&[], Beginning::Unread),
            (&[b"PROX"], Beginning::Partial(b"Y ")),
            (&[b"PROX", b"IMITY"], Beginning::Other),
            (&[b"x", b"PROXY "], Beginning::Other),
            (&[b"\r\nPROXY "], Beginning::Other),
        ] {
            let got = pieces.iter().fold(Beginning::default(), |beginning, piece| beginning.with(piece));
            assert_eq!(got, want, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_header_is_read_as_it_was_written() {
        for (from, to) in [
            ("192.0.2.7:50000", "198.51.100.1:443"),
            ("[2001:db8::7]:50000", "[2001:db8::1]:443"),
            ("[::ffff:192.0.2.7]:50000", "[::ffff:198.51.100.1]:443"),
            ("192.0.2.7:50000", "[2001:db8::1]:443"),
        ] {
            let addresses: Addresses = (from.parse().unwrap(), to.parse().unwrap());
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let header = [header(version, addresses), b"the stream".to_vec()].concat();
                let mut rest = &header[..];
                let (source, destination) = read_from(&mut rest).await.unwrap().unwrap();
                let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
                let read = (canonical(source), canonical(destination));
                assert_eq!(read, (canonical(addresses.0), canonical(addresses.1)), "{version:?}");
                assert_eq!(rest, b"the stream");
            }
        }
        let v4 = ("192.0.2.7:50000".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
        assert_eq!(header(ProxyProtocol::V1, v4), b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n");
        let text = header(ProxyProtocol::V1, ("[::ffff:192.0.2.7]:1".parse().unwrap(), v4.1));
        assert_eq!(text, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 443\r\n");
    }

    #[tokio::test]
    async fn the_addresses_of_both_versions_are_read_and_no_byte_more() {
        let v4 = "PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n";
        let v6 = "PROXY TCP6 2001:db8::7 2001:db8::1 50000 443\r\n";
        let v4_binary = [
            &V2[..],
            &[0x21, 0x11, 0, 12],
            &[192, 0, 2, 7, 198, 51, 100, 1],
            &50000_u16.to_be_bytes(),
            &[1, 187],
        ];
        let extended = [
            &V2[..],
            &[0x21, 0x11, 0, 16],
            &[192, 0, 2, 7, 198, 51, 100, 1],
            &50000_u16.to_be_bytes(),
            &[1, 187, 4, 0, 1, 0],
        ];
        let (a, b) = ("2001:db8::7".parse::<Ipv6Addr>().unwrap(), "2001:db8::1".parse::<Ipv6Addr>().unwrap());
        let v6_binary =
            [&V2[..], &[0x21, 0x21, 0, 36], &a.octets(), &b.octets(), &50000_u16.to_be_bytes(), &[1, 187]];
        let four = Some(("192.0.2.7:50000".parse().unwrap(), "198.51.100.1:443".parse().unwrap()));
        let six = Some(("[2001:db8::7]:50000".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap()));
        for (header, want) in [
            (v4.as_bytes().to_vec(), four),
            (v6.as_bytes().to_vec(), six),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v4_binary.concat(), four),
            (extended.concat(), four),
            (v6_binary.concat(), six),
            ([&V2[..], &[0x20, 0, 0, 0]].concat(), None),
            ([&V2[..], &[0x21, 0x31, 0, 2, 0, 0]].concat(), None),
        ] {
            let wire = [&header[..], b"GET / HTTP/1.1"].concat();
            let mut io = &wire[..];
            assert_eq!(read_from(&mut io).await.unwrap(), want, "{:?}", header.escape_ascii().to_string());
            assert_eq!(io, b"GET / HTTP/1.1");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let endless = [V1, &[b'a'; 200]].concat();
        for wire in [
            &b""[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443 1\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 50000 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 443\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 5 443\r\n",
            b"PROXY TCP4 192.0.2.7",
            &endless,
            b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xffab",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x0cabcdabcdabcd",
        ] {
            let mut io = wire;
            let text = wire.escape_ascii().to_string();
            assert!(read_from(&mut io).await.is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_hold_the_addresses_of_their_family() {
        for (range, ip, want) in [
            (("10.0.0.0", 8), "10.1.2.3", true),
            (("10.0.0.0", 8), "11.1.2.3", false),
            (("10.0.0.0", 8), "::ffff:10.1.2.3", true),
            (("0.0.0.0", 0), "203.0.113.1", true),
            (("0.0.0.0", 0), "::1", false),
            (("192.0.2.1", 32), "192.0.2.1", true),
            (("192.0.2.1", 32), "192.0.2.2", false),
            (("2001:db8::", 32), "2001:db8:1::1", true),
            (("2001:db8::", 32), "2001:db9::1", false),
            (("::", 0), "2001:db9::1", true),
        ] {
            let range = (range.0.parse().unwrap(), range.1);
            assert_eq!(crate::ranges::hold(&[range], ip.parse().unwrap()), want, "{ip} in {range:?}");
        }
    }
}
