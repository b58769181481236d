//! Patterns of texts: whether a text fits, and texts that do.

use proptest::{
    strategy::{SBoxedStrategy, Strategy as _, ValueTree as _},
    string::string_regex_parsed,
    test_runner::TestRunner,
};
use regex_automata::meta::Regex;
use regex_syntax::hir::{Hir, HirKind};

/// A pattern of the schema. It need not match a text from end to end unless it says so.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    texts: SBoxedStrategy<String>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let expression = without_anchors(&regex_syntax::parse(text).unwrap());
        Self { regex: Regex::new(text).unwrap(), texts: string_regex_parsed(&expression).unwrap().sboxed() }
    }

    pub(crate) fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// A text that fits; mostly a short one.
    pub(crate) fn draw(&self, runner: &mut TestRunner) -> String {
        self.texts.new_tree(runner).unwrap().current()
    }
}

/// The expression with nothing in place of `^` and `$`, of which no text can be made.
fn without_anchors(expression: &Hir) -> Hir {
    match expression.kind() {
        HirKind::Look(_) => Hir::empty(),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_anchors).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(without_anchors).collect()),
        HirKind::Capture(capture) => without_anchors(&capture.sub),
        HirKind::Repetition(repetition) => {
            let mut repetition = repetition.clone();
            repetition.sub = Box::new(without_anchors(&repetition.sub));
            // Longer texts are for those who look at lengths.
            repetition.max = repetition.max.or(Some(repetition.min.max(1) + 8));
            Hir::repetition(repetition)
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => expression.clone(),
    }
}
