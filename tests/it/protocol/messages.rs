//! Handshake, order, parameters and limits.

use s3_backup_agent::demo::host::Event;
use serde_json::{Value, json};

use super::{anonymous, code, config, greeted, session};

#[tokio::test]
async fn hello_announces_capabilities() {
    let host = greeted().await;
    let hello = serde_json::to_value(host.hello()).unwrap();
    assert_eq!((&hello["protocol"], &hello["versions"]), (&json!("backup-agent"), &json!([1])));
    assert_eq!(
        hello["agent"],
        json!({"name": "s3-backup-agent", "version": env!("CARGO_PKG_VERSION")})
    );
    assert_eq!(
        hello["limits"],
        json!({"max_line": 65536, "max_payload": 1_048_576, "max_requests": 32, "max_transfers": 4})
    );
}

#[tokio::test]
async fn initialize_must_come_first_and_once() {
    let host = greeted().await;
    for method in ["ping", "backup.list", "target.open", "shutdown"] {
        assert_eq!(code(host.call(method, json!({})).await), "not_initialized");
    }
    let refused = host.call("initialize", json!({"protocol": 3})).await.unwrap_err();
    assert_eq!((refused.code, refused.data.code.as_str()), (-32000, "unsupported_protocol"));
    assert_eq!(serde_json::to_value(&refused.data.details["supported"]).unwrap(), json!([1]));
    for (params, member) in [
        (json!({}), "protocol"),
        (json!({"protocol": "1"}), "protocol"),
        (json!({"protocol": 1, "limits": {"max_payload": 1000}}), "limits.max_payload"),
        (json!({"protocol": 1, "limits": {"max_line": 10}}), "limits.max_line"),
        (json!({"protocol": 1, "log_level": "loud"}), "log_level"),
        (json!([1]), "params"),
    ] {
        let error = host.call("initialize", params.clone()).await.unwrap_err();
        assert_eq!((error.code, error.data.code.as_str()), (-32602, "invalid_params"), "{params}");
        let named = serde_json::to_value(&error.data.details["member"]).unwrap();
        assert!(member == "params" || named == member, "{params}: {named}");
    }
    host.call("initialize", json!({"protocol": 1})).await.unwrap();
    assert_eq!(code(host.call("initialize", json!({"protocol": 1})).await), "invalid_request");
}

#[tokio::test]
async fn invalid_parameter_is_named_without_its_value() {
    let host = session().await;
    let open = |config: Value| json!({"target": "t1", "config": config});
    let upload = |backup: Value| json!({"target": "t1", "backup": backup});
    host.call("target.open", open(config(json!({})))).await.unwrap();
    for (method, params, member) in [
        ("target.open", json!({"config": {}}), "target"),
        ("target.open", json!({"target": "t1"}), "config"),
        ("target.open", json!({"target": 5, "config": {}}), "target"),
        (
            "target.open",
            open(config(json!({"secret_access_key": 471_147}))),
            "config.secret_access_key",
        ),
        ("target.open", open(config(json!({"verify_tls": "yes-471147"}))), "config.verify_tls"),
        ("target.open", open(config(json!({"part_size": -471_147}))), "config.part_size"),
        (
            "target.open",
            open(config(json!({"addressing_style": "471147"}))),
            "config.addressing_style",
        ),
        ("target.open", json!({"target": "", "config": config(json!({}))}), "target"),
        ("target.validate", json!({"target": "t1", "level": "deep"}), "level"),
        ("backup.list", json!({}), "target"),
        ("backup.list", json!({"target": "t1", "page_size": "x"}), "page_size"),
        ("backup.get", json!({"target": "t1"}), "backup_id"),
        ("backup.download", json!({"target": "t1", "backup_id": "b"}), "up_to"),
        ("backup.upload", json!({"target": "t1"}), "backup"),
        ("backup.upload", upload(json!({"name": "n"})), "backup.id"),
        ("backup.upload", upload(json!({"id": "b"})), "backup.name"),
        (
            "backup.upload",
            upload(json!({"id": "b", "name": "n", "metadata": []})),
            "backup.metadata",
        ),
        ("backup.upload", upload(json!({"id": "", "name": "n"})), "backup.id"),
        ("backup.upload", upload(json!({"id": "x".repeat(201), "name": "n"})), "backup.id"),
        (
            "backup.upload",
            upload(json!({"id": "b", "name": "n", "metadata": {"backup_id": "c"}})),
            "backup.metadata",
        ),
        (
            "backup.upload",
            upload(json!({"id": "b", "name": "n", "metadata": {"x": "y".repeat(33_000)}})),
            "backup.metadata",
        ),
        (
            "backup.upload",
            json!({"target": "t1", "backup": {"id": "b", "name": "n"}, "progress_ms": 1}),
            "progress_ms",
        ),
        (
            "backup.upload",
            json!({"target": "t1", "backup": {"id": "b", "name": "n"}, "if_exists": "perhaps"}),
            "if_exists",
        ),
    ] {
        let error = host.call(method, params.clone()).await.unwrap_err();
        let answer = serde_json::to_value(&error).unwrap();
        assert_eq!(error.data.code, "invalid_params", "{method} {params}: {answer}");
        assert_eq!(error.code, -32602);
        assert_eq!(answer["data"]["details"]["member"], member, "{method} {params}");
        assert!(!answer.to_string().contains("471147"), "{answer}");
    }
}

