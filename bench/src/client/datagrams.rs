//! UDP: one datagram after the other, each of which comes back.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{net::UdpSocket, time::timeout};

use super::{Answer, Ask, Target};
use crate::origin::DATAGRAM;

/// A datagram that has not come back after this time is lost.
const LOST: Duration = Duration::from_secs(1);

/// One socket: a flow, to a proxy.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    number: u64,
    sent: [u8; DATAGRAM],
    /// Longer by one byte, so that a longer datagram is not taken for the one that was sent.
    buffer: [u8; DATAGRAM + 1],
}

impl Datagrams {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// Where there is no free port.
    pub async fn new(target: &Target) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(target.address).await?;
        Ok(Self { socket, number: 0, sent: [b'x'; DATAGRAM], buffer: [0; DATAGRAM + 1] })
    }

    /// Datagrams that were taken for lost may still arrive: only the last one counts.
    async fn back(&mut self) -> Result<()> {
        loop {
            let length = self.socket.recv(&mut self.buffer).await.context("receive")?;
            if self.buffer[..length] == self.sent {
                return Ok(());
            }
        }
    }
}

impl Ask for Datagrams {
    /// A datagram that has come back is as good as a 200.
    async fn ask(&mut self) -> Result<Answer> {
        self.number += 1;
        self.sent[..8].copy_from_slice(&self.number.to_be_bytes());
        self.socket.send(&self.sent).await.context("send")?;
        timeout(LOST, self.back()).await.with_context(|| format!("no datagram within {LOST:?}"))??;
        Ok(Answer { status: 200, body: DATAGRAM, closes: false })
    }

    fn has(&self, _name: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_datagram_that_was_sent_counts() {
        let (server, target) = server().await;
        let mut client = Datagrams::new(&target).await.unwrap();
        let answers = async {
            let mut buffer = [0; DATAGRAM + 1];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let mut earlier = buffer;
            earlier[..8].fill(0);
            for answer in [&buffer[..length - 1], &buffer[..], &earlier[..length], &buffer[..length]] {
                server.send_to(answer, from).await.unwrap();
            }
        };
        let (answer, ()) = tokio::join!(client.ask(), answers);
        assert!(target.check(answer.unwrap()).is_ok());
        let left = client.socket.try_recv(&mut client.buffer);
        assert!(left.is_err(), "the last of four was the answer: {left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_datagram_that_does_not_come_back_is_an_error() {
        let (_silent, target) = server().await;
        let mut client = Datagrams::new(&target).await.unwrap();
        assert_eq!(client.ask().await.unwrap_err().to_string(), "no datagram within 1s");
    }
    async fn server() -> (UdpSocket, Target) {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = server.local_addr().unwrap();
        let (host, path) = (String::new(), String::new());
        (server, Target { address, host, path, body: DATAGRAM, header: None })
    }
}
