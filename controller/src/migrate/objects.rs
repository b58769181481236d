//! The objects of a report, and the annotations of Ingresses as they are written.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde_json::Value;

use crate::{
    Problem,
    check::{files, imply_namespaces},
    ir::{Kind, Object, ObjectKey},
    objects::{AnnotationsPrefix, Decoded, LABEL, NGINX_PREFIX, SUBDOMAIN, decode_document, decode_live},
    snapshot::{Change, Snapshot},
    yaml,
};

/// The objects of files or of a cluster.
#[derive(Debug, Default)]
pub struct Objects {
    snapshot: Snapshot,
    ingresses: BTreeMap<ObjectKey, Written>,
    documents: BTreeMap<ObjectKey, Arc<Value>>,
    unreadable: Vec<String>,
    annotations_prefix: AnnotationsPrefix,
}

/// An Ingress as it is written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) problems: Vec<Problem>,
    /// Whether it is refused as a whole.
    pub(super) is_refused: bool,
}

impl Objects {
    /// No objects yet. Their Ingresses can have annotations with this prefix.
    pub fn with_prefix(annotations_prefix: AnnotationsPrefix) -> Self {
        Self { annotations_prefix, ..Self::default() }
    }

    /// Reads files and folders (`.yaml`, `.yml` and `.json` files, including subfolders).
    pub fn of_files(paths: &[PathBuf], annotations_prefix: AnnotationsPrefix) -> Self {
        let mut objects = Self::with_prefix(annotations_prefix);
        for file in files::find(paths) {
            match file.and_then(|path| files::read(&path).map(|text| (path, text))) {
                Ok((path, text)) => objects.read(&text, &path.to_string_lossy()),
                Err(problem) => objects.unreadable.push(problem.to_string()),
            }
        }
        objects
    }

    /// Adds the documents of a file.
    pub fn read(&mut self, text: &str, file: &str) {
        for mut document in yaml::documents(text, file) {
            document.content.iter_mut().for_each(|object| self.annotations_prefix.apply(object));
            let value = document.content.as_ref().ok().cloned();
            self.add(value, decode_document(document));
        }
    }

    /// Adds an object of an API server.
    pub fn add_live(&mut self, mut object: Value) {
        self.annotations_prefix.apply(&mut object);
        let decoded = decode_live(object.clone());
        self.add(Some(object), decoded);
    }

    fn add(&mut self, value: Option<Value>, decoded: Decoded) {
        let Decoded { object, refused, problems, key } = decoded;
        let Some(key) = key else {
            // An object of another kind, or not an object.
            if value.is_none() {
                self.unreadable.extend(problems.iter().map(Problem::to_string));
            }
            return;
        };
        // As in a folder that is served, the first one takes precedence.
        if self.documents.contains_key(&key) {
            return;
        }
        if key.kind == Kind::Ingress {
            let annotations = value.as_ref().map(annotations_of).unwrap_or_default();
            let written = Written { annotations, problems, is_refused: object.is_none() };
            self.ingresses.insert(key.clone(), written);
        }
        if let Some(value) = value {
            self.documents.insert(key, Arc::new(value));
        }
        let object: Option<Object> = object.or(refused);
        object.into_iter().for_each(|object| self.snapshot.apply(Change::Apply(object)));
    }

    /// The namespaces and names of the ConfigMaps that annotations of Ingresses name.
    pub fn named_config_maps(&self) -> BTreeSet<(String, String)> {
        let annotations = self.ingresses.iter().flat_map(|(key, written)| {
            written.annotations.iter().filter_map(|(name, value)| {
                config_map_of(name.strip_prefix(NGINX_PREFIX)?, value, &key.namespace)
            })
        });
        annotations.map(|key| (key.namespace.to_string(), key.name.to_string())).collect()
    }

    /// The snapshot, with a Namespace for each that an object is in.
    pub(super) fn with_namespaces(&self) -> Snapshot {
        let mut snapshot = self.snapshot.clone();
        imply_namespaces(&mut snapshot, self.documents.keys());
        snapshot
    }

    pub(super) fn ingresses(&self) -> &BTreeMap<ObjectKey, Written> {
        &self.ingresses
    }

    /// Files and documents that cannot be read.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }
}

/// The ConfigMap that an annotation of an Ingress names, if it names one that the Ingress may use.
pub(super) fn config_map_of(annotation: &str, value: &str, own: &str) -> Option<ObjectKey> {
    let (namespace, name) = match annotation {
        "custom-headers" => value.split_once('/')?,
        "auth-proxy-set-headers" => {
            value.trim().split_once('/').filter(|(namespace, _)| *namespace == own)?
        }
        _ => return None,
    };
    let is_named = LABEL.fits(namespace) && SUBDOMAIN.fits(name);
    is_named.then(|| ObjectKey::new(Kind::ConfigMap, namespace, name))
}

fn annotations_of(ingress: &Value) -> BTreeMap<String, String> {
    let annotations = ingress.pointer("/metadata/annotations").and_then(Value::as_object);
    let texts = annotations.into_iter().flatten();
    texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
