//! The tables of annotations in `docs/` are generated from the closed list in the code. `UPDATE_GOLDEN=1` rewrites them.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use portcullis_controller::migrate::{Annotation, Outcome, annotations};

const BEGIN: &str = "<!-- Generated from the code: UPDATE_GOLDEN=1 cargo test -p portcullis-controller --test annotations_table -->\n";
const END: &str = "<!-- end of the generated table -->\n";

#[test]
fn the_tables_in_docs_agree_with_the_code() {
    let families = root().join("docs/ingress-nginx.md");
    let sections = Sections::of(&fs::read_to_string(&families).unwrap());
    let cases = recorded_cases();
    hold(&families, &whole_table(&sections, &cases));
    hold(&root().join("docs/ingress.md"), &table_of_the_rest());
}

#[test]
fn each_annotation_has_a_section_and_a_test() {
    let sections = Sections::of(&fs::read_to_string(root().join("docs/ingress-nginx.md")).unwrap());
    let cases = recorded_cases();
    for annotation in annotations() {
        let name = annotation.name();
        if !matches!(annotation.outcome(), Outcome::Served | Outcome::Moot) {
            continue;
        }
        assert!(sections.of_name(name).is_some(), "no section of docs/ingress-nginx.md is about {name}");
        assert!(
            !tests_of(name, &cases).is_empty(),
            "there is neither a recorded case nor a table test of {name}"
        );
    }
}

#[test]
fn the_counts_in_the_readme_agree_with_the_code() {
    let count = |words: &[&str]| {
        annotations().into_iter().filter(|annotation| words.contains(&here(*annotation).0)).count()
    };
    let counts = format!(
        "[{} of {}](docs/ingress-nginx.md#all-annotations) supported; {} have no effect because they are not needed, and {} are \
         refused.",
        count(&["same", "different"]),
        annotations().len(),
        count(&["no effect"]),
        count(&["refused"]),
    );
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&counts), "README.md is out of date: {counts}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Compares what stands between the marks of a page with a table, or rewrites it.
fn hold(path: &Path, table: &str) {
    let text = fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap_or_else(|| panic!("{}: no {BEGIN}", path.display()));
    let (between, after) = rest.split_once(END).unwrap_or_else(|| panic!("{}: no {END}", path.display()));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    }
    assert!(between == table, "{} is out of date: UPDATE_GOLDEN=1 rewrites it", path.display());
}

fn whole_table(sections: &Sections, cases: &BTreeMap<String, BTreeMap<String, usize>>) -> String {
    let mut table =
        "\n| annotation | tier | Portcullis | differences, alternative | section | tests |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for annotation in annotations() {
        let (name, tier) = (annotation.name(), annotation.tier());
        let (here, how) = here(annotation);
        let section = sections
            .of_name(name)
            .map_or_else(String::new, |section| format!("[{section}](#{})", anchor(section)));
        let tests = tests_of(name, cases);
        table += &format!("| `{name}` | {tier} | {here} | {how} | {section} | {tests} |\n");
    }
    let count =
        |wanted: &str| annotations().into_iter().filter(|annotation| here(*annotation).0 == wanted).count();
    let total = |word: &str| format!("{} {word}", count(word));
    table + "\n" + &["same", "different", "no effect", "refused"].map(total).join(", ") + ".\n\n"
}

/// How an annotation is handled, in one word, and the details.
fn here(annotation: Annotation) -> (&'static str, String) {
    let instead = || annotation.instead().map_or_else(String::new, |instead| format!("; instead: {instead}"));
    match annotation.outcome() {
        Outcome::Served => {
            let differences: Vec<_> = annotation.differences().collect();
            let differs = differences.iter().any(|(_, of_valid_values)| *of_valid_values);
            let how: Vec<_> = differences.into_iter().map(|(how, _)| how).collect();
            (if differs { "different" } else { "same" }, how.join("; "))
        }
        Outcome::Moot => {
            ("no effect", "not needed: messages are streamed, and connections are pooled".into())
        }
        Outcome::Ignored => ("no effect", format!("not served{}", instead())),
        Outcome::ClosesPaths => ("refused", format!("its paths answer 503{}", instead())),
        Outcome::ClosesHosts => ("refused", format!("its hosts answer 503{}", instead())),
    }
}

