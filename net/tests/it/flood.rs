//! Many that nobody knows, and rubbish: those who belong here do not notice.

use crate::fixture::{Authority, WORKER, addr, echo, manager, soon};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wsw_net::{Endpoint, Protocol, Whom, dial_unknown};

/// Strangers at a time: more than there are handshakes and joins at once.
const STRANGERS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_and_of_rubbish_leaves_members_alone() {
    let authority = Authority::new(1);
    let (endpoint, at, _) = manager(&authority);
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    let member = soon("a dial", worker.dial(at, Whom::Manager, Protocol::Session)).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let rubbish = {
        let over = over.clone();
        std::thread::spawn(move || {
            let socket = std::net::UdpSocket::bind(addr()).unwrap();
            let mut state = 1_u64;
            while !over.load(Ordering::Relaxed) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let bytes: Vec<u8> = (0..1_200_u32).map(|at| (state >> (at % 57)) as u8 ^ at as u8).collect();
                let _ = socket.send_to(&bytes, at);
                std::thread::yield_now();
            }
        })
    };
    let strangers: Vec<_> = (0..STRANGERS)
        .map(|_| {
            tokio::spawn(async move {
                // Held to the end: who joins keeps its place as long as it can.
                let joined = dial_unknown(at, Arc::new(|_: &[u8; 32]| true)).await;
                if let Ok((connection, _)) = &joined {
                    let _ = echo(connection, b"anybody home?").await;
                }
            })
        })
        .collect();
    for round in 0..50_u8 {
        assert_eq!(soon("an echo in the flood", echo(&member, &[round])).await.unwrap(), [round]);
    }
    for stranger in strangers {
        soon("a stranger to give up", stranger).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    rubbish.join().unwrap();
    let again = soon("a dial after the flood", worker.dial(at, Whom::Manager, Protocol::Session)).await.unwrap();
    assert_eq!(soon("an echo", echo(&again, b"x")).await.unwrap(), b"x");
    assert!(endpoint.accepted() >= 2);
}
