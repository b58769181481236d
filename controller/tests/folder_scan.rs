//! What a folder's files mean, edit by edit. Nothing is watched here: each scan is asked for.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use portcullis_controller::{
    Problem, Severity,
    ir::{Kind, Namespace, Object, ObjectKey},
    snapshot::{Change, Snapshot},
    source::{Delta, Extent, Folder, FolderError, FolderOptions},
};
use tempfile::TempDir;

#[test]
fn the_first_scan_tells_everything_and_is_complete() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80));
    site.write("sub/deeper/b.yml", &service("api", 80));
    site.write(
        "c.json",
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"json"},"spec":{"ports":[{"port":80}]}}"#,
    );
    site.write("README.md", "kind: Service");
    site.write(".hidden.yaml", &service("hidden", 80));
    site.write(".git/config.yaml", &service("git", 80));
    let delta = site.scan();
    assert_eq!(delta.extent, Extent::Complete);
    assert_eq!(site.services(), ["api", "json", "web"]);
    assert_eq!(site.scan().extent, Extent::Partial, "only once");
}

#[test]
fn a_scan_without_an_edit_says_nothing() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80));
    site.scan();
    assert!(site.scan().is_empty());
}

#[test]
fn an_edit_raises_the_generation_of_its_object_alone() {
    let mut site = Site::new();
    site.write("a.yaml", &[service("web", 80), service("api", 80)].concat());
    site.scan();
    assert_eq!((site.generation("web"), site.generation("api")), (1, 1));
    for (port, generation) in [(81, 2), (82, 3)] {
        site.write("a.yaml", &[service("web", port), service("api", 80)].concat());
        assert_eq!(site.scan().changes.len(), 1);
        assert_eq!((site.generation("web"), site.generation("api")), (generation, 1));
    }
}

#[test]
fn comments_and_order_change_nothing() {
    let mut site = Site::new();
    site.write("a.yaml", &[service("web", 80), service("api", 80)].concat());
    site.scan();
    for text in [
        format!("# edited\n{}{}", service("web", 80), service("api", 80)),
        [service("api", 80), service("web", 80)].concat(),
        format!("---\n---\n{}\n---\n# nothing here\n{}", service("web", 80), service("api", 80)),
    ] {
        site.write("a.yaml", &text);
        assert!(site.scan().is_empty(), "{text}");
    }
}

#[test]
fn a_deleted_file_takes_its_objects_along() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80));
    site.write("sub/b.yaml", &service("api", 80));
    site.scan();
    site.remove("sub/b.yaml");
    assert_eq!(site.scan().changes.len(), 1);
    assert_eq!(site.services(), ["web"]);
    site.write("sub/b.yaml", &service("api", 80));
    site.scan();
    fs::remove_dir_all(site.path("sub")).unwrap();
    site.scan();
    assert_eq!(site.services(), ["web"]);
}

#[test]
fn objects_that_move_between_files_stay() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 81));
    site.scan();
    site.write("a.yaml", &service("web", 80));
    site.scan();
    fs::rename(site.path("a.yaml"), site.path("z.yaml")).unwrap();
    assert!(site.scan().is_empty());
    site.write("z.yaml", "# moved\n");
    site.write("sub/b.yaml", &service("web", 80));
    assert!(site.scan().is_empty());
    assert_eq!(site.generation("web"), 2);
}

#[test]
fn the_swap_of_a_mounted_config_map_is_seen() {
    let mut site = Site::new();
    site.write("..2026_01_01/app.yaml", &service("web", 80));
    site.write("..2026_01_01/old.yaml", &service("old", 80));
    symlink("..2026_01_01", site.path("..data")).unwrap();
    symlink("..data/app.yaml", site.path("app.yaml")).unwrap();
    symlink("..data/old.yaml", site.path("old.yaml")).unwrap();
    site.scan();
    assert_eq!(site.services(), ["old", "web"]);
    assert!(site.problems.is_empty(), "read once: {:?}", site.problems);

    site.write("..2026_01_02/app.yaml", &service("web", 81));
    symlink("..2026_01_02", site.path("..data_tmp")).unwrap();
    fs::rename(site.path("..data_tmp"), site.path("..data")).unwrap();
    fs::remove_file(site.path("old.yaml")).unwrap();
    fs::remove_dir_all(site.path("..2026_01_01")).unwrap();
    site.scan();
    assert_eq!(site.services(), ["web"]);
    assert_eq!(site.generation("web"), 2);
}

