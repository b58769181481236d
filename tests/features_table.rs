//! The table of features in docs/gateway-api.md: it has every feature of the conformance suite, and what it names as tests
//! is there.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use portcullis_controller::yaml;

const DOCUMENT: &str = include_str!("../docs/gateway-api.md");
const REPORT: &str = include_str!("../docs/conformance/v1.7.0-report.yaml");

/// Features that no list of extended features in a report has: the core of each profile, and two that belong to no profile.
const IN_NO_LIST: [&str; 7] = [
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "HTTPRoute",
    "ReferenceGrant",
    "TLSRoute",
];

/// The rows about features: the name, and the other cells.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let cells = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let is_state = |cells: &str| ["served", "experimental, "].iter().any(|state| cells.starts_with(state));
    cells.filter(move |(name, cells)| name.chars().all(char::is_alphanumeric) && is_state(cells))
}

#[test]
fn every_feature_of_the_suite_has_one_row() {
    let report = yaml::documents(REPORT, "report.yaml").next().unwrap().content.unwrap();
    let extended = report["profiles"].as_array().unwrap().iter().map(|profile| profile["extended"].clone());
    let listed: BTreeSet<String> = extended
        .flat_map(|of| ["supportedFeatures", "unsupportedFeatures"].map(|list| of[list].clone()))
        .flat_map(|list| list.as_array().cloned().unwrap_or_default())
        .map(|name| name.as_str().unwrap().to_owned())
        .chain(IN_NO_LIST.map(str::to_owned))
        .collect();
    let names: Vec<_> = rows().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "a feature has two rows: {names:?}");
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), listed);
}

#[test]
fn what_the_table_names_as_tests_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["controller", "proxy", "routing", "tls", "src", "tests"].map(|folder| root.join(folder));
    let sources: Vec<PathBuf> = sources.iter().flat_map(|folder| rust_files(folder)).collect();
    let code: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let folders: BTreeSet<String> = ["controller/testdata/golden", "examples"]
        .iter()
        .flat_map(|folder| names(&root.join(folder)))
        .collect();
    for (feature, cells) in rows() {
        let tested = match cells.split_once(" | ") {
            Some((_, tested)) => tested,
            // The state and the tests are one cell.
            None => cells.find("case").map_or("", |at| &cells[at..]),
        };
        let named: Vec<_> = tested.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty() || cells.contains("the same"), "{feature}: no test is named");
        for test in named {
            let is_there = match (test.strip_suffix(".rs"), test.strip_suffix('*')) {
                (Some(_), _) => sources.iter().any(|path| path.ends_with(test)),
                (_, Some(begin)) => folders.iter().any(|folder| folder.starts_with(begin)),
                (None, None) => folders.contains(test) || code.contains(&format!("fn {test}(")),
            };
            assert!(is_there, "{feature}: there is no {test}");
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}
