//! ListenerSets: what an edit of one among many costs, and the memory of many.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use portcullis_bench::tls::Identity;
use portcullis_controller::{Index, Settings, snapshot::Change, status::Statuses};

use crate::{Edit, IN_ONE_FILE, Runs, changes};

const EDITS: usize = 101;

/// Prints the processor time of edits among `count` ListenerSets.
pub(crate) fn edits(count: usize) -> Result<()> {
    let identity = Identity::new(&["sets.bench.test"])?;
    let of_each = |i| changes(&[set(i, 0), secret(i, &identity), route(i, 0)].concat()).collect::<Vec<_>>();
    let objects: Vec<Change> = changes(&frame()).chain((0..count).flat_map(of_each)).collect();

    println!("\n{count} ListenerSets, each with a hostname, a certificate and an HTTPRoute");
    println!("| what | CPU ms, median | most |");
    println!("| --- | ---: | ---: |");
    let mut index = Index::new(Settings::default());
    let mut statuses = Statuses::default();
    let mut first = Runs::default();
    let mut served = None;
    first.run(|| {
        index.apply(objects);
        index.complete();
        served = index.publish();
        index.update_statuses(&mut statuses);
    });
    first.print("all of it, by the index from nothing (as at the start)");
    let mut served = served.context("the first table")?;
    let edits = [
        Edit { name: "one ListenerSet edited, new hostname", published: true, text: set },
        Edit { name: "one HTTPRoute edited", published: true, text: route },
    ];
    for edit in &edits {
        served = edit.measure(&mut index, &mut statuses, served, count, EDITS)?;
    }
    let listeners = served.table.ports.values().map(|port| port.listeners.len()).sum::<usize>();
    ensure!(listeners > count, "not every ListenerSet is served");
    Ok(())
}

/// Writes a folder of `count` ListenerSets.
pub(crate) fn write_folder(folder: &Path, count: usize) -> Result<()> {
    let identity = Identity::new(&["sets.bench.test"])?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("frame.yaml"), frame())?;
    let all: Vec<_> = (0..count).collect();
    for (number, some) in all.chunks(IN_ONE_FILE).enumerate() {
        let text: Vec<_> =
            some.iter().map(|i| [set(*i, 0), secret(*i, &identity), route(*i, 0)].concat()).collect();
        fs::write(folder.join(format!("sets-{number}.yaml")), text.concat())?;
    }
    Ok(())
}

fn frame() -> String {
    "---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: portcullis
spec:
  controllerName: portcullis.dev/gateway-controller
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: bench
spec:
  gatewayClassName: portcullis
  allowedListeners:
    namespaces:
      from: All
  listeners:
  - name: http
    port: 80
    protocol: HTTP
"
    .to_owned()
}

/// Returns a ListenerSet in a namespace of its own, after so many edits.
fn set(i: usize, edit: usize) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata:
  name: set
  namespace: tenant-{i}
spec:
  parentRef:
    name: bench
    namespace: default
  listeners:
  - name: https
    port: 443
    protocol: HTTPS
    hostname: host-{i}-{edit}.bench.test
    tls:
      certificateRefs:
      - name: certificate
"
    )
}

fn secret(i: usize, identity: &Identity) -> String {
    let mut text = format!(
        "---
apiVersion: v1
kind: Secret
metadata:
  name: certificate
  namespace: tenant-{i}
type: kubernetes.io/tls
stringData:
"
    );
    for (name, pem) in [("tls.crt", &identity.certificate), ("tls.key", &identity.key)] {
        let _ = writeln!(text, "  {name}: |");
        for line in pem.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn route(i: usize, edit: usize) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route
  namespace: tenant-{i}
spec:
  parentRefs:
  - kind: ListenerSet
    name: set
  rules:
  - matches:
    - path: {{type: PathPrefix, value: /v{edit}}}
"
    )
}
