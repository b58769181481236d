//! What would become of manifests: each object accepted or refused, and why. Nothing is served.
//!
//! ```text
//! files -> documents -> objects (decode, default, check) -> duplicates -> translation -> Report
//! ```

pub(crate) mod files;
mod report;
mod statuses;

pub use report::{Checked, Finding, Level, Report, Verdict};

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::Arc,
};

use portcullis_routing::Table;

use crate::{
    Settings,
    ir::{Kind, Object, ObjectKey},
    objects::{self, AnnotationsPrefix, Decoded, decode_document},
    problem::{Place, Problem, Severity},
    snapshot::{Change, Snapshot},
    translate::{self, Address, DedicatedPorts, Pools, PortRange, Reader, Translation},
    yaml,
};

/// Reads files and folders (their `.yaml`, `.yml` and `.json`, subfolders too) and says what would become of each
/// object. Where each of them can be read, what they mean together is checked too: references, attachment,
/// conflicts.
pub fn check(paths: &[PathBuf], settings: &Settings) -> Report {
    let mut checks = Checks::default();
    for file in files::find(paths) {
        match file.and_then(|path| files::read(&path).map(|text| (path, text))) {
            Ok((path, text)) => checks.read(&text, &path.to_string_lossy(), &settings.annotations_prefix),
            Err(problem) => checks.report.objects.push(Checked::document(&problem)),
        }
    }
    if checks.report.is_ok() {
        checks.translate(settings);
    }
    checks.report
}

/// The table of the objects in files and folders, as far as they can be read; nothing is bound.
pub fn table(paths: &[PathBuf], settings: &Settings) -> Arc<Table> {
    let mut checks = Checks::default();
    for path in files::find(paths).into_iter().flatten() {
        if let Ok(text) = files::read(&path) {
            checks.read(&text, &path.to_string_lossy(), &settings.annotations_prefix);
        }
    }
    checks.translation(settings).table
}

#[derive(Default)]
struct Checks {
    report: Report,
    by_key: BTreeMap<ObjectKey, Known>,
    snapshot: Snapshot,
}

/// An object that was read.
struct Known {
    /// The version of the object; none where it cannot be read.
    version: Option<u64>,
    /// Where it stands in the report: the first document of its key, and those that say the same.
    places: Vec<usize>,
}

impl Checks {
    fn read(&mut self, text: &str, file: &str, prefix: &AnnotationsPrefix) {
        for mut document in yaml::documents(text, file) {
            document.content.iter_mut().for_each(|object| prefix.apply(object));
            let place = document.place.clone();
            self.add(decode_document(document), place);
        }
    }

    fn add(&mut self, decoded: Decoded, place: Place) {
        let Decoded { object, problems, key, refused: _ } = decoded;
        let Some(key) = key else {
            // Of a kind that is not served, or of no kind at all.
            let of = problems.first().map_or("document", |p| &p.object);
            let mut checked = Checked::new(of.into(), None, place);
            checked.verdict = Verdict::NotServed;
            problems.iter().for_each(|p| checked.add_problem(p));
            return self.report.objects.push(checked);
        };
        let mut checked = Checked::new(key.to_string(), Some(&key), place);
        problems.iter().for_each(|p| checked.add_problem(p));
        let index = self.report.objects.len();
        let version = object.as_ref().map(|object| object.meta().version);
        match self.by_key.get_mut(&key) {
            // As the folder's source does: the first one is served, and another that says the same does no harm.
            Some(first) if version.is_some() && first.version == version => first.places.push(index),
            Some(first) => {
                let first = &mut self.report.objects[first.places[0]];
                let message = format!("is in {}:{} as well, which takes precedence", first.file, first.line);
                checked.add(Finding::error("", message));
                let message = format!("is in {}:{} as well; this one is served", checked.file, checked.line);
                first.add(Finding::warning("", message));
            }
            None => {
                self.by_key.insert(key, Known { version, places: vec![index] });
                if let Some(object) = object {
                    self.snapshot.apply(Change::Apply(object));
                }
            }
        }
        self.report.objects.push(checked);
    }

    fn translation(&mut self, settings: &Settings) -> Translation {
        imply_namespaces(&mut self.snapshot, self.by_key.keys());
        translation(&self.snapshot, settings)
    }

    fn translate(&mut self, settings: &Settings) {
        let translation = self.translation(settings);
        for (key, finding) in statuses::findings(&translation.statuses) {
            self.say(key, finding);
        }
        let of_settings = settings.with_settings_map(&self.snapshot).1;
        let served = translate::served_objects(&self.snapshot, settings);
        let unclaimed = translate::unclaimed(&Reader::new(&served, settings, None));
        for problem in unclaimed.into_iter().chain(of_settings) {
            let of = self.by_key.iter().find(|(key, _)| *key.to_string() == *problem.object);
            for index in of.into_iter().flat_map(|(_, known)| &known.places) {
                self.report.objects[*index].add_problem(&problem);
            }
        }
    }

    fn say(&mut self, key: &ObjectKey, finding: Finding) {
        for index in self.by_key.get(key).into_iter().flat_map(|known| &known.places) {
            self.report.objects[*index].add(finding.clone());
        }
    }
}

/// What the objects of files mean. Nothing is bound.
pub(crate) fn translation(snapshot: &Snapshot, settings: &Settings) -> Translation {
    // What is made for a Gateway with addresses of its own is made once it is served.
    let mut settings = Settings { dedicated: DedicatedPorts::Of(PortRange::EMPTY), ..settings.clone() };
    if settings.addresses.is_empty() {
        // Where clients reach us is known once something is served, and no fault of the manifests.
        settings.addresses.push(Address::Ip(Ipv4Addr::LOCALHOST.into()));
    }
    translate::full(snapshot, &settings, None, &Pools::default())
}

/// A Namespace exists where something is in it, as the folder's source has it.
pub(crate) fn imply_namespaces<'k>(snapshot: &mut Snapshot, keys: impl Iterator<Item = &'k ObjectKey>) {
    let used: BTreeSet<Box<str>> = keys.map(|key| key.namespace.clone()).filter(|n| !n.is_empty()).collect();
    for name in used {
        let key = ObjectKey::new(Kind::Namespace, "", &name);
        if !snapshot.namespaces.contains_key(&key) {
            let manifest =
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let implied: Option<Object> = objects::decode(manifest, None).object;
            implied.into_iter().for_each(|object| snapshot.apply(Change::Apply(object)));
        }
    }
}

impl Checked {
    fn add_problem(&mut self, problem: &Problem) {
        let mut finding = match problem.severity {
            Severity::Error => Finding::error(&problem.field, &*problem.message),
            Severity::Warning => Finding::warning(&problem.field, &*problem.message),
        };
        finding.line = problem.place.as_ref().map(|place| place.line);
        self.add(finding);
    }

    /// A file or document that is no object.
    fn document(problem: &Problem) -> Self {
        let place = problem.place.clone().unwrap_or_else(|| Place { file: "".into(), line: 1 });
        let mut checked = Self::new(problem.object.to_string(), None, place);
        checked.add_problem(problem);
        checked
    }
}

#[cfg(test)]
mod tests;
