//! Memory: of many routes, and of a connection that does nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use portcullis_bench::{
    client::{Http1, Target, Tls},
    ingresses,
    origin::{SMALL, SMALL_PATH},
    process, scene,
    scene::HOST,
};
use tokio::time::{Instant, sleep};

use crate::{Stage, kept, manifests, targets};

/// For the allocator to give back what start-up needed, and for tasks to come to rest.
const SETTLE: Duration = Duration::from_secs(3);

/// Connections before the first measurement: what the first ones bring into being is not theirs.
const BEFORE: usize = 20;

/// Of the whole process, serving a folder with this many routes.
pub(crate) async fn of_routes(stage: &Stage, routes: usize) -> Result<String> {
    println!("{routes} routes");
    let folder = stage.scratch.join("routes");
    scene::write_gateway(&folder, &stage.identity, stage.origins[0])?;
    manifests::write_many(&folder, routes, stage.origins[0])?;
    let began = Instant::now();
    let last = manifests::host(routes - 1);
    let portcullis = stage.start("routes", &last).await?;
    let ready = began.elapsed();
    let (first, _) = targets(&portcullis, &manifests::host(0));
    drop(kept(&first).await?);
    sleep(SETTLE).await;
    let (now, most) = process::memory(portcullis.process.pid())?;
    Ok(format!(
        "## {routes} HTTPRoutes, each with its Service, EndpointSlice and host\n\n\
         Start to the first answer on the last of them: {} ms. Resident memory of the whole process with one worker: \
         {:.1} MiB, at most {:.1} MiB during start-up.\n",
        ready.as_millis(),
        mib(now),
        mib(most)
    ))
}

/// Of the whole process, serving a folder with this many Ingresses that have ten annotations each.
pub(crate) async fn of_ingresses(stage: &Stage, count: usize) -> Result<String> {
    println!("{count} Ingresses");
    let folder = stage.scratch.join("ingresses");
    scene::write_gateway(&folder, &stage.identity, stage.origins[0])?;
    std::fs::write(folder.join("route.yaml"), manifests::route("ready", HOST, "origin"))?;
    manifests::write_many_ingresses(&folder, count, stage.origins[0])?;
    let portcullis = stage.start("ingresses", HOST).await?;
    let last = (0..count).rev().find(|number| ingresses::is_simple(*number));
    let host = ingresses::host(last.context("too few Ingresses")?);
    let target =
        Target { address: portcullis.http, host, path: SMALL_PATH.to_owned(), body: SMALL, header: None };
    drop(kept(&target).await?);
    sleep(SETTLE).await;
    let (now, most) = process::memory(portcullis.process.pid())?;
    Ok(format!(
        "## {count} Ingresses with ten annotations, each with its Service, EndpointSlice and host\n\n\
         Resident memory of the whole process with one worker: {:.1} MiB, at most {:.1} MiB during start-up.\n",
        mib(now),
        mib(most)
    ))
}

/// Of connections that have been answered once and are kept.
pub(crate) async fn of_idle_connections(stage: &Stage, connections: usize) -> Result<String> {
    println!("{connections} idle connections");
    let folder = stage.scratch.join("idle");
    scene::write_gateway(&folder, &stage.identity, stage.origins[0])?;
    std::fs::write(folder.join("route.yaml"), manifests::route("idle", HOST, "origin"))?;
    let portcullis = stage.start("idle", HOST).await?;
    let (http, https) = targets(&portcullis, HOST);
    let tls = Tls::new(stage.identity.der()?, b"http/1.1")?;
    let resident = || process::memory(portcullis.process.pid()).map(|(now, _)| now);

    let mut plain = Vec::new();
    for _ in 0..BEFORE {
        plain.push(kept(&http).await?);
    }
    sleep(SETTLE).await;
    let at_first = resident()?;
    for _ in 0..connections {
        plain.push(kept(&http).await?);
    }
    sleep(SETTLE).await;
    let with_plain = resident()?;
    let mut over_tls = Vec::new();
    for _ in 0..connections {
        let mut connection = Http1::new(https.connect_tls(&tls).await?, &https);
        https.check(connection.get().await?)?;
        over_tls.push(connection);
    }
    sleep(SETTLE).await;
    let with_tls = resident()?;
    // None was closed meanwhile: what is measured are connections.
    for connection in &mut plain {
        http.check(connection.get().await?)?;
    }
    for connection in &mut over_tls {
        https.check(connection.get().await?)?;
    }
    ensure!(connections > 0, "no connections to measure");
    let each = |before: u64, after: u64| (after.saturating_sub(before)) as f64 / connections as f64;
    Ok(format!(
        "## {connections} idle connections, answered once and kept\n\n\
         HTTP/1.1: {:.1} KiB each. HTTP/1.1 over TLS: {:.1} KiB each. The process without them: {:.1} MiB.\n",
        each(at_first, with_plain),
        each(with_plain, with_tls),
        mib(at_first)
    ))
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
