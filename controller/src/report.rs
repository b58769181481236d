//! Statuses and problems as JSON, as the admin port and `portcullis check` show them.

use serde_json::{Value, json};

use crate::{
    Problem,
    ir::ObjectKey,
    problem::Severity,
    status::{Report, Statuses},
};

/// `{"objects": [...], "problems": [...]}`: each object that is ours with its status as it would be written to the
/// cluster, and each problem of a document.
pub fn of(statuses: &Statuses, problems: &[Problem]) -> Value {
    let objects: Vec<_> = statuses.iter().map(|(key, report)| object(key, report)).collect();
    json!({ "objects": objects, "problems": problems.iter().map(problem).collect::<Vec<_>>() })
}

fn object(key: &ObjectKey, report: &Report) -> Value {
    let mut metadata = json!({ "name": key.name });
    if !key.namespace.is_empty() {
        metadata["namespace"] = (&*key.namespace).into();
    }
    let mut value = json!({
        "apiVersion": key.kind.resource().api_version,
        "kind": key.kind.as_str(),
        "metadata": metadata,
        // Statuses are plain structures of texts and numbers, which JSON has a form for.
        "status": serde_json::to_value(&report.status).unwrap_or_default(),
    });
    if !report.messages.is_empty() {
        value["messages"] = serde_json::to_value(&report.messages).unwrap_or_default();
    }
    value
}

fn problem(problem: &Problem) -> Value {
    let Problem { severity, object, field, message, place, .. } = problem;
    let severity = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut value = json!({ "severity": severity, "object": object, "message": message });
    if !field.is_empty() {
        value["field"] = (&**field).into();
    }
    if let Some(place) = place {
        value["file"] = (&*place.file).into();
        value["line"] = place.line.into();
    }
    value
}
