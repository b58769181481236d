//! The generator: one kind of client against one proxy, and what it cost that proxy.
#![allow(clippy::print_stdout)] // the report is its output

use std::{
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use portcullis_bench::{
    client::Target,
    load::{self, Mode, Plan, Report, Tally},
    process,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Sends requests, and prints counts, latencies and the proxy's CPU for each request.
///
/// Without --rate the latencies are those of a closed loop: what would have been sent during a stall is not counted
/// (coordinated omission).
#[derive(Debug, Parser)]
struct Arguments {
    /// What a client does.
    #[arg(long, value_enum)]
    mode: Mode,
    /// The proxy.
    #[arg(long)]
    connect: SocketAddr,
    /// Host header and server name.
    #[arg(long, default_value = "bench.example.com")]
    host: String,
    /// Path.
    #[arg(long, default_value = "/small")]
    path: String,
    /// Bytes of body that a good answer has.
    #[arg(long, default_value_t = 100)]
    body: usize,
    /// A header that a good answer has (HTTP/1.1 only).
    #[arg(long)]
    header: Option<String>,
    /// Requests to send in each second, whatever becomes of those before.
    #[arg(long)]
    rate: Option<f64>,
    /// Connections at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Streams at a time on each connection (h2 only).
    #[arg(long, default_value_t = 16)]
    streams: usize,
    /// Measure for this many seconds, or until --requests.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// End after this many requests.
    #[arg(long, default_value_t = 0)]
    requests: u64,
    /// Seconds before anything is measured.
    #[arg(long, default_value_t = 0.0)]
    warm_up: f64,
    /// The proxy's certificate, PEM (all modes but h1).
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// The proxy's process, whose CPU is counted with that of its children.
    #[arg(long)]
    pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let report = LocalSet::new().run_until(measure(&arguments)).await?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let target = Rc::new(Target {
        address: arguments.connect,
        host: arguments.host.clone(),
        path: arguments.path.clone(),
        body: arguments.body,
        header: arguments.header.clone(),
    });
    let certificate = match &arguments.certificate {
        Some(path) => CertificateDer::from_pem_file(path).with_context(|| path.display().to_string())?,
        None => CertificateDer::from(Vec::new()),
    };
    let plan = Plan {
        mode: arguments.mode,
        connections: arguments.connections,
        streams: arguments.streams,
        pause: Duration::ZERO,
    };
    let tally = Rc::new(arguments.rate.map_or_else(Tally::default, Tally::at_rate));
    load::start(plan, &target, certificate, &tally)?;
    // Without a warm-up the first request counts, and --requests is how many are sent on one connection.
    if arguments.warm_up > 0.0 {
        sleep(Duration::from_secs_f64(arguments.warm_up)).await;
    }

    let cpu = || arguments.pid.map(process::cpu).transpose();
    let (cpu_before, began) = (cpu()?, Instant::now());
    tally.measure(arguments.requests);
    // Elapsed is the usual end.
    drop(timeout(Duration::from_secs_f64(arguments.seconds), tally.reached()).await);
    let (cpu_after, measured) = (cpu()?, began.elapsed());
    tally.stop();

    let mut report = tally.report(measured);
    // A child process that ended meanwhile took its count with it, so that the difference can be negative: no figure then.
    if let (Some(before), Some(after)) = (cpu_before, cpu_after)
        && let Some(used) = after.checked_sub(before)
    {
        let used = used.as_secs_f64();
        report.cpu_per_request = (report.requests > 0).then(|| used * 1e6 / report.requests as f64);
        report.cpu_share = Some(used / measured.as_secs_f64());
    }
    Ok(report)
}

fn print(report: &Report) {
    println!("requests    {} in {:.2} s, {:.0}/s", report.requests, report.seconds, report.per_second);
    println!(
        "errors      {}{}",
        report.errors,
        report.first_error.as_ref().map_or(String::new(), |e| format!(": {e}"))
    );
    println!("reconnects  {}", report.reconnects);
    println!(
        "latency     p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, max {:.0} µs",
        report.p50, report.p99, report.p999, report.max
    );
    if let (Some(cpu), Some(share)) = (report.cpu_per_request, report.cpu_share) {
        println!("proxy CPU   {cpu:.1} µs a request, {:.0} % of a core", share * 100.0);
    }
}
