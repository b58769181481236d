//! Label selectors as they are written on a command line.

use super::gateway::{LabelExpression, LabelOperator, LabelSelector};

/// Why a text is not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a label selector such as team=shop, env!=test, tier in (web,api), tier notin (batch), owner or !owner, \
     separated by commas"
)]
pub struct InvalidSelector(Box<str>);

impl std::str::FromStr for LabelSelector {
    type Err = InvalidSelector;

    /// In kubectl's syntax (apimachinery, `labels.Parse`): requirements, separated by commas, all of which must hold.
    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let expressions = requirements(text).map(requirement).collect::<Option<Vec<_>>>();
        let expressions = expressions.ok_or_else(|| InvalidSelector(text.into()))?;
        Ok(Self { expressions, ..Self::default() })
    }
}

/// The parts of a text between the commas outside parentheses.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn requirement(text: &str) -> Option<LabelExpression> {
    let text = text.trim();
    if let Some(key) = text.strip_prefix('!') {
        return expression(key, LabelOperator::DoesNotExist, Vec::new());
    }
    // The longer ones first: each has the next one in it.
    for (sign, operator) in
        [("!=", LabelOperator::NotIn), ("==", LabelOperator::In), ("=", LabelOperator::In)]
    {
        if let Some((key, value)) = text.split_once(sign) {
            return expression(key, operator, vec![value]);
        }
    }
    let Some((key, rest)) = text.split_once(char::is_whitespace) else {
        return expression(text, LabelOperator::Exists, Vec::new());
    };
    let rest = rest.trim_start();
    let (operator, rest) = match (rest.strip_prefix("notin"), rest.strip_prefix("in")) {
        (Some(rest), _) => (LabelOperator::NotIn, rest),
        (None, Some(rest)) => (LabelOperator::In, rest),
        (None, None) => return None,
    };
    let values = rest.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    expression(key, operator, values.split(',').collect())
}

fn expression(key: &str, operator: LabelOperator, values: Vec<&str>) -> Option<LabelExpression> {
    let (key, values) = (key.trim(), values.into_iter().map(str::trim));
    let values: Vec<Box<str>> =
        values.map(|value| is_value(value).then(|| value.into())).collect::<Option<_>>()?;
    is_key(key).then(|| LabelExpression { key: key.into(), operator, values })
}

/// A name of at most 63 characters, with a domain before it or without.
fn is_key(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_domain = |domain: &str| {
        domain.len() <= 253 && domain.split('.').all(|label| !label.is_empty() && is_value(label))
    };
    !name.is_empty() && is_value(name) && domain.is_none_or(is_domain)
}

fn is_value(value: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    value.len() <= 63
        && is_end(value.as_bytes().first())
        && is_end(value.as_bytes().last())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_selects_labels_as_kubectl_does() {
        let labels = [("team", "shop"), ("example.com/tier", "web")];
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        for (text, want) in [
            ("team=shop", true),
            ("team==shop", true),
            ("team = shop", true),
            ("team=media", false),
            ("team!=media", true),
            ("team!=shop", false),
            ("owner!=shop", true),
            ("team in (media, shop)", true),
            ("team in (media)", false),
            ("team notin (media,news)", true),
            ("team notin (shop)", false),
            ("team", true),
            ("!team", false),
            ("!owner", true),
            ("example.com/tier=web,team", true),
            ("example.com/tier in (web,api), !team", false),
            ("team=", false),
        ] {
            let selector: LabelSelector = text.parse().unwrap();
            assert_eq!(selector.matches(&labels), want, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_selector_is_refused() {
        for text in [
            "",
            ",",
            "a,,b",
            "a b",
            "a in",
            "a in (b",
            "a=b c",
            "a like (b)",
            "=b",
            "!",
            "a/b/c",
            "a=b=c",
            "-a",
            "a=(b)",
        ] {
            let refused = text.parse::<LabelSelector>().unwrap_err().to_string();
            assert!(refused.contains("is not a label selector"), "{text}");
        }
    }
}
