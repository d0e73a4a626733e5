//! `/nodes`.

use crate::client::{json, text};
use crate::fixture::{Fixture, NODE};
use expect_test::expect;

#[tokio::test]
async fn a_node_is_shown_as_moby_shows_it() {
    let fixture = Fixture::swarm();
    expect![[r#"
        200 [{"ID":"NODE","Version":{"Index":1},"CreatedAt":"2023-11-14T22:13:20Z","UpdatedAt":"2023-11-14T22:13:20Z","Spec":{"Labels":{},"Role":"manager","Availability":"active"},"Description":{"Hostname":"host","Platform":{"Architecture":"amd64","OS":"linux"},"Resources":{"NanoCPUs":2000000000,"MemoryBytes":4294967296},"Engine":{"EngineVersion":"0.1.0","Plugins":[{"Type":"Runtime","Name":"io.wsw.wasm.v1"}]},"TLSInfo":{"TrustRoot":"PEM\n"}},"Status":{"State":"ready","Addr":"127.0.0.1"},"ManagerStatus":{"Leader":true,"Reachability":"reachable","Addr":"127.0.0.1:2377"}}]
    "#]].assert_eq(&text(&fixture, "GET /v1.50/nodes", "").await.replace(&NODE.to_string(), "NODE"));
    for name in ["self", "host", &NODE.to_string(), &NODE.to_string()[..5]] {
        assert_eq!(json(&fixture, &format!("GET /nodes/{name}")).await["ID"], NODE.to_string(), "{name}");
    }
    assert_eq!(text(&fixture, "GET /nodes/nope", "").await, "404 {\"message\":\"node nope not found\"}\n");
}

#[tokio::test]
async fn a_spec_that_was_read_can_be_changed() {
    let fixture = Fixture::swarm();
    let mut node = json(&fixture, "GET /nodes/self").await;
    node["Spec"]["Availability"] = "drain".into();
    node["Spec"]["Labels"]["zone"] = "east".into();
    let update = format!("POST /nodes/{NODE}/update?version={}", node["Version"]["Index"]);
    assert_eq!(text(&fixture, &update, node["Spec"].to_string()).await, "200 ");
    assert_eq!(json(&fixture, r#"GET /nodes?filters={"node.label":["zone=east"]}"#).await[0]["Spec"]["Availability"], "drain");
    expect![[r#"
        400 {"message":"invalid Availability: \"gone\"; use active, pause or drain"}
        400 {"message":"invalid Role: \"king\"; use worker or manager"}
        400 {"message":"invalid node version '': the version of the object to update is needed"}
        400 {"message":"node is not down and can't be removed"}
        400 {"message":"invalid filter 'role=king'"}
    "#]]
    .assert_eq(
        &[
            text(&fixture, &update, r#"{"Role":"manager","Availability":"gone"}"#).await,
            text(&fixture, &update, r#"{"Role":"king","Availability":"active"}"#).await,
            text(&fixture, "POST /nodes/self/update", r#"{"Role":"manager","Availability":"active"}"#).await,
            text(&fixture, "DELETE /nodes/self", "").await,
            text(&fixture, r#"GET /nodes?filters={"role":["king"]}"#, "").await,
        ]
        .concat(),
    );
}
