//! The backend of `compare`: prints its addresses, then answers until it is ended.
#![allow(clippy::print_stdout)] // the addresses are its output

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::Parser;
use portcullis_bench::{origin, tls};
use tokio::net::UdpSocket;

#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen for HTTP; a free port of the loopback address unless given.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Serve TLS too, with this certificate (PEM).
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let listener = origin::bind(arguments.listen).await?;
    println!("http {}", listener.local_addr()?);
    if let (Some(certificate), Some(key)) = (&arguments.certificate, &arguments.key) {
        let acceptor = tls::acceptor(certificate, key)?;
        let listener = origin::bind(None).await?;
        println!("tls {}", listener.local_addr()?);
        tokio::spawn(origin::serve_tls(listener, acceptor));
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0").await?;
    println!("udp {}", datagrams.local_addr()?);
    tokio::spawn(origin::echo(datagrams));
    println!("ready");
    origin::serve(listener).await;
    Ok(())
}
