//! The documents of a file.
//!
//! A file is split at its document markers before anything is parsed, so that a syntax error costs its own
//! document alone. Everything is bounded: size, number of documents, depth, what aliases expand to.

mod json;
mod lines;
mod split;

pub(crate) use lines::Lines;

use std::sync::Arc;

use serde_json::Value;

use crate::problem::{Place, Problem, Severity, Topic};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 16 << 20;
/// The largest object, in bytes of text: etcd would not take a larger one.
pub const MAX_DOCUMENT: usize = 3 << 19;
/// The most documents of a file.
pub const MAX_DOCUMENTS: usize = 100_000;

/// One document of a file: an object, or what is left of it.
#[derive(Clone, Debug)]
pub struct Document<'t> {
    /// Where it begins.
    pub place: Place,
    /// What it says, or why it cannot be read.
    pub content: Result<Value, Box<Problem>>,
    /// What it was read from; an item of a list has that of the whole list.
    pub(crate) text: &'t str,
    /// Where its fields stand.
    pub(crate) lines: Lines<'t>,
}

/// Reads the documents of a file (YAML, or JSON where the file's name ends in `.json`): several of them, lists
/// (`kind: List`, `HTTPRouteList`) with an entry each. Empty documents are left out. Each is parsed when the iterator
/// gets to it, so that a large file does not need the memory of all its parsed documents at once.
pub fn documents<'t>(text: &'t str, file: &'t str) -> impl Iterator<Item = Document<'t>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let too_large = (text.len() > MAX_FILE).then(|| {
        let message = format!("the file has {} bytes, more than {MAX_FILE}", text.len());
        broken(Chunk { line: 1, text: "" }, file, 1, message)
    });
    let text = if too_large.is_some() { "" } else { text };
    let chunks: Box<dyn Iterator<Item = _>> =
        if file.ends_with(".json") { Box::new(json::chunks(text)) } else { Box::new(split::chunks(text)) };
    let mut limits = FileLimits::default();
    too_large.into_iter().chain(chunks.map_while(move |chunk| limits.admit(chunk, file)).flatten())
}

/// What was read of a file so far. Beyond its limits, one document says so, and the rest of the file is not read.
#[derive(Default)]
struct FileLimits {
    documents: usize,
    /// Bytes to which its aliases expanded.
    expanded: usize,
    exceeded: bool,
}

impl FileLimits {
    fn admit<'t>(
        &mut self,
        (chunk, value): (Chunk<'t>, Result<Value, SyntaxError>),
        file: &str,
    ) -> Option<Vec<Document<'t>>> {
        if self.exceeded {
            return None;
        }
        let mut exceed = |message| {
            self.exceeded = true;
            Some(vec![broken(chunk, file, chunk.line, message)])
        };
        if self.documents >= MAX_DOCUMENTS {
            return exceed(format!("the file has more than {MAX_DOCUMENTS} documents"));
        }
        // Anchors alone make a value larger than its text.
        if let (Ok(value), true) = (&value, chunk.text.contains('&')) {
            self.expanded += size(value);
        }
        let documents = match value {
            Ok(Value::Null) => Vec::new(),
            Ok(_) if self.expanded > MAX_FILE => {
                return exceed(format!("the aliases of the file expand to more than {MAX_FILE} bytes"));
            }
            Ok(value) => objects(value, chunk, file),
            Err(SyntaxError { line, message }) => vec![broken(chunk, file, line, message)],
        };
        self.documents += documents.len();
        Some(documents)
    }
}

/// A document's text and the line of the file on which it begins.
#[derive(Clone, Copy, Debug)]
struct Chunk<'t> {
    line: u32,
    text: &'t str,
}

/// Why a document is no YAML or JSON.
#[derive(Debug)]
struct SyntaxError {
    /// Of the file.
    line: u32,
    message: String,
}

/// About how many bytes a value takes.
fn size(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + size(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + inner
}

fn objects<'t>(value: Value, chunk: Chunk<'t>, file: &str) -> Vec<Document<'t>> {
    let lines = Lines::new(chunk);
    let document = |content, line, lines| Document {
        place: Place { file: file.into(), line },
        content: Ok(content),
        text: chunk.text,
        lines,
    };
    match split::list_items(value) {
        Ok(items) => {
            let item = |(i, item)| {
                let lines = lines.item(i);
                document(item, lines.first(), lines)
            };
            items.into_iter().enumerate().map(item).collect()
        }
        Err(_) if chunk.text.len() > MAX_DOCUMENT => {
            let message = format!("the object has {} bytes, more than {MAX_DOCUMENT}", chunk.text.len());
            vec![broken(chunk, file, chunk.line, message)]
        }
        Err(value) => vec![document(value, split::first_line(chunk), lines)],
    }
}

fn broken<'t>(chunk: Chunk<'t>, file: &str, line: u32, message: String) -> Document<'t> {
    let problem = Problem {
        severity: Severity::Error,
        topic: Topic::Invalid,
        object: "document".into(),
        field: "".into(),
        message: message.into(),
        place: Some(Place { file: file.into(), line }),
    };
    Document {
        place: Place { file: file.into(), line: split::first_line(chunk) },
        content: Err(Box::new(problem)),
        text: chunk.text,
        lines: Lines::new(chunk),
    }
}

/// The problems of one document, each at the line of its field.
impl Lines<'_> {
    pub(crate) fn locate(&self, problems: &mut [Problem]) {
        for problem in problems {
            if let (Some(line), Some(place)) = (self.of(&problem.field), &mut problem.place) {
                place.line = line;
            }
        }
    }
}

/// Shared by the items of a list.
type Shared<T> = Arc<std::sync::OnceLock<T>>;

#[cfg(test)]
mod tests;
