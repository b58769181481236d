//! UDP: every datagram is sent back.

use tokio::net::UdpSocket;

use super::DATAGRAM;

/// Sends datagrams back until the task is dropped. Longer ones than those of the generator are cut.
pub async fn echo(socket: UdpSocket) {
    let mut buffer = [0; DATAGRAM];
    loop {
        // Errors are those of earlier datagrams: their sender has closed its socket (ICMP port unreachable).
        if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    }
}