fn table_of_the_rest() -> String {
    let named = |outcome: Outcome| {
        let names = annotations().into_iter().filter(|annotation| annotation.outcome() == outcome);
        names.map(|annotation| format!("`{}`", annotation.name())).collect::<Vec<_>>().join(", ")
    };
    let (paths, hosts) = (named(Outcome::ClosesPaths), named(Outcome::ClosesHosts));
    let ignored = named(Outcome::Ignored);
    format!(
        "\n| annotation | effect |\n| --- | --- |\n\
         | protects the paths of its Ingress: {paths} | the paths are closed: the response is 503 |\n\
         | protects an entire host: {hosts} | the hosts of its rules are closed |\n\
         | does not protect anything, and is not supported: {ignored} | none; a warning is reported |\n\
         | configures buffers, which does not apply to Portcullis ([list](ingress-nginx.md#buffers)) | none; a notice is reported |\n\
         | is unknown, with the prefix `nginx.ingress.kubernetes.io/` or `portcullis.dev/` | none; a warning is reported. \
         With `--strict-annotations`, the paths are closed |\n\n"
    )
}

/// The sections of a page, with their texts.
struct Sections(Vec<(String, String)>);

impl Sections {
    fn of(page: &str) -> Self {
        let sections = page.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
        let sections = sections.filter(|(_, text)| !text.contains(BEGIN));
        Self(sections.map(|(title, text)| (title.to_owned(), text.to_owned())).collect())
    }

    /// The section about an annotation: the one whose list of names, which is its first paragraph, has it; or the first that
    /// names it.
    fn of_name(&self, name: &str) -> Option<&str> {
        // With a value, perhaps: `name: "value"`.
        let named =
            |text: &str| [format!("`{name}`"), format!("`{name}: ")].iter().any(|named| text.contains(named));
        let head = |text: &str| named(text.trim_start().split("\n\n").next().unwrap());
        let by_head = self.0.iter().find(|(_, text)| head(text));
        let found = by_head.or_else(|| self.0.iter().find(|(_, text)| named(text)));
        found.map(|(title, _)| title.as_str())
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}

/// For each annotation, how many recorded cases of each family are about it.
fn recorded_cases() -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut cases: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/ingress-nginx/cases")).unwrap() {
        let path = entry.unwrap().path();
        let family = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("covers: [")) {
            for name in line.trim_end_matches(']').split(", ") {
                *cases.entry(name.to_owned()).or_default().entry(family.clone()).or_default() += 1;
            }
        }
    }
    cases
}

/// The recorded cases of an annotation, by family; without any, the files of the code whose table tests name it, or the golden
/// cases that have it.
fn tests_of(name: &str, cases: &BTreeMap<String, BTreeMap<String, usize>>) -> String {
    if let Some(families) = cases.get(name) {
        return families
            .iter()
            .map(|(family, count)| format!("{family} ({count})"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let mut files = entries("controller/src/objects/ingress/annotations");
    files.retain(|path| !path.ends_with("about.rs"));
    let in_tests = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let (code, tests) = text.rsplit_once("#[cfg(test)]").unwrap_or(("", &*text));
        let quoted = format!("\"{name}\"");
        // Some tests name it by a constant.
        let constant =
            code.split_once(&format!(": &str = {quoted};")).and_then(|(before, _)| before.rsplit(' ').next());
        tests.contains(&quoted) || constant.is_some_and(|constant| tests.contains(constant))
    };
    let mut tests: Vec<_> = files.iter().filter(|path| in_tests(path)).map(|path| file_name(path)).collect();
    if tests.is_empty() {
        let golden = entries("controller/testdata/golden").into_iter();
        let has = |path: &PathBuf| {
            let objects = fs::read_to_string(path.join("in.yaml")).unwrap_or_default();
            objects.contains(&format!("nginx.ingress.kubernetes.io/{name}:"))
        };
        tests.extend(golden.filter(has).map(|path| file_name(&path)));
    }
    tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ")
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
