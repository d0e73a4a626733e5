//! A wasi:http server for tests of the HTTP side: it does what its path says.
//!
//! | path | what it does |
//! |---|---|
//! | `/echo` | sends the request's body back while it still comes, then its trailers |
//! | `/count` | reads the whole body, answers how many bytes it was |
//! | `/ignore` | answers without a look at the body |
//! | `/unread/N` | answers N milliseconds later, without having read anything |
//! | `/drip/N` | sends a line each N milliseconds without end |
//! | `/bytes/N` | N bytes in pieces of 4096 |
//! | `/status/N` | an answer with this status and a body |
//! | `/short`, `/long` | a body shorter, longer than its `content-length` |
//! | `/shortly/N` | the same as `/short`, N milliseconds after its head and half of its body |
//! | `/lengths` | two different lengths |
//! | `/late` | begins an answer, then never goes on |
//! | `/read/NAME`, `/keep/NAME` | reads, writes a file below `/data` |
//! | `/request` | method, target, authority of the request |

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

wasip2::http::proxy::export!(Lab);

struct Lab;

fn file(out: ResponseOutparam, done: std::io::Result<Vec<u8>>) {
    match done {
        Ok(content) => respond(out, 200, &[], &content),
        Err(error) => respond(out, 500, &[], format!("{error}\n").as_bytes()),
    }
}

/// One call writes at most this.
const PIECE: usize = 4096;
const FOR_EVER_MS: u64 = 86_400_000;

impl Guest for Lab {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let mut words = path.trim_start_matches('/').split('/');
        let word = words.next().unwrap_or_default();
        let number = words.next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        match word {
            "echo" => echo(&request, out),
            "count" => text(out, &format!("{}\n", count(&request))),
            "ignore" => text(out, "ignored\n"),
            "unread" => {
                let _kept = request.consume();
                sleep(number);
                text(out, "unread\n");
            }
            "drip" => drip(out, number),
            "bytes" => bytes(out, number),
            "status" => respond(out, number as u16, &[("content-type", "text/plain")], b"body\n"),
            "short" => respond(out, 200, &[("content-length", "10")], b"12345"),
            "shortly" => shortly(out, number),
            "long" => respond(out, 200, &[("content-length", "5")], b"1234567890"),
            "lengths" => respond(out, 200, &[("content-length", "5"), ("content-length", "6")], b"12345"),
            "late" => late(out),
            "read" => file(out, std::fs::read(path.replacen("/read/", "/data/", 1))),
            "keep" => file(out, std::fs::write(path.replacen("/keep/", "/data/", 1), "kept\n").map(|()| b"done\n".to_vec())),
            "request" => {
                let authority = request.authority().unwrap_or_default();
                text(out, &format!("{:?} {path} {authority}\n", request.method()));
            }
            _ => respond(out, 404, &[], b"no such page\n"),
        }
    }
}

fn sleep(milliseconds: u64) {
    monotonic_clock::subscribe_duration(milliseconds * 1_000_000).block();
}

fn text(out: ResponseOutparam, text: &str) {
    respond(out, 200, &[("content-type", "text/plain")], text.as_bytes());
}

fn begin(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> (OutgoingBody, OutputStream) {
    let list: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let response = OutgoingResponse::new(Fields::from_list(&list).expect("plain headers are allowed"));
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    (body, stream)
}

fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(PIECE).try_for_each(|piece| stream.blocking_write_and_flush(piece))
}

fn respond(out: ResponseOutparam, status: u16, headers: &[(&str, &str)], bytes: &[u8]) {
    let (body, stream) = begin(out, status, headers);
    let written = write(&stream, bytes);
    drop(stream);
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

fn pieces(stream: &InputStream, mut each: impl FnMut(&[u8]) -> Result<(), StreamError>) -> Result<(), StreamError> {
    loop {
        match stream.blocking_read(65_536) {
            Ok(piece) => each(&piece)?,
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body is taken once");
    let input = incoming.stream().expect("the stream is taken once");
    // A server says which trailers will come.
    let (body, stream) = begin(out, 200, &[("trailer", "x-sum")]);
    let copied = pieces(&input, |piece| write(&stream, piece));
    drop((input, stream));
    if copied.is_err() {
        println!("the echo was cut");
        return;
    }
    let trailers = IncomingBody::finish(incoming);
    trailers.subscribe().block();
    let trailers = trailers.get().and_then(Result::ok).and_then(Result::ok).flatten();
    let _ = OutgoingBody::finish(body, trailers.map(|fields| fields.clone()));
}

fn count(request: &IncomingRequest) -> u64 {
    let incoming = request.consume().expect("the body is taken once");
    let input = incoming.stream().expect("the stream is taken once");
    let mut sum = 0;
    let read = pieces(&input, |piece| {
        sum += piece.len() as u64;
        Ok(())
    });
    read.expect("the body is whole");
    sum
}

fn drip(out: ResponseOutparam, milliseconds: u64) {
    let (_body, stream) = begin(out, 200, &[]);
    while write(&stream, b"drip\n").is_ok() {
        sleep(milliseconds);
    }
}

fn bytes(out: ResponseOutparam, number: u64) {
    let (body, stream) = begin(out, 200, &[]);
    let piece = [b'x'; PIECE];
    let mut left = number;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        if write(&stream, &piece[..now]).is_err() {
            return;
        }
        left -= now as u64;
        println!("written {}", number - left);
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn shortly(out: ResponseOutparam, milliseconds: u64) {
    let (body, stream) = begin(out, 200, &[("content-length", "10")]);
    let _ = write(&stream, b"12345");
    sleep(milliseconds);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn late(out: ResponseOutparam) {
    let (_body, stream) = begin(out, 200, &[]);
    let _ = write(&stream, b"begun\n");
    sleep(FOR_EVER_MS);
}
