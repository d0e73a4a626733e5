//! `/images`, `/distribution`.

use crate::client::{json, send, text};
use crate::fixture::Fixture;
use axum::body::Body;
use expect_test::expect;
use http_body_util::BodyExt;
use tower::ServiceExt;

#[tokio::test]
async fn images_are_listed_inspected_and_removed() {
    let fixture = Fixture::swarm();
    expect![[r#"
        200 [{"Id":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","ParentId":"","RepoTags":["app:latest"],"RepoDigests":["app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"Created":1699996400,"Size":1234567,"VirtualSize":1234567,"SharedSize":-1,"Labels":{},"Containers":-1}]
    "#]].assert_eq(&text(&fixture, "GET /v1.41/images/json", "").await);
    expect![[r#"
        200 [{"Id":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","ParentId":"","RepoTags":["app:latest"],"RepoDigests":["app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"Created":1699996400,"Size":1234567,"SharedSize":-1,"Labels":{},"Containers":-1,"Descriptor":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":512}}]
    "#]].assert_eq(&text(&fixture, "GET /v1.50/images/json", "").await);
    expect![[r#"
        200 {"Id":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","RepoTags":["app:latest"],"RepoDigests":["app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"Parent":"","Comment":"wasm http","Created":"2023-11-14T21:13:20Z","Config":{"Env":["FROM=image"],"WorkingDir":"/","Entrypoint":["/app.wasm"]},"Architecture":"wasm","Os":"wasi","Size":1234567,"RootFS":{"Type":"layers","Layers":["sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]},"Metadata":{},"Descriptor":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":512}}
    "#]].assert_eq(&text(&fixture, "GET /v1.50/images/app/json", "").await);
    let count = async |filters: &str| json(&fixture, &format!("GET /images/json?filters={filters}")).await.as_array().unwrap().len();
    assert_eq!(count(r#"{"reference":["ap*"]}"#).await, 1);
    assert_eq!(count(r#"{"reference":["other"]}"#).await, 0);
    assert_eq!(count(r#"{"dangling":["true"]}"#).await, 0);
    expect![[r#"
        200 [{"Untagged":"app:latest"},{"Deleted":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]
    "#]]
    .assert_eq(&text(&fixture, "DELETE /images/app?force=1", "").await);
    expect![[r#"
        404 {"message":"No such image: app:latest"}
        404 {"message":"No such image: reg.example:5000/lib/app:latest"}
    "#]]
    .assert_eq(&[text(&fixture, "GET /images/app/json", "").await, text(&fixture, "DELETE /images/reg.example:5000/lib/app", "").await].concat());
}

#[tokio::test]
async fn distribution_knows_local_images() {
    let fixture = Fixture::swarm();
    expect![[r#"
        200 {"Descriptor":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":512},"Platforms":[{"architecture":"wasm","os":"wasi"}]}
        404 {"message":"manifest for library/nginx not found: manifest unknown"}
    "#]].assert_eq(&[text(&fixture, "GET /distribution/app:latest/json", "").await, text(&fixture, "GET /distribution/library/nginx/json", "").await].concat());
}

#[tokio::test]
async fn loading_says_what_came_in() {
    let fixture = Fixture::inactive();
    let response = send(&fixture, "POST /images/load?quiet=1", vec![0_u8; 1024]).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(text(&fixture, "POST /images/load", vec![0_u8; 1024]).await, "200 {\"stream\":\"Loaded image: app:latest\\n\"}\r\n");
    assert_eq!(text(&fixture, "POST /images/load", Body::from("x")).await, "400 {\"message\":\"image archive: it is not a tar file\"}\n");
}

#[tokio::test]
async fn progress_is_a_stream_of_lines_and_an_early_failure_an_answer() {
    let fixture = Fixture::inactive();
    assert!(text(&fixture, "POST /images/create?fromImage=app&tag=v1", "").await.starts_with("404 {\"message\":\"pull access denied for app:v1"));
    let pull = |auth: &str| {
        let request = axum::http::Request::post("/images/create?fromImage=app&tag=v1").header("x-registry-auth", auth);
        wsw_dockerapi::router(fixture.clone()).oneshot(request.body(Body::empty()).unwrap())
    };
    let body = pull("eyJ1c2VybmFtZSI6InUifQ==").await.unwrap().into_body().collect().await.unwrap().to_bytes();
    expect![[r#"
        {"status":"Pulling from app","id":"v1"}
        {"status":"Pulling fs layer","progressDetail":{},"id":"abc"}
        {"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"abc"}
        {"errorDetail":{"message":"it broke"},"error":"it broke"}
    "#]]
    .assert_eq(&String::from_utf8_lossy(&body).replace("\r\n", "\n"));
    assert_eq!(pull("e30=").await.unwrap().status(), 404, "empty credentials are none");
    assert_eq!(pull(&"a".repeat(70_000)).await.unwrap().status(), 400);
    assert!(text(&fixture, "POST /images/reg.example/app/push?tag=2", "").await.contains("pushed reg.example/app:2"));
}

#[tokio::test]
async fn images_are_named_saved_and_pruned() {
    let fixture = Fixture::inactive();
    assert!(text(&fixture, "POST /images/app/tag?repo=reg.example/app&tag=2", "").await.starts_with("201"));
    assert_eq!(fixture.state.lock().unwrap().images[0].tags, ["app:latest", "reg.example/app:2"]);
    assert!(text(&fixture, "GET /images/get?names=app&names=b:1", "").await.contains(r#"["app", "b:1"] None"#));
    assert!(text(&fixture, "GET /images/app/get?platform=wasi/wasm", "").await.contains(r#"["app"] Some("wasi/wasm")"#));
    assert!(text(&fixture, "GET /images/nosuch/history", "").await.starts_with("404"));
    expect![[r#"
        200 [{"Id":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","Created":1699996400,"CreatedBy":"COPY app.wasm","Tags":["app:latest","reg.example/app:2"],"Size":7,"Comment":""}]
    "#]].assert_eq(&text(&fixture, "GET /images/app/history", "").await);
    let pruned = text(&fixture, r#"POST /images/prune?filters={"dangling":["false"],"until":["1h"],"label!":["keep"]}"#, "").await;
    assert!(pruned.contains("all: true") && pruned.contains("keep") && pruned.contains("\"SpaceReclaimed\":42"), "{pruned}");
    assert!(text(&fixture, r#"POST /images/prune?filters={"until":["soon"]}"#, "").await.contains("invalid filter 'until=soon'"));
    assert!(text(&fixture, "POST /auth", r#"{"username":"u","password":"p"}"#).await.contains("Login Succeeded"));
    assert!(text(&fixture, "POST /auth", "[]").await.starts_with("400 "));
}
