//! A wasi:http server. `/` names the replica that answers; the other paths misbehave on request, for tests:
//! `/headers` echoes the request's headers, `/wait/N` answers after N milliseconds, `/trap` traps, `/spin` never ends.

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Hello);

struct Hello;

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.as_str() {
            "/" => respond(out, 200, &hello()),
            "/headers" => respond(out, 200, &headers(&request)),
            "/trap" => std::process::abort(),
            "/spin" => loop {
                std::hint::spin_loop();
            },
            _ => match path.strip_prefix("/wait/").and_then(|text| text.parse::<u64>().ok()) {
                Some(milliseconds) => {
                    monotonic_clock::subscribe_duration(milliseconds * 1_000_000).block();
                    respond(out, 200, &hello());
                }
                None => respond(out, 404, "no such page\n"),
            },
        }
    }
}

fn hello() -> String {
    format!("Hello from {}!\n", std::env::var("WSW_TASK_NAME").unwrap_or_else(|_| "nowhere".into()))
}

fn headers(request: &IncomingRequest) -> String {
    let mut lines: Vec<String> =
        request.headers().entries().into_iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(&value))).collect();
    lines.sort();
    lines.concat()
}

fn respond(out: ResponseOutparam, status: u16, text: &str) {
    let fields = Fields::from_list(&[("content-type".into(), b"text/plain".to_vec()), ("content-length".into(), text.len().to_string().into())])
        .expect("plain headers are allowed");
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).expect("a known status");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    // A client that has gone away is no failure of ours. One call takes at most 4096 bytes.
    let written = text.as_bytes().chunks(4096).try_for_each(|piece| stream.blocking_write_and_flush(piece));
    drop(stream);
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}
