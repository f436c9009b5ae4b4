//! Adapts the schemas of the Rust types to the rules of the protocol.

use schemars::Schema;
use serde_json::{Value, json};

use super::Object;
use crate::protocol::MAX_ID;

/// Enums to which a newer agent may add values (V4).
const OPEN: [&str; 9] = [
    "RepairStatus",
    "CleanupOutcome",
    "ErrorCode",
    "VerifyStatus",
    "CleanupItemKind",
    "CleanupItemStatus",
    "Phase",
    "CheckStatus",
    "WaitingFor",
];

/// The types of both sides, by name. A type that both send must have one schema.
pub(super) fn merged(host: Object, agent: Object) -> Object {
    let mut all = host;
    for (name, schema) in agent {
        let known = all.entry(name.clone()).or_insert_with(|| schema.clone());
        assert_eq!(*known, schema, "{name} differs between host and agent");
    }
    adapt(&mut all);
    all.sort_keys();
    all
}

/// Limits integers to the exact range of every JSON library (M4), and removes formats of Rust.
pub(super) fn limit_integers(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if !names(schema.get("type"), "integer") {
        return;
    }
    schema.remove("format");
    let object = schema.ensure_object();
    object.entry("minimum").or_insert_with(|| json!(-MAX_ID.cast_signed()));
    object.entry("maximum").or_insert_with(|| json!(MAX_ID));
}

fn adapt(types: &mut Object) {
    for (name, schema) in types.iter_mut() {
        if name != "S3Config" {
            leave_out_instead_of_null(name, schema);
        }
    }
    for name in OPEN {
        open(&mut types[name]);
    }
    allow_other_targets(types);
}

/// Optional members are omitted, and not `null` (M5).
fn leave_out_instead_of_null(name: &str, schema: &mut Value) {
    let required = schema.get("required").cloned();
    let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (member, schema) in members {
        let Value::Object(schema) = schema else { continue };
        let may_be_null =
            matches!((name, member.as_str()), ("ListRequest", "cursor") | ("LimitsUpdate", _));
        if !names(required.as_ref(), member) && !may_be_null {
            without_null(schema);
        }
        schema.retain(|key, value| key != "default" || !value.is_null());
    }
}

fn without_null(schema: &mut Object) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            schema.extend(only);
        }
    }
}

/// Allows any other string in addition to the known values.
fn open(schema: &mut Value) {
    let Value::Object(schema) = schema else { panic!("{schema:?}") };
    let Some(Value::Array(mut known)) = schema.remove("oneOf") else { panic!("{schema:?}") };
    known.push(json!({ "type": "string", "description": "A value of a newer agent." }));
    schema.insert("anyOf".to_owned(), Value::Array(known));
}

/// Allows settings and details of other target types than S3.
fn allow_other_targets(types: &mut Object) {
    let config = &mut types["TargetOpenRequest"]["properties"]["config"];
    let description = config["description"].take();
    *config = json!({
        "description": description,
        "anyOf": [{ "$ref": "#/$defs/S3Config" }, { "$ref": "#/$defs/OtherConfig" }],
    });
    let other = json!({
        "description": "Settings of another type of target.",
        "type": "object",
        "properties": { "type": { "type": "string", "not": { "const": "s3" } } },
        "required": ["type"],
    });
    types.insert("OtherConfig".to_owned(), other);
    if let Value::Object(details) = &mut types["TargetDetails"] {
        details.remove("required");
    }
}

/// Whether a name equals this one, or a list of names contains it.
fn names(given: Option<&Value>, name: &str) -> bool {
    match given {
        Some(Value::Array(names)) => names.iter().any(|given| given == name),
        Some(given) => given == name,
        None => false,
    }
}
