//! `/containers`: this node's tasks.

use crate::client::{json, text, with_service};
use expect_test::expect;
use wsw_dockerapi::container_id;

#[tokio::test]
async fn tasks_are_listed_and_inspected_as_containers() {
    let (fixture, service) = with_service().await;
    let store = fixture.store();
    let task = store.tasks().min_by_key(|task| task.slot).unwrap();
    let id = container_id(task.id);
    let hide = |text: String| text.replace(&service, "SERVICE").replace(&task.id.to_string(), "TASK").replace(&id, "CONTAINER");
    let listed = json(&fixture, &format!(r#"GET /v1.50/containers/json?filters={{"id":["{}"]}}"#, &id[..12])).await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    expect![[r#"{"Command":"/app.wasm","Created":1700000000,"HostConfig":{"NetworkMode":"default"},"Id":"CONTAINER","Image":"app:latest","ImageID":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","Labels":{"com.docker.swarm.node.id":"0250za67mbtgh1tvq6ktn8q2p","com.docker.swarm.service.id":"SERVICE","com.docker.swarm.service.name":"web","com.docker.swarm.task":"","com.docker.swarm.task.id":"TASK","com.docker.swarm.task.name":"web.1.TASK"},"Mounts":[],"Names":["/web.1.TASK"],"NetworkSettings":{"Networks":{}},"Ports":[{"PrivatePort":80,"Type":"tcp"}],"State":"running","Status":"Up Less than a second"}"#]].assert_eq(&hide(listed[0].to_string()));
    for name in [id.clone(), id[..12].to_owned(), task.name("web")] {
        assert_eq!(json(&fixture, &format!("GET /containers/{name}/json")).await["Id"], id.as_str());
    }
    expect![[r#"
        200 {"Id":"CONTAINER","Created":"2023-11-14T22:13:20Z","Path":"/app.wasm","Args":[],"State":{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":42,"ExitCode":0,"Error":"","StartedAt":"2023-11-14T22:13:20Z","FinishedAt":"0001-01-01T00:00:00Z"},"Image":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","Name":"/web.1.TASK","RestartCount":0,"Driver":"wsw","Platform":"wasi","ExecIDs":null,"HostConfig":{"LogConfig":{"Type":"json-file","Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":false,"CapAdd":null,"CapDrop":null,"Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","OomScoreAdj":0,"PidMode":"","Privileged":false,"ReadonlyRootfs":false,"SecurityOpt":null,"ShmSize":67108864,"Runtime":"io.wsw.wasm.v1","Memory":67108864,"NanoCpus":0,"PidsLimit":null,"Ulimits":[],"Init":false},"Mounts":[],"Config":{"Hostname":"3c6ef372fe94","User":"","ExposedPorts":{"80/tcp":{}},"Tty":false,"OpenStdin":false,"Env":["A=b","FROM=image"],"Image":"app:latest","WorkingDir":"/","Entrypoint":["/app.wasm"],"Labels":{"com.docker.swarm.node.id":"0250za67mbtgh1tvq6ktn8q2p","com.docker.swarm.service.id":"SERVICE","com.docker.swarm.service.name":"web","com.docker.swarm.task":"","com.docker.swarm.task.id":"TASK","com.docker.swarm.task.name":"web.1.TASK"}},"NetworkSettings":{"SandboxKey":"","Ports":{"80/tcp":[]},"Gateway":"","IPAddress":"","IPPrefixLen":0,"MacAddress":"","Networks":{}}}
    "#]].assert_eq(&hide(text(&fixture, &format!("GET /v1.50/containers/{id}/json"), "").await));
    let sized = json(&fixture, &format!("GET /containers/{id}/json?size=1")).await;
    assert_eq!((&sized["SizeRw"], &sized["SizeRootFs"]), (&0.into(), &1_234_567.into()));
    assert_eq!(text(&fixture, "GET /containers/nope/json", "").await, "404 {\"message\":\"No such container: nope\"}\n");
}

#[tokio::test]
async fn filters_and_limits_hold() {
    let (fixture, _) = with_service().await;
    let count = async |query: &str| json(&fixture, &format!("GET /containers/json?{query}")).await.as_array().unwrap().len();
    assert_eq!(count("").await, 2);
    assert_eq!(count("limit=1").await, 1);
    assert_eq!(count(r#"filters={"status":["exited"]}"#).await, 0);
    assert_eq!(count(r#"filters={"label":["com.docker.swarm.service.name=web"],"name":["web"]}"#).await, 2);
    assert_eq!(count(r#"filters={"name":["^/web.1"]}"#).await, 1);
    assert_eq!(count(r#"filters={"ancestor":["app"]}"#).await, 2);
    assert_eq!(count(r#"filters={"expose":["80/tcp"]}"#).await, 2);
    assert_eq!(count(r#"filters={"expose":["81-90"]}"#).await, 0);
    assert_eq!(count(r#"filters={"publish":["8080"]}"#).await, 0, "the ingress publishes, not the container");
    for bad in [r#"{"status":["asleep"]}"#, r#"{"exited":["x"]}"#, r#"{"is-task":["perhaps"]}"#, r#"{"nosuch":["x"]}"#] {
        let answer = text(&fixture, &format!("GET /containers/json?filters={bad}"), "").await;
        assert!(answer.starts_with("400 {\"message\":\"invalid filter '"), "{bad}: {answer}");
    }
    assert!(text(&fixture, r#"GET /containers/json?filters={"before":["nosuch"]}"#, "").await.starts_with("404 "));
    assert!(text(&fixture, "GET /containers/json?limit=many", "").await.starts_with("400 "));
}