#[test]
fn symlinked_folders_are_read_once_and_loops_end() {
    let mut site = Site::new();
    site.write("sub/a.yaml", &service("web", 80));
    symlink("..", site.path("sub/up")).unwrap();
    symlink("sub", site.path("again")).unwrap();
    symlink("nowhere", site.path("dangling.yaml")).unwrap();
    site.scan();
    assert_eq!(site.services(), ["web"]);
    assert!(site.problems.is_empty(), "{:?}", site.problems);
}

#[test]
fn what_cannot_be_read_keeps_its_last_good_state() {
    let good = service("web", 80);
    for (what, broken) in [
        ("a syntax error", good.replace("spec:", "spec: [")),
        ("a field that is refused", good.replace("port: 80", "port: 99999")),
        ("no trace of its name", "kind: [}\n".to_owned()),
    ] {
        let mut site = Site::new();
        site.write("a.yaml", &[service("api", 80), good.clone(), service("other", 80)].join("---\n"));
        site.scan();
        site.write("a.yaml", &[service("api", 81), broken, service("other", 80)].join("---\n"));
        let delta = site.scan();
        assert_eq!(site.services(), ["api", "other", "web"], "{what}");
        assert_eq!(delta.changes.len(), 1, "{what}: only api is another");
        let problem = &site.problems[0];
        assert_eq!((site.problems.len(), problem.severity), (1, Severity::Error), "{what}");
        assert!(problem.place.as_ref().unwrap().file.ends_with("a.yaml"), "{what}");
        assert!(problem.place.as_ref().unwrap().line >= 10, "{what}: {problem}");

        site.write("a.yaml", &[service("api", 81), good.clone(), service("other", 80)].join("---\n"));
        assert!(site.scan().changes.is_empty(), "{what}: it is as it was");
        assert!(site.problems.is_empty(), "{what}");
    }
}

#[test]
fn a_broken_object_that_never_was_good_is_only_a_problem() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80).replace("port: 80", "port: 99999"));
    site.scan();
    assert!(site.services().is_empty());
    assert_eq!(site.problems.len(), 1);
}

#[test]
fn a_route_that_never_was_good_says_that_it_is_refused_until_it_is_good() {
    let route = |rules: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{parentRefs: [{{name: public}}], rules: {rules}}}\n"
        )
    };
    let mut site = Site::new();
    let refused = |delta: &Delta| match &delta.changes[..] {
        [Change::Apply(Object::Route(route)), ..] => route.refused.is_some(),
        other => panic!("{other:?}"),
    };
    site.write("a.yaml", &route("7"));
    assert!(refused(&site.scan()));
    site.write("a.yaml", &route("8"));
    assert!(refused(&site.scan()), "for another reason");
    site.write("a.yaml", &route("[{}]"));
    assert!(!refused(&site.scan()));
    site.write("a.yaml", &route("7"));
    assert!(site.scan().changes.is_empty(), "its last good state stays");
    site.remove("a.yaml");
    assert!(matches!(&site.scan().changes[..], [Change::Delete(_), ..]));
}

#[test]
fn the_last_good_state_moves_with_its_file() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80));
    site.scan();
    site.write("a.yaml", &service("web", 80).replace("port: 80", "port: 99999"));
    site.scan();
    fs::rename(site.path("a.yaml"), site.path("b.yaml")).unwrap();
    site.scan();
    assert_eq!(site.services(), ["web"]);
    site.remove("b.yaml");
    site.scan();
    assert!(site.services().is_empty());
}

