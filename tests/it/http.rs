//! What a wasi:http service does with HTTP, through its published port: both protocols, bodies both ways, ends of all kinds.

use crate::harness::{BOUND, Client, Node, has, lab, settled, until};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::Write;
use std::time::Duration;

/// More than the buffers of both ends, the kernel's and ours together, will ever hold.
const MUCH: usize = 48 << 20;

/// One request at a time: one instance, no queue.
const ONE: &[&str] = &["--container-label", "wsw.wasm.max-instances=1", "--container-label", "wsw.wasm.queue=0"];

#[test]
fn bodies_stream_both_ways_at_once_with_their_trailers() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    let mut client = Client::connect(port);
    client.send("POST /echo HTTP/1.1\r\nHost: lab\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
    assert_eq!(client.answer().0, 200, "the answer begins before the request has ended");
    for word in ["one", "two", "three"] {
        client.send(&format!("{:x}\r\n{word}\r\n", word.len()));
        assert_eq!(client.chunk(), word);
    }
    client.send("0\r\nX-Sum: 3\r\n\r\n");
    assert_eq!(client.chunk(), "");
    assert_eq!(client.head(), ["x-sum: 3"]);
    // The connection goes on.
    assert_eq!(client.get("/request").0, 200);
}

type Parts = tokio::sync::mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>;

/// A body that is sent piece by piece; it ends with its sender.
fn body() -> (Parts, UnsyncBoxBody<Bytes, std::convert::Infallible>) {
    let (parts, mut receiver) = tokio::sync::mpsc::channel(1);
    (parts, StreamBody::new(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))).boxed_unsync())
}

#[test]
fn http_2_with_prior_knowledge() {
    let node = Node::swarm();
    let port = lab(&node, &["--replicas", "2"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the port is served");
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let request = |path: &str| http::Request::builder().uri(format!("http://lab{path}"));
        // Trailers and bodies, both ways at once.
        let (parts, pieces) = body();
        let answer = sender.send_request(request("/echo").method("POST").body(pieces).expect("a request")).await.expect("an answer");
        let mut echoed = answer.into_body();
        for word in ["one", "two"] {
            parts.send(Ok(Frame::data(Bytes::from(word)))).await.expect("it is taken");
            assert_eq!(echoed.frame().await.expect("a frame").expect("no error").into_data().expect("data"), word);
        }
        let trailers = http::HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("2"))]);
        parts.send(Ok(Frame::trailers(trailers))).await.expect("it is taken");
        drop(parts);
        let last = echoed.frame().await.expect("a frame").expect("no error").into_trailers().expect("trailers");
        assert_eq!(last["x-sum"], "2");
        // Many requests at once on one connection.
        let many: Vec<_> = (0..50).map(|_| sender.send_request(request("/unread/50").body(body().1).expect("a request"))).collect();
        for answer in many {
            assert_eq!(answer.await.expect("an answer").status(), 200);
        }
        drop(sender);
        tokio::time::timeout(BOUND, connection).await.expect("the connection ends").expect("no panic").expect("in order");
    });
}

/// The end of a service as a client of HTTP/2 sees it: GOAWAY while its request is in flight, the whole answer, then the end.
#[test]
fn a_service_that_ends_says_goaway_and_answers_what_is_in_flight() {
    let node = Node::swarm();
    let port = lab(&node, &["--stop-grace-period", "120s"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the port is served");
        let (sender, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let mut sender = sender.ready().await.expect("it takes a request");
        let request = http::Request::post("http://lab/echo").body(()).expect("a request");
        let (answer, mut body) = sender.send_request(request, false).expect("it is sent");
        body.send_data("one".into(), false).expect("it is taken");
        let answer = answer.await.expect("an answer begins");
        let mut echoed = answer.into_body();
        assert_eq!(echoed.data().await.expect("a piece").expect("no error"), "one");
        tokio::task::block_in_place(|| node.wsw(&["service", "scale", "-d", "lab=0"]).ok());
        let mut ready = async || match std::future::poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => Err("it may still ask".to_owned()),
            Err(error) => Ok(error),
        };
        let told = tokio::task::block_in_place(|| until("it to be told to go", || tokio::runtime::Handle::current().block_on(ready())));
        assert!(told.is_go_away() && told.is_remote() && told.reason() == Some(h2::Reason::NO_ERROR), "{told:?}");
        // What it had taken on it answers.
        body.send_data("two".into(), true).expect("it is taken");
        assert_eq!(echoed.data().await.expect("a piece").expect("no error"), "two");
        while let Some(piece) = echoed.data().await {
            assert_eq!(piece.expect("the answer is whole"), "", "nothing more is said");
        }
        assert!(echoed.is_end_stream(), "the answer is whole");
        drop((sender, body, echoed));
        tokio::time::timeout(BOUND, connection).await.expect("the connection ends").expect("no panic").expect("in order");
    });
}

