//! `/services`: what the CLI sends is understood, kept, and shown as moby shows it.

use crate::client::{json, service_body, text, with_service};
use crate::fixture::Fixture;
use expect_test::expect;
use serde_json::Value;

#[tokio::test]
async fn what_was_created_is_shown() {
    let (fixture, id) = with_service().await;
    expect![[r#"
        200 {"ID":"ID","Version":{"Index":2},"CreatedAt":"2023-11-14T22:13:20Z","UpdatedAt":"2023-11-14T22:13:20Z","Spec":{"Name":"web","Labels":{"team":"a"},"TaskTemplate":{"ContainerSpec":{"Image":"app:latest","Env":["A=b"],"Init":false,"DNSConfig":{},"Isolation":"default"},"Resources":{"Limits":{"MemoryBytes":67108864},"Reservations":{}},"Placement":{},"ForceUpdate":0,"Runtime":"container"},"Mode":{"Replicated":{"Replicas":2}},"EndpointSpec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]}},"Endpoint":{"Spec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]},"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]}}
    "#]].assert_eq(&text(&fixture, "GET /v1.50/services/web", "").await.replace(&id, "ID"));
    expect![[r#"{"EndpointSpec":{"Mode":"vip","Ports":[{"Protocol":"tcp","PublishMode":"ingress","PublishedPort":8080,"TargetPort":80}]},"Labels":{"team":"a"},"Mode":{"Replicated":{"Replicas":2}},"Name":"web","RollbackConfig":{"FailureAction":"pause","MaxFailureRatio":0,"Monitor":5000000000,"Order":"stop-first","Parallelism":1},"TaskTemplate":{"ContainerSpec":{"DNSConfig":{},"Env":["A=b"],"Image":"app:latest","Init":false,"Isolation":"default","StopGracePeriod":10000000000},"ForceUpdate":0,"Placement":{},"Resources":{"Limits":{"MemoryBytes":67108864},"Reservations":{}},"RestartPolicy":{"Condition":"any","Delay":5000000000,"MaxAttempts":0},"Runtime":"container"},"UpdateConfig":{"FailureAction":"pause","MaxFailureRatio":0,"Monitor":5000000000,"Order":"stop-first","Parallelism":1}}"#]].assert_eq(&json(&fixture, "GET /v1.50/services/web?insertDefaults=true").await["Spec"].to_string());
}

#[tokio::test]
async fn lists_count_tasks_and_filter() {
    let (fixture, id) = with_service().await;
    let listed = json(&fixture, "GET /v1.50/services?status=true").await;
    assert_eq!(listed[0]["ServiceStatus"].to_string(), r#"{"CompletedTasks":0,"DesiredTasks":2,"RunningTasks":2}"#);
    assert_eq!(json(&fixture, "GET /v1.41/services").await[0]["ServiceStatus"], Value::Null);
    let count = async |filters: &str| json(&fixture, &format!("GET /services?filters={filters}")).await.as_array().unwrap().len();
    assert_eq!(count(r#"{"name":{"we":true}}"#).await, 1);
    assert_eq!(count(r#"{"name":["wex"]}"#).await, 0);
    assert_eq!(count(&format!(r#"{{"id":["{}"]}}"#, &id[..5])).await, 1);
    assert_eq!(count(r#"{"label":["team=a"],"mode":["replicated"],"runtime":["container"]}"#).await, 1);
    assert_eq!(count(r#"{"mode":["global"]}"#).await, 0);
    assert_eq!(text(&Fixture::swarm(), "GET /services", "").await, "200 []\n");
}

#[tokio::test]
async fn a_spec_that_was_read_can_be_sent_back() {
    let (fixture, id) = with_service().await;
    let read = json(&fixture, "GET /v1.50/services/web").await;
    let before = fixture.store().service_by_name("web").unwrap().clone();
    let update = format!("POST /v1.50/services/{id}/update?registryAuthFrom=spec&version={}", read["Version"]["Index"]);
    assert_eq!(text(&fixture, &update, read["Spec"].to_string()).await, "200 {}\n");
    let after = fixture.store().service_by_name("web").unwrap().clone();
    assert_eq!((&after.spec, after.template), (&before.spec, before.template));
    expect![[r#"
        409 {"message":"update out of sequence"}
    "#]]
    .assert_eq(&text(&fixture, &update, read["Spec"].to_string()).await);
}

#[tokio::test]
async fn rollback_goes_back() {
    let (fixture, id) = with_service().await;
    let index = async || json(&fixture, "GET /services/web").await["Version"]["Index"].to_string();
    text(&fixture, &format!("POST /services/{id}/update?version={}", index().await), service_body("web", 5)).await;
    text(&fixture, &format!("POST /services/{id}/update?version={}&rollback=previous", index().await), service_body("web", 5)).await;
    assert_eq!(json(&fixture, "GET /services/web").await["Spec"]["Mode"]["Replicated"]["Replicas"], 2);
    assert_eq!(json(&fixture, "GET /services/web").await["PreviousSpec"]["Mode"]["Replicated"]["Replicas"], 5);
}

#[tokio::test]
async fn lookups_take_id_name_and_unique_prefix() {
    let (fixture, id) = with_service().await;
    for name in [id.as_str(), "web", &id[..6]] {
        assert_eq!(json(&fixture, &format!("GET /services/{name}")).await["ID"], id.as_str());
    }
    // enough services that some share their first character
    for n in 0..40 {
        text(&fixture, "POST /services/create", service_body(&format!("s{n}"), 0)).await;
    }
    let first = &id[..1];
    let same = fixture.store().services().filter(|service| service.id.to_string().starts_with(first)).count();
    assert!(same > 1);
    assert_eq!(
        text(&fixture, &format!("GET /services/{first}"), "").await,
        format!("400 {{\"message\":\"service {first} is ambiguous ({same} matches found)\"}}\n")
    );
    expect![[r#"
        404 {"message":"service nope not found"}
        404 {"message":"service nope not found"}
        404 {"message":"service nope not found"}
    "#]]
    .assert_eq(
        &[
            text(&fixture, "GET /services/nope", "").await,
            text(&fixture, "DELETE /services/nope", "").await,
            text(&fixture, "POST /services/nope/update?version=1", service_body("nope", 1)).await,
        ]
        .concat(),
    );
}

#[tokio::test]
async fn removing_ends_it() {
    let (fixture, _) = with_service().await;
    assert_eq!(text(&fixture, "DELETE /services/web", "").await, "200 ");
    assert!(text(&fixture, "GET /services/web", "").await.starts_with("404 "));
}

#[tokio::test]
async fn modes_and_defaults_are_read_as_moby_reads_them() {
    let fixture = Fixture::swarm();
    for (name, mode, shown) in [
        ("none", "{}", r#"{"Replicated":{"Replicas":1}}"#),
        ("empty", r#"{"Replicated":{}}"#, r#"{"Replicated":{"Replicas":1}}"#),
        ("zero", r#"{"Replicated":{"Replicas":0}}"#, r#"{"Replicated":{"Replicas":0}}"#),
        ("global", r#"{"Global":{}}"#, r#"{"Global":{}}"#),
        ("job", r#"{"ReplicatedJob":{"MaxConcurrent":3}}"#, r#"{"ReplicatedJob":{"MaxConcurrent":3,"TotalCompletions":3}}"#),
    ] {
        let body = format!(r#"{{"Name":"{name}","TaskTemplate":{{"ContainerSpec":{{"Image":"app"}}}},"Mode":{mode}}}"#);
        assert!(text(&fixture, "POST /services/create", body).await.starts_with("201"), "{name}");
        let read = json(&fixture, &format!("GET /services/{name}")).await;
        assert_eq!(read["Spec"]["Mode"].to_string(), shown);
        assert_eq!(read["JobStatus"].is_object(), name == "job");
        assert_eq!(read["Spec"]["UpdateConfig"], Value::Null);
    }
}
