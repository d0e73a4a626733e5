//! Servers: connections handed over, requests over replicas, limits, drain.

use crate::{
    guests,
    harness::{self, Shim, context, service, until},
};
use containerd_shim_protos::api;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};
use wsw_api::{
    id::ServiceId,
    shim::{self, CONTRACT, Handover, HandoverOutcome},
    spec::Protocol,
};

/// One request over a connection: the status, and whether the connection stays.
fn get(connection: &mut TcpStream, path: &str) -> Option<(u16, bool)> {
    write!(connection, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
    read_response(connection)
}

fn read_response(connection: &TcpStream) -> Option<(u16, bool)> {
    let mut reader = BufReader::new(connection);
    let (mut status, mut length, mut stays) = (None, 0, true);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            _ if line.is_empty() => break,
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("connection", "close")) => stays = false,
            _ if status.is_none() => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((status?, stays))
}

fn annotate(name: &'static str, value: &'static str) -> impl FnOnce(&mut Value) {
    move |config| config["annotations"][name] = json!(value)
}

#[tokio::test]
async fn requests_of_one_connection_go_to_a_fresh_instance_each() {
    let mut shim = Shim::start(10).await;
    let server = shim.program(guests::SERVER);
    assert_eq!(shim.connect(service()).unwrap_err(), HandoverOutcome::None);
    shim.run("a", &server, |_| ()).await;
    let mut connection = shim.connect(service()).unwrap();
    for _ in 0..20 {
        assert_eq!(get(&mut connection, "/"), Some((200, true)));
    }
    // A trap, a missing answer and a full memory end a request; neither the task nor the connection.
    assert_eq!(get(&mut connection, "/t"), Some((500, true)));
    assert_eq!(get(&mut connection, "/n"), Some((500, true)));
    assert_eq!(get(&mut connection, "/"), Some((200, true)));
    // A body that was begun and not finished must not look whole: the client is told, or cut off if the guest was interrupted in between.
    let mut cut = shim.connect(service()).unwrap();
    assert!(matches!(get(&mut cut, "/b"), Some((500, true)) | None));
    assert_eq!(shim.connect(ServiceId::from_bytes([9; 16])).unwrap_err(), HandoverOutcome::None);
    shim.kill("a", 9).await.unwrap();
    assert_eq!(shim.wait("a").await.code, 137);
    assert!(shim.log("a").iter().any(|(stream, _, text)| stream == "stderr" && text.contains("unreachable")), "{:?}", shim.log("a"));
}

#[tokio::test]
async fn limits_of_a_request() {
    let mut shim = Shim::start(10).await;
    let server = shim.program(guests::SERVER);
    shim.run("a", &server, |config| {
        config["annotations"][shim::REQUEST_TIMEOUT] = json!("200000000");
        config["linux"] = json!({ "resources": { "memory": { "limit": 10_000_000 } } });
    })
    .await;
    let mut connection = shim.connect(service()).unwrap();
    assert_eq!(get(&mut connection, "/s"), Some((504, true)));
    assert_eq!(get(&mut connection, "/h"), Some((500, true)));
    assert_eq!(get(&mut connection, "/"), Some((200, true)));
    shim.kill("a", 15).await.unwrap();
    assert_eq!(shim.wait("a").await.code, 0);
    let log = shim.log("a");
    let says = |text: &str| log.iter().any(|(_, _, line)| line.contains(text));
    assert!(says("time was up") && says("memory limit of 10000000 bytes reached"), "{log:?}");
}

