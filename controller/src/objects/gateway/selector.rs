//! Label selectors.

use crate::{
    ir::gateway::{LabelExpression, LabelOperator, LabelSelector},
    objects::{
        checks::{Checks, Path},
        names::{self, Form, quoted},
    },
};
use gateway_api::experimental::gateways::GatewayListenersAllowedRoutesNamespacesSelector as Selector;

/// Reads a label selector (apimachinery, ValidateLabelSelector). `None` where it cannot be used: the API server takes any
/// text in it, so that there it costs what it is to select and nothing else.
pub(in crate::objects) fn read(
    selector: Selector,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Option<LabelSelector> {
    let mut reading = Reading { checks, is_usable: true };
    let at_labels = at.field("matchLabels");
    let match_labels = selector.match_labels.unwrap_or_default();
    for (name, value) in &match_labels {
        reading.form(name, names::QUALIFIED, &at_labels.field(name));
        reading.form(value, names::LABEL_VALUE, &at_labels.field(name));
    }
    let at_expressions = at.field("matchExpressions");
    let expressions = selector.match_expressions.into_iter().flatten().enumerate();
    let expressions = expressions.filter_map(|(i, expression)| {
        let at = at_expressions.index(i);
        reading.form(&expression.key, names::QUALIFIED, &at.field("key"));
        let values: Vec<Box<str>> = expression.values.into_iter().flatten().map(Into::into).collect();
        let operator = reading.operator(&expression.operator, &at.field("operator"))?;
        reading.values(operator, &values, &at.field("values"));
        Some(LabelExpression { key: expression.key.into(), operator, values })
    });
    let expressions = expressions.collect();
    let match_labels = match_labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
    reading.is_usable.then_some(LabelSelector { match_labels, expressions })
}

struct Reading<'c> {
    checks: &'c mut Checks,
    /// Whether nothing is wrong so far.
    is_usable: bool,
}

impl Reading<'_> {
    fn fault(&mut self, at: &Path<'_>, message: impl Into<Box<str>>) {
        self.checks.unknown_value(at, message);
        self.is_usable = false;
    }

    fn form(&mut self, text: &str, form: Form, at: &Path<'_>) {
        self.is_usable &= self.checks.form_or_unknown(text, form, at);
    }

    fn operator(&mut self, text: &str, at: &Path<'_>) -> Option<LabelOperator> {
        let operator = operator(text);
        if operator.is_none() {
            self.fault(at, format!("{} is not one of In, NotIn, Exists, DoesNotExist", quoted(text)));
        }
        operator
    }

    fn values(&mut self, operator: LabelOperator, values: &[Box<str>], at: &Path<'_>) {
        match operator {
            LabelOperator::In | LabelOperator::NotIn if values.is_empty() => {
                self.fault(at, "is required by the operator");
            }
            LabelOperator::Exists | LabelOperator::DoesNotExist if !values.is_empty() => {
                self.fault(at, "must be empty with this operator");
            }
            _ => {}
        }
    }
}

fn operator(text: &str) -> Option<LabelOperator> {
    Some(match text {
        "In" => LabelOperator::In,
        "NotIn" => LabelOperator::NotIn,
        "Exists" => LabelOperator::Exists,
        "DoesNotExist" => LabelOperator::DoesNotExist,
        _ => return None,
    })
}
