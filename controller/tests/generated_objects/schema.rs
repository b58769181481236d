//! Schemas of CRDs as they are read: every keyword that occurs, and none that is passed over.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use kube::CustomResourceExt as _;
use portcullis_controller::ir::Kind;
use portcullis_crds::GatewayParameters;
use serde_json::{Map, Value, json};

use crate::{pattern::Pattern, rule::Rule};

/// The kinds whose schemas are those of the Gateway API.
pub(crate) const GATEWAY_API_KINDS: [Kind; 11] = [
    Kind::GatewayClass,
    Kind::Gateway,
    Kind::ListenerSet,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TlsRoute,
    Kind::TcpRoute,
    Kind::UdpRoute,
    Kind::BackendTlsPolicy,
    Kind::XBackend,
    Kind::ReferenceGrant,
];

/// The schema of one kind in some channels and versions.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) kind: Kind,
    /// `standard`, `experimental`.
    pub(crate) channels: Vec<String>,
    /// Those that are read, as `apiVersion` names them.
    pub(crate) api_versions: Vec<String>,
    pub(crate) root: Node,
}

/// What a value has to be.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: Option<Type>,
    pub(crate) choices: Option<Vec<Value>>,
    pub(crate) pattern: Option<Arc<Pattern>>,
    pub(crate) format: Option<String>,
    pub(crate) default: Option<Value>,
    pub(crate) is_nullable: bool,
    /// Of a text in characters, of a list in entries, of a map in fields.
    pub(crate) least: usize,
    pub(crate) most: Option<usize>,
    pub(crate) minimum: Option<i64>,
    pub(crate) maximum: Option<i64>,
    pub(crate) items: Option<Box<Self>>,
    pub(crate) uniqueness: Uniqueness,
    pub(crate) properties: BTreeMap<String, Self>,
    pub(crate) required: Vec<String>,
    pub(crate) additional: Option<Box<Self>>,
    pub(crate) one_of: Vec<Self>,
    pub(crate) any_of: Vec<Self>,
    pub(crate) not: Option<Box<Self>>,
    pub(crate) rules: Vec<Arc<Rule>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Boolean,
}

/// What the entries of a list may not have in common.
#[derive(Debug, Default)]
pub(crate) enum Uniqueness {
    #[default]
    Nothing,
    Everything,
    Keys(Vec<String>),
}

/// All schemas.
pub(crate) static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    let mut known = Known::default();
    let of_gateway_api = GATEWAY_API_KINDS.into_iter().flat_map(|kind| {
        let text = fs::read_to_string(file(kind)).unwrap();
        let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
        entries.into_iter().map(move |entry| (kind, entry))
    });
    let own = serde_json::to_value(GatewayParameters::crd()).unwrap();
    let own = own["spec"]["versions"].as_array().unwrap().iter().map(|version| {
        let schema = without_prose(&version["schema"]["openAPIV3Schema"]);
        let entry = json!({ "channels": ["own"], "versions": [version["name"]], "schema": schema });
        (Kind::GatewayParameters, entry)
    });
    let all: Vec<_> = of_gateway_api.chain(own).collect();
    let schemas = all.into_iter().map(|(kind, entry)| known.schema(kind, &entry));
    schemas.filter(|schema| !schema.api_versions.is_empty()).collect()
});

/// Where the schemas of a kind are kept: `[{ channels, versions, schema }]`, an entry for each one that differs.
pub(crate) fn file(kind: Kind) -> String {
    format!("{}/testdata/schemas/{}.json", env!("CARGO_MANIFEST_DIR"), kind.resource().plural)
}

/// The schemas of a kind as they are kept, from the directory `config/crd` of a release.
pub(crate) fn of_release(directory: &Path, kind: Kind) -> String {
    let mut entries: Vec<(Vec<&str>, Vec<String>, Value)> = Vec::new();
    for channel in ["standard", "experimental"] {
        let name = format!("{channel}/{}_{}.yaml", kind.resource().group(), kind.resource().plural);
        // Some kinds are of the experimental channel alone.
        let Ok(text) = fs::read_to_string(directory.join(name)) else { continue };
        let mut documents = portcullis_controller::yaml::documents(&text, "crd.yaml");
        let definition = documents.next().unwrap().content.unwrap();
        for version in definition["spec"]["versions"].as_array().unwrap() {
            if version["served"] != true {
                continue;
            }
            let schema = without_prose(&version["schema"]["openAPIV3Schema"]);
            let name = version["name"].as_str().unwrap().to_owned();
            match entries.iter_mut().find(|(channels, _, known)| {
                *known == schema && (*channels == [channel] || channels.contains(&"standard"))
            }) {
                Some((channels, versions, _)) => {
                    if !channels.contains(&channel) {
                        channels.push(channel);
                    }
                    if !versions.contains(&name) {
                        versions.push(name);
                    }
                }
                None => entries.push((vec![channel], vec![name], schema)),
            }
        }
    }
    let lines = entries.into_iter().map(|(channels, versions, schema)| {
        json!({ "channels": channels, "versions": versions, "schema": schema }).to_string()
    });
    format!("[{}]\n", lines.collect::<Vec<_>>().join(",\n"))
}