#[tokio::test]
async fn a_draining_replica_finishes_its_requests_and_gets_no_new_ones() {
    let mut shim = Shim::start(10).await;
    let server = shim.program(guests::SERVER);
    shim.run("a", &server, |config| {
        config["annotations"][shim::MAX_INSTANCES] = json!("1");
        config["annotations"][shim::QUEUE] = json!("0");
        // A tenth of a processor: its work lasts for longer than all that follows.
        config["linux"] = json!({ "resources": { "cpu": { "quota": 10_000, "period": 100_000 } } });
    })
    .await;
    let (mut busy, mut other) = (shim.connect(service()).unwrap(), shim.connect(service()).unwrap());
    write!(busy, "GET /work HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    shim.instantiated("a").await;
    assert_eq!(get(&mut other, "/"), Some((503, true)));
    shim.kill("a", 15).await.unwrap();
    // `Kill` tells the task, which takes itself out.
    let refused = loop {
        if let Err(outcome) = shim.connect(service()) {
            break outcome;
        }
    };
    assert_eq!(refused, HandoverOutcome::None);
    assert_eq!(read_response(&busy), Some((200, false)));
    assert_eq!(shim.wait("a").await.code, 0);
    // Both connections were told to end.
    assert_eq!(busy.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
}

#[tokio::test]
async fn the_replica_with_fewer_requests_answers_and_connections_live_on() {
    let mut shim = Shim::start(10).await;
    let server = shim.program(guests::SERVER);
    shim.run("a", &server, annotate(shim::MAX_INSTANCES, "1")).await;
    let mut spinning = shim.connect(service()).unwrap();
    write!(spinning, "GET /s HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    shim.instantiated("a").await;
    let mut connection = shim.connect(service()).unwrap();
    shim.run("b", &server, annotate(shim::MAX_INSTANCES, "1")).await;
    // `a` has one in flight for ever: all others go to `b`.
    for _ in 0..50 {
        assert_eq!(get(&mut connection, "/"), Some((200, true)));
    }
    shim.kill("a", 9).await.unwrap();
    assert_eq!(shim.wait("a").await.code, 137);
    assert_eq!(read_response(&spinning), None);
    assert_eq!(get(&mut connection, "/"), Some((200, true)));
}

#[tokio::test]
async fn bad_frames_end_their_channel_only() {
    let mut shim = Shim::start(10).await;
    shim.run("a", &shim.program(guests::SERVER), |_| ()).await;
    let header = |contract| {
        let handover = Handover { contract, seq: 1, service: service(), port: 80, protocol: Protocol::Tcp, client: "127.0.0.1:1".parse().unwrap() };
        rmp_serde::to_vec_named(&handover).unwrap()
    };
    let stream = || std::os::unix::net::UnixStream::pair().unwrap();
    let (ours, theirs) = stream();
    let refused: [(&[u8], &[&dyn std::os::fd::AsFd]); 5] = [
        (b"garbage", &[&theirs]),
        (&header(CONTRACT), &[]),
        (&header(CONTRACT), &[&theirs, &ours]),
        (&vec![0; shim::MAX_HANDOVER + 1], &[&theirs]),
        (&header(CONTRACT), &[&std::fs::File::open("/dev/null").unwrap()]),
    ];
    for (bytes, descriptors) in refused {
        let channel = harness::open_handover(&shim.socket());
        harness::send(&channel, bytes, descriptors);
        assert_eq!(harness::answer(&channel), None, "{bytes:?}");
    }
    // Another version of the contract gets no connections; a relayed stream is a Unix socket.
    let channel = harness::open_handover(&shim.socket());
    harness::send(&channel, &header(CONTRACT + 1), &[&theirs]);
    assert_eq!(harness::answer(&channel).unwrap().outcome, HandoverOutcome::None);
    harness::send(&channel, &header(CONTRACT), &[&theirs]);
    assert_eq!(harness::answer(&channel).unwrap().outcome, HandoverOutcome::Taken);
    drop(theirs);
    let mut relayed = ours;
    relayed.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    relayed.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(get(&mut shim.connect(service()).unwrap(), "/"), Some((200, true)));
}

/// A daemon that dies while it asks for a server's start takes nothing with it: the server comes up, and whoever asks next finds it.
#[tokio::test]
async fn a_start_that_nobody_waits_for_any_more_is_carried_out() {
    let mut shim = Shim::start(10).await;
    // Its first instance computes for a while before there is one.
    let slow = "(func $slow (local $left i32) (local.set $left (i32.const 600000000))
                  (loop (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
                (start $slow)";
    let text = guests::SERVER.replacen("(global $next", &format!("{slow} (global $next"), 1);
    shim.create("a", &shim.program(&text), |_| ()).await.unwrap();
    let (asking, mut request) = (harness::connect(&shim.socket()).await, api::StartRequest::new());
    request.id = "a".to_owned();
    let call = tokio::spawn(async move { asking.start(context(), &request).await.map(drop) });
    shim.wait_spent("a", Duration::from_millis(1)).await;
    assert!(!call.is_finished(), "it is asked in the middle of the start");
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let mut connection = until("the server to be there", async || shim.connect(service()).ok()).await;
    assert_eq!(get(&mut connection, "/"), Some((200, true)));
    shim.kill("a", 9).await.unwrap();
    assert_eq!(shim.wait("a").await.code, 137);
}
