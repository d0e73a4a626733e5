//! The `wsw.*` labels at the Engine API: each wrong value is refused by the label's name, at create and at update, and nothing changes.

use crate::harness::{Node, guest, until};

/// Label, value, what the message has to say besides the label's name.
const WRONG: &[(&str, &str, &str)] = &[
    ("wsw.wasm.allow-outbound", "https://example.com", "a URL"),
    ("wsw.wasm.allow-outbound", "a.example,,b.example", "an empty entry"),
    ("wsw.wasm.allow-outbound", "a.example:0", "1 to 65535"),
    ("wsw.wasm.allow-outbound", "10.0.0.1/8", "10.0.0.0/8"),
    ("wsw.wasm.allow-outbound", "[2001:db8::/129]:443", "0 to 128"),
    ("wsw.wasm.max-instances", "0", "1 to 10000"),
    ("wsw.wasm.max-instances", "lots", "1 to 10000"),
    ("wsw.wasm.queue", "-1", "0 to 100000"),
    ("wsw.wasm.request-timeout", "60", "a duration"),
    ("wsw.wasm.request-timeout", "0s", "a duration"),
    ("wsw.wasm.group", "private", "shared, service or own"),
    ("wsw.runtime", "", "a shim's name"),
    ("wsw.runtime", "../../bin/sh", "a shim's name"),
    ("wsw.ingress.proxy-protocol", "v1", "v2"),
    ("wsw.ingress.proxy-protocol", "", "v2"),
    ("wsw.wasm.gpu", "1", "unknown label"),
    ("wsw.nosuch", "", "unknown label"),
];

fn spec(image: &str, label: &str, value: &str) -> Vec<u8> {
    let labels = serde_json::json!({ label: value });
    let spec = serde_json::json!({ "Name": "labelled", "TaskTemplate": { "ContainerSpec": { "Image": image, "Labels": labels } } });
    spec.to_string().into_bytes()
}

#[test]
fn wrong_values_are_refused_at_create_and_at_update() {
    let node = Node::swarm();
    let refused = |path: &str| {
        for (label, value, says) in WRONG {
            let answer = node.api("POST", path, &spec("example:1", label, value));
            let message = answer.message();
            assert_eq!(answer.status, 400, "{label}={value}: {answer:?}");
            assert!(message.contains(label) && message.contains(says), "{label}={value}: {message}");
        }
    };
    refused("/services/create");
    assert_eq!(node.json("/services"), serde_json::json!([]));
    node.wsw(&["service", "create", "-d", "--name", "labelled", guest("tick").to_str().expect("utf-8")]).ok();
    let service = node.json("/services/labelled");
    let version = &service["Version"]["Index"];
    refused(&format!("/services/labelled/update?version={version}"));
    assert_eq!(node.json("/services/labelled")["Spec"], service["Spec"]);
}

#[test]
fn a_runtime_that_the_node_lacks_is_a_reason_of_the_task() {
    let node = Node::swarm();
    let tick = guest("tick");
    let tick = tick.to_str().expect("utf-8");
    let create = |name: &str, runtime: &str| {
        let label = format!("wsw.runtime={runtime}");
        node.wsw(&["service", "create", "-d", "--name", name, "--restart-condition", "none", "--container-label", &label, tick]).ok();
    };
    create("ours", "io.wsw.wasm.v1");
    node.wait_running("ours", 1);
    create("foreign", "io.example.other.v1");
    until("a task that says why", || {
        let tasks = node.tasks("foreign");
        let said = tasks.iter().any(|task| {
            let error = task["Status"]["Err"].as_str().unwrap_or_default();
            // Known before a node is chosen: the scheduler's words.
            error.contains("no suitable node (missing plugin on 1 node)")
        });
        said.then_some(()).ok_or_else(|| format!("{tasks:?}"))
    });
}
