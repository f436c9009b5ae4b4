//! The limits of an open target: how they are changed, and which changes are refused.

use serde_json::{Value, json};

use super::{code, config, session};

fn update(limits: Value) -> Value {
    json!({"target": "t1", "limits": limits})
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn update_returns_the_limits_in_force() {
    let host = session().await;
    assert!(host.hello().capabilities.contains_key("target.update"));
    let set = json!({"bandwidth_limit": 1_000_000, "memory": 64 * MIB});
    host.call("target.open", json!({"target": "t1", "config": config(set)})).await.unwrap();
    let defaults = json!({
        "bandwidth_limit": null, "concurrency": 16, "memory": 96 * MIB,
    });
    for (limits, rate, parts, memory) in [
        (json!({}), json!(1_000_000), 16, 64),
        (json!({"concurrency": 3, "later": {"x": 1}}), json!(1_000_000), 3, 64),
        (json!({"bandwidth_limit": null}), json!(null), 3, 64),
        (json!({"bandwidth_limit": 65_536, "memory": 32 * MIB}), json!(65_536), 3, 32),
        (defaults.clone(), json!(null), 16, 96),
        (json!({"bandwidth_limit": 1_u64 << 40, "concurrency": 64}), json!(1_u64 << 40), 64, 96),
        (json!({"concurrency": null, "memory": null}), json!(1_u64 << 40), 16, 96),
    ] {
        let expected = json!({"target": "t1", "limits": {
            "bandwidth_limit": rate, "concurrency": parts,
            "memory": memory * MIB,
        }});
        assert_eq!(host.call("target.update", update(limits)).await.unwrap(), expected);
    }
    // A target that is opened again has its own limits.
    host.call("target.open", json!({"target": "t1", "config": config(json!({}))})).await.unwrap();
    let opened = host.call("target.update", update(json!({}))).await.unwrap();
    assert_eq!(opened["limits"], defaults);
}

#[tokio::test]
async fn invalid_update_changes_nothing() {
    let host = session().await;
    assert_eq!(code(host.call("target.update", update(json!({}))).await), "target_unknown");
    host.call("target.open", json!({"target": "t1", "config": config(json!({}))})).await.unwrap();
    let before = host.call("target.update", update(json!({}))).await.unwrap();
    for (field, wrong) in [
        ("bandwidth_limit", vec![json!(0), json!(65_535)]),
        ("concurrency", vec![json!(0), json!(65), json!(u64::MAX)]),
        ("memory", vec![json!(0), json!(32 * MIB - 1)]),
    ] {
        for value in wrong {
            let mut limits = json!({
                "bandwidth_limit": 70_000, "concurrency": 5,
                "memory": 50 * MIB,
            });
            limits[field] = value;
            let refused = host.call("target.update", update(limits)).await.unwrap_err();
            assert_eq!(refused.data.code, "invalid_config", "{}", refused.message);
            assert_eq!(refused.data.field.as_deref(), Some(field));
        }
        for value in [json!("1000000"), json!(1.5), json!(-1), json!([])] {
            let params = update(json!({"concurrency": 5, field: value}));
            assert_eq!(code(host.call("target.update", params).await), "invalid_params");
        }
    }
    for params in [json!({}), json!({"target": "t1"}), update(json!(null)), update(json!([]))] {
        assert_eq!(code(host.call("target.update", params).await), "invalid_params");
    }
    assert_eq!(host.call("target.update", update(json!({}))).await.unwrap(), before);
    host.call("target.close", json!({"target": "t1"})).await.unwrap();
    assert_eq!(code(host.call("target.update", update(json!({}))).await), "target_unknown");
}
