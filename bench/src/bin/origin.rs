//! The backend of `compare`: prints its address, then answers until it is ended.
#![allow(clippy::print_stdout)] // the address is its output

use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser;
use portcullis_bench::origin;

#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; a free port of the loopback address unless given.
    #[arg(long)]
    listen: Option<SocketAddr>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let listener = origin::bind(Arguments::parse().listen).await?;
    println!("{}", listener.local_addr()?);
    origin::serve(listener).await;
    Ok(())
}
