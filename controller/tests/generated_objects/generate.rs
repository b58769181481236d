//! Values out of a schema.

use proptest::{prelude::RngExt as _, test_runner::TestRunner};

use serde_json::{Map, Value};

use crate::{
    pool,
    schema::{Node, Type, Uniqueness},
};

/// Draws one object.
pub(crate) struct Draw<'r> {
    runner: &'r mut TestRunner,
    /// How many of a hundred optional fields are there.
    richness: u32,
    /// How many values there may still be; then come the fewest that the schema admits.
    budget: usize,
    /// Whether the rules are kept, too.
    is_lawful: bool,
}

/// The names of the fields on the way to a value, from the root; a list adds none.
type Path<'p> = &'p [&'p str];

impl<'r> Draw<'r> {
    pub(crate) fn new(runner: &'r mut TestRunner, is_lawful: bool) -> Self {
        let richness = [5, 20, 50, 90][runner.rng().random_range(0..4)];
        Self { runner, richness, budget: 1500, is_lawful }
    }

    /// `spec` of an object, or whatever the schema has beside its head.
    pub(crate) fn object(&mut self, root: &Node) -> Map<String, Value> {
        let head = ["apiVersion", "kind", "metadata", "status"];
        let parts = root.properties.iter().filter(|(name, _)| !head.contains(&name.as_str()));
        parts.map(|(name, of)| (name.clone(), self.value(of, &[name]))).collect()
    }

    pub(crate) fn one_in(&mut self, count: u32) -> bool {
        self.runner.rng().random_ratio(1, count)
    }

    pub(crate) fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.runner.rng().random_range(0..all.len())]
    }

    fn value(&mut self, node: &Node, path: Path<'_>) -> Value {
        self.budget = self.budget.saturating_sub(1);
        if let Some(choices) = &node.choices {
            return choices[self.runner.rng().random_range(0..choices.len())].clone();
        }
        match node.kind {
            Some(Type::Object) => self.fields_by_rules(node, path),
            Some(Type::Array) => self.items_by_rules(node, path),
            Some(Type::String) => self.text(node, path).into(),
            Some(Type::Integer) => self.number(node, path).into(),
            Some(Type::Boolean) => self.runner.rng().random::<bool>().into(),
            None => panic!("a field without a type: {path:?}"),
        }
    }

    /// Draws until the rules are kept, then leaves out what need not be there until they are.
    fn fields_by_rules(&mut self, node: &Node, path: Path<'_>) -> Value {
        let mut drawn = self.fields(node, path);
        for _ in 0..4 {
            if !self.is_lawful || node.keeps_rules(&drawn) {
                return drawn;
            }
            drawn = self.fields(node, path);
        }
        let optional: Vec<_> = node.properties.keys().filter(|name| !node.required.contains(name)).collect();
        for name in optional {
            if node.keeps_rules(&drawn) {
                break;
            }
            drawn.as_object_mut().unwrap().remove(name);
        }
        drawn
    }

    fn fields(&mut self, node: &Node, path: Path<'_>) -> Value {
        let mut fields = Map::new();
        let chosen = self.chosen(node);
        for (name, of) in &node.properties {
            let is_wanted = match &chosen {
                Some((which, _)) if name == which => true,
                // What belongs to another choice.
                Some((which, choice)) if is_choice(node, which, name) => name.eq_ignore_ascii_case(choice),
                _ => node.required.contains(name) || self.is_wanted(path, name),
            };
            if is_wanted {
                let path: Vec<_> = path.iter().copied().chain([name.as_str()]).collect();
                let value = match &chosen {
                    Some((which, choice)) if name == which => choice.clone().into(),
                    _ => self.value(of, &path),
                };
                fields.insert(name.clone(), value);
            }
        }
        if let Some(of) = &node.additional {
            let most = node.most.unwrap_or(8);
            let count = if self.one_in(40) { most } else { self.runner.rng().random_range(0..=most.min(3)) };
            for index in 0..count.max(node.least) {
                let key = self.of(&pool::KEYS).to_owned();
                let key = if count > 3 { format!("{key}{index}") } else { key };
                let value = self.value(of, path);
                fields.insert(key, value);
            }
        }
        let mut drawn = fields.into();
        if self.is_lawful || !self.one_in(4) {
            pool::mend(path, &mut drawn);
        }
        drawn
    }

    /// The field that says which of the others there are, and what it says.
    fn chosen(&mut self, node: &Node) -> Option<(String, String)> {
        if self.one_in(20) {
            return None;
        }
        let (name, choices) = node.properties.iter().find_map(|(name, of)| {
            let choices: Vec<_> = of.choices.as_ref()?.iter().filter_map(Value::as_str).collect();
            let is_choice = |field: &String| choices.iter().any(|choice| field.eq_ignore_ascii_case(choice));
            node.properties.keys().any(is_choice).then_some((name, choices))
        })?;
        Some((name.clone(), self.of(&choices).to_owned()))
    }

    fn is_wanted(&mut self, path: Path<'_>, name: &str) -> bool {
        if self.budget == 0 {
            return false;
        }
        match pool::weight(path, name) {
            Some(of_hundred) => self.runner.rng().random_ratio(of_hundred, 100),
            None => self.runner.rng().random_ratio(self.richness, 100),
        }
    }

    fn items_by_rules(&mut self, node: &Node, path: Path<'_>) -> Value {
        let mut drawn = self.items(node, path);
        for _ in 0..2 {
            if !self.is_lawful || node.keeps_rules(&drawn) {
                return drawn;
            }
            drawn = self.items(node, path);
        }
        // The first entries by themselves, then each further one that does not break a rule.
        let Value::Array(all) = drawn else { return drawn };
        let mut kept = Value::Array(Vec::new());
        for item in all {
            kept.as_array_mut().unwrap().push(item);
            if !node.keeps_rules(&kept) {
                kept.as_array_mut().unwrap().pop();
            }
        }
        kept
    }

    fn items(&mut self, node: &Node, path: Path<'_>) -> Value {
        let Some(of) = &node.items else { return Value::Array(Vec::new()) };
        let most = node.most.unwrap_or(16);
        let count = match self.runner.rng().random_range(0..80) {
            _ if self.budget == 0 => node.least,
            0..10 => node.least,
            10..50 => 1,
            50..79 => self.runner.rng().random_range(1..5),
            _ => most,
        };
        let mut items = Vec::new();
        for index in 0..count.clamp(node.least, most) {
            if self.budget == 0 && index >= node.least.max(1) {
                break;
            }
            let mut item = self.value(of, path);
            if let (true, Uniqueness::Keys(keys)) = (count > 8, &node.uniqueness) {
                // Few names are not enough for a long list.
                for key in keys {
                    pool::numbered(&mut item[key], index);
                }
            }
            items.push(item);
            if !node.has_unique(&items) {
                items.pop();
            }
        }
        items.into()
    }

    fn text(&mut self, node: &Node, path: Path<'_>) -> String {
        let fits = |text: &str| {
            let length = text.chars().count();
            length >= node.least
                && node.most.is_none_or(|most| length <= most)
                && node.pattern.as_ref().is_none_or(|pattern| pattern.fits(text))
        };
        let known: Vec<_> = pool::texts(path).iter().copied().filter(|text| fits(text)).collect();
        if !known.is_empty() && !self.one_in(8) {
            return self.of(&known).to_owned();
        }
        for _ in 0..50 {
            let drawn = match &node.pattern {
                // Not every pattern is about the whole text.
                Some(pattern) if self.one_in(10) => format!("_{}_", pattern.draw(self.runner)),
                Some(pattern) => pattern.draw(self.runner),
                None => self.any_text(node),
            };
            if fits(&drawn) {
                return drawn;
            }
        }
        match known.first() {
            Some(text) => (*text).to_owned(),
            None => panic!("no text fits {path:?}: {node:?}"),
        }
    }

    /// A text of any characters, sometimes as long as may be.
    fn any_text(&mut self, node: &Node) -> String {
        let most = node.most.unwrap_or(64);
        let length = if self.one_in(10) { most } else { self.runner.rng().random_range(0..=most.min(12)) };
        let characters = [
            'a',
            'B',
            '7',
            '/',
            '.',
            '-',
            '*',
            '%',
            '(',
            '[',
            '\\',
            '"',
            ' ',
            '\n',
            '\u{0}',
            'ä',
            '\u{1f600}',
        ];
        (0..length.max(node.least))
            .map(|_| characters[self.runner.rng().random_range(0..characters.len())])
            .collect()
    }

    fn number(&mut self, node: &Node, path: Path<'_>) -> i64 {
        let bound = if node.format.as_deref() == Some("int64") { 1 << 53 } else { i64::from(i32::MAX) };
        let (least, most) = (node.minimum.unwrap_or(-bound), node.maximum.unwrap_or(bound));
        let known = pool::numbers(path);
        match self.runner.rng().random_range(0..8) {
            0 => least,
            1 => most,
            2 => self.runner.rng().random_range(least..=most),
            3 => self.runner.rng().random_range(least..=most.min(least.saturating_add(5))),
            _ => known[self.runner.rng().random_range(0..known.len())].clamp(least, most),
        }
    }
}

/// Whether a field is there for one value of the field `which` alone.
fn is_choice(node: &Node, which: &str, name: &str) -> bool {
    let choices = node.properties[which].choices.iter().flatten().filter_map(Value::as_str);
    choices.into_iter().any(|choice| name.eq_ignore_ascii_case(choice))
}
