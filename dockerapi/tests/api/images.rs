//! `/images`, `/distribution`.

use crate::client::{json, send, text};
use crate::fixture::Fixture;
use axum::body::Body;
use expect_test::expect;

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
        404 {"message":"No such image: library/nginx:latest"}
    "#]].assert_eq(&[text(&fixture, "GET /distribution/app:latest/json", "").await, text(&fixture, "GET /distribution/library/nginx/json", "").await].concat());
}

#[tokio::test]
async fn loading_says_what_came_in() {
    let fixture = Fixture::inactive();
    let response = send(&fixture, "POST /images/load?quiet=1", vec![0_u8; 1024]).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(text(&fixture, "POST /images/load", vec![0_u8; 1024]).await, "200 {\"stream\":\"Loaded image: app:latest\\n\"}\r\n");
    assert_eq!(text(&fixture, "POST /images/load", Body::from("x")).await, "400 {\"message\":\"image archive: it is not a tar file\"}\n");
    assert!(text(&fixture, "POST /images/create?fromImage=nginx&tag=latest", "").await.contains("\"nginx\\\""));
}