#[tokio::test]
async fn target_is_opened_replaced_and_closed() {
    let host = session().await;
    for method in ["backup.list", "target.validate", "target.close"] {
        assert_eq!(code(host.call(method, json!({"target": "t1"})).await), "target_unknown");
    }
    let open = json!({"target": "t1", "config": config(json!({}))});
    assert_eq!(host.call("target.open", open.clone()).await.unwrap(), json!({"target": "t1"}));
    host.call("target.open", open).await.unwrap();
    host.call("target.close", json!({"target": "t1"})).await.unwrap();
    assert_eq!(code(host.call("target.close", json!({"target": "t1"})).await), "target_unknown");
}

#[tokio::test]
async fn request_id_in_use_is_refused() {
    let server = crate::support::TestServer::embedded().await;
    let mut host = session().await;
    host.call("target.open", json!({"target": "t1", "config": server.config()})).await.unwrap();
    let backup = json!({"id": "b", "name": "n"});
    let params = json!({"target": "t1", "backup": backup});
    let request = host.start("backup.upload", params).await.unwrap();
    let again = json!({"jsonrpc": "2.0", "id": request.id, "method": "ping"});
    host.raw_write(format!("{again}\n").as_bytes()).await.unwrap();
    assert_eq!(anonymous(&mut host).await, (-32600, "duplicate_id".to_owned()));
    assert_eq!(host.wait().await.unwrap().code(), Some(76));
    assert_eq!(server.open_uploads().await, []);
}

#[tokio::test]
async fn excess_requests_are_refused_and_excess_transfers_wait() {
    let server = crate::support::TestServer::embedded().await;
    let host = session().await;
    host.call("target.open", json!({"target": "t1", "config": server.config()})).await.unwrap();
    let mut running = Vec::new();
    for index in 0..32 {
        let backup = json!({"id": format!("b{index}"), "name": "n"});
        let params = json!({"target": "t1", "backup": backup, "progress_ms": 100});
        running.push(host.start("backup.upload", params).await.unwrap());
    }
    let busy = host.call("backup.list", json!({"target": "t1"})).await.unwrap_err();
    assert_eq!((busy.data.code.as_str(), busy.data.retryable), ("busy", true));
    host.call("ping", json!({})).await.unwrap();
    // The last one is reported as waiting, and can be cancelled while it waits.
    let last = running.last_mut().unwrap();
    match last.next_event().await.unwrap() {
        Event::Notification { method, params, .. } => {
            assert_eq!((method.as_str(), &params["phase"]), ("progress", &json!("queued")));
        }
        Event::Response(answer) => panic!("{answer:?}"),
    }
    let id = last.id;
    host.notify("cancel", json!({"id": id}), None).await.unwrap();
    assert_eq!(code(last.response().await), "cancelled");
    host.call("backup.list", json!({"target": "t1"})).await.unwrap();
}

#[tokio::test]
async fn long_host_text_is_shortened_in_errors() {
    let host = session().await;
    let long = "x".repeat(60_000);
    let unknown = host.call(&long, json!({})).await.unwrap_err();
    assert_eq!(unknown.data.code, "method_not_found");
    let target = host.call("backup.list", json!({"target": long})).await.unwrap_err();
    assert_eq!(target.data.code, "target_unknown");
    let server = crate::support::TestServer::embedded().await;
    host.call("target.open", json!({"target": "t1", "config": server.config()})).await.unwrap();
    let params = json!({"target": "t1", "backup": {"id": "b", "name": "n"}});
    let mut request = host.start("backup.upload", params).await.unwrap();
    let cancel = json!({"id": request.id, "reason": long});
    host.notify("cancel", cancel, None).await.unwrap();
    let cancelled = request.response().await.unwrap_err();
    assert_eq!(cancelled.data.code, "cancelled");
    assert!(serde_json::to_string(&cancelled).unwrap().len() < 4000);
}
