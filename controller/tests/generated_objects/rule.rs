//! Rules of the schema in CEL (`x-kubernetes-validations`), with the functions that Kubernetes adds to the language.

use std::{cell::RefCell, collections::HashMap, net::IpAddr, sync::Arc};

use cel::{
    Context, Env, ExecutionError, Program, Value as CelValue,
    extensions::strings,
    extractors::This,
    objects::{Key, Map},
};
use regex_automata::meta::Regex;
use serde_json::Value;

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) text: String,
    program: Program,
}

thread_local! {
    static ENV: Arc<Env> = Arc::new({
        let mut env = Env::stdlib();
        env.add_extension(strings).unwrap();
        env
    });
    static PATTERNS: RefCell<HashMap<Arc<String>, Regex>> = RefCell::default();
    static FUNCTIONS: Context<'static, 'static> = ENV.with(|env| functions(Arc::clone(env)));
}

impl Rule {
    pub(crate) fn new(text: &str) -> Self {
        // The only formats that occur, and the only question that is asked of their errors.
        let source = text
            .replace("!format.dns1123Subdomain().validate(", "isSubdomain(")
            .replace("!format.qualifiedName().validate(", "isQualifiedName(")
            .replace(".hasValue()", "");
        // The function of the crate compiles the regular expression with every call.
        let source = source.replace(".matches(", ".fits(");
        let program = ENV.with(|env| env.compile(&source)).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        Self { text: text.to_owned(), program }
    }

    /// Whether a value, its defaults filled in, keeps the rule. A rule that cannot be evaluated is broken, as for an API
    /// server.
    pub(crate) fn holds(&self, value: &Facts) -> bool {
        FUNCTIONS.with(|functions| {
            let mut scope = functions.new_inner_scope();
            scope.add_variable_from_value("self", value.0.clone());
            match self.program.execute(&scope) {
                Ok(CelValue::Bool(holds)) => holds,
                Ok(other) => panic!("{}: {other:?}", self.text),
                // A field that is not there; everything else is a rule that we do not understand.
                Err(ExecutionError::NoSuchKey(_) | ExecutionError::FunctionError { .. }) => false,
                Err(error) => panic!("{}: {error}", self.text),
            }
        })
    }
}

/// A value as rules see it.
pub(crate) struct Facts(CelValue);

impl Facts {
    pub(crate) fn of(value: &Value) -> Self {
        Self(convert(value))
    }
}

fn convert(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => number.as_i64().unwrap().into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(convert).collect())),
        Value::Object(fields) => {
            // A word that the language keeps for itself is written like this in rules.
            let name =
                |name: &str| if name == "namespace" { "__namespace__".to_owned() } else { name.to_owned() };
            let fields = fields.iter().map(|(key, value)| (Key::from(name(key)), convert(value)));
            CelValue::Map(Map { map: Arc::new(fields.collect::<HashMap<_, _>>()) })
        }
    }
}

fn functions(env: Arc<Env>) -> Context<'static, 'static> {
    let mut context = Context::with_env(env);
    context.add_function("isIP", |text: Arc<String>| text.parse::<IpAddr>().is_ok()).unwrap();
    // Compared with others alone.
    context.add_function("duration", |text: Arc<String>| duration(&text)).unwrap();
    context
        .add_function("fits", |This(text): This<Arc<String>>, pattern: Arc<String>| fits(&text, pattern))
        .unwrap();
    context.add_function("isSubdomain", |text: Arc<String>| is_subdomain(&text)).unwrap();
    context.add_function("isQualifiedName", |text: Arc<String>| is_qualified_name(&text)).unwrap();
    context
}

fn fits(text: &str, pattern: Arc<String>) -> bool {
    PATTERNS.with_borrow_mut(|known| {
        let regex = known.entry(Arc::clone(&pattern)).or_insert_with(|| Regex::new(&pattern).unwrap());
        regex.is_match(text)
    })
}

/// In milliseconds, of a text that has the pattern of the Gateway API.
fn duration(text: &str) -> i64 {
    let (mut total, mut rest) = (0, text);
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()) {
        let number: i64 = rest[..end].parse().unwrap_or_default();
        let unit = &rest[end..];
        let unit = &unit[..unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len())];
        let factor = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            _ => 1,
        };
        total += number * factor;
        rest = &rest[end + unit.len()..];
    }
    total
}

fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    prefix.is_none_or(is_subdomain)
        && name.len() <= 63
        && name.starts_with(is_edge)
        && name.ends_with(is_edge)
        && name.chars().all(|c| is_edge(c) || matches!(c, '-' | '_' | '.'))
}

fn is_subdomain(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(is_edge)
            && label.ends_with(is_edge)
            && label.chars().all(|c| is_edge(c) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}
