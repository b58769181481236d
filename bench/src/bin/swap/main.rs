//! What a change costs and who notices: edits under load; memory with many routes, and of an idle connection.
#![allow(clippy::print_stdout)] // progress and the report are its output

mod edits;
mod manifests;
mod memory;

use std::{fs, path::PathBuf, rc::Rc, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use portcullis_bench::{
    client::{Http1, Target, Tls},
    machine,
    origin::{self, SMALL, SMALL_PATH},
    process::sibling,
    scene::{HOST, Portcullis, Serving},
    tls::Identity,
};
use tokio::{
    net::TcpStream,
    task::LocalSet,
    time::{Instant, sleep},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long Portcullis may take to serve a folder.
const START: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
struct Arguments {
    /// Edits of the route that all clients use.
    #[arg(long, default_value_t = 200)]
    edits: u32,
    /// Seconds over which they are spread.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Routes, each with a host and a Service of its own, whose memory is measured.
    #[arg(long, default_value_t = 5000)]
    routes: usize,
    /// Ingresses with ten annotations, each with a host and a Service of its own, whose memory is measured.
    #[arg(long, default_value_t = 5000)]
    ingresses: usize,
    /// Idle connections whose memory is measured.
    #[arg(long, default_value_t = 1000)]
    idle: usize,
    /// Less of everything, to see that it works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// The core of Portcullis, as `taskset -c` takes it.
    #[arg(long, default_value = "0")]
    proxy_cores: String,
    /// The binary to measure; the one beside this program unless given.
    #[arg(long)]
    portcullis: Option<PathBuf>,
    /// Where `swap.md` goes.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// What all parts of this measurement use.
#[derive(Debug)]
struct Stage {
    binary: PathBuf,
    proxy_cores: String,
    scratch: PathBuf,
    identity: Identity,
    /// Ports of two backends.
    origins: [u16; 2],
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.edits, arguments.seconds) = (20, 2.0);
        (arguments.routes, arguments.ingresses, arguments.idle) = (500, 500, 100);
    }
    fs::create_dir_all(&arguments.folder)?;
    let folder = arguments.folder.canonicalize()?;
    let scratch = folder.join(format!("swap-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let measured = LocalSet::new().run_until(measure(&arguments, scratch.clone())).await;
    let (text, failed) = measured.with_context(|| format!("logs are in {}", scratch.display()))?;
    fs::remove_dir_all(&scratch)?;
    let path = folder.join("swap.md");
    fs::write(&path, &text)?;
    println!("\n{text}\nwritten to {}", path.display());
    if failed > 0 {
        bail!("{failed} requests failed");
    }
    Ok(())
}

/// Returns the report and how many requests failed.
async fn measure(arguments: &Arguments, scratch: PathBuf) -> Result<(String, u64)> {
    let mut origins = [0; 2];
    for port in &mut origins {
        let listener = origin::bind(None).await?;
        *port = listener.local_addr()?.port();
        tokio::spawn(origin::serve(listener));
    }
    let binary = match &arguments.portcullis {
        Some(binary) => binary.clone(),
        None => sibling("portcullis")?,
    };
    let proxy_cores = arguments.proxy_cores.clone();
    let stage = Stage { binary, proxy_cores, scratch, identity: Identity::new(&[HOST])?, origins };
    let (edits, failed) = edits::measure(&stage, arguments.edits, arguments.seconds).await?;
    let routes = memory::of_routes(&stage, arguments.routes).await?;
    let ingresses = memory::of_ingresses(&stage, arguments.ingresses).await?;
    let idle = memory::of_idle_connections(&stage, arguments.idle).await?;
    let note = if arguments.quick { "**A quick run: its figures mean nothing.**\n\n" } else { "" };
    let versions = format!("{}- {}\n", machine::describe(), machine::version_and_commit(&stage.binary)?);
    let parts = format!("{edits}\n{routes}\n{ingresses}\n{idle}\n## Machine and versions\n\n{versions}");
    Ok((format!("# Changes and memory\n\n{note}{parts}"), failed))
}

impl Stage {
    /// Starts Portcullis on this folder and waits until this host is answered well.
    async fn start(&self, name: &str, host: &str) -> Result<Portcullis> {
        let (folder, log) = (self.scratch.join(name), self.scratch.join(format!("{name}.log")));
        let serving = Serving::new(&folder);
        let mut portcullis = Portcullis::start(&self.binary, &*self.proxy_cores, serving, log)?;
        let deadline = Instant::now() + START;
        while let Err(error) = self.answers(&portcullis, host).await {
            if !portcullis.process.is_running() || Instant::now() > deadline {
                bail!("no good answer from Portcullis: {error:#}\n{}", portcullis.process.last_words());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(portcullis)
    }

    /// Both ports must answer.
    async fn answers(&self, portcullis: &Portcullis, host: &str) -> Result<()> {
        let (http, https) = targets(portcullis, host);
        let tls = Tls::new(self.identity.der()?, b"http/1.1")?;
        http.check(Http1::new(http.connect().await?, &http).get().await?)?;
        https.check(Http1::new(https.connect_tls(&tls).await?, &https).get().await?)
    }
}

/// The small body at this host, without and with TLS.
fn targets(portcullis: &Portcullis, host: &str) -> (Rc<Target>, Rc<Target>) {
    let target = |address| {
        let (host, path) = (host.to_owned(), SMALL_PATH.to_owned());
        Rc::new(Target { address, host, path, body: SMALL, header: None })
    };
    (target(portcullis.http), target(portcullis.https))
}

/// A connection that has been answered once, and is kept.
async fn kept(target: &Target) -> Result<Http1<TcpStream>> {
    let mut connection = Http1::new(target.connect().await?, target);
    target.check(connection.get().await?)?;
    Ok(connection)
}
