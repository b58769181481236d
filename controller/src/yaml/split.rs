//! A YAML text -> its documents; a list -> its items.

use serde_json::Value;
use serde_saphyr::{Options, alias_limits, budget, options};

use super::{Chunk, SyntaxError};

/// The documents of a YAML text that say anything.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = (Chunk<'_>, Result<Value, SyntaxError>)> {
    split(text).into_iter().filter(|chunk| !is_blank(chunk.text)).map(|chunk| (chunk, parse(chunk)))
}

/// The items of a `List`; anything else comes back as it is.
pub(super) fn list_items(mut value: Value) -> Result<Vec<Value>, Value> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(of) = kind.strip_suffix("List").filter(|_| value.get("items").is_some_and(Value::is_array))
    else {
        return Err(value);
    };
    let Some(Value::Array(mut items)) = value.get_mut("items").map(Value::take) else {
        return Ok(Vec::new());
    };
    // The items of a typed list need not say what they are.
    for item in items.iter_mut().filter_map(Value::as_object_mut).filter(|_| !of.is_empty()) {
        item.entry("apiVersion").or_insert_with(|| api_version.clone().into());
        item.entry("kind").or_insert_with(|| of.into());
    }
    Ok(items)
}

/// What YAML may cost: no manifest comes near, and what passes is read in the memory of its text.
pub(super) fn limits() -> Options {
    options! {
        budget: budget! {
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 1 << 20,
            max_depth: 64,
            max_documents: 2,
            max_merge_keys: 1_000,
        },
        alias_limits: alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 100,
        },
        emit_comments: false,
        // As the API server's own tools read YAML.
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn parse(chunk: Chunk<'_>) -> Result<Value, SyntaxError> {
    serde_saphyr::from_str_with_options(chunk.text, limits()).map_err(|error| {
        let line =
            error.location().map_or(0, |l| u32::try_from(l.line()).unwrap_or_default().saturating_sub(1));
        let message = error.to_string();
        // Its line is of the document; the file's stands in the problem's place.
        let message = message.split(" at line ").next().unwrap_or_default();
        SyntaxError { line: chunk.line + line, message: format!("this is not valid YAML: {message}") }
    })
}

/// Cuts at `---` and `...`. Either at the start of a line ends a document wherever it stands, in a block of text
/// too (YAML 1.2, 9.1.2).
fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        let next = offset + line.len();
        if is_marker(line, "---") {
            chunks.push(Chunk { line: start_line, text: &text[start..offset] });
            (start, start_line) = (offset, number);
        } else if is_marker(line, "...") {
            chunks.push(Chunk { line: start_line, text: &text[start..offset] });
            (start, start_line) = (next, number + 1);
        }
        offset = next;
    }
    chunks.push(Chunk { line: start_line, text: &text[start..] });
    chunks
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_blank(text: &str) -> bool {
    text.lines().all(says_nothing)
}

/// The line of the file on which a document says its first word.
pub(super) fn first_line(chunk: Chunk<'_>) -> u32 {
    let skipped = chunk.text.lines().take_while(|line| says_nothing(line)).count();
    chunk.line.saturating_add(skipped.try_into().unwrap_or_default())
}

/// Comments, markers and directives.
fn says_nothing(line: &str) -> bool {
    let rest = if is_marker(line, "---") { &line[3..] } else { line };
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with('#') || line.starts_with('%')
}