#[test]
fn offers_to_upgrade_are_ignored_and_answers_without_a_body_have_none() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    let mut client = Client::connect(port);
    client.send("GET /request HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
    let (status, head) = client.answer();
    assert!(status == 200 && !head.iter().any(|line| line.starts_with("upgrade")), "{head:?}");
    assert!(client.chunk().contains("/request lab"));
    assert_eq!(client.chunk(), "");
    client.head();
    // The connection is in step after each: no byte of a body follows.
    for (method, path, want) in [("HEAD", "/bytes/10000", 200), ("HEAD", "/request", 200), ("GET", "/status/204", 204), ("GET", "/status/304", 304)] {
        let (status, head) = client.request(method, path);
        assert_eq!(status, want, "{method} {path}: {head:?}");
    }
    // A status that is not final is none; no client waits for what never comes.
    for path in ["/status/103", "/status/101"] {
        let (status, head) = client.get(path);
        assert_eq!(status, 500, "{path}: {head:?}");
        assert!(client.body(&head).contains("not final"));
    }
    assert_eq!(client.get("/status/200").0, 200);
}

/// Nothing here ends by the request's time limit: that is an hour.
#[test]
fn a_length_that_the_guest_does_not_keep() {
    let node = Node::swarm();
    let port = lab(&node, &["--container-label", "wsw.wasm.request-timeout=1h"]);
    let mut short = Client::connect(port);
    short.send("GET /short HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
    // The guest has ended when its answer is looked at, unless it was interrupted: then the head may be on its way, and the connection breaks.
    let text = short.rest().expect("it ends");
    let told = text.starts_with("HTTP/1.1 500 ") && text.ends_with("the guest's answer is not whole\n");
    assert!(told || text.is_empty() || text.ends_with("\r\n\r\n") || text.ends_with("\r\n\r\n12345"), "{text:?}");
    // One that is interrupted for certain: the head and half of the body are out before it gives up.
    let mut late = Client::connect(port);
    late.send("GET /shortly/50 HTTP/1.1\r\nHost: lab\r\n\r\n");
    let text = late.rest().expect("it ends");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\n12345"), "cut, and the connection ends: {text:?}");
    let mut long = Client::connect(port);
    assert_eq!(long.get("/long").0, 200);
    assert_eq!(long.bytes(5), "12345");
    assert_eq!(long.get("/request").0, 200, "what was too much is not sent");
    let mut two = Client::connect(port);
    let (status, head) = two.get("/lengths");
    assert_eq!(status, 500, "an answer of two lengths is none: {head:?}");
    assert_eq!(two.body(&head), "the guest did not answer\n");
    let log = node.wsw(&["service", "logs", "--raw", "lab"]);
    assert!(!told || log.err.contains("before its answer was whole") || log.out.contains("before its answer was whole"), "{log}");
}

#[test]
fn a_body_is_asked_for_when_the_guest_reads_it() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    let expecting = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: lab\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    let mut client = Client::connect(port);
    client.send(&expecting("/count"));
    assert_eq!(client.answer().0, 100);
    client.send("abc");
    assert_eq!(client.answer().0, 200);
    let mut client = Client::connect(port);
    client.send(&expecting("/ignore"));
    assert_eq!(client.answer().0, 200, "the last answer, and no other before it");
}

