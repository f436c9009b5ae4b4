//! Generates the JSON Schema of all messages from their types, and tests that it is the published one and
//! that it rejects nothing that the protocol allows.

mod adapt;
mod envelope;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use self::envelope::{
    DATA, log_line, notification, request, response, shared, unknown_notification,
};
use super::*;

type Object = Map<String, Value>;
type Make = fn(&mut SchemaGenerator) -> Schema;

/// Requests: method, parameters and result.
const REQUESTS: [(&str, Make, Make); 15] = [
    ("initialize", of::<InitializeRequest>, of::<InitializeResult>),
    ("ping", of::<Object>, of::<Object>),
    ("shutdown", of::<ShutdownRequest>, of::<ShutdownResult>),
    ("target.open", of::<TargetOpenRequest>, of::<TargetRequest>),
    ("target.update", of::<TargetUpdateRequest>, of::<TargetUpdateResult>),
    ("target.validate", of::<ValidateRequest>, of::<ValidateResult>),
    ("target.cleanup", of::<CleanupRequest>, of::<CleanupResult>),
    ("target.repair", of::<RepairRequest>, of::<RepairResult>),
    ("target.close", of::<TargetRequest>, of::<TargetRequest>),
    ("backup.upload", of::<UploadRequest>, of::<UploadResult>),
    ("backup.download", of::<DownloadRequest>, of::<DownloadResult>),
    ("backup.verify", of::<VerifyRequest>, of::<VerifyResult>),
    ("backup.list", of::<ListRequest>, of::<ListResult>),
    ("backup.get", of::<BackupRequest>, of::<GetResult>),
    ("backup.delete", of::<BackupRequest>, of::<DeleteResult>),
];

/// Notifications of the host: method and parameters.
const FROM_HOST: [(&str, Make); 4] = [
    ("cancel", of::<Cancel>),
    (DATA, of::<StreamData>),
    ("stream.end", of::<StreamEnd>),
    ("stream.credit", of::<StreamCredit>),
];

/// Notifications of the agent: method and parameters.
const FROM_AGENT: [(&str, Make); 6] = [
    ("hello", of::<Hello>),
    ("progress", of::<ProgressNotification>),
    ("stream.begin", of::<StreamBegin>),
    (DATA, of::<StreamData>),
    ("stream.end", of::<StreamEnd>),
    ("stream.credit", of::<StreamCredit>),
];

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn document() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with_transform(RecursiveTransform(adapt::limit_integers));
    let mut host = settings.clone().for_deserialize().into_generator();
    let mut agent = settings.for_serialize().into_generator();

    let requests = REQUESTS.map(|(method, params, _)| (method, params(&mut host)));
    let from_host = FROM_HOST.map(|(method, params)| (method, params(&mut host)));
    let from_agent = FROM_AGENT.map(|(method, params)| (method, params(&mut agent)));
    let results: Object = REQUESTS
        .into_iter()
        .map(|(method, _, result)| (method.to_owned(), result(&mut agent).to_value()))
        .collect();
    let error = of::<ErrorObject>(&mut agent);
    let log_line = log_line(&of::<LogLevel>(&mut agent));
    let types = adapt::merged(host.take_definitions(true), agent.take_definitions(true));

    let mut known: Vec<_> =
        requests.iter().chain(&from_host).chain(&from_agent).map(|(method, _)| *method).collect();
    known.sort_unstable();
    known.dedup();
    let mut of_host: Vec<_> =
        requests.iter().map(|(method, params)| request(method, params, &types)).collect();
    of_host.extend(from_host.iter().map(|(method, params)| notification(method, params)));
    of_host.push(unknown_notification(&known));
    let mut of_agent: Vec<_> =
        from_agent.iter().map(|(method, params)| notification(method, params)).collect();
    of_agent.push(unknown_notification(&known));
    of_agent.push(response(&error));

    let mut definitions = json!({
        "hostMessage": { "description": "A message of the host.", "anyOf": of_host },
        "agentMessage": { "description": "A message of the agent.", "anyOf": of_agent },
        "results": {
            "description": "The `result` of a response, by the method of its request.",
            "type": "object",
            "properties": results,
        },
        "logLine": log_line,
    });
    if let Value::Object(definitions) = &mut definitions {
        definitions.extend(shared());
        definitions.extend(types);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:{NAME}:{VERSION}"),
        "title": format!("Backup Agent Protocol, version {VERSION}"),
        "description": "A message of the host or of the agent, without the payload that may \
                        follow it. Sizes and offsets are in bytes, times in milliseconds. Members \
                        that are not named here are allowed in all objects, and ignored.",
        "anyOf": [{ "$ref": "#/$defs/hostMessage" }, { "$ref": "#/$defs/agentMessage" }],
        "$defs": definitions,
    })
}

#[test]
fn schema_matches_the_published_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/schema/backup-agent-1.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("WRITE_SCHEMA").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let published = std::fs::read_to_string(file).unwrap();
    assert!(text == published, "the messages have changed: run this test with WRITE_SCHEMA=1");
}

#[test]
fn schema_allows_unknown_members_everywhere() {
    let mut objects = 0;
    each_schema(&document(), &mut |schema| {
        objects += usize::from(schema.contains_key("properties"));
        for closed in ["additionalProperties", "unevaluatedProperties", "propertyNames"] {
            assert_ne!(schema.get(closed), Some(&json!(false)), "{schema:?}");
        }
    });
    assert!(objects > 60, "only {objects} objects");
}

#[test]
fn schema_descriptions_contain_no_rust_terms() {
    each_schema(&document(), &mut |schema| {
        let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        assert!(!description.contains("[`"), "{description}");
        assert!(schema.get("format").is_none_or(|format| format == "date-time"), "{schema:?}");
    });
}

fn each_schema(value: &Value, visit: &mut impl FnMut(&Object)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|member| each_schema(member, visit));
        }
        Value::Array(entries) => entries.iter().for_each(|entry| each_schema(entry, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
