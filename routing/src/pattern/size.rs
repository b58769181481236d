//! Estimates from its text how much memory the compiled form of a regular expression takes.
//!
//! The estimate is an upper bound that was found by measurement, not by proof. A regular expression whose compiled form
//! exceeds its estimate is refused, so no more memory is used than was counted.

use regex_syntax::ast::{
    Ast, ClassAsciiKind, ClassBracketed, ClassPerlKind, ClassSet, ClassSetItem, Flag, GroupKind,
    RepetitionKind, RepetitionRange,
};

/// An automaton that matches the empty text, with everything that is kept beside its states.
pub(super) const EMPTY: usize = 2048;
/// One byte and its transition to the next.
const BYTE: usize = 32;
/// One branch.
const BRANCH: usize = 48;
/// The start and the end of a group that is recorded, and its name.
const GROUP: usize = 160;
/// Any character, or any but a few.
const DOT: usize = 320;
/// A character outside ASCII, and one that matches regardless of case.
const CHARACTER: usize = 4 * BYTE;
const FOLDED: usize = 2 * CHARACTER;
/// A range of characters outside ASCII, and one that matches regardless of case.
const RANGE: usize = 600;
const FOLDED_RANGE: usize = 4096;
const DIGIT: usize = 2400;
const SPACE: usize = 800;
/// The largest named classes of Unicode: letters, and unassigned characters.
const WORD: usize = 22 << 10;

/// The most bytes that a regular expression takes, saturating at the largest number.
pub(super) fn of(ast: &Ast) -> usize {
    EMPTY.saturating_add(Size { is_folded: false, group: 0 }.of(ast))
}

/// The same of one that matches regardless of case and records its groups.
pub(super) fn with_groups(ast: &Ast) -> usize {
    (EMPTY + GROUP).saturating_add(Size { is_folded: true, group: GROUP }.of(ast))
}

struct Size {
    /// What recording a group takes.
    group: usize,
    /// Whether the flag `i` was set anywhere before this place.
    is_folded: bool,
}

impl Size {
    /// The parser limits the nesting, and with it the depth of this recursion.
    fn of(&mut self, ast: &Ast) -> usize {
        match ast {
            Ast::Empty(_) | Ast::Assertion(_) => BYTE,
            Ast::Flags(set) => {
                self.is_folded |= set.flags.flag_state(Flag::CaseInsensitive) == Some(true);
                BYTE
            }
            Ast::Literal(literal) => self.character(literal.c),
            Ast::Dot(_) => DOT,
            Ast::ClassPerl(class) => perl(&class.kind),
            Ast::ClassUnicode(_) => WORD,
            Ast::ClassBracketed(class) => self.bracketed(class),
            Ast::Repetition(repetition) => {
                let one = self.of(&repetition.ast);
                match &repetition.op.kind {
                    RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => {
                        one.saturating_add(BRANCH)
                    }
                    RepetitionKind::Range(range) => {
                        let most = match *range {
                            RepetitionRange::Exactly(times) | RepetitionRange::AtLeast(times) => times,
                            RepetitionRange::Bounded(_, most) => most,
                        };
                        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
                        one.saturating_add(BRANCH).saturating_mul(most)
                    }
                }
            }
            Ast::Group(group) => {
                if let GroupKind::NonCapturing(flags) = &group.kind {
                    self.is_folded |= flags.flag_state(Flag::CaseInsensitive) == Some(true);
                }
                let recorded = if group.is_capturing() { self.group } else { 0 };
                self.of(&group.ast).saturating_add(recorded)
            }
            Ast::Alternation(alternation) => {
                let branches = alternation.asts.len().saturating_mul(BRANCH);
                alternation.asts.iter().fold(branches, |sum, ast| sum.saturating_add(self.of(ast)))
            }
            Ast::Concat(concat) => {
                concat.asts.iter().fold(0, |sum: usize, ast| sum.saturating_add(self.of(ast)))
            }
        }
    }

    fn character(&self, c: char) -> usize {
        match (self.is_folded, c) {
            (false, c) if c.is_ascii() => BYTE,
            // Regardless of case these also match the Kelvin sign and the long s.
            (true, 'k' | 'K' | 's' | 'S') => CHARACTER,
            (true, c) if c.is_ascii() => BRANCH,
            (false, _) => CHARACTER,
            (true, _) => FOLDED,
        }
    }

    fn bracketed(&self, class: &ClassBracketed) -> usize {
        let negated = if class.negated { RANGE } else { 0 };
        self.set(&class.kind).saturating_add(BRANCH + negated)
    }

    fn set(&self, set: &ClassSet) -> usize {
        match set {
            ClassSet::Item(item) => self.item(item),
            ClassSet::BinaryOp(op) => self.set(&op.lhs).saturating_add(self.set(&op.rhs)),
        }
    }

    fn item(&self, item: &ClassSetItem) -> usize {
        match item {
            ClassSetItem::Empty(_) => BYTE,
            ClassSetItem::Literal(literal) => self.character(literal.c),
            ClassSetItem::Range(range) => match (self.is_folded, range.end.c.is_ascii()) {
                (false, true) => BYTE,
                (true, true) => 2 * CHARACTER,
                (false, false) => RANGE,
                (true, false) => FOLDED_RANGE,
            },
            ClassSetItem::Ascii(class) => match class.kind {
                ClassAsciiKind::Word | ClassAsciiKind::Alnum | ClassAsciiKind::Punct => 2 * CHARACTER,
                _ if class.negated => RANGE,
                _ => 2 * CHARACTER,
            },
            ClassSetItem::Unicode(_) => WORD,
            ClassSetItem::Perl(class) => perl(&class.kind),
            ClassSetItem::Bracketed(class) => self.bracketed(class),
            ClassSetItem::Union(union) => {
                union.items.iter().fold(0, |sum: usize, item| sum.saturating_add(self.item(item)))
            }
        }
    }
}

fn perl(kind: &ClassPerlKind) -> usize {
    match kind {
        ClassPerlKind::Digit => DIGIT,
        ClassPerlKind::Space => SPACE,
        ClassPerlKind::Word => WORD,
    }
}