#[test]
fn of_two_files_with_an_object_the_first_is_served() {
    let mut site = Site::new();
    site.write("b.yaml", &service("web", 80));
    site.write("c.yaml", &service("web", 82));
    site.scan();
    assert_eq!(site.port("web"), 80);
    assert_eq!(site.problems.len(), 1);
    assert!(site.problems[0].place.as_ref().unwrap().file.ends_with("c.yaml"));

    site.write("a.yaml", &service("web", 81));
    site.scan();
    assert_eq!((site.port("web"), site.problems.len()), (81, 2));

    site.remove("a.yaml");
    site.remove("b.yaml");
    site.scan();
    assert_eq!((site.port("web"), site.problems.len()), (82, 0), "the last one takes its place");
    assert_eq!(site.generation("web"), 3);
}

#[test]
fn an_object_that_says_the_same_elsewhere_is_no_problem() {
    let mut site = Site::new();
    site.write("a.yaml", &[service("web", 80), service("web", 80)].concat());
    site.write("b.yaml", &format!("# Of another file.\n{}", service("web", 80)));
    site.scan();
    assert_eq!((site.port("web"), site.problems.len()), (80, 0), "{:?}", site.problems);

    site.write("b.yaml", &service("web", 81));
    site.scan();
    assert_eq!((site.port("web"), site.problems.len()), (80, 1), "now it says something else");

    site.write("b.yaml", &service("web", 80));
    site.remove("a.yaml");
    site.scan();
    assert_eq!((site.port("web"), site.problems.len()), (80, 0), "it takes the first one's place");
    assert_eq!(site.generation("web"), 1, "and is no edit");
}

#[test]
fn of_two_documents_with_an_object_the_first_is_served() {
    let mut site = Site::new();
    site.write("a.yaml", &[service("web", 80), service("web", 81)].concat());
    site.scan();
    assert_eq!((site.port("web"), site.problems.len()), (80, 1));
    assert_eq!(site.problems[0].place.as_ref().unwrap().line, 10, "{}", site.problems[0]);
    site.write("a.yaml", &service("web", 81));
    site.scan();
    assert_eq!((site.port("web"), site.problems.len()), (81, 0));
}

#[test]
fn namespaces_are_implied_by_what_is_in_them() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80).replace("name: web", "name: web\n  namespace: shop"));
    site.scan();
    assert_eq!(site.namespaces(), [("shop".to_owned(), None)]);

    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {team: red}\n";
    site.write("ns.yaml", namespace);
    site.scan();
    assert_eq!(site.namespaces(), [("shop".to_owned(), Some("red".to_owned()))]);

    site.remove("ns.yaml");
    site.scan();
    assert_eq!(site.namespaces(), [("shop".to_owned(), None)], "it is still implied");

    site.remove("a.yaml");
    site.scan();
    assert!(site.namespaces().is_empty());
}

#[test]
fn an_emptied_file_is_believed_at_the_second_look() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80));
    site.scan();
    site.write("a.yaml", "");
    assert!(site.scan().is_empty(), "an editor may be about to write it");
    site.write("a.yaml", &service("web", 81));
    assert_eq!(site.scan().changes.len(), 1);
    site.write("a.yaml", "");
    site.scan();
    site.scan();
    assert!(site.services().is_empty());
}

