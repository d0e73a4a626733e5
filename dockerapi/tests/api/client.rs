//! A client without a socket: one request to the router, its answer as text.

use crate::fixture::Fixture;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

/// What the JSON of filters has and a URI may not have.
const JSON_IN_QUERY: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'{').add(b'}').add(b'"').add(b'[').add(b']').add(b'^').add(b' ');

/// What docker 28's `service create --name NAME -p 8080:80 --replicas N app:latest` sends.
pub fn service_body(name: &str, replicas: u64) -> String {
    // One service has a port of its own choice, the others take what is free.
    let published = if name == "web" { 8080 } else { 0 };
    format!(
        r#"{{"Name":"{name}","Labels":{{"team":"a"}},"TaskTemplate":{{"ContainerSpec":{{"Image":"app:latest","Env":["A=b"],"Init":false,"DNSConfig":{{}}}},"Resources":{{"Limits":{{"MemoryBytes":67108864}},"Reservations":{{}}}},"Placement":{{}},"ForceUpdate":0}},"Mode":{{"Replicated":{{"Replicas":{replicas}}}}},"EndpointSpec":{{"Mode":"vip","Ports":[{{"Protocol":"tcp","TargetPort":80,"PublishedPort":{published},"PublishMode":"ingress"}}]}}}}"#
    )
}

/// Sends `"GET /path"` with a body and answers the response.
pub async fn send(fixture: &Arc<Fixture>, request: &str, body: impl Into<Body>) -> Response<Body> {
    let (method, path) = request.split_once(' ').unwrap();
    let path = percent_encoding::utf8_percent_encode(path, JSON_IN_QUERY).to_string();
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json").body(body.into()).unwrap();
    wsw_dockerapi::router(fixture.clone()).oneshot(request).await.unwrap()
}

/// `status body`.
pub async fn text(fixture: &Arc<Fixture>, request: &str, body: impl Into<Body>) -> String {
    let response = send(fixture, request, body).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&bytes))
}

/// The JSON of a successful answer.
pub async fn json(fixture: &Arc<Fixture>, request: &str) -> Value {
    let answer = text(fixture, request, Body::empty()).await;
    let (status, body) = answer.split_once(' ').unwrap();
    assert_eq!(status, "200", "{answer}");
    serde_json::from_str(body).unwrap()
}

/// A swarm of one with the service `web` of two replicas; answers its id.
pub async fn with_service() -> (Arc<Fixture>, String) {
    let fixture = Fixture::swarm();
    let answer = text(&fixture, "POST /v1.50/services/create", service_body("web", 2)).await;
    assert!(answer.starts_with("201 {\"ID\":\""), "{answer}");
    let id = fixture.store().service_by_name("web").unwrap().id.to_string();
    (fixture, id)
}
