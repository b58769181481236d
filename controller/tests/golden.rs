//! Golden cases of translation: `testdata/golden/<case>/in.yaml` holds the objects, `table.txt` what is served, and
//! `status.txt` what is said. `UPDATE_GOLDEN=1` writes what comes out; the diff is reviewed as code is.
//!
//! Clients reach us at 203.0.113.10; the default certificate of Ingresses is the Secret `portcullis/default`, where a
//! case has it, the ConfigMap of settings is `portcullis/settings`, and those of TCP and UDP services are
//! `portcullis/tcp-services` and `portcullis/udp-services`. Gateways with addresses of their own have the ports
//! 20000 to 20009, as `ports.txt` of a case allocates them; the cases that begin with `dedicated-` are told as when every port of
//! the table is bound. The objects of those that begin with `admitted-` are read as those of an API server, which has admitted
//! them.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

#[path = "golden/text.rs"]
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis_controller::{
    Bindings,
    ir::{Kind, ObjectKey},
    objects,
    snapshot::{Change, Snapshot},
    translate::{self, Address, Allocation, DedicatedPorts, Pools, Reader, Settings},
    yaml,
};

#[test]
fn golden_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 30, "the cases are found");
    let wrong: Vec<_> = cases.iter().flat_map(|case| check(case)).collect();
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 rewrites them; review the diff\n\n{}", wrong.join("\n"));
}

/// What differs from what is expected.
fn check(case: &Path) -> Vec<String> {
    let name = case.file_name().unwrap().to_str().unwrap();
    let (runs, is_admitted) = (name.starts_with("dedicated-"), name.starts_with("admitted-"));
    let ports = fs::read_to_string(case.join("ports.txt")).unwrap_or_default();
    let (allocation, broken) = Allocation::parse(&ports);
    assert!(broken.is_empty(), "{}: {broken:?}", case.display());
    let input = fs::read_to_string(case.join("in.yaml")).unwrap();
    let (table, status) = outcome(&input, allocation, runs, is_admitted);
    let files = [("table.txt", table), ("status.txt", status)];
    let differing = files.into_iter().filter_map(|(name, got)| {
        let path = case.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &got).unwrap();
        }
        let want = fs::read_to_string(&path).unwrap_or_default();
        (got != want).then(|| format!("--- {}\n{want}+++ what came out\n{got}", path.display()))
    });
    differing.collect()
}

fn outcome(input: &str, allocation: Allocation, runs: bool, is_admitted: bool) -> (String, String) {
    let mut snapshot = Snapshot::default();
    let mut problems = String::new();
    for document in yaml::documents(input, "in.yaml") {
        let decoded = match is_admitted {
            true => objects::decode_live(document.content.unwrap()),
            false => objects::decode_document(document),
        };
        decoded.problems.iter().for_each(|problem| problems += &format!("{problem}\n"));
        let object = decoded.object.or(decoded.refused);
        object.into_iter().for_each(|object| snapshot.apply(Change::Apply(object)));
    }
    let existing = |name| {
        let map = ObjectKey::new(Kind::ConfigMap, "portcullis", name);
        snapshot.config_maps.contains_key(&map).then_some(map)
    };
    let settings = Settings {
        addresses: vec![Address::Ip([203, 0, 113, 10].into())],
        default_certificate: Some(ObjectKey::new(Kind::Secret, "portcullis", "default")),
        dedicated: DedicatedPorts::Of("20000-20009".parse().unwrap()),
        allocation: allocation.into(),
        settings_map: existing("settings"),
        tcp_services: existing("tcp-services"),
        udp_services: existing("udp-services"),
        ..Settings::default()
    };
    let mut translation = translate::full(&snapshot, &settings, None, &Pools::default());
    if runs {
        let bindings: Bindings = translation.table.ports.keys().map(|port| (*port, Ok(()))).collect();
        translation = translate::full(&snapshot, &settings, Some(&bindings), &Pools::default());
    }
    for problem in translate::unclaimed(&Reader::new(&snapshot, &settings, None)) {
        problems += &format!("{problem}\n");
    }
    let table = text::table(&translation.table) + &text::certificates(&translation.certificates);
    (table, translation.statuses.to_string() + &problems)
}
