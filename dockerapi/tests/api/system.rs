//! Negotiation, `/info`, `/version`, `/events`.

use crate::client::{json, send, text, with_service};
use crate::fixture::Fixture;
use expect_test::expect;
use http_body_util::BodyExt;
use wsw_api::event::{Action, Kind};

#[tokio::test]
async fn ping_says_all_in_headers_to_head_and_get() {
    let (inactive, (active, _)) = (Fixture::inactive(), with_service().await);
    for (fixture, swarm) in [(&inactive, "inactive"), (&active, "active/manager")] {
        for request in ["HEAD /_ping", "GET /_ping", "GET /v1.41/_ping"] {
            let response = send(fixture, request, "").await;
            let headers = response.headers();
            assert_eq!(response.status(), 200);
            for (name, value) in [("api-version", "1.50"), ("ostype", "linux"), ("builder-version", "2"), ("docker-experimental", "false"), ("swarm", swarm)] {
                assert_eq!(headers[name], value, "{request}");
            }
            assert_eq!(headers["cache-control"], "no-cache, no-store, must-revalidate");
            assert!(headers["server"].to_str().unwrap().starts_with("wsw/"));
        }
    }
    assert_eq!(text(&inactive, "GET /_ping", "").await, "200 OK");
}

#[tokio::test]
async fn every_answer_has_the_headers_and_json_errors() {
    let fixture = Fixture::inactive();
    for request in ["GET /nope", "GET /v1.99/info", "POST /build", "GET /services", "GET /info"] {
        let response = send(&fixture, request, "").await;
        assert_eq!(response.headers()["api-version"], "1.50", "{request}");
        assert_eq!(response.headers()["content-type"], "application/json", "{request}");
    }
}

#[tokio::test]
async fn versions_out_of_range_are_refused() {
    let fixture = Fixture::inactive();
    expect![[r#"
        400 {"message":"client version 1.99 is too new. Maximum supported API version is 1.50"}
        400 {"message":"client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"}
        404 {"message":"page not found"}
    "#]]
    .assert_eq(
        &[text(&fixture, "GET /v1.99/info", "").await, text(&fixture, "GET /v1.12/info", "").await, text(&fixture, "GET /v1.99/nope", "").await].concat(),
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let fixture = Fixture::inactive();
    expect![[r#"
        501 {"message":"POST /containers/create is not implemented by wsw: containers are started and ended by services; use docker service"}
        501 {"message":"GET /images/search is not implemented by wsw: registries have no search of their own; Docker Hub has a web page for it"}
    "#]]
    .assert_eq(&[text(&fixture, "POST /containers/create?name=x", "{}").await, text(&fixture, "GET /images/search?term=x", "").await].concat());
}

#[tokio::test]
async fn info_and_version() {
    let (fixture, _) = with_service().await;
    let info = json(&fixture, "GET /v1.50/info").await;
    let swarm = &info["Swarm"];
    assert_eq!((&swarm["LocalNodeState"], &swarm["ControlAvailable"], &swarm["Nodes"]), (&"active".into(), &true.into(), &1.into()));
    assert_eq!(swarm["RemoteManagers"][0]["Addr"], "127.0.0.1:2377");
    assert!(swarm["Cluster"]["ID"].is_string() && swarm["Cluster"]["JoinTokens"].is_null());
    assert!(!info.to_string().contains("TOP SECRET"));
    assert!(info["Runtimes"]["io.wsw.wasm.v1"].is_object());
    let inactive = json(&Fixture::inactive(), "GET /info").await;
    assert_eq!(inactive["Swarm"]["LocalNodeState"], "inactive");
    expect![[r#"{"ApiVersion":"1.50","Arch":"amd64","BuildTime":"","Components":[{"Details":{"ApiVersion":"1.50","Arch":"amd64","Experimental":"false","KernelVersion":"6.1.0","MinAPIVersion":"1.24","Os":"linux"},"Name":"Engine","Version":"0.1.0"}],"GitCommit":"","GoVersion":"","KernelVersion":"6.1.0","MinAPIVersion":"1.24","Os":"linux","Platform":{"Name":"wsw"},"Version":"0.1.0"}"#]]
        .assert_eq(&json(&fixture, "GET /version").await.to_string());
}

#[tokio::test]
async fn events_are_filtered_and_end_at_until() {
    let fixture = Fixture::swarm();
    fixture.event(Kind::Service, Action::Create, "abc".into(), "web");
    fixture.event(Kind::Node, Action::Update, "n1".into(), "host");
    fixture.event(Kind::Image, Action::Load, "sha256:1".into(), "app:latest");
    expect![[r#"
        200 {"Type":"service","Action":"create","Actor":{"ID":"abc","Attributes":{"name":"web"}},"scope":"swarm","time":1700000000,"timeNano":1700000000000000000}
        {"Type":"node","Action":"update","Actor":{"ID":"n1","Attributes":{"name":"host"}},"scope":"swarm","time":1700000000,"timeNano":1700000000000000000}
        {"status":"load","id":"sha256:1","Type":"image","Action":"load","Actor":{"ID":"sha256:1","Attributes":{"name":"app:latest"}},"scope":"local","time":1700000000,"timeNano":1700000000000000000}
    "#]]
    .assert_eq(&text(&fixture, "GET /events?since=1600000000&until=1700000000", "").await);
    let only = |filters: &str| format!("GET /events?since=1600000000&until=1700000000&filters={filters}");
    let count = async |filters: &str| text(&fixture, &only(filters), "").await.lines().filter(|line| line.contains("Type")).count();
    assert_eq!(count(r#"{"type":{"node":true}}"#).await, 1);
    assert_eq!(count(r#"{"service":["web"]}"#).await, 1);
    assert_eq!(count(r#"{"event":["create","load"]}"#).await, 2);
    assert_eq!(count(r#"{"scope":["swarm"]}"#).await, 2);
    assert_eq!(count(r#"{"service":["other"]}"#).await, 0);
}

#[tokio::test]
async fn events_from_now_on_begin_with_the_headers() {
    let fixture = Fixture::swarm();
    let response = send(&fixture, "GET /events", "").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    fixture.event(Kind::Service, Action::Remove, "abc".into(), "web");
    let line = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(line.ends_with(b"}\n") && String::from_utf8_lossy(&line).contains("\"Action\":\"remove\""));
}
