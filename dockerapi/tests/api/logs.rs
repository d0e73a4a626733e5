//! Logs: frames, prefixes, content types, refusals.

use crate::client::{send, text, with_service};
use http_body_util::BodyExt;

const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
const RAW: &str = "application/vnd.docker.raw-stream";

#[tokio::test]
async fn lines_come_as_frames_with_their_context() {
    let (fixture, id) = with_service().await;
    for (version, content_type) in [("v1.50", MULTIPLEXED), ("v1.41", RAW)] {
        let response = send(&fixture, &format!("GET /{version}/services/web/logs?stdout=1&stderr=1&details=1&timestamps=1"), "").await;
        assert_eq!(response.headers()["content-type"], content_type);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes[..4], [1, 0, 0, 0]);
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let first = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
        assert!(first.starts_with("2023-11-14T22:13:20.000000000Z com.docker.swarm.node.id="), "{first}");
        assert!(first.contains(&format!(",com.docker.swarm.service.id={id},com.docker.swarm.task.id=")) && first.ends_with(" hello from 1\n"));
        assert_eq!(bytes[8 + length], 2);
    }
}

/// How many frames there are; all must be whole.
fn frames(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((header, rest)) = bytes.split_at_checked(8) {
        bytes = &rest[u32::from_be_bytes(header[4..].try_into().unwrap()) as usize..];
        count += 1;
    }
    assert!(bytes.is_empty());
    count
}

#[tokio::test]
async fn one_task_and_one_stream_can_be_chosen() {
    let (fixture, _) = with_service().await;
    let task = fixture.store().tasks().next().unwrap().clone();
    let lines = async |path: String| {
        let body = send(&fixture, &format!("GET {path}"), "").await.into_body().collect().await.unwrap().to_bytes();
        frames(&body)
    };
    assert_eq!(lines("/services/web/logs?stdout=1&stderr=1".into()).await, 4);
    assert_eq!(lines("/services/web/logs?stderr=1".into()).await, 2);
    assert_eq!(lines(format!("/tasks/{}/logs?stdout=1&tail=all", task.id)).await, 1);
    assert_eq!(lines(format!("/containers/{}/logs?stdout=1&tail=5&since=0", wsw_dockerapi::container_id(task.id))).await, 1);
}

#[tokio::test]
async fn a_followed_log_gives_each_line_at_once() {
    let (fixture, _) = with_service().await;
    let mut body = send(&fixture, "GET /services/web/logs?stdout=1&follow=1", "").await.into_body();
    for _ in 0..2 {
        assert!(body.frame().await.unwrap().unwrap().into_data().unwrap().ends_with(b"\n"));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let (fixture, _) = with_service().await;
    assert_eq!(text(&fixture, "GET /services/web/logs", "").await, "400 {\"message\":\"Bad parameters: you must choose at least one stream\"}\n");
    assert!(text(&fixture, "GET /services/web/logs?stdout=1&since=yesterday", "").await.contains("invalid value for \\\"since\\\""));
    assert!(text(&fixture, "GET /services/nope/logs?stdout=1", "").await.starts_with("404 "));
    for (tail, said) in [("x", "tail value must be a positive integer or \\\"all\\\""), ("-1", "negative tail values not supported")] {
        let answer = text(&fixture, &format!("GET /services/web/logs?stdout=1&tail={tail}"), "").await;
        assert!(answer.starts_with("400 ") && answer.contains(said), "{answer}");
    }
}