#[test]
fn a_slow_client_holds_the_guest_back_and_one_that_leaves_ends_it() {
    let node = Node::swarm();
    let port = lab(&node, ONE);
    let mut client = Client::connect(port);
    client.send(&format!("GET /bytes/{MUCH} HTTP/1.1\r\nHost: lab\r\n\r\n"));
    // The number in the last line of the task's log.
    let last = || node.wsw(&["service", "logs", "--raw", "--tail", "1", "lab"]).ok().trim().rsplit(' ').next().and_then(|text| text.parse::<usize>().ok());
    let held = settled("the guest to be held back", Duration::from_millis(500), last);
    assert!(held < MUCH / 2, "{held} bytes were written for a client that reads none");
    assert_eq!(Client::connect(port).get("/request").0, 503, "the one instance is at work");
    drop(client);
    let free = |what: &str| {
        until(what, || match Client::connect(port).get("/request") {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    };
    free("the instance to end with its client");
    // The same before an answer has begun, and while one drips.
    for path in ["/unread/3600000", "/drip/10"] {
        // The look itself may have had the one place.
        let client = until("the instance to be taken", || {
            let mut client = Client::connect(port);
            client.send(&format!("GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n"));
            match Client::connect(port).get("/request") {
                (503, _) => Ok(client),
                other => Err(format!("{other:?}")),
            }
        });
        drop(client);
        free(path);
    }
}

/// Clients that leave while their request's body lies unread: each is noticed, or the one instance would be theirs for an hour.
#[test]
fn a_client_that_leaves_its_body_unread_frees_the_instance() {
    const CLIENTS: usize = 20;
    let node = Node::swarm();
    let port = lab(&node, &[ONE, &["--container-label", "wsw.wasm.request-timeout=1h"]].concat());
    for number in 0..CLIENTS {
        let mut client = until("the instance to be taken", || {
            let mut client = Client::connect(port);
            client.send("POST /unread/3600000 HTTP/1.1\r\nHost: lab\r\nContent-Length: 100\r\n\r\nsome");
            match Client::connect(port).get("/request") {
                (503, _) => Ok(client),
                other => Err(format!("{other:?}")),
            }
        });
        if number % 2 == 0 {
            // With a reset; the others with an orderly end behind what is unread.
            rustix::net::sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("it is open");
        }
        drop(client);
        until(&format!("client {number} to be missed"), || match Client::connect(port).get("/request") {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

/// The same for clients in the queue: their places are free for others.
#[test]
fn a_client_that_leaves_the_queue_frees_its_place() {
    let node = Node::swarm();
    let labels = ["wsw.wasm.max-instances=1", "wsw.wasm.queue=1", "wsw.wasm.request-timeout=1h"].map(|label| ["--container-label", label]).concat();
    let port = lab(&node, &labels);
    for _ in 0..5 {
        // Of three that come one finds no place; if more do, those of the last round have not been missed yet.
        until("all but one to find a place", || {
            let mut clients = [(); 3].map(|()| Client::saying(port, b"POST /unread/3600000 HTTP/1.1\r\nHost: lab\r\nContent-Length: 100\r\n\r\nsome"));
            let mut refused = 0;
            while refused == 0 {
                for client in &mut clients {
                    client.stream().set_read_timeout(Some(Duration::from_millis(20))).expect("a bound");
                    refused += usize::from(client.stream().peek(&mut [0; 1]).is_ok_and(|read| read > 0));
                }
            }
            if refused == 1 { Ok(()) } else { Err(format!("{refused} were refused")) }
        });
    }
    until("instance and queue to be free", || match Client::connect(port).get("/request") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_guest_that_does_not_read_holds_the_client_back() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    let mut client = Client::connect(port);
    let stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a bound");
    write!(stream, "POST /unread/3000 HTTP/1.1\r\nHost: lab\r\nContent-Length: {MUCH}\r\n\r\n").expect("it is taken");
    let mut sent = 0;
    while sent < MUCH {
        match stream.write(&[0; 64 << 10]) {
            Ok(taken) => sent += taken,
            Err(_) => break,
        }
    }
    assert!(sent < MUCH / 2, "{sent} bytes were taken although nobody reads them");
    assert_eq!(client.answer().0, 200);
}

#[test]
fn what_finds_no_place_in_the_queue_is_told_when_to_come_again() {
    let node = Node::swarm();
    let port = lab(&node, ONE);
    let takes = || {
        let mut client = Client::connect(port);
        client.send("GET /unread/3600000 HTTP/1.1\r\nHost: lab\r\n\r\n");
        client
    };
    let mut first = takes();
    until("the instance to be taken", || match Client::connect(port).get("/request") {
        (503, head) if has(&head, "retry-after: 1") => Ok(()),
        other => {
            // The question came first, and the one that was to stay may have been told to come again.
            first = takes();
            Err(format!("{other:?}"))
        }
    });
    drop(first);
}

#[test]
fn a_service_that_ends_answers_what_it_has_and_closes_its_connections() {
    let node = Node::swarm();
    let port = lab(&node, &["--stop-grace-period", "60s"]);
    let (mut idle, mut busy) = (Client::connect(port), Client::connect(port));
    assert_eq!(idle.request("HEAD", "/request").0, 200);
    busy.send("POST /count HTTP/1.1\r\nHost: lab\r\nContent-Length: 3\r\n\r\na");
    until("the request to be in flight", || match node.wsw(&["service", "ps", "lab"]).ok() {
        text if text.contains("Running") => Ok(()),
        text => Err(text),
    });
    // Its head has been read once the guest has asked for the rest, which the next request on another connection comes after.
    assert_eq!(Client::connect(port).request("HEAD", "/request").0, 200);
    node.wsw(&["service", "scale", "-d", "lab=0"]).ok();
    assert_eq!(idle.rest().as_deref(), Some(""), "an idle connection ends");
    busy.send("bc");
    let (status, head) = busy.answer();
    assert!(status == 200 && has(&head, "connection: close"), "{head:?}");
}
