//! Spoilt bodies, queries and headers through the whole router: each is answered with JSON that says something, none with a panic or a fault of ours.

use crate::client::{send, service_body};
use crate::fixture::Fixture;
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use wsw_spoil::{Spoiler, tries};

/// Mutants of each body in a plain `cargo test`: a second or two for all.
const FEW: usize = 400;

fn service() -> Value {
    let mut body: Value = serde_json::from_str(&service_body("web", 1)).unwrap();
    // A number of replicas that a mutant makes large is for the planner to judge; the stand-in would make all of them.
    body["Mode"] = json!({"Global": {}});
    body["UpdateConfig"] = json!({"Parallelism": 1, "Delay": 5, "FailureAction": "pause", "Monitor": 5, "MaxFailureRatio": 0.5, "Order": "stop-first"});
    body["RollbackConfig"] = json!({"Parallelism": 1, "Order": "start-first"});
    let task = &mut body["TaskTemplate"];
    task["RestartPolicy"] = json!({"Condition": "any", "Delay": 5, "MaxAttempts": 3, "Window": 9});
    task["Placement"] = json!({"Constraints": ["node.role==worker"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
        "MaxReplicas": 2, "Platforms": [{"OS": "linux", "Architecture": "amd64"}]});
    task["LogDriver"] = json!({"Name": "json-file", "Options": {"max-size": "10m"}});
    task["Networks"] = json!([{"Target": "front", "Aliases": ["a"]}]);
    task["Resources"]["Reservations"] = json!({"NanoCPUs": 5, "GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}]});
    let container = &mut task["ContainerSpec"];
    container["Mounts"] = json!([{"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rprivate"}},
        {"Type": "volume", "Source": "data", "Target": "/d", "VolumeOptions": {"Labels": {"a": "b"}, "DriverConfig": {"Name": "local"}}},
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 448}}]);
    container["Healthcheck"] = json!({"Test": ["CMD", "true"], "Interval": 1_000_000_000, "Retries": 3});
    container["Ulimits"] = json!([{"Name": "nofile", "Soft": 1, "Hard": 2}]);
    container["Privileges"] = json!({"NoNewPrivileges": true, "Seccomp": {"Mode": "default"}, "AppArmor": {"Mode": "default"}});
    container["Labels"] = json!({"wsw.wasm.allow-outbound": "*.example.com:443", "wsw.wasm.request-timeout": "60s"});
    container["Hosts"] = json!(["10.0.0.1 one"]);
    body
}

/// Requests with a body, and one that is right.
fn bodies() -> Vec<(&'static str, Value)> {
    let swarm = json!({"Name": "default", "Labels": {"a": "b"}, "Orchestration": {"TaskHistoryRetentionLimit": 5}, "Raft": {"SnapshotInterval": 10},
        "Dispatcher": {"HeartbeatPeriod": 5_000_000_000_u64}, "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000_u64, "ForceRotate": 0},
        "EncryptionConfig": {"AutoLockManagers": false}});
    vec![
        ("POST /v1.50/services/create", service()),
        ("POST /v1.41/services/web/update?version=1", service()),
        ("POST /v1.50/nodes/0/update?version=1", json!({"Name": "", "Labels": {"a": "b"}, "Role": "worker", "Availability": "drain"})),
        ("POST /v1.50/swarm/init", json!({"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "10.0.0.1", "ForceNewCluster": false, "Spec": swarm})),
        ("POST /v1.50/swarm/join", json!({"ListenAddr": "0.0.0.0:2377", "RemoteAddrs": ["10.0.0.1:2377"], "JoinToken": "SWMTKN-1-a-b"})),
        ("POST /v1.50/swarm/update?version=1&rotateWorkerToken=true", swarm),
        ("POST /v1.50/swarm/unlock", json!({"UnlockKey": "SWMKEY-1-a"})),
        (
            "POST /v1.50/networks/create",
            json!({"Name": "front", "Driver": "overlay", "Attachable": true, "Internal": false, "EnableIPv6": false,
            "Options": {"a": "b"}, "Labels": {"a": "b"}, "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.0.9.0/24", "Gateway": "10.0.9.1"}]}}),
        ),
        ("POST /v1.50/volumes/create", json!({"Name": "data", "Driver": "local", "DriverOpts": {"type": "tmpfs"}, "Labels": {"a": "b"}})),
        ("POST /v1.50/containers/x/exec", json!({"Cmd": ["ls"], "Env": ["A=b"], "Tty": true, "User": "1", "WorkingDir": "/", "ConsoleSize": [1, 2]})),
        ("POST /v1.50/exec/x/start", json!({"Detach": false, "Tty": true})),
        ("POST /v1.50/auth", json!({"username": "u", "password": "p", "serveraddress": "127.0.0.1:1"})),
    ]
}

async fn answered(fixture: &Arc<Fixture>, request: &str, body: Vec<u8>) {
    let shown = String::from_utf8_lossy(&body[..body.len().min(2_000)]).into_owned();
    let response = send(fixture, request, Body::from(body)).await;
    let status = response.status().as_u16();
    // What is not there yet, or not now, is said so; a fault is none of these.
    assert!(status < 500 || [501, 503].contains(&status), "{request}: {status} for {shown}");
    if status >= 400 {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{request}: {error} in {bytes:?} for {shown}"));
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{request}: {answer} for {shown}");
    }
}

#[tokio::test]
async fn spoilt_bodies_are_answered() {
    let mut spoiler = Spoiler::new(1);
    for (request, valid) in bodies() {
        let mut fixture = Fixture::swarm();
        answered(&fixture, request, valid.to_string().into_bytes()).await;
        for number in tries(FEW) {
            // What was made meanwhile does not pile up.
            if number % 100 == 0 {
                fixture = if request.ends_with("init") { Fixture::inactive() } else { Fixture::swarm() };
            }
            let body = if spoiler.below(3) == 0 { spoiler.mutant(valid.to_string().as_bytes()) } else { spoiler.json(&valid).to_string().into_bytes() };
            answered(&fixture, request, body).await;
        }
    }
}

/// Filters are JSON, versions and times are numbers, names are names.
#[tokio::test]
async fn spoilt_queries_are_answered() {
    let mut spoiler = Spoiler::new(2);
    let filters = json!({"label": {"a=b": true}, "name": ["web"], "desired-state": {"running": true}, "until": ["1h"]});
    let fixture = Fixture::swarm();
    for route in ["services", "tasks", "nodes", "networks", "images/json", "containers/json", "volumes"] {
        for _ in tries(FEW) {
            let text = if spoiler.below(3) == 0 {
                String::from_utf8_lossy(&spoiler.mutant(filters.to_string().as_bytes())).into_owned()
            } else {
                spoiler.json(&filters).to_string()
            };
            // What a URI may not have is left out, as a client would not send it.
            let text: String = text.chars().filter(|char| char.is_ascii_graphic() && !"#&+%\\<>`|".contains(*char)).take(8_000).collect();
            answered(&fixture, &format!("GET /v1.50/{route}?limit={}&size={}&filters={text}", spoiler.below(9), spoiler.number()), Vec::new()).await;
        }
    }
}
