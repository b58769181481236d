//! Cases: some objects of any kind. A case that fails is made smaller by leaving out objects, fields and entries that the
//! schema can do without.

use std::fmt;

use portcullis_controller::ir::Kind;
use proptest::{
    prelude::RngExt as _,
    strategy::{NewTree, Strategy, ValueTree},
    test_runner::TestRunner,
};

use serde_json::{Map, Value, json};

use crate::{
    generate::Draw,
    pool,
    schema::{Node, SCHEMAS, Schema},
};

/// Objects, and a number from which follows the order of their events.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) objects: Vec<Drawn>,
    pub(crate) order: u64,
}

/// One object.
#[derive(Clone)]
pub(crate) struct Drawn {
    pub(crate) schema: &'static Schema,
    pub(crate) document: Value,
    /// Whether an API server with this schema takes it.
    pub(crate) is_admitted: bool,
}

/// Cases of up to so many objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cases {
    pub(crate) most: usize,
    /// Whether all objects keep the rules of their schemas.
    pub(crate) are_lawful: bool,
}

impl Strategy for Cases {
    type Tree = Tree;
    type Value = Case;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let count = runner.rng().random_range(1..=self.most);
        let objects = (0..count).map(|_| {
            let is_lawful = self.are_lawful || !runner.rng().random_ratio(1, 3);
            let mut drawn = draw(runner, is_lawful);
            for _ in 0..20 {
                if drawn.is_admitted || !self.are_lawful {
                    break;
                }
                drawn = draw(runner, is_lawful);
            }
            drawn
        });
        let objects = objects.filter(|drawn| drawn.is_admitted || !self.are_lawful).collect();
        let now = Case { objects, order: runner.rng().random() };
        Ok(Tree { before: now.clone(), now, next: 0 })
    }
}

fn draw(runner: &mut TestRunner, is_lawful: bool) -> Drawn {
    let schema = &SCHEMAS[runner.rng().random_range(0..SCHEMAS.len())];
    let mut draw = Draw::new(runner, is_lawful);
    let mut document = json!({ "kind": schema.kind.as_str(), "metadata": metadata(schema.kind, &mut draw) });
    let versions: Vec<_> = schema.api_versions.iter().map(String::as_str).collect();
    document["apiVersion"] = draw.of(&versions).into();
    document.as_object_mut().unwrap().extend(draw.object(&schema.root));
    Drawn { schema, is_admitted: schema.root.admits(&document), document }
}

fn metadata(kind: Kind, draw: &mut Draw<'_>) -> Value {
    let name = draw.of(if kind == Kind::GatewayClass { &pool::CLASSES } else { &pool::NAMES });
    let mut metadata =
        json!({ "name": name, "uid": format!("{name}-{}", draw.of(&["1", "2"])), "generation": 1 });
    if kind != Kind::GatewayClass {
        metadata["namespace"] = draw.of(&pool::NAMESPACES).into();
    }
    let times = ["2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"];
    metadata["creationTimestamp"] = draw.of(&times).into();
    for name in ["labels", "annotations"] {
        if draw.one_in(8) {
            metadata[name] = json!({ draw.of(&pool::KEYS): "red" });
        }
    }
    metadata
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "order {}", self.order)?;
        for Drawn { schema, document, is_admitted } in &self.objects {
            let is_admitted = if *is_admitted { "admitted" } else { "not admitted" };
            writeln!(f, "{} {:?} {is_admitted}: {document}", schema.kind, schema.channels)?;
        }
        Ok(())
    }
}

/// A case that may be made smaller.
pub(crate) struct Tree {
    now: Case,
    before: Case,
    /// The removal to try next.
    next: usize,
}

impl ValueTree for Tree {
    type Value = Case;

    fn current(&self) -> Case {
        self.now.clone()
    }

    fn simplify(&mut self) -> bool {
        loop {
            let mut smaller = self.now.clone();
            if self.next < smaller.objects.len() {
                smaller.objects.remove(self.next);
            } else {
                let mut left = self.next - smaller.objects.len();
                let removed = smaller.objects.iter_mut().find_map(|drawn| {
                    remove(&mut drawn.document, &drawn.schema.root, &mut left).then_some(drawn)
                });
                let Some(drawn) = removed else { return false };
                if drawn.is_admitted != drawn.schema.root.admits(&drawn.document) {
                    self.next += 1;
                    continue;
                }
            }
            self.before = std::mem::replace(&mut self.now, smaller);
            return true;
        }
    }

    fn complicate(&mut self) -> bool {
        self.now = self.before.clone();
        self.next += 1;
        true
    }
}

/// Removes the value that is `left` removable values further on; false if there are not so many.
fn remove(value: &mut Value, node: &Node, left: &mut usize) -> bool {
    match value {
        Value::Object(fields) => remove_field(fields, node, left),
        Value::Array(items) => {
            let Some(of) = &node.items else { return false };
            if *left < items.len() {
                items.remove(*left);
                return true;
            }
            *left -= items.len();
            items.iter_mut().any(|item| remove(item, of, left))
        }
        _ => false,
    }
}

fn remove_field(fields: &mut Map<String, Value>, node: &Node, left: &mut usize) -> bool {
    let is_head = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata");
    let removable: Vec<_> =
        fields.keys().filter(|name| !is_head(name) && !node.required.contains(name)).cloned().collect();
    if let Some(name) = removable.get(*left) {
        fields.remove(name);
        return true;
    }
    *left -= removable.len();
    fields.iter_mut().filter(|(name, _)| *name != "metadata").any(|(name, value)| {
        let of = node.properties.get(name).or(node.additional.as_deref());
        of.is_some_and(|of| remove(value, of, left))
    })
}
