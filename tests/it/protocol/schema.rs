//! The schema of the messages. Its generation is tested in the sources.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::agent_command;

fn serve(arguments: &[&str]) -> Output {
    std::process::Command::new(agent_command()).arg("serve").args(arguments).output().unwrap()
}

#[test]
fn schema_flag_prints_the_published_schema() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/schema/backup-agent-1.json");
    let published = std::fs::read_to_string(file).unwrap();
    let printed = serve(&["--schema"]);
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    assert!(printed.stdout == published.as_bytes(), "something else is printed");
    assert!(printed.stderr.is_empty(), "{printed:?}");

    let schema: Value = serde_json::from_str(&published).unwrap();
    assert_eq!(schema["$id"], "urn:backup-agent:1");
    assert_eq!(serve(&["--protocol"]).stdout, b"backup-agent 1\n");
}

#[test]
fn schema_and_protocol_flags_exclude_each_other() {
    let refused = serve(&["--schema", "--protocol"]);
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(refused.stdout.is_empty(), "{refused:?}");
}
