//! Guests as text: small programs that do one thing each.

pub const NOTHING: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
pub const TRAP: &str = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;
pub const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))"#;

/// Recurses without end.
pub const RECURSE: &str = r#"(module (memory (export "memory") 1)
  (func $down (param i32) (result i32) (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "_start") (drop (call $down (i32.const 0)))))"#;

/// Grows its memory by 64 KiB at a time for ever.
pub const HOG: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (drop (memory.grow (i32.const 1))) (br 0))))"#;

/// Grows its table by 1,000 entries at a time for ever.
pub const TABLES: &str = r#"(module (memory (export "memory") 1) (table 1 funcref)
  (func (export "_start") (loop (drop (table.grow (ref.null func) (i32.const 1000))) (br 0))))"#;

/// Ends with code 3.
pub const EXIT_3: &str = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 3))))"#;

/// Writes its arguments to stdout and its environment to stderr, as the NUL-separated bytes that it gets.
pub const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $print (param $fd i32)
    (i32.store (i32.const 8) (i32.const 1024))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 0))))
  (func (export "_start")
    (drop (call $args_sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 16) (i32.const 1024)))
    (call $print (i32.const 1))
    (drop (call $env_sizes (i32.const 0) (i32.const 4)))
    (drop (call $env (i32.const 16) (i32.const 1024)))
    (call $print (i32.const 2))))"#;

/// Writes "x\n" for ever, as fast as it is let.
pub const CHATTER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 1024) "x\n")
  (func (export "_start")
    (i32.store (i32.const 8) (i32.const 1024))
    (i32.store (i32.const 12) (i32.const 2))
    (loop (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))) (br 0))))"#;

/// Lines that [`FLOOD`] writes.
pub const FLOOD_LINES: u64 = 65_536 / 64 * 1_000;
/// Writes 64 MB in lines of 64 bytes, 64 KiB at a time.
pub const FLOOD: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $n i32)
    (memory.fill (i32.const 65536) (i32.const 121) (i32.const 65536))
    (loop $lines
      (i32.store8 (i32.add (i32.const 65599) (local.get $n)) (i32.const 10))
      (br_if $lines (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 64))) (i32.const 65536))))
    (local.set $n (i32.const 1000))
    (loop $pieces
      (i32.store (i32.const 8) (i32.const 65536))
      (i32.store (i32.const 12) (i32.const 65536))
      (loop $rest
        (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
        (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.load (i32.const 0))))
        (i32.store (i32.const 12) (i32.sub (i32.load (i32.const 12)) (i32.load (i32.const 0))))
        (br_if $rest (i32.load (i32.const 12))))
      (br_if $pieces (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

/// Sleeps for a day (`poll_oneoff` with one clock).
pub const SLEEP: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 861500000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#;

/// A component whose `run` answers ok (0) or err (1).
pub fn command(answer: u8) -> String {
    format!(
        r#"(component
          (core module $m (func (export "run") (result i32) (i32.const {answer})))
          (core instance $i (instantiate $m))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $run-instance (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $run-instance)))"#
    )
}

/// A server that does what the first letter of the path says: `/t` traps, `/s` spins, `/w` works for a while and answers, `/h` takes
/// memory without end, `/n` returns without an answer, `/b` traps after it has begun a body, anything else answers 200 with no body.
pub const SERVER: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $request (sub resource)))
    (export "outgoing-response" (type $response (sub resource)))
    (export "response-outparam" (type $outparam (sub resource)))
    (export "outgoing-body" (type $body (sub resource)))
    (type $dns (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns-error (eq $dns)))
    (type $tls (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls-alert (eq $tls)))
    (type $field (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $field-size (eq $field)))
    (type $error (variant
      (case "DNS-timeout") (case "DNS-error" $dns-error) (case "destination-not-found") (case "destination-unavailable")
      (case "destination-IP-prohibited") (case "destination-IP-unroutable") (case "connection-refused") (case "connection-terminated")
      (case "connection-timeout") (case "connection-read-timeout") (case "connection-write-timeout") (case "connection-limit-reached")
      (case "TLS-protocol-error") (case "TLS-certificate-error") (case "TLS-alert-received" $tls-alert) (case "HTTP-request-denied")
      (case "HTTP-request-length-required") (case "HTTP-request-body-size" (option u64)) (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long") (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $field-size)) (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $field-size) (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $field-size) (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32)) (case "HTTP-response-trailer-size" $field-size)
      (case "HTTP-response-transfer-coding" (option string)) (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $error)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-response" (func (param "headers" (own $fields)) (result (own $response))))
    (export "[method]outgoing-response.body" (func (param "self" (borrow $response)) (result (result (own $body)))))
    (export "[method]incoming-request.path-with-query" (func (param "self" (borrow $request)) (result (option string))))
    (export "[static]response-outparam.set"
      (func (param "param" (own $outparam)) (param "response" (result (own $response) (error $error-code)))))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local.set 0 (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get 0) (local.get 3)))
      (local.get 0)))
  (core instance $m (instantiate $memory))
  (core func $fields (canon lower (func $types "[constructor]fields")))
  (core func $response (canon lower (func $types "[constructor]outgoing-response")))
  (core func $body (canon lower (func $types "[method]outgoing-response.body") (memory (core memory $m "memory"))))
  (core func $path (canon lower (func $types "[method]incoming-request.path-with-query") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (core func $set (canon lower (func $types "[static]response-outparam.set") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (core module $server
    (import "m" "memory" (memory 1))
    (import "t" "fields" (func $fields (result i32)))
    (import "t" "response" (func $response (param i32) (result i32)))
    (import "t" "body" (func $body (param i32 i32)))
    (import "t" "path" (func $path (param i32 i32)))
    (import "t" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (func (export "handle") (param $request i32) (param $out i32) (local $letter i32) (local $work i32) (local $response i32)
      (call $path (local.get $request) (i32.const 0))
      (if (i32.gt_u (i32.load (i32.const 8)) (i32.const 1))
        (then (local.set $letter (i32.load8_u offset=1 (i32.load (i32.const 4))))))
      (if (i32.eq (local.get $letter) (i32.const 116)) (then unreachable))
      (if (i32.eq (local.get $letter) (i32.const 115)) (then (loop br 0)))
      (if (i32.eq (local.get $letter) (i32.const 104)) (then (loop (drop (memory.grow (i32.const 1))) (br 0))))
      (if (i32.eq (local.get $letter) (i32.const 110)) (then return))
      (if (i32.eq (local.get $letter) (i32.const 119)) (then
        (local.set $work (i32.const 1500000000))
        (loop (br_if 0 (local.tee $work (i32.sub (local.get $work) (i32.const 1)))))))
      (local.set $response (call $response (call $fields)))
      (if (i32.eq (local.get $letter) (i32.const 98)) (then (call $body (local.get $response) (i32.const 16))))
      (call $set (local.get $out) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
      (if (i32.eq (local.get $letter) (i32.const 98)) (then unreachable))))
  (core instance $i (instantiate $server
    (with "m" (instance $m))
    (with "t" (instance (export "fields" (func $fields)) (export "response" (func $response)) (export "body" (func $body)) (export "path" (func $path)) (export "set" (func $set))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam)) (canon lift (core func $i "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;