#[test]
fn a_file_that_is_no_text_keeps_its_objects() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80));
    site.scan();
    fs::write(site.path("a.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(site.scan().changes.is_empty());
    assert_eq!(site.problems.len(), 1);
    site.write("a.yaml", &service("web", 80));
    site.scan();
    assert!(site.problems.is_empty());
}

#[test]
fn a_file_beyond_the_limits_keeps_its_objects() {
    let mut site = Site::with(|options| options.limits.file_bytes = 1000);
    site.write("a.yaml", &service("web", 80));
    site.scan();
    site.write("a.yaml", &format!("{}# {}", service("web", 81), "x".repeat(1000)));
    assert!(site.scan().changes.is_empty());
    assert_eq!(site.problems.len(), 1);
    assert_eq!(site.port("web"), 80);
}

#[test]
fn no_more_files_and_folders_are_read_than_the_limits_allow() {
    let mut site = Site::with(|options| {
        options.limits.files = 2;
        options.limits.depth = 1;
    });
    for name in ["a", "b", "c"] {
        site.write(&format!("{name}.yaml"), &service(name, 80));
    }
    site.write("one/two/d.yaml", &service("d", 80));
    site.scan();
    assert_eq!(site.services(), ["a", "b"]);
    assert_eq!(site.problems.len(), 2, "{:?}", site.problems);
}

#[test]
fn a_folder_that_vanishes_is_served_on() {
    let mut site = Site::new();
    site.write("a.yaml", &service("web", 80));
    site.scan();
    let elsewhere = site.root.with_file_name("elsewhere");
    fs::rename(&site.root, &elsewhere).unwrap();
    assert!(site.scan().changes.is_empty());
    assert_eq!(site.problems.len(), 1);
    fs::rename(&elsewhere, &site.root).unwrap();
    assert!(site.scan().changes.is_empty());
    assert!(site.problems.is_empty());
}

#[test]
fn a_folder_that_is_missing_at_first_is_an_error() {
    let site = Site::new();
    let error = |path: PathBuf| Folder::open(FolderOptions::new(path)).unwrap_err();
    let missing = error(site.path("missing"));
    assert!(matches!(missing, FolderError::Unreadable { .. }), "{missing}");
    site.write("file.yaml", "");
    let file = error(site.path("file.yaml"));
    assert!(matches!(file, FolderError::NotAFolder(_)), "{file}");
}

#[test]
fn ten_thousand_documents_of_one_file() {
    let mut site = Site::new();
    let text = |edited: usize| -> String {
        (0..10_000).map(|i| service(&format!("s{i}"), if i == edited { 81 } else { 80 })).collect()
    };
    site.write("all.yaml", &text(10_000));
    let delta = site.scan();
    assert_eq!(delta.changes.len(), 10_001, "and the Namespace");
    site.write("all.yaml", &text(5_000));
    assert_eq!(site.scan().changes.len(), 1);
    assert_eq!(site.generation("s5000"), 2);
}

/// A folder and what was told of it.
struct Site {
    root: PathBuf,
    folder: Folder,
    snapshot: Snapshot,
    problems: Vec<Problem>,
    _parent: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut FolderOptions)) -> Self {
        let parent = TempDir::new().unwrap();
        let root = parent.path().join("manifests");
        fs::create_dir(&root).unwrap();
        let mut options = FolderOptions::new(&root);
        change(&mut options);
        let folder = Folder::open(options).unwrap();
        Self { root, folder, snapshot: Snapshot::default(), problems: Vec::new(), _parent: parent }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn scan(&mut self) -> Delta {
        let delta = self.folder.scan();
        let mut seen = BTreeMap::new();
        for change in &delta.changes {
            let key = match change {
                Change::Apply(object) => object.meta().key.clone(),
                Change::Delete(key) => key.clone(),
            };
            assert!(seen.insert(key.clone(), ()).is_none(), "{key} is told twice");
            self.snapshot.apply(change.clone());
        }
        if let Some(problems) = &delta.problems {
            self.problems = problems.to_vec();
        }
        delta
    }

    fn services(&self) -> Vec<&str> {
        {
            let mut names: Vec<_> = self.snapshot.services.keys().map(|key| &*key.name).collect();
            names.sort_unstable();
            names
        }
    }

    fn namespaces(&self) -> Vec<(String, Option<String>)> {
        let of = |Namespace { meta, labels }: &Namespace| {
            assert_eq!(labels["kubernetes.io/metadata.name"], meta.key.name);
            (meta.name().to_owned(), labels.get("team").map(ToString::to_string))
        };
        self.snapshot.namespaces.values().map(|namespace| of(namespace)).collect()
    }

    fn generation(&self, name: &str) -> i64 {
        self.service(name).meta.generation
    }

    fn port(&self, name: &str) -> u16 {
        self.service(name).ports[0].port
    }

    fn service(&self, name: &str) -> &portcullis_controller::ir::Service {
        self.snapshot.services.get(&ObjectKey::new(Kind::Service, "default", name)).unwrap()
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n"
    )
}
