//! Bad input at the Engine API: a status, Docker's error shape, the field named, nothing changed, and a daemon that goes on.

use crate::harness::Node;

/// A body larger than any request may be.
const HUGE: usize = 100 * 1024 * 1024;

#[test]
fn malformed_bodies() {
    let node = Node::swarm();
    for (body, names) in [
        ("{", "JSON"),
        ("", ""),
        ("[]", ""),
        ("{\"Name\": 7}", "Name"),
        ("{\"Name\": \"x\", \"Mode\": {\"Replicated\": {\"Replicas\": \"two\"}}}", "Replicas"),
        ("{\"Name\": \"x\", \"Mode\": {\"Replicated\": {\"Replicas\": -2}}}", "Replicas"),
        ("{\"Name\": \"x\", \"TaskTemplate\": {}}", "ContainerSpec"),
        ("{\"Name\": \"x\", \"TaskTemplate\": {\"ContainerSpec\": {\"Image\": \"\"}}}", "image"),
        ("{\"Name\": \"x\", \"TaskTemplate\": {\"ContainerSpec\": {\"Image\": \"UPPER CASE\"}}}", "UPPER CASE"),
    ] {
        let answer = node.api("POST", "/v1.41/services/create", body.as_bytes());
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.message().contains(names), "{body} names {names}: {answer:?}");
    }
    assert_eq!(node.json("/services"), serde_json::json!([]));
}

#[test]
fn a_huge_body() {
    let node = Node::swarm();
    let mut body = b"{\"Name\": \"".to_vec();
    body.resize(HUGE, b'x');
    let answer = node.api("POST", "/v1.41/services/create", &body);
    assert!([400, 413].contains(&answer.status), "{} {}", answer.status, answer.head);
    assert_eq!(node.api("GET", "/_ping", &[]).body, "OK");
}

#[test]
fn versions() {
    let node = Node::start();
    let too_new = node.api("GET", "/v9.99/info", &[]);
    assert_eq!(too_new.status, 400);
    assert!(too_new.message().contains("client version 9.99 is too new. Maximum supported API version is 1."), "{too_new:?}");
    let too_old = node.api("GET", "/v1.12/info", &[]);
    assert_eq!(too_old.status, 400);
    assert!(too_old.message().contains("client version 1.12 is too old. Minimum supported API version is 1."), "{too_old:?}");
    let ping = node.api("HEAD", "/_ping", &[]);
    assert_eq!((ping.status, ping.header("swarm"), ping.header("ostype")), (200, Some("inactive"), Some("linux")), "{ping:?}");
    assert!(ping.header("api-version").is_some(), "{ping:?}");
}

#[test]
fn unknown_things() {
    let node = Node::swarm();
    for path in ["/services/nosuch", "/nodes/nosuch", "/tasks/nosuch", "/images/nosuch/json", "/containers/nosuch/json"] {
        let answer = node.api("GET", &format!("/v1.41{path}"), &[]);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(answer.message().contains("nosuch"), "{path}: {answer:?}");
    }
    for path in ["/services?filters=nonsense", "/tasks?filters=%7B%22nosuch%22%3A%5B%22x%22%5D%7D"] {
        let answer = node.api("GET", path, &[]);
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    let stale = node.api("POST", "/services/nosuch/update?version=1", b"{}");
    assert!(stale.status == 404 || stale.status == 400, "{stale:?}");
    assert_eq!(node.api("GET", "/nowhere", &[]).status, 404);
    assert_eq!(node.api("DELETE", "/info", &[]).status / 100, 4);
}

/// Routes of the Engine API that do not exist yet answer 501 and name what is missing.
#[test]
fn what_does_not_exist_yet() {
    let node = Node::swarm();
    for (method, path) in
        [("POST", "/containers/create"), ("POST", "/build"), ("POST", "/commit"), ("POST", "/secrets/create"), ("POST", "/containers/x/pause")]
    {
        let answer = node.api(method, path, b"{}");
        assert_eq!(answer.status, 501, "{method} {path}: {answer:?}");
        assert!(!answer.message().is_empty());
    }
    let join = node.wsw(&["swarm", "join", "--token", "SWMTKN-1-x-y", "127.0.0.1:2377"]).failed();
    assert!(join.contains("join") || join.contains("already part of a swarm"), "{join}");
}
