//! A DNS server that knows the names of the backends, and no other.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinHandle, time::sleep};

const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const FOUND: [u8; 2] = [0x81, 0x80];
const NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];
const PORT: u16 = 5300;

/// It answers until it is dropped.
#[derive(Debug)]
pub struct Dns {
    pub at: SocketAddr,
    task: JoinHandle<()>,
}

impl Dns {
    /// Starts it at an address.
    pub async fn start(ip: IpAddr, names: Vec<(String, IpAddr)>) -> Self {
        let at = SocketAddr::new(ip, PORT);
        let socket = bind(at).await;
        let task = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                if let Some(answer) = answer(&query[..length], &names) {
                    let _ = socket.send_to(&answer, client).await;
                }
            }
        });
        Self { at, task }
    }
}

/// Binds an address. The one before it there may still be on its way out: dropping a task does not wait for its end.
async fn bind(at: SocketAddr) -> UdpSocket {
    for _ in 0..200 {
        match UdpSocket::bind(at).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => sleep(Duration::from_millis(10)).await,
            bound => return bound.unwrap_or_else(|error| panic!("{at}: {error}")),
        }
    }
    panic!("{at} stays in use");
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a query; `None` where it is none.
fn answer(query: &[u8], names: &[(String, IpAddr)]) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let question = query.get(HEADER..at + 4)?;
    let name = labels.join(".");
    let known = names.iter().find(|(known, _)| *known == name).map(|(_, ip)| ip);
    let address = match known {
        Some(IpAddr::V4(ip)) if query.get(at..at + 2)? == TYPE_A => Some(ip.octets()),
        _ => None,
    };
    let mut out = query.get(..2)?.to_vec();
    out.extend(if known.is_some() { FOUND } else { NO_SUCH_NAME });
    out.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    out.extend(question);
    if let Some(address) = address {
        // The name of the question, type A, class IN, 30 s, 4 bytes.
        out.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
        out.extend(address);
    }
    Some(out)
}
