//! Limits of a task and fairness among guests, by what the shim itself counts.

use crate::{
    guests,
    harness::{Shim, service},
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

const SIGKILL: u32 = 9;

/// A bundle's CPU limit, in hundredths of a CPU.
fn cpus(hundredths: u64) -> impl FnOnce(&mut Value) {
    move |config| config["linux"] = json!({ "resources": { "cpu": { "quota": hundredths * 1_000, "period": 100_000 } } })
}

#[tokio::test]
async fn a_spinning_guest_gets_what_its_limit_allows_and_is_killed_at_once() {
    let shim = Shim::start(10).await;
    let spin = shim.program(guests::SPIN);
    shim.run("fifth", &spin, cpus(20)).await;
    shim.run("free", &spin, |_| ()).await;
    let begin = Instant::now();
    // Long enough that the bucket, which starts full, does not matter.
    shim.wait_spent("fifth", Duration::from_millis(300)).await;
    // It cannot have got more than the bucket held, a fifth of the time since, and a slice; how much less is the machine's affair.
    let (got, most) = (shim.spent("fifth").await, Duration::from_millis(60) + begin.elapsed() / 5);
    assert!(got <= most, "{got:?} > {most:?}");
    assert!(shim.spent("free").await > Duration::ZERO);
    for id in ["fifth", "free"] {
        shim.kill(id, SIGKILL).await.unwrap();
        assert_eq!(shim.wait(id).await.code, 137, "{id}");
    }
    // Nothing of them runs any more: the count stands still.
    let after = shim.spent("free").await;
    shim.run("other", &shim.program(guests::EXIT_3), |_| ()).await;
    assert_eq!(shim.wait("other").await.code, 3);
    assert_eq!(shim.spent("free").await, after);
}

fn get(stream: &mut std::net::TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

/// Requests of one replica share its bucket; those of another service do not wait for it, nor do those that come while guests spin.
#[tokio::test]
async fn requests_are_answered_while_more_guests_spin_than_there_are_cores() {
    let mut shim = Shim::start(50).await;
    let (spin, server) = (shim.program(guests::SPIN), shim.program(guests::SERVER));
    shim.run("server", &server, |_| ()).await;
    let spinners = 3 * std::thread::available_parallelism().unwrap().get();
    for n in 0..spinners {
        shim.run(&format!("spin{n}"), &spin, |_| ()).await;
    }
    // All of them get on, also those that had to wait for a thread.
    for n in 0..spinners {
        shim.wait_spent(&format!("spin{n}"), Duration::from_millis(30)).await;
    }
    let mut client = shim.connect(service()).unwrap();
    for _ in 0..500 {
        let answer = get(&mut client, "/");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn the_requests_of_a_replica_share_its_cpu_limit() {
    let mut shim = Shim::start(10).await;
    let server = shim.program(guests::SERVER);
    shim.run("server", &server, cpus(20)).await;
    let begin = Instant::now();
    let mut clients: Vec<_> = (0..4).map(|_| shim.connect(service()).unwrap()).collect();
    for client in &mut clients {
        write!(client, "GET /s HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    shim.wait_spent("server", Duration::from_millis(300)).await;
    // Each of the four may overrun by a slice.
    let (got, most) = (shim.spent("server").await, Duration::from_millis(100) + begin.elapsed() / 5);
    assert!(got <= most, "{got:?} > {most:?}");
    shim.kill("server", SIGKILL).await.unwrap();
    assert_eq!(shim.wait("server").await.code, 137);
}

/// `CHATTER` writes two bytes a time as fast as it can; only the counters can say what the rate did, so this writes large pieces.
#[tokio::test]
async fn what_a_guest_writes_beyond_the_log_rate_is_dropped_and_counted() {
    let shim = Shim::start(10).await;
    // All that is written stays in one file.
    let keep = |config: &mut Value| config["annotations"][wsw_api::shim::LOG_MAX_SIZE] = json!("1000000000");
    shim.run("flood", &shim.program(guests::FLOOD), keep).await;
    assert_eq!(shim.wait("flood").await.code, 0);
    let log = shim.log("flood");
    let told: u64 = log.iter().filter_map(|(_, _, text)| text.strip_prefix("wsw: ")?.split(' ').next()?.parse::<u64>().ok()).sum();
    let written = log.iter().filter(|(_, _, text)| text.starts_with('y')).count() as u64;
    assert!(told > 0, "{written} lines, none dropped");
    assert_eq!(written + told, guests::FLOOD_LINES);
}

/// Each of these harms itself: beside it a server answers every request, rightly, and its end says what it was.
#[tokio::test]
async fn a_bad_guest_harms_itself_alone() {
    let mut shim = Shim::start(50).await;
    let server = shim.program(guests::SERVER);
    shim.run("server", &server, |_| ()).await;
    let mut client = shim.connect(service()).unwrap();
    let memory = |bytes: u64| move |config: &mut Value| config["linux"] = json!({ "resources": { "memory": { "limit": bytes } } });
    // The guest, its memory limit, and how it ends by itself; none: it has to be killed.
    let victims = [
        ("spin", guests::SPIN, Some((137, None))),
        ("flood", guests::FLOOD, Some((0, None))),
        ("chatter", guests::CHATTER, Some((137, None))),
        ("recurse", guests::RECURSE, Some((134, Some("wasm trap: call stack exhausted")))),
        ("hog", guests::HOG, Some((137, Some("memory limit of 16777216 bytes reached")))),
        ("tables", guests::TABLES, Some((137, Some("memory limit of 16777216 bytes reached")))),
        ("trap", guests::TRAP, Some((134, Some("wasm trap: wasm `unreachable` instruction executed")))),
    ];
    for (id, wat, ends) in victims {
        shim.run(id, &shim.program(wat), memory(16 << 20)).await;
        for _ in 0..100 {
            let answer = get(&mut client, "/");
            assert!(answer.starts_with("HTTP/1.1 200 "), "beside {id}: {answer}");
        }
        let killed = ends == Some((137, None));
        if killed {
            shim.kill(id, SIGKILL).await.unwrap();
        }
        let end = shim.wait(id).await;
        assert_eq!(Some((end.code, end.report.reason.as_deref())), ends, "{id}");
    }
    assert!(get(&mut client, "/").starts_with("HTTP/1.1 200 "));
    assert!(shim.child.try_wait().unwrap().is_none());
}
