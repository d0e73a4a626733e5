//! Calls, death, and connections handed over.

use super::super::{Refusal, TaskState};
use super::fixture::*;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use ttrpc::Code;
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::Protocol;

#[tokio::test]
async fn a_task_goes_through_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let listening = Listening::new(dir.path(), 1).await;
    let shim = Arc::new(listening.shim(1).await);
    assert_eq!(shim.pid(), 4711);
    let bundle = dir.path().to_str().unwrap().to_owned();
    let refused = shim.create("t", &bundle, "/log").await.unwrap_err();
    assert_eq!(refused, Refusal::Status(Code::INVALID_ARGUMENT, "config.json: missing".into()));
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    shim.create("t", &bundle, "/log").await.unwrap();
    assert_eq!(shim.state("t").await, Ok(TaskState::Created));
    assert_eq!(shim.start("t").await, Ok(4711));
    assert_eq!(shim.state("t").await, Ok(TaskState::Running { pid: 4711 }));
    let waits = (0..50).map(|_| shim.wait("t")).collect::<Vec<_>>();
    let (waits, _) = tokio::join!(futures_util::future::join_all(waits), shim.kill("t", 15));
    assert!(waits.iter().all(|wait| wait.as_ref().is_ok_and(|(code, _)| *code == 143)));
    assert!(matches!(shim.state("t").await, Ok(TaskState::Stopped { code: 143, .. })));
    shim.delete("t").await.unwrap();
    assert!(shim.state("t").await.unwrap_err().is(Code::NOT_FOUND));
}

#[tokio::test]
async fn all_calls_end_when_the_shim_dies_and_its_sockets_go() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    let listening = Listening::new(dir.path(), 1).await;
    let shim = listening.shim(1).await;
    shim.create("t", dir.path().to_str().unwrap(), "/log").await.unwrap();
    shim.start("t").await.unwrap();
    let (waited, ()) = tokio::join!(shim.wait("t"), async { listening.die() });
    assert!(matches!(waited, Err(Refusal::Died(_))), "{waited:?}");
    assert!(matches!(shim.state("t").await, Err(Refusal::Died(_))));
    shim.life().ended().await;
    assert!(!listening.place.socket.exists() && !listening.place.handover().exists());
}

#[tokio::test]
async fn connections_arrive_with_their_client_and_are_kept_when_nobody_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let listening = Listening::new(dir.path(), 1).await;
    let shim = listening.shim(1).await;
    let handovers = shim.handovers().unwrap();
    let offers = (0..200_u16).map(|port| {
        let handovers = handovers.clone();
        async move {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let byte = (port % 4) as u8;
            let service = if byte == HANGS_UP { 9 } else { byte };
            let client = format!("[2001:db8::1]:{port}").parse().unwrap();
            let outcome = handovers.offer(super::fixture::service(service), (Protocol::Tcp, 80), client, theirs.as_fd()).await.unwrap();
            drop(theirs);
            let mut text = String::new();
            ours.read_to_string(&mut text).unwrap();
            match service {
                NOBODY => assert_eq!((outcome, text.as_str()), (Some(HandoverOutcome::None), "")),
                FULL => assert_eq!((outcome, text.as_str()), (Some(HandoverOutcome::Full), "")),
                _ => assert_eq!((outcome, text), (Some(HandoverOutcome::Taken), format!("hello {client}"))),
            }
        }
    });
    futures_util::future::join_all(offers).await;
}

#[tokio::test]
async fn a_shim_that_hangs_up_took_nothing_and_the_channel_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let listening = Listening::new(dir.path(), 1).await;
    let shim = listening.shim(1).await;
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let client = "127.0.0.1:5".parse().unwrap();
    let handovers = shim.handovers().unwrap();
    assert_eq!(handovers.offer(service(HANGS_UP), (Protocol::Tcp, 80), client, theirs.as_fd()).await, Ok(None));
    assert!(handovers.is_closed());
    let again = shim.handovers().unwrap();
    assert_eq!(again.offer(service(9), (Protocol::Tcp, 80), client, theirs.as_fd()).await, Ok(Some(HandoverOutcome::Taken)));
}
