//! `/containers/{id}/kill`, `stop`, `wait`, `top`, `stats`: one task past its service.

use crate::client::{json, text, with_service};
use wsw_dockerapi::container_id;

#[tokio::test]
async fn kill_wait_and_stop() {
    let (fixture, _) = with_service().await;
    let store = fixture.store();
    let ids: Vec<String> = store.tasks().map(|task| container_id(task.id)).collect();
    let post = async |path: String| text(&fixture, &format!("POST /v1.50/containers/{path}"), "").await;
    let refused = post(format!("{}/kill?signal=NOSUCH", ids[0])).await;
    assert_eq!(refused, format!("400 {{\"message\":\"cannot kill container: {}: invalid signal: NOSUCH\"}}\n", ids[0]));
    assert!(post(format!("{}/kill?signal=USR1", ids[0])).await.contains("means nothing to a Wasm task"));
    assert_eq!(post("nosuch/kill".into()).await, "404 {\"message\":\"cannot kill container: nosuch: No such container: nosuch\"}\n");
    assert_eq!(post(format!("{}/kill", ids[0])).await, "204 ");
    let again = post(format!("{}/kill", ids[0])).await;
    assert_eq!(again, format!("409 {{\"message\":\"cannot kill container: {}: container {} is not running\"}}\n", ids[0], ids[0]));
    assert_eq!(post(format!("{}/wait", ids[0])).await, "200 {\"StatusCode\":137}\n");
    assert_eq!(post(format!("{}/wait?condition=never", ids[0])).await, "400 {\"message\":\"invalid condition: \\\"never\\\"\"}\n");
    assert_eq!(post(format!("{}/stop", ids[0])).await, "304 ", "it does not run");
    assert!(post(format!("{}/stop?t=soon", ids[1])).await.starts_with("400 "));
    assert_eq!(post(format!("{}/stop?t=1", ids[1])).await, "204 ");
    assert_eq!(post(format!("{}/wait", ids[1])).await, "200 {\"StatusCode\":143}\n");
    assert!(text(&fixture, &format!("GET /containers/{}/top", ids[1]), "").await.starts_with("409 "));
    let until = text(&fixture, r#"POST /containers/prune?filters={"until":["24h"]}"#, "").await;
    assert_eq!(until, "200 {\"ContainersDeleted\":[],\"SpaceReclaimed\":0}\n", "they are younger");
    let pruned = post("prune".into()).await;
    assert!(ids.iter().all(|id| pruned.contains(id)), "{pruned}");
    assert_eq!(post("prune".into()).await, "200 {\"ContainersDeleted\":[],\"SpaceReclaimed\":0}\n");
    assert!(text(&fixture, r#"POST /containers/prune?filters={"nosuch":["x"]}"#, "").await.starts_with("400 "));
}

#[tokio::test]
async fn what_is_removed_is_shown_no_more() {
    let (fixture, _) = with_service().await;
    let task = fixture.store().tasks().next().unwrap().clone();
    let (id, name) = (container_id(task.id), task.name("web"));
    let ask = async |request: String| text(&fixture, &request, "").await;
    let refused = ask(format!("DELETE /v1.50/containers/{id}")).await;
    let words = "container is running: stop the container before removing or force remove";
    assert_eq!(refused, format!("409 {{\"message\":\"cannot remove container \\\"/{name}\\\": {words}\"}}\n"));
    assert_eq!(ask("DELETE /containers/nosuch".into()).await, "404 {\"message\":\"No such container: nosuch\"}\n");
    assert!(ask(format!("DELETE /containers/{id}?link=1")).await.starts_with("501 "));
    assert_eq!(ask(format!("DELETE /containers/{id}?force=1")).await, "204 ");
    assert!(ask(format!("GET /containers/{id}/json")).await.starts_with("404 "));
    assert!(fixture.store().task(&task.id).is_some(), "it stays its service's history");
}

#[tokio::test]
async fn top_is_one_line_and_attach_wants_no_input() {
    let (fixture, _) = with_service().await;
    let id = container_id(fixture.store().tasks().next().unwrap().id);
    let top = json(&fixture, &format!("GET /containers/{id}/top?ps_args=-ef")).await;
    assert_eq!(top["Titles"].as_array().unwrap().len(), 8);
    assert_eq!(top["Processes"], serde_json::json!([["0", "42", "0", "0", "22:13", "?", "00:00:00", "/app.wasm"]]));
    assert!(text(&fixture, &format!("GET /containers/{id}/top?ps_args=aux"), "").await.contains("leave the options out"));
    let attach = async |query: &str| text(&fixture, &format!("POST /v1.50/containers/{id}/attach?{query}"), "").await;
    assert!(attach("stream=1&stdin=1&stdout=1").await.contains("attach with --no-stdin"));
    assert!(text(&fixture, "POST /containers/nosuch/attach?stdout=1", "").await.starts_with("404 "));
    let past = attach("logs=1&stdout=1&stderr=1").await;
    assert!(past.starts_with("200 ") && past.len() > 20, "a client that asks for no upgrade gets the frames as a body: {past}");
}

#[tokio::test(start_paused = true)]
async fn stats_are_two_readings() {
    let (fixture, _) = with_service().await;
    let id = container_id(fixture.store().tasks().next().unwrap().id);
    let stats = json(&fixture, &format!("GET /containers/{id}/stats?stream=0")).await;
    let total = |which: &str| stats[which]["cpu_usage"]["total_usage"].as_u64().unwrap();
    assert_eq!(total("cpu_stats") - total("precpu_stats"), 1_000);
    assert_eq!((&stats["memory_stats"]["usage"], &stats["memory_stats"]["limit"]), (&(1 << 20).into(), &(4_u64 << 30).into()));
    assert!(stats["name"].as_str().unwrap().starts_with("/web."));
    let once = json(&fixture, &format!("GET /containers/{id}/stats?stream=0&one-shot=1")).await;
    assert!(once["precpu_stats"]["system_cpu_usage"].is_null() && once["cpu_stats"]["online_cpus"] == 2);
    assert_eq!(text(&fixture, &format!("POST /containers/{id}/kill"), "").await, "204 ");
    let over = text(&fixture, &format!("GET /containers/{id}/stats"), "").await;
    assert_eq!(over.matches("\"name\"").count(), 1, "the stream of an ended task ends: {over}");
}

/// What cannot be done to a Wasm task says so by name.
#[tokio::test]
async fn what_stays_refused() {
    let (fixture, _) = with_service().await;
    for request in ["POST /commit", "GET /containers/x/export", "POST /containers/x/pause", "POST /containers/x/restart"] {
        let answer = text(&fixture, request, "{}").await;
        assert!(answer.starts_with("501 {\"message\":\"") && answer.contains("is not implemented by wsw: "), "{request}: {answer}");
    }
}
