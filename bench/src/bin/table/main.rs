//! What an edit costs, from changed objects to what is published: processor time by kind of edit among 10,000 routes
//! with 50,000 endpoints, among ListenerSets, and among 1,000 and 5,000 Ingresses with ten annotations each; and the memory of the
//! whole controller with 5,000 routes, with 1,000 ListenerSets, and with these Ingresses, in a folder.
//!
//! Processor time of the index's thread; each figure is the median of its runs.
#![allow(clippy::print_stdout)] // the table is its output

mod ingresses;
mod sets;

use std::{fmt::Write as _, fs, path::Path, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use portcullis_bench::process;
use portcullis_controller::{
    Controller, FolderOptions, Index, Publication, Settings,
    objects::decode_document,
    snapshot::Change,
    status::Statuses,
    translate::{Pools, full},
    yaml,
};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ROUTES: usize = 10_000;
const ENDPOINTS_OF_EACH: usize = 5;
const ROUTES_IN_MEMORY: usize = 5_000;
const LISTENER_SETS: [usize; 2] = [1_000, 40_000];
const LISTENER_SETS_IN_MEMORY: usize = 1_000;
const INGRESSES: [usize; 2] = [1_000, 5_000];
const INGRESSES_IN_MEMORY: usize = 5_000;
const FULL_RUNS: usize = 15;
const EDITS: usize = 501;
/// Objects of a kind in one file.
const IN_ONE_FILE: usize = 50;

fn main() -> Result<()> {
    match std::env::args().nth(1) {
        Some(part) if part == "sets" => LISTENER_SETS.into_iter().try_for_each(sets::edits),
        Some(part) if part == "ingresses" => {
            INGRESSES.into_iter().try_for_each(ingresses::edits)?;
            memory(&[MEASURED[0], MEASURED[3]])
        }
        Some(folder) => serve(Path::new(&folder)),
        None => {
            edits()?;
            LISTENER_SETS.into_iter().try_for_each(sets::edits)?;
            INGRESSES.into_iter().try_for_each(ingresses::edits)?;
            memory(&MEASURED)
        }
    }
}

fn edits() -> Result<()> {
    let objects: Vec<_> = (0..ROUTES).map(|i| [route(i, 0), service(i), slice(i, 0)].concat()).collect();
    let objects: Vec<_> = changes(&(frame() + &objects.concat())).collect();
    let settings = Settings::default();

    println!("{ROUTES} HTTPRoutes, a Service each, {} endpoints", ROUTES * ENDPOINTS_OF_EACH);
    println!("| what | CPU ms, median | most |");
    println!("| --- | ---: | ---: |");
    let mut first = Runs::default();
    let mut oracle = Runs::default();
    for _ in 0..FULL_RUNS {
        let mut index = Index::new(settings.clone());
        index.apply(objects.iter().cloned());
        index.complete();
        let mut statuses = Statuses::default();
        first.run(|| (index.publish(), index.update_statuses(&mut statuses)));
        let pools = Pools::default();
        oracle.run(|| full(index.snapshot(), &settings, None, &pools));
    }
    first.print("all of it, by the index from nothing (as at the start)");
    oracle.print("all of it, by `translate::full`");

    let mut index = Index::new(settings);
    index.apply(objects);
    index.complete();
    let mut statuses = Statuses::default();
    let mut served = index.publish().context("the first table")?;
    index.update_statuses(&mut statuses);
    let edits = [
        Edit { name: "one route edited", published: true, text: |i, n| route(i, n) },
        Edit {
            name: "one route edited, new hostname",
            published: true,
            text: |i, n| route(i, n).replace(".bench.test", &format!("-{n}.bench.test")),
        },
        Edit {
            name: "one Service edited",
            published: true,
            text: |i, n| service(i).replace("http", &format!("http{n}")),
        },
        Edit { name: "one EndpointSlice edited", published: false, text: |i, n| slice(i, n) },
        Edit {
            name: "one Gateway edited, its listeners as before",
            published: false,
            text: |_, n| frame().replace("labels: {}", &format!("labels: {{edit: \"{n}\"}}")),
        },
    ];
    for edit in &edits {
        served = edit.measure(&mut index, &mut statuses, served, ROUTES, EDITS)?;
    }
    let addresses = served.table.ports.values().map(|port| port.listeners.len()).sum::<usize>();
    ensure!(addresses > 0, "nothing is served");
    Ok(())
}

struct Edit {
    name: &'static str,
    /// Whether it makes another table.
    published: bool,
    /// The object of a number after so many edits.
    text: fn(usize, usize) -> String,
}

impl Edit {
    /// Edits one of `objects` at a time, `edits` times, and prints what that costs. Returns the last publication; whoever
    /// serves holds it, and the next one is copied from it.
    fn measure(
        &self,
        index: &mut Index,
        statuses: &mut Statuses,
        mut served: Publication,
        objects: usize,
        edits: usize,
    ) -> Result<Publication> {
        let (mut table, mut tell) = (Runs::default(), Runs::default());
        for n in 1..=edits {
            let edit: Vec<_> = changes(&(self.text)((n * 7919) % objects, n)).collect();
            let mut publication = None;
            table.run(|| {
                index.apply(edit);
                publication = index.publish();
            });
            tell.run(|| index.update_statuses(statuses));
            let (name, published) = (self.name, self.published);
            ensure!(publication.is_some() == published, "{name}: a publication was {published}");
            served = publication.unwrap_or(served);
        }
        table.print(self.name);
        tell.print("  its statuses");
        Ok(served)
    }
}

/// Objects in a folder.
type Objects = (&'static str, usize, fn(&Path, usize) -> Result<()>);

/// The folders of which the memory is measured.
const MEASURED: [Objects; 4] = [
    ("routes", 0, write_folder),
    ("routes", ROUTES_IN_MEMORY, write_folder),
    ("ListenerSets", LISTENER_SETS_IN_MEMORY, sets::write_folder),
    ("Ingresses with ten annotations", INGRESSES_IN_MEMORY, ingresses::write_folder),
];

/// Writes each folder and reads it in a process of its own, of which the memory is measured.
fn memory(measured: &[Objects]) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("portcullis-bench-table-{}", std::process::id()));
    println!("\n| objects in a folder | resident MiB of a controller alone |");
    println!("| --- | ---: |");
    for (objects, count, write) in measured {
        let resident = write(&folder, *count).and_then(|()| resident(&folder));
        fs::remove_dir_all(&folder).context("the folder of manifests")?;
        println!("| {count} {objects} | {:.1} |", resident?);
    }
    Ok(())
}