/// A schema without descriptions and messages.
fn without_prose(schema: &Value) -> Value {
    let Value::Object(fields) = schema else {
        return match schema {
            Value::Array(items) => items.iter().map(without_prose).collect(),
            other => other.clone(),
        };
    };
    let kept = fields.iter().filter(|(name, _)| *name != "description");
    let kept = kept.map(|(name, value)| {
        let value = match name.as_str() {
            // The names in it are those of fields.
            "properties" => {
                let properties = value.as_object().unwrap().iter();
                properties.map(|(name, of)| (name.clone(), without_prose(of))).collect::<Map<_, _>>().into()
            }
            "x-kubernetes-validations" => {
                let rules = value.as_array().unwrap().iter();
                rules.map(|rule| json!({ "rule": rule["rule"] })).collect()
            }
            "default" | "enum" => value.clone(),
            _ => without_prose(value),
        };
        (name.clone(), value)
    });
    Value::Object(kept.collect())
}

/// Patterns and rules, of which few are many times in a schema.
#[derive(Default)]
struct Known {
    patterns: HashMap<String, Arc<Pattern>>,
    rules: HashMap<String, Arc<Rule>>,
}

impl Known {
    fn schema(&mut self, kind: Kind, entry: &Value) -> Schema {
        let texts =
            |name: &str| entry[name].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned());
        let resource = kind.resource();
        let (group, version) = resource.api_version.split_once('/').unwrap();
        let is_read = |name: &String| version == name || resource.other_versions.contains(&name.as_str());
        Schema {
            kind,
            channels: texts("channels").collect(),
            api_versions: texts("versions").filter(is_read).map(|name| format!("{group}/{name}")).collect(),
            root: self.node(&entry["schema"]),
        }
    }

    fn node(&mut self, schema: &Value) -> Node {
        let mut node = Node::default();
        for (name, value) in schema.as_object().unwrap() {
            self.keyword(&mut node, name, value);
        }
        node
    }

    fn keyword(&mut self, node: &mut Node, name: &str, value: &Value) {
        let texts = || value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
        match name {
            "type" => node.kind = Some(Type::named(value.as_str().unwrap())),
            "enum" => node.choices = Some(value.as_array().unwrap().clone()),
            "pattern" => {
                let text = value.as_str().unwrap();
                let pattern = || Arc::new(Pattern::new(text));
                node.pattern = Some(Arc::clone(self.patterns.entry(text.to_owned()).or_insert_with(pattern)));
            }
            "format" => node.format = Some(value.as_str().unwrap().to_owned()),
            "default" => node.default = Some(value.clone()),
            "nullable" => node.is_nullable = value == true,
            "minLength" | "minItems" | "minProperties" => node.least = size(value),
            "maxLength" | "maxItems" | "maxProperties" => node.most = Some(size(value)),
            "minimum" => node.minimum = Some(whole(value)),
            "maximum" => node.maximum = Some(whole(value)),
            "items" => node.items = Some(self.node(value).into()),
            "additionalProperties" => node.additional = Some(self.node(value).into()),
            "properties" => {
                let properties = value.as_object().unwrap().iter();
                node.properties = properties.map(|(name, of)| (name.clone(), self.node(of))).collect();
            }
            "required" => node.required = texts(),
            "x-kubernetes-list-type" if value == "set" => node.uniqueness = Uniqueness::Everything,
            "x-kubernetes-list-map-keys" => node.uniqueness = Uniqueness::Keys(texts()),
            "oneOf" => node.one_of = value.as_array().unwrap().iter().map(|of| self.node(of)).collect(),
            "anyOf" => node.any_of = value.as_array().unwrap().iter().map(|of| self.node(of)).collect(),
            "not" => node.not = Some(self.node(value).into()),
            "x-kubernetes-validations" => {
                let rules = value.as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap());
                // What an edit may not change has no bearing on an object by itself.
                let rules = rules.filter(|rule| !rule.contains("oldSelf")).map(|text| {
                    let rule = || Arc::new(Rule::new(text));
                    Arc::clone(self.rules.entry(text.to_owned()).or_insert_with(rule))
                });
                node.rules = rules.collect();
            }
            "x-kubernetes-list-type" | "x-kubernetes-map-type" | "title" => {}
            other => panic!("a keyword that is not read: {other}: {value}"),
        }
    }
}

impl Type {
    fn named(name: &str) -> Self {
        match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            other => panic!("a type that is not read: {other}"),
        }
    }
}

fn size(value: &Value) -> usize {
    usize::try_from(whole(value)).unwrap()
}

/// A whole number, as it is or with a fraction of zero.
fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| {
        let number = value.as_f64().unwrap();
        assert_eq!(number.fract().to_bits(), 0f64.to_bits(), "{value}");
        number as i64
    })
}
