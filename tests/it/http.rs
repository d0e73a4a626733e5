//! What a wasi:http service does with HTTP, through its published port: both protocols, bodies both ways, ends of all kinds.

use crate::harness::{Node, free_tcp_port, guest, until};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(90);
/// More than the buffers of both ends, the kernel's and ours together, will ever hold.
const MUCH: usize = 48 << 20;

fn lab(node: &Node, more: &[&str]) -> u16 {
    let port = free_tcp_port();
    let (publish, guest) = (format!("{port}:80"), guest("lab_http").to_string_lossy().into_owned());
    let mut words = vec!["service", "create", "--name", "lab", "-p", &publish];
    words.extend(more);
    words.push(&guest);
    node.wsw(&words).ok();
    port
}

/// One request at a time: one instance, no queue.
const ONE: &[&str] = &["--container-label", "wsw.wasm.max-instances=1", "--container-label", "wsw.wasm.queue=0"];

/// A connection that is read line by line.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is served");
        stream.set_read_timeout(Some(BOUND)).expect("a bound");
        stream.set_write_timeout(Some(BOUND)).expect("a bound");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("it is taken");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line comes");
        line.trim_end().to_owned()
    }

    /// The lines of a head or of trailers, in lower case.
    fn head(&mut self) -> Vec<String> {
        let line = |client: &mut Self| Some(client.line()).filter(|line| !line.is_empty());
        std::iter::from_fn(|| line(self)).map(|line| line.to_ascii_lowercase()).collect()
    }

    fn bytes(&mut self, number: usize) -> String {
        let mut bytes = vec![0; number];
        self.0.read_exact(&mut bytes).expect("they come");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn chunk(&mut self) -> String {
        let size = usize::from_str_radix(&self.line(), 16).expect("a chunk's size");
        let chunk = self.bytes(size);
        if size > 0 {
            self.line();
        }
        chunk
    }

    /// All until the end of the connection.
    fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A request without a body; its status and head.
    fn get(&mut self, path: &str) -> (u16, Vec<String>) {
        self.request("GET", path)
    }

    fn request(&mut self, method: &str, path: &str) -> (u16, Vec<String>) {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: lab\r\n\r\n"));
        self.answer()
    }

    fn answer(&mut self) -> (u16, Vec<String>) {
        let head = self.head();
        let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        (status.unwrap_or_else(|| panic!("no status: {head:?}")), head)
    }
}

fn has(head: &[String], line: &str) -> bool {
    head.iter().any(|other| other == line)
}

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
    let port = lab(&node, &["--replicas", "2", "--stop-grace-period", "60s"]);
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
        // The end of the service: what is in flight is answered, the connection is told to go (GOAWAY) and ends.
        let (open, pieces) = body();
        let answer = sender.send_request(request("/echo").method("POST").body(pieces).expect("a request")).await.expect("an answer");
        tokio::task::block_in_place(|| node.wsw(&["service", "scale", "-d", "lab=0"]).ok());
        tokio::task::block_in_place(|| {
            until("new connections to be refused", || {
                TcpStream::connect(("127.0.0.1", port)).map_or(Ok(()), |stream| {
                    let mut client = Client(BufReader::new(stream));
                    client.0.get_mut().set_read_timeout(Some(BOUND)).expect("a bound");
                    let _ = client.0.get_mut().write_all(b"GET /request HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
                    match client.rest() {
                        text if text.is_empty() => Ok(()),
                        text => Err(text),
                    }
                })
            })
        });
        drop(open);
        answer.into_body().collect().await.expect("the answer is whole");
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
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).expect("a length");
        assert!(client.bytes(length).contains("not final"));
    }
    assert_eq!(client.get("/status/200").0, 200);
}

#[test]
fn a_length_that_the_guest_does_not_keep() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    let mut short = Client::connect(port);
    short.send("GET /short HTTP/1.1\r\nHost: lab\r\n\r\n");
    // How much of it was on its way when the guest gave up is chance; never all that was promised.
    let text = short.rest();
    assert!(text.is_empty() || text.ends_with("\r\n\r\n") || text.ends_with("\r\n\r\n12345"), "cut, and the connection ends: {text:?}");
    let mut long = Client::connect(port);
    assert_eq!(long.get("/long").0, 200);
    assert_eq!(long.bytes(5), "12345");
    assert_eq!(long.get("/request").0, 200, "what was too much is not sent");
    let mut two = Client::connect(port);
    two.send("GET /lengths HTTP/1.1\r\nHost: lab\r\n\r\n");
    assert!(!two.rest().contains("12345"), "an answer of two lengths is none");
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

/// The number in the last line of the task's log, once it stays.
fn settled(node: &Node) -> usize {
    let last = || node.wsw(&["service", "logs", "--raw", "--tail", "1", "lab"]).ok().trim().rsplit(' ').next().and_then(|text| text.parse().ok());
    let mut before: Option<usize> = None;
    until("the guest to be held back", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = last();
        if now.is_some() && now == before {
            return Ok(now.unwrap_or_default());
        }
        before = now;
        Err(format!("{now:?}"))
    })
}

#[test]
fn a_slow_client_holds_the_guest_back_and_one_that_leaves_ends_it() {
    let node = Node::swarm();
    let port = lab(&node, ONE);
    let mut client = Client::connect(port);
    client.send(&format!("GET /bytes/{MUCH} HTTP/1.1\r\nHost: lab\r\n\r\n"));
    let held = settled(&node);
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

#[test]
fn a_guest_that_does_not_read_holds_the_client_back() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is served");
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a bound");
    stream.set_read_timeout(Some(BOUND)).expect("a bound");
    write!(stream, "POST /unread/3000 HTTP/1.1\r\nHost: lab\r\nContent-Length: {MUCH}\r\n\r\n").expect("it is taken");
    let mut sent = 0;
    while sent < MUCH {
        match stream.write(&[0; 64 << 10]) {
            Ok(taken) => sent += taken,
            Err(_) => break,
        }
    }
    assert!(sent < MUCH / 2, "{sent} bytes were taken although nobody reads them");
    let mut client = Client(BufReader::new(stream));
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
    assert_eq!(idle.rest(), "", "an idle connection ends");
    busy.send("bc");
    let (status, head) = busy.answer();
    assert!(status == 200 && has(&head, "connection: close"), "{head:?}");
}
