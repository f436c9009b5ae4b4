//! Metadata objects of other programs, current and earlier ones, beside those of this agent.

use serde_json::{Value, json};

use super::{assert_empty, connect, fetch, ids, store};
use crate::support::TestServer;

/// File name without extension, metadata object, and content of the archive.
type Foreign = (&'static str, String, &'static [u8]);

/// Objects that were found in folders with more than one writing program.
fn foreign() -> [Foreign; 5] {
    // Integrations of Home Assistant: JSON as Python writes it, with escapes, and add-ons that Home
    // Assistant knows little of.
    let python = r#"{"addons": [{"name": "Editor", "slug": "core_editor", "version": "5.1"}, {"name": null, "slug": "local_mine", "version": null}], "backup_id": "python", "date": "2026-11-20T04:32:33.282898+01:00", "database_included": true, "extra_metadata": {"instance_id": "4258f6", "with_automatic_settings": true}, "folders": ["share", "addons/local", "ssl", "media"], "homeassistant_included": true, "homeassistant_version": "2026.11.0", "name": "B\u00fcro \ud83c\udfe0: 12:30, \"alles\"", "protected": true, "size": 6}"#;
    let earlier = json!({
        "addons": [{"slug": "core_editor"}], "backup_id": "earlier", "size": 7,
        "date": "2025-01-03T04:45:00+00:00", "database_included": true, "folders": ["homeassistant"],
        "homeassistant_included": true, "homeassistant_version": "2025.1.0", "name": "Earlier",
        "protected": false,
    });
    let announced = json!({"backup_id": "announced", "name": "Longer than it is", "size": 1000});
    let strange = json!({
        "addons": null, "backup_id": "strange", "date": 1_763_609_553, "folders": "share",
        "name": ["not", "a", "text"], "size": "7", "supervisor": {"version": "2026.11.0"},
    });
    [
        ("Büro_🏠:_12:30,_\"alles\"_2026-11-20_04.32_33282898", python.to_owned(), b"python"),
        ("Earlier_2025-01-03_04.45_00000000", earlier.to_string(), b"earlier"),
        ("ha-Longer", announced.to_string(), b"announced"),
        ("Minimal.v1.2", json!({"backup_id": "minimal"}).to_string(), b"minimal"),
        ("strange", strange.to_string(), b"strange"),
    ]
}

#[tokio::test]
async fn metadata_of_any_writer_lists_restores_and_deletes() {
    let server = TestServer::start().await;
    let folder = format!("{}/backups/", server.prefix).trim_start_matches('/').to_owned();
    for (name, document, content) in foreign() {
        server.put(&format!("{folder}{name}.tar"), content).await;
        server.put(&format!("{folder}{name}.metadata.json"), document).await;
    }
    let host = connect(&server).await;
    store(&host, "ours", 1, 10).await;

    let listed = host.call("backup.list", json!({"target": "t1"})).await.unwrap();
    assert_eq!(listed["skipped"], json!([]));
    let backups = listed["backups"].as_array().unwrap();
    for (name, document, content) in foreign() {
        let metadata: Value = serde_json::from_str(&document).unwrap();
        let id = &metadata["backup_id"];
        let expected = json!({
            "id": id, "name": name, "size": metadata["size"].as_u64().unwrap_or(content.len() as u64),
            "stored_size": content.len(), "has_checksums": false, "metadata": metadata,
        });
        assert_eq!(backups.iter().find(|backup| backup["id"] == *id), Some(&expected));
        let (bytes, result) = fetch(&host, id.as_str().unwrap()).await;
        assert_eq!(bytes, content);
        assert_eq!(result, json!({"length": content.len(), "verified": false}));
    }
    assert_eq!(fetch(&host, "ours").await.1["verified"], true);

    assert_eq!(backups.len(), 6);
    for id in ids(&host).await {
        host.call("backup.delete", json!({"target": "t1", "backup_id": id})).await.unwrap();
    }
    assert_empty(&server).await;
}