/// Returns the resident memory, in MiB, of a controller that serves a folder.
fn resident(folder: &Path) -> Result<f64> {
    let output = Command::new(std::env::current_exe()?).arg(folder).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kib: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(kib / 1024.0)
}

fn write_folder(folder: &Path, routes: usize) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("frame.yaml"), frame())?;
    let all: Vec<_> = (0..routes).collect();
    for (number, some) in all.chunks(IN_ONE_FILE).enumerate() {
        let text: Vec<_> = some.iter().map(|i| [route(*i, 0), service(*i), slice(*i, 0)].concat()).collect();
        fs::write(folder.join(format!("{number}.yaml")), text.concat())?;
    }
    Ok(())
}

/// Serves a folder until the first table and the statuses are there, waits for what is freed late, says its memory.
fn serve(folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (controller, handle) = Controller::folder(FolderOptions::new(folder), Settings::default())?;
        let served = Arc::new(std::sync::Mutex::new(None));
        let holder = Arc::clone(&served);
        tokio::spawn(controller.run(move |publication| {
            if let Ok(mut served) = holder.lock() {
                *served = Some(publication);
            }
        }));
        handle.ready().wait_for(|ready| *ready).await?;
        tokio::time::sleep(Duration::from_secs(12)).await;
        let (resident, _) = process::memory(std::process::id())?;
        println!("{resident}");
        Ok(())
    })
}

/// Publishes the first table of these objects, and prints what that costs.
fn publish_first(objects: Vec<Change>) -> Result<(Index, Statuses, Publication)> {
    let mut index = Index::new(Settings::default());
    let mut statuses = Statuses::default();
    let mut first = Runs::default();
    let mut served = None;
    println!("| what | CPU ms, median | most |");
    println!("| --- | ---: | ---: |");
    first.run(|| {
        index.apply(objects);
        index.complete();
        served = index.publish();
        index.update_statuses(&mut statuses);
    });
    first.print("all of it, by the index from nothing (as at the start)");
    Ok((index, statuses, served.context("the first table")?))
}

/// Processor times of one thing.
#[derive(Default)]
struct Runs(Vec<Duration>);

impl Runs {
    fn run<T>(&mut self, what: impl FnOnce() -> T) {
        let begun = cpu();
        let made = what();
        self.0.push(cpu().saturating_sub(begun));
        drop(made);
    }

    fn print(mut self, name: &str) {
        self.0.sort();
        let ms = |index: usize| self.0.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        println!("| {name} | {:.3} | {:.3} |", ms(self.0.len() / 2), ms(self.0.len().saturating_sub(1)));
    }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
}

fn changes(text: &str) -> impl Iterator<Item = Change> {
    let documents = yaml::documents(text, "bench.yaml");
    documents.filter_map(|document| decode_document(document).object).map(Change::Apply)
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
  labels: {}
spec:
  gatewayClassName: portcullis
  listeners:
  - name: http
    port: 80
    protocol: HTTP
"
    .to_owned()
}

/// Two rules with two matches and two backends in all.
fn route(i: usize, edit: usize) -> String {
    let other = (i + 1) % 10;
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-{i}
spec:
  parentRefs:
  - name: bench
  hostnames: [host-{i}.bench.test]
  rules:
  - matches:
    - path: {{type: PathPrefix, value: /api/v{edit}}}
    - path: {{type: Exact, value: /health}}
      headers:
      - name: x-edit
        value: \"{edit}\"
    backendRefs:
    - name: service-{i}
      port: 80
      weight: 9
    - name: service-{other}
      port: 80
      weight: 1
  - backendRefs:
    - name: service-{i}
      port: 80
"
    )
}

fn service(i: usize) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: service-{i}
spec:
  ports:
  - name: http
    port: 80
    targetPort: 8080
"
    )
}

fn slice(i: usize, edit: usize) -> String {
    let mut text = format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-{i}-1
  labels:
    kubernetes.io/service-name: service-{i}
addressType: IPv4
ports:
- name: http
  port: 8080
endpoints:
"
    );
    for endpoint in 0..ENDPOINTS_OF_EACH {
        let (a, b, c) = (i / 250 % 250, i % 250, (endpoint + edit) % 250);
        let _ = writeln!(text, "- addresses: [10.{a}.{b}.{c}]");
    }
    text
}
