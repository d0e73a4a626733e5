//! Requests that are broken, that can be read in two ways, or that never end: raw bytes through the published port.
//!
//! Each gives a refusal and the end of the connection, or the one right reading; none reaches a guest as two requests, none holds a place for ever,
//! and the service answers afterwards as before.

use crate::harness::{self, Client, Node, lab};
use std::io::Write;
use std::net::Shutdown;

/// What may become of a request.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// This status, then the end of the connection.
    Refused(u16),
    /// A refusal with some 4xx status or none at all, then the end of the connection.
    Ended,
    /// Exactly one answer with 200 whose body contains the text; the connection then ends (each request says so, or has to make it so).
    Read(&'static str),
}
use Want::{Ended, Read as ReadAs, Refused};

const CASES: &[(&str, &str, Want)] = &[
    // One request line, one head.
    ("no version", "GET /request\r\n\r\n", Ended),
    ("version 0.9", "GET /request HTTP/0.9\r\nHost: a\r\n\r\n", Ended),
    ("version 3", "GET /request HTTP/3.0\r\nHost: a\r\n\r\n", Ended),
    ("a space in the target", "GET /request /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a control character in the target", "GET /re\x01quest HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a method that is no token", "G(T /request HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("CR only", "GET /request HTTP/1.1\rHost: a\r\r", Ended),
    ("CR in a value", "GET /request HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", Refused(400)),
    ("NUL in a value", "GET /request HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Refused(400)),
    ("a folded line", "GET /request HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", Refused(400)),
    ("a folded first line", "GET /request HTTP/1.1\r\n Host: a\r\n\r\n", Refused(400)),
    ("a space before the colon", "GET /request HTTP/1.1\r\nHost : a\r\n\r\n", Refused(400)),
    ("a header without a name", "GET /request HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", Refused(400)),
    ("a header without a colon", "GET /request HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n", Refused(400)),
    // Host.
    ("no Host", "GET /request HTTP/1.1\r\n\r\n", Refused(400)),
    ("two Hosts", "GET /request HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused(400)),
    ("two equal Hosts", "GET /request HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refused(400)),
    ("a list as Host", "GET /request HTTP/1.1\r\nHost: a, b\r\n\r\n", Refused(400)),
    ("a path in Host", "GET /request HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused(400)),
    ("a user in Host", "GET /request HTTP/1.1\r\nHost: u@a\r\n\r\n", Refused(400)),
    ("an absolute target", "GET http://b/request HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", ReadAs("/request b\n")),
    ("an absolute target without Host", "GET http://b/request HTTP/1.1\r\n\r\n", Refused(400)),
    ("another scheme", "GET gopher://b/request HTTP/1.1\r\nHost: b\r\n\r\n", Refused(400)),
    ("an asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("CONNECT", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", Refused(501)),
    // Where the body ends.
    ("two lengths", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Ended),
    ("two equal lengths", "POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", ReadAs("3\n")),
    ("a list of lengths", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd", Ended),
    ("a signed length", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", Ended),
    ("a negative length", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", Ended),
    ("a hexadecimal length", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", Ended),
    ("a length beyond 64 bits", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc", Ended),
    // The chunks count (RFC 9112, 6.3), what follows them is not read as a request: the connection ends.
    (
        "length, then chunks",
        "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /request HTTP/1.1\r\nHost: x\r\n\r\n",
        ReadAs("2\n"),
    ),
    (
        "chunks, then length",
        "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /request HTTP/1.1\r\nHost: x\r\n\r\n",
        ReadAs("2\n"),
    ),
    ("chunks in HTTP/1.0", "POST /count HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Ended),
    ("another coding", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", Ended),
    ("chunks not last", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\nab\r\n0\r\n\r\n", Ended),
    ("a misspelt coding", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Ended),
    // Chunks that are none.
    ("a chunk size that is no number", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("a chunk size with 0x", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("a negative chunk size", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("a chunk size beyond 64 bits", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("an empty chunk size", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("a chunk size that ends with LF", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n", Refused(400)),
    ("LF in a chunk's extension", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nb\r\nab\r\n0\r\n\r\n", Refused(400)),
    ("a chunk that is longer than its size", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", Refused(400)),
    ("a bad trailer", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nno trailer\r\n\r\n", Refused(400)),
    // What is not served, in words.
    ("an unknown expectation", "POST /count HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\na", Refused(417)),
    ("a WebSocket", "GET /request HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", Refused(501)),
    // Not HTTP at all.
    ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03rest", Ended),
    ("half of HTTP/2", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Ended),
    ("HTTP/2 with a bad frame", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x01\x04\0\0\0\0\0\0", Ended),
];

/// All that comes until the connection ends; none when it does not.
fn exchange(port: u16, bytes: &[u8]) -> Option<String> {
    Client::saying(port, bytes).rest()
}

fn judge(want: Want, answer: &str) -> Result<(), String> {
    let status = |code: u16| answer.starts_with(&format!("HTTP/1.1 {code} ")) || answer.starts_with(&format!("HTTP/1.0 {code} "));
    let answers = answer.matches("HTTP/1.").count();
    let right = match want {
        Refused(code) => status(code) && answers == 1,
        Ended => !answer.contains(" 200 ") && (answers == 0 || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4")),
        ReadAs(text) => status(200) && answers == 1 && answer.contains(text),
    };
    if right { Ok(()) } else { Err(format!("wanted {want:?}, got {answer:?}")) }
}

#[test]
fn requests_with_tricks() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    // Begun now, looked at last: a head and a first byte that never come end within their bound.
    let mut slow = ["GET /request HTTP/1.1\r\nHost: a\r\nX:", "", "PRI * HT"].map(|begun| Client::saying(port, begun.as_bytes()));
    let mut wrong = Vec::new();
    for (name, bytes, want) in CASES {
        match exchange(port, bytes.as_bytes()) {
            Some(answer) => wrong.extend(judge(*want, &answer).err().map(|error| format!("{name}: {error}"))),
            None => wrong.push(format!("{name}: the connection does not end")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    large(port);
    assert_eq!(harness::get(port, "/request").map(|answer| answer.status), Ok(200), "others are served as before");
    for stream in &mut slow {
        assert!(stream.rest().is_some(), "a head that does not come holds its connection for ever");
    }
}

/// Heads without end: bounded in bytes and in number.
fn large(port: u16) {
    let many: String = (0..1_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = exchange(port, format!("GET /request HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).expect("it ends");
    judge(Refused(431), &answer).expect("too many headers");
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20));
    judge(Ended, &exchange(port, target.as_bytes()).expect("it ends")).expect("a target of 1 MiB");
    // For ever, if it were let.
    let mut endless = Client::saying(port, b"GET /request HTTP/1.1\r\nHost: a\r\nX: ");
    let sent = (0..10_000).take_while(|_| endless.stream().write_all(&[b'y'; 64 << 10]).is_ok()).count();
    assert!(sent < 10_000, "an endless header is read for ever");
    judge(Ended, &endless.rest().expect("it ends")).expect("an endless header");
}

/// A body that trickles, and one that stops: the request's time limit ends both, and the client is told while that is possible.
#[test]
fn slow_bodies() {
    let node = Node::swarm();
    let port = lab(&node, &["--container-label", "wsw.wasm.request-timeout=2s"]);
    let answer = exchange(port, b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome").expect("it ends");
    judge(Refused(504), &answer).expect("the time limit");
    // After the head was sent the answer is cut, not finished.
    let answer = exchange(port, b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n").expect("it ends");
    assert!(answer.contains("begun\n") && !answer.ends_with("0\r\n\r\n"), "{answer:?}");
    // A client that says no more although it promised a body: taken for one that has gone, or told that it is wrong.
    let mut silent = Client::saying(port, b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nsome");
    silent.stream().shutdown(Shutdown::Write).expect("it is open");
    if let Err(error) = judge(Ended, &silent.rest().expect("it ends")) {
        assert!(error.contains(" 500 "), "{error}");
    }
}
