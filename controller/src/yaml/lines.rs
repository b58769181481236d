//! On which line a field stands. Found by a second look at the text, and only where somebody asks.

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::{Chunk, Shared, split::limits};

/// The lines of a document's fields.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'t> {
    chunk: Chunk<'t>,
    /// `items[3].` for an item of a list.
    prefix: Box<str>,
    /// Of the whole document.
    by_field: Shared<BTreeMap<String, u32>>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(chunk: Chunk<'t>) -> Self {
        Self { chunk, prefix: "".into(), by_field: Shared::new(OnceLock::new()) }
    }

    /// Those of an item of a list.
    pub(super) fn item(&self, index: usize) -> Self {
        Self { prefix: format!("items[{index}].").into(), ..self.clone() }
    }

    /// The line on which the document begins.
    pub(super) fn first(&self) -> u32 {
        self.of("").unwrap_or(self.chunk.line)
    }

    /// The line of a field, or of the innermost one around it that is there.
    pub(crate) fn of(&self, field: &str) -> Option<u32> {
        let by_field = self.by_field.get_or_init(|| lines(self.chunk));
        let whole = format!("{}{field}", self.prefix);
        let mut name = whole.trim_end_matches('.');
        loop {
            if let Some(line) = by_field.get(name) {
                return Some(*line);
            }
            name = &name[..name.rfind(['.', '['])?];
        }
    }
}

fn lines(chunk: Chunk<'_>) -> BTreeMap<String, u32> {
    let mut by_field = BTreeMap::new();
    if let Ok(tree) = serde_saphyr::from_str_with_options::<Spanned<Node>>(chunk.text, limits()) {
        collect(&tree.value, "", chunk.line, &mut by_field);
    }
    by_field
}

fn collect(node: &Node, at: &str, first: u32, out: &mut BTreeMap<String, u32>) {
    let mut add = |field: String, line: u64, node: &Node| {
        let line = u32::try_from(line).unwrap_or(1).saturating_sub(1);
        collect(node, &field, first, out);
        out.insert(field, first + line);
    };
    match node {
        Node::Scalar => {}
        Node::Map(fields) => {
            for (key, node) in fields {
                let field = if at.is_empty() { key.value.clone() } else { format!("{at}.{}", key.value) };
                add(field, key.referenced.line(), node);
            }
        }
        Node::List(items) => {
            for (i, item) in items.iter().enumerate() {
                add(format!("{at}[{i}]"), item.referenced.line(), &item.value);
            }
        }
    }
}

/// The shape of a document; its texts do not matter.
#[derive(Debug)]
enum Node {
    Scalar,
    Map(Vec<(Spanned<String>, Node)>),
    List(Vec<Spanned<Node>>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key()? {
            fields.push((key, map.next_value()?));
        }
        Ok(Node::Map(fields))
    }
}
