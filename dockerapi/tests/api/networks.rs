//! `/networks`, and services that name them.

use crate::client::{json, service_body, text};
use crate::fixture::Fixture;

#[tokio::test]
async fn made_used_and_removed() {
    let fixture = Fixture::swarm();
    let create = async |body: &str| text(&fixture, "POST /v1.50/networks/create", body.to_owned()).await;
    let made = create(r#"{"Name":"web","Driver":"overlay","Labels":{"tier":"front"},"IPAM":{"Config":[{"Subnet":"10.0.9.0/24"}]}}"#).await;
    assert!(made.starts_with("201 {\"Id\":\"") && made.contains("recorded only"), "{made}");
    for (body, status, names) in [
        (r#"{"Name":"x","Driver":"nosuch"}"#, 404, "nosuch"),
        (r#"{"Name":"x","Driver":"overlay","Scope":"local"}"#, 400, "Scope"),
        (r#"{"Name":"x","ConfigOnly":true}"#, 501, "ConfigOnly"),
        (r#"{"Name":"x","Ingress":true}"#, 501, "Ingress"),
        (r#"{"Name":7}"#, 400, "Name"),
        ("[]", 400, "JSON"),
        ("", 400, "EOF"),
    ] {
        let answer = create(body).await;
        assert!(answer.starts_with(&status.to_string()) && answer.contains(names), "{body}: {answer}");
    }
    let found = json(&fixture, "GET /networks/web").await;
    assert_eq!((&found["Scope"], &found["Driver"], &found["IPAM"]["Config"][0]["Subnet"]), (&"swarm".into(), &"overlay".into(), &"10.0.9.0/24".into()));
    let count = async |filters: &str| json(&fixture, &format!("GET /networks?filters={filters}")).await.as_array().unwrap().len();
    for (filters, wanted) in [
        (r#"{"label":["tier=front"],"driver":["overlay"],"scope":["swarm"],"type":["custom"]}"#, 1),
        (r#"{"dangling":["true"]}"#, 1),
        (r#"{"dangling":["false"]}"#, 0),
        (r#"{"name":["we"]}"#, 1),
        (r#"{"driver":["bridge"]}"#, 0),
    ] {
        assert_eq!(count(filters).await, wanted, "{filters}");
    }
    for bad in [r#"{"scope":["x"]}"#, r#"{"dangling":["x"]}"#, r#"{"nosuch":["x"]}"#] {
        assert!(text(&fixture, &format!("GET /networks?filters={bad}"), "").await.starts_with("400 "), "{bad}");
    }
    let id = found["Id"].as_str().unwrap();
    let body = service_body("app", 1).replace("\"ForceUpdate\":0", "\"ForceUpdate\":0,\"Networks\":[{\"Target\":\"web\",\"Aliases\":[\"app\"]}]");
    let made = text(&fixture, "POST /services/create", body.clone()).await;
    assert!(made.starts_with("201 ") && made.contains("recorded only"), "{made}");
    let service = json(&fixture, "GET /services/app").await;
    assert_eq!(service["Spec"]["TaskTemplate"]["Networks"], serde_json::json!([{"Target": id, "Aliases": ["app"]}]));
    let tasks = json(&fixture, "GET /tasks").await;
    assert_eq!(
        (&tasks[0]["NetworksAttachments"][0]["Network"]["ID"], &tasks[0]["NetworksAttachments"][0]["Network"]["Spec"]["Name"]),
        (&id.into(), &"web".into())
    );
    let missing = body.replace("\"Target\":\"web\"", "\"Target\":\"nosuch\"");
    assert_eq!(text(&fixture, "POST /services/create", missing).await, "404 {\"message\":\"network nosuch not found\"}\n");
    let container = json(&fixture, r#"GET /containers/json?filters={"network":["web"]}"#).await;
    assert_eq!(container[0]["NetworkSettings"]["Networks"]["web"]["NetworkID"], id);
    assert!(text(&fixture, "POST /networks/web/connect", "{}").await.starts_with("501 "));
    assert_eq!(text(&fixture, r#"POST /networks/prune?filters={"label!":["tier"]}"#, "").await, "200 {\"NetworksDeleted\":[]}\n");
    assert_eq!(text(&fixture, "DELETE /networks/web", "").await, "204 ");
    assert_eq!(text(&fixture, "GET /networks/web", "").await, "404 {\"message\":\"network web not found\"}\n");
}

#[tokio::test]
async fn a_node_without_a_swarm_has_none() {
    let fixture = Fixture::inactive();
    assert_eq!(text(&fixture, "GET /networks", "").await, "200 []\n");
    assert!(text(&fixture, "GET /networks/x", "").await.starts_with("404 "));
    assert_eq!(text(&fixture, "POST /networks/prune", "").await, "200 {\"NetworksDeleted\":[]}\n");
    assert!(text(&fixture, "POST /networks/create", r#"{"Name":"x"}"#).await.starts_with("503 "));
}
