//! What an API server does with an object by its schema: defaults, then checks.

use serde_json::{Map, Value};

use crate::{
    rule::Facts,
    schema::{Node, Type, Uniqueness},
};

impl Node {
    /// The value with the defaults of fields that are not there.
    pub(crate) fn defaulted(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let known = |name: &String| self.properties.get(name).or(self.additional.as_deref());
                let kept = fields.iter().map(|(name, value)| {
                    (name.clone(), known(name).map_or_else(|| value.clone(), |of| of.defaulted(value)))
                });
                let mut fields: Map<_, _> = kept.collect();
                for (name, of) in &self.properties {
                    if let (false, Some(default)) = (fields.contains_key(name), &of.default) {
                        fields.insert(name.clone(), of.defaulted(default));
                    }
                }
                fields.into()
            }
            Value::Array(items) => match &self.items {
                Some(of) => items.iter().map(|item| of.defaulted(item)).collect(),
                None => value.clone(),
            },
            other => other.clone(),
        }
    }

    /// What is wrong with a value that has its defaults, with the paths of fields.
    pub(crate) fn faults(&self, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(value, "", true, &mut faults);
        faults
    }

    /// Whether a value has its form and keeps its rules.
    pub(crate) fn admits(&self, value: &Value) -> bool {
        self.faults(&self.defaulted(value)).is_empty()
    }

    /// Whether a value, regardless of its parts, keeps the rules of this node.
    pub(crate) fn keeps_rules(&self, value: &Value) -> bool {
        if self.rules.is_empty() && self.one_of.is_empty() {
            return true;
        }
        let value = self.defaulted(value);
        let mut faults = Vec::new();
        self.check_alternatives(&value, "", &mut faults);
        faults.is_empty() && {
            let facts = Facts::of(&value);
            self.rules.iter().all(|rule| rule.holds(&facts))
        }
    }

    fn check(&self, value: &Value, at: &str, is_closed: bool, faults: &mut Vec<String>) {
        if value.is_null() && self.is_nullable {
            return;
        }
        let before = faults.len();
        if !self.has_type(value) {
            faults.push(format!("{at}: has another type: {value}"));
            return;
        }
        if self.choices.as_ref().is_some_and(|choices| !choices.contains(value)) {
            faults.push(format!("{at}: is none of its values: {value}"));
        }
        match value {
            Value::String(text) => self.check_text(text, at, faults),
            Value::Number(number) => {
                let number = number.as_i64().unwrap();
                let (minimum, maximum) = (self.minimum.unwrap_or(i64::MIN), self.maximum.unwrap_or(i64::MAX));
                if !(minimum..=maximum).contains(&number) {
                    faults.push(format!("{at}: is out of range: {number}"));
                }
            }
            Value::Array(items) => self.check_items(items, at, is_closed, faults),
            Value::Object(fields) => self.check_fields(fields, at, is_closed, faults),
            Value::Null | Value::Bool(_) => {}
        }
        self.check_alternatives(value, at, faults);
        // An API server does not ask the rules of what has not its form.
        if faults.len() == before && !self.rules.is_empty() {
            let facts = Facts::of(value);
            let broken = self.rules.iter().filter(|rule| !rule.holds(&facts));
            faults.extend(broken.map(|rule| format!("{at}: breaks a rule: {}", rule.text)));
        }
    }

    fn has_type(&self, value: &Value) -> bool {
        match self.kind {
            None => true,
            Some(Type::Object) => value.is_object(),
            Some(Type::Array) => value.is_array(),
            Some(Type::String) => value.is_string(),
            Some(Type::Integer) => value.is_i64(),
            Some(Type::Boolean) => value.is_boolean(),
        }
    }

    fn check_text(&self, text: &str, at: &str, faults: &mut Vec<String>) {
        let length = text.chars().count();
        if length < self.least || self.most.is_some_and(|most| length > most) {
            faults.push(format!("{at}: has {length} characters"));
        }
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.fits(text)) {
            faults.push(format!("{at}: has not its pattern: {text:?}"));
        }
        let fits = match self.format.as_deref() {
            Some("ipv4") => text.parse::<std::net::Ipv4Addr>().is_ok(),
            Some("ipv6") => text.parse::<std::net::Ipv6Addr>().is_ok(),
            Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
            None => true,
            Some(other) => panic!("a format of texts that is not known: {other}"),
        };
        if !fits {
            faults.push(format!("{at}: has not its format: {text:?}"));
        }
    }

    fn check_items(&self, items: &[Value], at: &str, is_closed: bool, faults: &mut Vec<String>) {
        if items.len() < self.least || self.most.is_some_and(|most| items.len() > most) {
            faults.push(format!("{at}: has {} entries", items.len()));
        }
        if let Some(of) = &self.items {
            for (index, item) in items.iter().enumerate() {
                of.check(item, &format!("{at}[{index}]"), is_closed, faults);
            }
        }
        if !self.has_unique(items) {
            faults.push(format!("{at}: has two entries with the same key"));
        }
    }

    /// Whether no two entries have in common what they may not.
    pub(crate) fn has_unique(&self, items: &[Value]) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        items.iter().all(|item| match &self.uniqueness {
            Uniqueness::Nothing => true,
            Uniqueness::Everything => seen.insert(item.to_string()),
            Uniqueness::Keys(keys) => {
                let key: Vec<_> = keys.iter().map(|key| item.get(key)).collect();
                seen.insert(format!("{key:?}"))
            }
        })
    }

    fn check_fields(&self, fields: &Map<String, Value>, at: &str, is_closed: bool, faults: &mut Vec<String>) {
        for name in self.required.iter().filter(|name| !fields.contains_key(*name)) {
            faults.push(format!("{at}: lacks {name}"));
        }
        if fields.len() < self.least {
            faults.push(format!("{at}: has only {} fields", fields.len()));
        }
        if self.additional.is_some() && self.most.is_some_and(|most| fields.len() > most) {
            faults.push(format!("{at}: has {} fields", fields.len()));
        }
        // `metadata` and the alternatives of a schema say nothing of other fields.
        let is_open = !is_closed || self.properties.is_empty();
        for (name, value) in fields {
            match self.properties.get(name).or(self.additional.as_deref()) {
                Some(of) => of.check(value, &format!("{at}.{name}"), is_closed, faults),
                None if is_open => {}
                // Every object has a head; not every schema says so.
                None if at.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {}
                None => faults.push(format!("{at}: has no field {name}")),
            }
        }
    }

    fn check_alternatives(&self, value: &Value, at: &str, faults: &mut Vec<String>) {
        let fits = |of: &Self| {
            let mut faults = Vec::new();
            of.check(value, at, false, &mut faults);
            faults.is_empty()
        };
        let of_one = self.one_of.iter().filter(|of| fits(of)).count();
        if !self.one_of.is_empty() && of_one != 1 {
            faults.push(format!("{at}: fits {of_one} of the alternatives, not one: {value}"));
        }
        if !self.any_of.is_empty() && !self.any_of.iter().any(fits) {
            faults.push(format!("{at}: fits none of the alternatives: {value}"));
        }
        if self.not.as_ref().is_some_and(|of| fits(of)) {
            faults.push(format!("{at}: is what it must not be: {value}"));
        }
    }
}
