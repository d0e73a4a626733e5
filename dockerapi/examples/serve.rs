//! The API over the tests' in-memory backend, to try clients by hand: `cargo run --example serve -- /tmp/api.sock`.

#[path = "../tests/api/fixture.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod fixture;

use std::time::{SystemTime, UNIX_EPOCH};
use wsw_api::Time;

fn clock() -> Time {
    Time(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "api.sock".into());
    let listener = tokio::net::UnixListener::bind(path)?;
    let shutdown = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    wsw_dockerapi::serve(listener, wsw_dockerapi::router(fixture::Fixture::new(clock)), shutdown).await;
    Ok(())
}
