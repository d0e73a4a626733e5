//! Bad input at every route that takes any, in one table: a status, Docker's error shape, the field named, nothing changed.

use crate::harness::{Node, guest};

/// Method and path, body, status, and what the message has to name.
type Case = (&'static str, &'static str, u16, &'static str);

const SERVICE: &str = r#"{"Name":"new","TaskTemplate":{"ContainerSpec":{"Image":"tick"}}"#;

/// `SERVICE` stands for the beginning of a good service, `{` still open; `TASK` for a container that runs.
const CASES: &[Case] = &[
    // Wrong types, missing bodies, negative numbers, not-a-number, unknown words.
    ("POST /swarm/update?version=x", "{}", 400, "version"),
    ("POST /swarm/update?version=1", "", 400, "EOF"),
    ("POST /swarm/update?version=1", "[]", 400, "JSON"),
    ("POST /swarm/update?version=1", r#"{"Orchestration":{"TaskHistoryRetentionLimit":"many"}}"#, 400, "TaskHistoryRetentionLimit"),
    ("POST /swarm/update?version=1", r#"{"Dispatcher":{"HeartbeatPeriod":-1}}"#, 400, "HeartbeatPeriod"),
    ("POST /swarm/update?version=1", r#"{"CAConfig":{"NodeCertExpiry":-1}}"#, 400, "NodeCertExpiry"),
    ("POST /swarm/init", "{", 400, "JSON"),
    ("POST /swarm/init", r#"{"ListenAddr":7}"#, 400, "ListenAddr"),
    ("POST /swarm/leave", "", 503, "--force"),
    ("POST /nodes/self/update?version=1", "", 400, "EOF"),
    ("POST /nodes/self/update?version=1", r#"{"Role":"boss","Availability":"active"}"#, 400, "boss"),
    ("POST /nodes/self/update?version=1", r#"{"Role":"manager","Availability":"asleep"}"#, 400, "asleep"),
    ("POST /nodes/self/update?version=1", r#"{"Labels":["a"]}"#, 400, "Labels"),
    ("POST /nodes/self/update", r#"{"Role":"manager","Availability":"active"}"#, 400, "version"),
    ("POST /nodes/nosuch/update?version=1", r#"{"Role":"manager","Availability":"active"}"#, 404, "nosuch"),
    ("DELETE /nodes/nosuch", "", 404, "nosuch"),
    ("POST /services/create", r#"{"Name":"new","TaskTemplate":{"ContainerSpec":{"Image":7}}}"#, 400, "Image"),
    ("POST /services/create", r#"SERVICE,"Mode":{"Replicated":{"Replicas":-1}}}"#, 400, "Replicas"),
    ("POST /services/create", r#"SERVICE,"Mode":{"Replicated":{"Replicas":NaN}}}"#, 400, "JSON"),
    ("POST /services/create", r#"SERVICE,"Mode":{"Replicated":{"Replicas":1e99}}}"#, 400, "Replicas"),
    ("POST /services/create", r#"SERVICE,"Mode":{"Replicated":{},"Global":{}}}"#, 400, "Mode"),
    ("POST /services/create", r#"SERVICE,"EndpointSpec":{"Ports":[{"TargetPort":99999}]}}"#, 400, "TargetPort"),
    ("POST /services/create", r#"SERVICE,"EndpointSpec":{"Ports":[{"TargetPort":80,"Protocol":"carrier"}]}}"#, 400, "carrier"),
    ("POST /services/create", r#"SERVICE,"EndpointSpec":{"Mode":"odd"}}"#, 400, "odd"),
    ("POST /services/create", r#"SERVICE,"UpdateConfig":{"MaxFailureRatio":2}}"#, 400, "MaxFailureRatio"),
    ("POST /services/create", r#"SERVICE,"UpdateConfig":{"Delay":-5}}"#, 400, "Delay"),
    ("POST /services/create", r#"SERVICE,"UpdateConfig":{"Order":"sideways"}}"#, 400, "sideways"),
    ("POST /services/create", r#"SERVICE,"Labels":{"a":1}}"#, 400, "Labels"),
    ("POST /services/create", r#"SERVICE,"Networks":[{"Target":"nosuch"}]}"#, 404, "nosuch"),
    ("POST /services/create", r#"SERVICE}trailing"#, 400, "after JSON"),
    ("POST /services/taken/update?version=1", "{}", 400, "TaskTemplate"),
    ("POST /services/taken/update?version=-1", "{}", 400, "version"),
    ("POST /services/taken/update?version=1&rollback=sideways", "{}", 400, "sideways"),
    ("DELETE /services/nosuch", "", 404, "nosuch"),
    ("POST /networks/create", "", 400, "EOF"),
    ("POST /networks/create", r#"{"Name":"a b","Driver":"overlay"}"#, 400, "name"),
    ("POST /networks/create", r#"{"Name":"x","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.0.0.0/99"}]}}"#, 400, "Subnet"),
    ("POST /networks/create", r#"{"Name":"x","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.0.0.0/24","Gateway":"10.1.0.1"}]}}"#, 400, "Gateway"),
    ("POST /networks/create", r#"{"Name":"x","Driver":"overlay","IPAM":{"Config":"all"}}"#, 400, "Config"),
    ("DELETE /networks/nosuch", "", 404, "nosuch"),
    ("POST /containers/TASK/kill?signal=NOSUCH", "", 400, "NOSUCH"),
    ("POST /containers/TASK/kill?signal=-9", "", 400, "-9"),
    ("POST /containers/TASK/stop?t=soon", "", 400, "soon"),
    ("POST /containers/TASK/wait?condition=never", "", 400, "never"),
    ("POST /containers/nosuch/kill", "", 404, "nosuch"),
    ("GET /containers/nosuch/stats", "", 404, "nosuch"),
    ("GET /containers/TASK/logs", "", 400, "stream"),
    ("GET /containers/TASK/logs?stdout=1&since=yesterday", "", 400, "since"),
    ("GET /services/taken/logs?stdout=1&until=tomorrow", "", 400, "until"),
    ("GET /containers/json?limit=many", "", 400, "many"),
    ("GET /events?since=yesterday", "", 400, "since"),
    ("DELETE /images/nosuch", "", 404, "nosuch"),
];

/// Lists with filters; each is asked with a key that it does not have, with JSON that is none, and with a value of the wrong type.
const FILTERED: &[&str] = &[
    "GET /services",
    "GET /nodes",
    "GET /tasks",
    "GET /containers/json",
    "GET /networks",
    "GET /images/json",
    "GET /events",
    "POST /networks/prune",
    "POST /containers/prune",
];

#[test]
fn each_is_refused_and_named() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "taken", &guest("tick").to_string_lossy()]).ok();
    let task = node.wsw(&["ps", "-q"]).ok().trim().to_owned();
    let before = (node.json("/services"), node.json("/networks"), node.json("/swarm"));
    let mut wrong = Vec::new();
    let mut ask = |request: &str, body: &str, status: u16, names: &str| {
        let (method, path) = request.split_once(' ').expect("method and path");
        let answer = node.api(method, &format!("/v1.50{path}"), body.as_bytes());
        if answer.status != status || !answer.message().contains(names) || answer.header("content-type") != Some("application/json") {
            wrong.push(format!("{request} {body}: wanted {status} and {names:?}: {answer:?}"));
        }
    };
    for (request, body, status, names) in CASES {
        ask(&request.replace("TASK", &task), &body.replace("SERVICE", SERVICE), *status, names);
    }
    for request in FILTERED {
        ask(&format!("{request}?filters=%7B%22nosuch%22%3A%5B%22x%22%5D%7D"), "", 400, "invalid filter 'nosuch'");
        ask(&format!("{request}?filters=nonsense"), "", 400, "invalid filter");
        ask(&format!("{request}?filters=%7B%22label%22%3A7%7D"), "", 400, "invalid filter");
    }
    let long = "x".repeat(70_000);
    for path in ["/services", "/nodes", "/tasks", "/networks", "/containers"] {
        let tail = if path == "/containers" { "/json" } else { "" };
        let answer = node.api("GET", &format!("{path}/{long}{tail}"), &[]);
        assert_eq!(answer.status / 100, 4, "{path}: {}", answer.head);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    assert_eq!((node.json("/services"), node.json("/networks"), node.json("/swarm")), before, "nothing was changed");
    assert_eq!(node.wsw(&["ps", "-q"]).ok().trim(), task, "and nothing was ended");
}

/// A name that no service can have.
#[test]
fn overlong_names() {
    let node = Node::swarm();
    for (path, rest) in [("/services/create", r#","TaskTemplate":{"ContainerSpec":{"Image":"tick"}}"#), ("/networks/create", r#","Driver":"overlay""#)] {
        let answer = node.api("POST", path, format!(r#"{{"Name":"{}"{rest}}}"#, "n".repeat(64)).as_bytes());
        assert!(answer.status == 400 && answer.message().contains("63 characters or fewer"), "{answer:?}");
    }
}
