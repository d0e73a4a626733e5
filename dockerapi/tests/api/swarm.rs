//! `/swarm`: init with what both clients send, refusals by name, tokens.

use crate::client::{json, text};
use crate::fixture::{Fixture, NODE};
use expect_test::expect;

/// What docker 28 sends; 20.10 has `"DefaultAddrPool":null`.
const INIT: &str = r#"{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"127.0.0.1","DataPathAddr":"","DataPathPort":0,"ForceNewCluster":false,"Spec":{"Labels":null,"Orchestration":{},"Raft":{"ElectionTick":0,"HeartbeatTick":0},"Dispatcher":{},"CAConfig":{},"TaskDefaults":{},"EncryptionConfig":{"AutoLockManagers":false}},"AutoLockManagers":false,"Availability":"","DefaultAddrPool":[],"SubnetSize":24}"#;

#[tokio::test]
async fn init_answers_the_node_and_swarm_shows_tokens() {
    for body in [INIT.to_owned(), INIT.replace("[]", "null")] {
        let fixture = Fixture::inactive();
        assert_eq!(text(&fixture, "POST /v1.41/swarm/init", body.clone()).await, format!("200 \"{NODE}\"\n"));
        assert_eq!(json(&fixture, "GET /swarm").await["JoinTokens"]["Worker"], "SWMTKN-1-root-worker");
        assert!(text(&fixture, "POST /swarm/init", body).await.starts_with("503 {\"message\":\"This node is already part of a swarm."));
    }
    let fixture = Fixture::swarm();
    expect![[r#"
        200 {"ID":"06f2xuimuzgdf5hn6jqgxq683","Version":{"Index":1},"CreatedAt":"2023-11-14T22:13:20Z","UpdatedAt":"2023-11-14T22:13:20Z","Spec":{"Name":"default","Labels":{},"Orchestration":{"TaskHistoryRetentionLimit":5},"Raft":{"SnapshotInterval":10000,"KeepOldSnapshots":0,"LogEntriesForSlowFollowers":500,"ElectionTick":10,"HeartbeatTick":1},"Dispatcher":{"HeartbeatPeriod":1000000000},"CAConfig":{"NodeCertExpiry":7776000000000000},"TaskDefaults":{},"EncryptionConfig":{"AutoLockManagers":false}},"TLSInfo":{"TrustRoot":"PEM\n"},"RootRotationInProgress":false,"DefaultAddrPool":["10.0.0.0/8"],"SubnetSize":24,"DataPathPort":4789,"JoinTokens":{"Worker":"SWMTKN-1-root-worker","Manager":"SWMTKN-1-root-manager"}}
    "#]].assert_eq(&text(&fixture, "GET /v1.50/swarm", "").await);
    assert_eq!(text(&fixture, "GET /swarm/unlockkey", "").await, "200 {\"UnlockKey\":\"\"}\n");
}

#[tokio::test]
async fn what_has_no_counterpart_is_refused_by_name() {
    let fixture = Fixture::inactive();
    let mut answers = Vec::new();
    for (from, to) in [
        (r#""DataPathAddr":"""#, r#""DataPathAddr":"10.0.0.1""#),
        (r#""DataPathPort":0"#, r#""DataPathPort":5000"#),
        (r#""DefaultAddrPool":[]"#, r#""DefaultAddrPool":["10.1.0.0/16"]"#),
        (r#""SubnetSize":24"#, r#""SubnetSize":20"#),
        (r#""CAConfig":{}"#, r#""CAConfig":{"ExternalCAs":[{"URL":"https://ca.example"}]}"#),
        (r#""Availability":"""#, r#""Availability":"gone""#),
        (r#""ElectionTick":0"#, r#""ElectionTick":3"#),
    ] {
        assert!(INIT.contains(from), "{from}");
        answers.push(text(&fixture, "POST /swarm/init", INIT.replacen(from, to, 1)).await);
    }
    expect![[r#"
        501 {"message":"DataPathAddr: not supported by this version of wsw; leave it out"}
        501 {"message":"DataPathPort: not supported by this version of wsw; leave it out"}
        501 {"message":"DefaultAddrPool: not supported by this version of wsw; leave it out"}
        501 {"message":"SubnetSize: not supported by this version of wsw; leave it out"}
        501 {"message":"CAConfig.ExternalCAs: not supported by this version of wsw; leave it out"}
        400 {"message":"invalid Availability: \"gone\"; use active, pause or drain"}
        501 {"message":"Raft.ElectionTick: not supported by this version of wsw; leave it out"}
    "#]]
    .assert_eq(&answers.concat());
    assert!(text(&fixture, "GET /swarm", "").await.starts_with("503 {\"message\":\"This node is not a swarm manager."));
}

#[tokio::test]
async fn update_keeps_what_is_not_said_and_rotates_tokens() {
    let fixture = Fixture::swarm();
    let index = async || json(&fixture, "GET /swarm").await["Version"]["Index"].to_string();
    let body = r#"{"Name":"default","Orchestration":{"TaskHistoryRetentionLimit":3}}"#;
    let update = format!("POST /swarm/update?version={}&rotateWorkerToken=true&rotateManagerToken=false", index().await);
    assert_eq!(text(&fixture, &update, body).await, "200 ");
    let swarm = json(&fixture, "GET /swarm").await;
    assert_eq!(swarm["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"], 3);
    assert_eq!(swarm["Spec"]["Dispatcher"]["HeartbeatPeriod"], 1_000_000_000_u64);
    assert_eq!(swarm["JoinTokens"]["Worker"], "SWMTKN-1-root-worker-new");
    // the whole spec comes back as it was read
    let again = format!("POST /swarm/update?version={}", index().await);
    assert_eq!(text(&fixture, &again, swarm["Spec"].to_string()).await, "200 ");
    let rotate = format!("POST /swarm/update?version={}&rotateManagerUnlockKey=true", index().await);
    assert_eq!(text(&fixture, &rotate, body).await, "200 ");
    expect![[r#"
        400 {"message":"Name: swarm spec must be named \"default\""}
        400 {"message":"at least 1 RemoteAddr is required to join"}
        400 {"message":"invalid key string"}
        409 {"message":"swarm is not locked"}
        200 {"UnlockKey":"SWMKEY-1-new"}
    "#]]
    .assert_eq(
        &[
            text(&fixture, &again, r#"{"Name":"mine"}"#).await,
            text(&fixture, "POST /swarm/join", "{}").await,
            text(&fixture, "POST /swarm/unlock", "{}").await,
            text(&fixture, "POST /swarm/unlock", r#"{"UnlockKey":"SWMKEY-1-a"}"#).await,
            text(&fixture, "GET /swarm/unlockkey", "").await,
        ]
        .concat(),
    );
}

#[tokio::test]
async fn leaving_ends_it() {
    let fixture = Fixture::swarm();
    assert_eq!(text(&fixture, "POST /swarm/leave?force=1", "").await, "200 ");
    for request in ["GET /swarm", "GET /services", "GET /nodes", "GET /tasks", "POST /swarm/leave"] {
        assert!(text(&fixture, request, "").await.starts_with("503 "), "{request}");
    }
}
