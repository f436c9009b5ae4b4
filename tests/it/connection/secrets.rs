//! Secrets that stand in a file in place of the settings.

use serde_json::json;

use super::wire::{Act, Wire};
use super::{address, open};
use crate::e2e::ids;
use crate::support::TestServer;

#[tokio::test]
async fn a_secret_is_read_from_a_file_or_a_credential() {
    let server = TestServer::embedded().await;
    let wire = Wire::start(address(&server), |_| Act::Pass).await;
    let folder = tempfile::tempdir().unwrap();
    let config = server.config();
    let secret = config["secret_access_key"].as_str().unwrap();
    for ending in ["", "\n", "\r\n"] {
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{secret}{ending}")).unwrap();
        let environment = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
        for form in [json!({"file": file}), json!({"credential": "key"})] {
            let changes = json!({"secret_access_key": form});
            let host = open(&server, &wire.http(), changes, &environment).await.unwrap();
            assert_eq!(ids(&host).await, Vec::<String>::new());
        }
    }
}
