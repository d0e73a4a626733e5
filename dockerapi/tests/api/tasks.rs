//! `/tasks`.

use crate::client::{json, service_body, text, with_service};
use expect_test::expect;
use wsw_dockerapi::container_id;

#[tokio::test]
async fn a_task_is_shown_as_moby_shows_it() {
    let (fixture, id) = with_service().await;
    let store = fixture.store();
    let service = store.service_by_name("web").unwrap();
    let task = store.tasks_of_service(&service.id).next().unwrap();
    let shown = text(&fixture, &format!("GET /v1.50/tasks/{}", task.id), "").await;
    let shown = shown.replace(&id, "SERVICE").replace(&task.id.to_string(), "TASK").replace(&container_id(task.id), "CONTAINER");
    expect![[r#"
        200 {"ID":"TASK","Version":{"Index":2},"CreatedAt":"2023-11-14T22:13:20Z","UpdatedAt":"2023-11-14T22:13:20Z","Labels":{},"Spec":{"ContainerSpec":{"Image":"app:latest","Env":["A=b"],"Init":false,"DNSConfig":{},"Isolation":"default"},"Resources":{"Limits":{"MemoryBytes":67108864},"Reservations":{}},"Placement":{},"ForceUpdate":0,"Runtime":"container"},"ServiceID":"SERVICE","Slot":1,"NodeID":"0250za67mbtgh1tvq6ktn8q2p","Status":{"Timestamp":"2023-11-14T22:13:20Z","State":"running","Message":"started","ContainerStatus":{"ContainerID":"CONTAINER","PID":42,"ExitCode":0},"PortStatus":{}},"DesiredState":"running"}
    "#]].assert_eq(&shown);
    for name in [task.name("web"), task.id.to_string()[..8].to_owned()] {
        assert_eq!(json(&fixture, &format!("GET /tasks/{name}")).await["ID"], task.id.to_string());
    }
}

#[tokio::test]
async fn filters_find_tasks_by_service_node_state_and_currentness() {
    let (fixture, id) = with_service().await;
    text(&fixture, "POST /services/create", service_body("other", 3)).await;
    let count = async |filters: &str| json(&fixture, &format!("GET /tasks?filters={filters}")).await.as_array().unwrap().len();
    assert_eq!(count("{}").await, 5);
    assert_eq!(count(r#"{"service":{"web":true}}"#).await, 2);
    assert_eq!(count(&format!(r#"{{"service":["{id}","other"]}}"#)).await, 5);
    assert_eq!(count(r#"{"node":["self"]}"#).await, 5);
    assert_eq!(count(r#"{"node":["host"],"service":["web"]}"#).await, 2);
    assert_eq!(count(r#"{"desired-state":["running"]}"#).await, 5);
    assert_eq!(count(r#"{"desired-state":["shutdown"]}"#).await, 0);
    assert_eq!(count(r#"{"name":["web.1"]}"#).await, 1);
    assert_eq!(count(r#"{"label":["team=a"]}"#).await, 5);
    assert_eq!(count(r#"{"service":["web"],"_up-to-date":["true"]}"#).await, 2);
    expect![[r#"
        400 {"message":"invalid desired-state filter: 'sleeping'"}
        404 {"message":"service nope not found"}
        404 {"message":"node nope not found"}
        400 {"message":"invalid filter 'colour'"}
        404 {"message":"task nope not found"}
    "#]]
    .assert_eq(
        &[
            text(&fixture, r#"GET /tasks?filters={"desired-state":["sleeping"]}"#, "").await,
            text(&fixture, r#"GET /tasks?filters={"service":["nope"]}"#, "").await,
            text(&fixture, r#"GET /tasks?filters={"node":["nope"]}"#, "").await,
            text(&fixture, r#"GET /tasks?filters={"colour":["red"]}"#, "").await,
            text(&fixture, "GET /tasks/nope", "").await,
        ]
        .concat(),
    );
}
