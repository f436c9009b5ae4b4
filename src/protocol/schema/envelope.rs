//! Schemas of the envelopes around parameters and results.

use schemars::Schema;
use serde_json::{Value, json};

use super::Object;
use crate::protocol::MAX_ID;

/// The only message that has a payload.
pub(super) const DATA: &str = "stream.data";

/// Types that envelopes share, by name.
pub(super) fn shared() -> [(String, Value); 3] {
    [
        ("JsonRpc".to_owned(), json!({ "const": "2.0" })),
        (
            "RequestId".to_owned(),
            json!({
                "description": "Request ID, which the host chooses. Each is used once in a \
                                session.",
                "type": "integer", "minimum": 1, "maximum": MAX_ID,
            }),
        ),
        (
            "Payload".to_owned(),
            json!({
                "description": "Number of bytes that follow the line; at most the receiver's \
                                `max_payload`.",
                "type": "integer", "minimum": 1, "maximum": MAX_ID,
            }),
        ),
    ]
}

/// A request. `types` contains the types that the parameters refer to.
pub(super) fn request(method: &str, params: &Schema, types: &Object) -> Value {
    let mut required = vec!["jsonrpc", "id", "method"];
    let name = params.get("$ref").and_then(Value::as_str).and_then(|it| it.rsplit('/').next());
    if name.is_some_and(|name| types[name].get("required").is_some()) {
        required.push("params");
    }
    json!({
        "title": method,
        "type": "object",
        "properties": {
            "jsonrpc": reference("JsonRpc"),
            "id": reference("RequestId"),
            "method": { "const": method },
            "params": params,
        },
        "required": required,
    })
}

/// A notification of either side.
pub(super) fn notification(method: &str, params: &Schema) -> Value {
    let mut message = json!({
        "title": method,
        "type": "object",
        "properties": {
            "jsonrpc": reference("JsonRpc"),
            "method": { "const": method },
            "params": params,
        },
        "required": ["jsonrpc", "method", "params"],
        "not": { "required": ["id"] },
    });
    if method == DATA {
        message["properties"]["payload"] = reference("Payload");
        message["required"] = json!(["jsonrpc", "method", "params", "payload"]);
    }
    message
}

/// A notification that was added without a new protocol version (V2). Receivers that do not know it
/// ignore it.
pub(super) fn unknown_notification(known: &[&str]) -> Value {
    json!({
        "title": "notification that came later",
        "type": "object",
        "properties": {
            "jsonrpc": reference("JsonRpc"),
            "method": { "type": "string", "not": { "enum": known } },
            "params": { "type": "object" },
            "payload": reference("Payload"),
        },
        "required": ["jsonrpc", "method"],
        "not": { "required": ["id"] },
    })
}

/// A response to any request.
pub(super) fn response(error: &Schema) -> Value {
    json!({
        "title": "response",
        "type": "object",
        "properties": {
            "jsonrpc": reference("JsonRpc"),
            "id": {
                "description": "ID of the request; `null` in an error about input without an ID.",
                "anyOf": [reference("RequestId"), { "type": "null" }],
            },
            "result": { "description": "Result of the method, see `results`.", "type": "object" },
            "error": error,
        },
        "required": ["jsonrpc", "id"],
        "oneOf": [
            { "properties": { "id": { "type": "integer" } }, "required": ["result"] },
            { "required": ["error"] },
        ],
        "not": { "required": ["method"] },
    })
}

/// A log line.
pub(super) fn log_line(level: &Schema) -> Value {
    json!({
        "description": "A log line on standard error.",
        "type": "object",
        "properties": {
            "ts": { "type": "string", "format": "date-time" },
            "level": level,
            "msg": { "description": "Message in English.", "type": "string" },
        },
        "required": ["ts", "level", "msg"],
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}
