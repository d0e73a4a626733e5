//! Over a real Unix socket: large bodies, a panic, and stopping with a stream open.

use crate::fixture::Fixture;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Server {
    path: PathBuf,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

fn start(fixture: &Arc<Fixture>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let done = tokio::spawn(wsw_dockerapi::serve(listener, wsw_dockerapi::router(fixture.clone()), shutdown));
    Server { path, stop, done, _folder: folder }
}

/// The status line of the answer, read while the body is still being written.
async fn post(server: &Server, path: &str, length: usize) -> String {
    let (mut reader, mut writer) = UnixStream::connect(&server.path).await.unwrap().into_split();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
    let sending = tokio::spawn(async move {
        let piece = vec![b' '; 1 << 20];
        writer.write_all(head.as_bytes()).await?;
        for _ in 0..length >> 20 {
            writer.write_all(&piece).await?;
        }
        Ok::<_, std::io::Error>(writer)
    });
    let mut answer = Vec::new();
    let _ = reader.read_to_end(&mut answer).await;
    let _ = sending.await.unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_hundred_megabytes_are_no_service_but_may_be_an_image() {
    let fixture = Fixture::swarm();
    let server = start(&fixture);
    assert_eq!(post(&server, "/services/create", 100 << 20).await, "HTTP/1.1 413 Payload Too Large");
    assert_eq!(post(&server, "/images/load", 100 << 20).await, "HTTP/1.1 200 OK");
    assert_eq!(fixture.state.lock().unwrap().loaded, [100]);
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_server_goes_on() {
    let fixture = Fixture::swarm();
    let server = start(&fixture);
    // the fixture unwraps the service's predecessor, which is not there
    crate::client::text(&fixture, "POST /services/create", crate::client::service_body("web", 1)).await;
    let version = fixture.store().service_by_name("web").unwrap().meta.version;
    let body = crate::client::service_body("web", 1);
    let answer = crate::client::text(&fixture, &format!("POST /services/web/update?rollback=previous&version={version}"), body).await;
    assert_eq!(answer, "500 {\"message\":\"a fault in the daemon ended this request; its log says more\"}\n");
    assert_eq!(post(&server, "/swarm/leave", 0).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn stopping_cuts_streams_that_never_end() {
    let server = start(&Fixture::swarm());
    let mut client = UnixStream::connect(&server.path).await.unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    server.stop.send(()).unwrap();
    server.done.await.unwrap();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(UnixStream::connect(&server.path).await.is_err());
}
