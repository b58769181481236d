//! ListenerSets: what an edit of one among many costs, and the memory of many.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Result, ensure};
use portcullis_bench::{process, tls::Identity};
use portcullis_controller::snapshot::Change;

use crate::{Edit, IN_ONE_FILE, changes, publish_first};

const EDITS: usize = 101;
/// The most that the API allows.
const LISTENERS_OF_FULL: usize = 64;

/// Prints the processor time of edits among ListenerSets: `count` of them with a listener and a certificate each, and
/// full ones with as many listeners in all.
pub(crate) fn edits(count: usize) -> Result<()> {
    let identity = Identity::new(&["sets.bench.test"])?;
    let of_each = |i| [set(i, 0), secret(i, &identity), route(i, 0)].concat();
    println!("\n{count} ListenerSets, each with a hostname, a certificate and an HTTPRoute");
    let one = Edit { name: "one ListenerSet edited, new hostname", published: true, text: set };
    edits_among(count, count, of_each, one)?;
    let full = count / LISTENERS_OF_FULL;
    let of_each = |i| [full_set(i, 0), secret(i, &identity), route(i, 0)].concat();
    println!(
        "\n{full} ListenerSets of {LISTENERS_OF_FULL} hostnames, each with a certificate and an HTTPRoute"
    );
    let one = Edit { name: "one ListenerSet edited, one new hostname", published: true, text: full_set };
    edits_among(full, full * LISTENERS_OF_FULL, of_each, one)
}

fn edits_among(sets: usize, listeners: usize, of_each: impl Fn(usize) -> String, one: Edit) -> Result<()> {
    let objects = (0..sets).flat_map(|i| changes(&of_each(i)).collect::<Vec<_>>());
    let objects: Vec<Change> = changes(&frame()).chain(objects).collect();
    let before = process::memory(std::process::id())?.0;
    let (mut index, mut statuses, mut served) = publish_first(objects)?;
    let now = process::memory(std::process::id())?.0;
    for edit in [one, Edit { name: "one HTTPRoute edited", published: true, text: route }] {
        served = edit.measure(&mut index, &mut statuses, served, sets, EDITS)?;
    }
    println!(
        "\nResident MiB that all of it added to the objects: {:.1}",
        (now as f64 - before as f64) / 1024.0
    );
    let there = served.table.ports.values().map(|port| port.listeners.len()).sum::<usize>();
    ensure!(there > listeners, "not all listeners are served");
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
    head(i) + &listener("https", &format!("host-{i}-{edit}.bench.test"))
}

/// Returns a ListenerSet with as many listeners as it may have, of which an edit changes the first.
fn full_set(i: usize, edit: usize) -> String {
    let rest =
        (1..LISTENERS_OF_FULL).map(|n| listener(&format!("l{n}"), &format!("{n}.host-{i}.bench.test")));
    set(i, edit) + &rest.collect::<String>()
}

fn head(i: usize) -> String {
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
"
    )
}

fn listener(name: &str, hostname: &str) -> String {
    format!(
        "  - name: {name}
    port: 443
    protocol: HTTPS
    hostname: {hostname}
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
