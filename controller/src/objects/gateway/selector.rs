//! Label selectors.

use crate::{
    ir::gateway::{LabelExpression, LabelOperator, LabelSelector},
    objects::{
        checks::{Checks, Path},
        names::{self, quoted},
    },
};
use gateway_api::experimental::gateways::GatewayListenersAllowedRoutesNamespacesSelector as Selector;

/// Reads a label selector (apimachinery, ValidateLabelSelector). `None` where it has an operator that is not known here.
pub(in crate::objects) fn read(
    selector: Selector,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Option<LabelSelector> {
    let at_labels = at.field("matchLabels");
    let match_labels = selector.match_labels.unwrap_or_default();
    for (name, value) in &match_labels {
        checks.form(name, names::QUALIFIED, &at_labels.field(name));
        checks.form(value, names::LABEL_VALUE, &at_labels.field(name));
    }
    let at_expressions = at.field("matchExpressions");
    let (mut expressions, mut is_known) = (Vec::new(), true);
    for (i, expression) in selector.match_expressions.into_iter().flatten().enumerate() {
        let at = at_expressions.index(i);
        checks.form(&expression.key, names::QUALIFIED, &at.field("key"));
        let values: Vec<Box<str>> = expression.values.into_iter().flatten().map(Into::into).collect();
        let Some(operator) = operator(&expression.operator) else {
            let message =
                format!("{} is not one of In, NotIn, Exists, DoesNotExist", quoted(&expression.operator));
            checks.unknown_value(&at.field("operator"), message);
            is_known = false;
            continue;
        };
        let wants_values = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
        if wants_values == values.is_empty() {
            let message =
                if wants_values { "is required by the operator" } else { "must be empty with this operator" };
            checks.error(&at.field("values"), message);
        }
        expressions.push(LabelExpression { key: expression.key.into(), operator, values });
    }
    let match_labels = match_labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
    is_known.then_some(LabelSelector { match_labels, expressions })
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
