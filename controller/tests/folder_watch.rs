//! A folder that is watched: each edit is served without anybody asking.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::PathBuf,
    time::Duration,
};

use portcullis_controller::{Controller, FolderOptions, Handle, Publication, Settings};
use portcullis_routing::PortKey;
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// Far beyond what anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);
/// So long that inotify alone can have told.
const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn edits_renames_and_deletions_are_served() {
    let mut site = Site::start(NEVER, |root| write(root.join("a.yaml"), &ingress("a"))).await;
    assert_eq!(site.hosts(), ["a"]);
    write(site.path("a.yaml"), &ingress("b"));
    site.until(&["b"]).await;
    write(site.path(".new"), &ingress("c"));
    fs::rename(site.path(".new"), site.path("a.yaml")).unwrap();
    site.until(&["c"]).await;
    fs::rename(site.path("a.yaml"), site.path("a.yaml~")).unwrap();
    site.until(&[]).await;
}

#[tokio::test]
async fn new_subfolders_are_watched_too() {
    let mut site = Site::start(NEVER, |_| {}).await;
    fs::create_dir_all(site.path("one/two")).unwrap();
    write(site.path("one/two/a.yaml"), &ingress("a"));
    site.until(&["a"]).await;
    write(site.path("one/two/a.yaml"), &ingress("b"));
    site.until(&["b"]).await;
    fs::rename(site.path("one"), site.path("three")).unwrap();
    write(site.path("three/two/a.yaml"), &ingress("c"));
    site.until(&["c"]).await;
    fs::remove_dir_all(site.path("three")).unwrap();
    site.until(&[]).await;
}

#[tokio::test]
async fn the_swap_of_a_mounted_config_map_is_served() {
    let mut site = Site::start(NEVER, |root| {
        write(root.join("..1/a.yaml"), &ingress("a"));
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    })
    .await;
    for (version, host) in [("..2", "b"), ("..3", "c")] {
        write(site.path(version).join("a.yaml"), &ingress(host));
        symlink(version, site.path("..data_tmp")).unwrap();
        fs::rename(site.path("..data_tmp"), site.path("..data")).unwrap();
        site.until(&[host]).await;
    }
}

#[tokio::test]
async fn what_inotify_does_not_tell_is_found_by_looking() {
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("a.yaml");
    write(file.clone(), &ingress("a"));
    let poll = Duration::from_millis(50);
    let mut site = Site::start(poll, |root| symlink(&file, root.join("a.yaml")).unwrap()).await;
    write(file, &ingress("b"));
    site.until(&["b"]).await;
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read() {
    let mut site = Site::start(NEVER, |root| write(root.join("a.yaml"), &ingress("a"))).await;
    let mut file = File::create(site.path("a.yaml")).unwrap(); // empties it
    write(site.path("other.yaml"), &ingress("other"));
    site.until(&["a", "other"]).await;
    let text = ingress("b");
    let (first, rest) = text.split_at(text.len() / 2);
    file.write_all(first.as_bytes()).unwrap();
    write(site.path("other.yaml"), &ingress("again"));
    site.until(&["a", "again"]).await;
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    site.until(&["again", "b"]).await;
    let flashes = site.seen.iter().filter(|hosts| !hosts.contains("a") && !hosts.contains("b")).count();
    assert_eq!(flashes, 0, "{:?}", site.seen);
    assert!(site.handle.problems().borrow().is_empty());
}

#[tokio::test]
async fn comments_alone_publish_nothing() {
    let mut site = Site::start(NEVER, |root| write(root.join("a.yaml"), &ingress("a"))).await;
    write(site.path("a.yaml"), &format!("# edited\n{}", ingress("a")));
    write(site.path("b.yaml"), &ingress("b"));
    site.until(&["a", "b"]).await;
    assert_eq!(site.last.as_ref().unwrap().table.generation, 2);
}

#[tokio::test]
async fn a_broken_edit_is_reported_and_serves_on() {
    let mut site = Site::start(NEVER, |root| write(root.join("a.yaml"), &ingress("a"))).await;
    write(site.path("a.yaml"), &ingress("a").replace("spec:", "spec: ["));
    let mut problems = site.handle.problems();
    timeout(DEADLINE, problems.wait_for(|problems| problems.len() == 1)).await.unwrap().unwrap();
    assert_eq!(site.hosts(), ["a"]);
    let report = site.handle.report();
    assert_eq!(report["problems"][0]["object"], "Ingress default/a");
    assert_eq!(report["objects"][0]["kind"], "Ingress");
    write(site.path("a.yaml"), &ingress("b"));
    site.until(&["b"]).await;
    timeout(DEADLINE, problems.wait_for(|problems| problems.is_empty())).await.unwrap().unwrap();
}

struct Site {
    root: TempDir,
    handle: Handle,
    publications: mpsc::UnboundedReceiver<Publication>,
    last: Option<Publication>,
    /// The hosts of every publication.
    seen: Vec<BTreeSet<String>>,
}

impl Site {
    /// Starts with what `fill` writes, and waits for the first table.
    async fn start(poll: Duration, fill: impl FnOnce(PathBuf)) -> Self {
        let root = TempDir::new().unwrap();
        fill(root.path().to_owned());
        let options = FolderOptions { poll, ..FolderOptions::new(root.path()) };
        let (controller, handle) = Controller::folder(options, Settings::default()).unwrap();
        let (sender, publications) = mpsc::unbounded_channel();
        tokio::spawn(controller.run(move |publication| drop(sender.send(publication))));
        let mut site = Self { root, handle, publications, last: None, seen: Vec::new() };
        let mut ready = site.handle.ready();
        timeout(DEADLINE, ready.wait_for(|ready| *ready)).await.unwrap().unwrap();
        site.next().await;
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    async fn next(&mut self) {
        let publication = timeout(DEADLINE, self.publications.recv()).await.expect("a publication").unwrap();
        self.last = Some(publication);
        self.seen.push(self.hosts().into_iter().collect());
    }

    async fn until(&mut self, hosts: &[&str]) {
        while self.hosts() != hosts {
            self.next().await;
        }
    }

    fn hosts(&self) -> Vec<String> {
        let port = self.last.as_ref().and_then(|publication| publication.table.ports.get(&PortKey::tcp(80)));
        let hosts = port.into_iter().flat_map(|port| port.listeners.iter()).map(|(host, _)| host.to_string());
        let hosts: BTreeSet<_> = hosts.filter(|host| host != "*").collect();
        hosts.into_iter().collect()
    }
}

fn write(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn ingress(host: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {host}\nspec:\n  \
         ingressClassName: portcullis\n  rules:\n  - host: {host}\n    http:\n      paths:\n      \
         - path: /\n        pathType: Prefix\n        backend:\n          service:\n            name: web\n            \
         port:\n              number: 80\n"
    )
}
