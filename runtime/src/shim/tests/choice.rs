//! Which shim a task gets.

use super::super::Group;
use super::fixture::*;
use wsw_api::TaskId;
use wsw_api::shim::Network;

/// A program that never becomes a shim: a test that starts one by mistake fails by its message.
const BROKEN: &str = "echo 'cannot map the pool' >&2; exit 3";

#[tokio::test]
async fn a_shim_that_does_not_come_up_is_told_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(dir.path(), BROKEN);
    let taken = futures_util::future::join_all((0..2).map(|_| pool.take(Group::Shared, Network::None, service(9)))).await;
    for error in taken.into_iter().map(|lease| lease.err().unwrap()) {
        assert!(error.is_temporary());
        assert_eq!(error.to_string(), "Wasm shim 1 did not start: exit status: 3: cannot map the pool");
    }
    let error = pool.take(Group::Shared, Network::None, service(9)).await.err().unwrap().to_string();
    assert!(error.starts_with("Wasm shim 2 did not start"), "{error}");
    assert!(!dir.path().join("1.shim.json").exists());
}

#[tokio::test]
async fn shims_of_an_earlier_daemon_are_filled_up_and_then_a_new_one_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Listening::new(dir.path(), 1).await, Listening::new(dir.path(), 2).await);
    record(dir.path(), 1, Group::Shared, |_| ());
    record(dir.path(), 2, Group::Shared, |_| ());
    record(dir.path(), 3, Group::Shared, |_| ());
    let pool = pool(dir.path(), BROKEN);
    pool.reconnect().await;
    assert!(!dir.path().join("3.shim.json").exists(), "nobody listens there");
    let mut leases = Vec::new();
    for wanted in [1, 1, 2, 2] {
        let lease = pool.take(Group::Shared, Network::None, service(9)).await.unwrap();
        assert_eq!(lease.shim.number, wanted);
        leases.push(lease);
    }
    let error = pool.take(Group::Shared, Network::None, service(9)).await.err().unwrap().to_string();
    assert!(error.starts_with("Wasm shim 4"), "numbers are not used again: {error}");
    leases.swap_remove(0);
    assert_eq!(pool.take(Group::Shared, Network::None, service(9)).await.unwrap().shim.number, 1);
    drop((one, two));
}

#[tokio::test]
async fn a_shim_that_says_it_is_full_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Listening::new(dir.path(), 1).await, Listening::new(dir.path(), 2).await);
    record(dir.path(), 1, Group::Shared, |record| record.capacity = 10);
    record(dir.path(), 2, Group::Shared, |record| record.capacity = 10);
    let pool = pool(dir.path(), BROKEN);
    pool.reconnect().await;
    let kept = pool.take(Group::Shared, Network::None, service(9)).await.unwrap();
    pool.take(Group::Shared, Network::None, service(9)).await.unwrap().refused();
    assert_eq!(pool.take(Group::Shared, Network::None, service(9)).await.unwrap().shim.number, 2);
    // Two empty shims of one group are one too many.
    drop(kept);
    assert_eq!(pool.take(Group::Shared, Network::None, service(9)).await.unwrap().shim.number, 2);
    pool.end_idle(true).await;
    assert!(*one.fake.shut_down.lock().unwrap() && *two.fake.shut_down.lock().unwrap());
}

#[tokio::test]
async fn groups_do_not_mix_and_outdated_shims_get_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let task = TaskId::from_bytes([7; 16]);
    let mut all = Vec::new();
    for number in 1..=6 {
        all.push(Listening::new(dir.path(), number).await);
    }
    record(dir.path(), 1, Group::Shared, |record| record.engine = "engine-0".into());
    record(dir.path(), 2, Group::Service(service(9)), |_| ());
    record(dir.path(), 3, Group::Own(task), |_| ());
    record(dir.path(), 4, Group::Shared, |record| record.contract = 0);
    record(dir.path(), 5, Group::Shared, |record| record.boot = "boot-0".into());
    record(dir.path(), 6, Group::Shared, |record| record.network = Network::Inet);
    let pool = pool(dir.path(), BROKEN);
    pool.reconnect().await;
    let held = pool.resume(1, service(9), None).unwrap();
    assert_eq!(pool.take(Group::Service(service(9)), Network::None, service(9)).await.unwrap().shim.number, 2);
    assert_eq!(pool.take(Group::Own(task), Network::None, service(9)).await.unwrap().shim.number, 3);
    assert_eq!(pool.take(Group::Shared, Network::Inet, service(9)).await.unwrap().shim.number, 6);
    assert!(pool.take(Group::Shared, Network::None, service(9)).await.is_err());
    assert!(pool.resume(5, service(9), None).is_none());
    assert_eq!(pool.outdated(), [1, 4]);
    pool.end_idle(false).await;
    assert!(*all[3].fake.shut_down.lock().unwrap());
    assert!(!*all[0].fake.shut_down.lock().unwrap(), "it has a task");
    drop(held);
}

#[tokio::test]
async fn a_service_whose_shims_died_twice_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for number in 1..=3 {
        all.push(Listening::new(dir.path(), number).await);
        record(dir.path(), number, Group::Shared, |_| ());
    }
    let pool = pool(dir.path(), BROKEN);
    pool.reconnect().await;
    for listening in &all[..2] {
        let lease = pool.take(Group::Shared, Network::None, service(9)).await.unwrap();
        listening.die();
        lease.shim.life().ended().await;
        while pool.get(lease.shim.number).is_some() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(pool.take(Group::Shared, Network::None, service(8)).await.unwrap().shim.number, 3);
    let error = pool.take(Group::Shared, Network::None, service(9)).await.err().unwrap().to_string();
    assert!(error.starts_with("Wasm shim 4"), "{error}");
}
