//! Init, writes, restart, leave.

use super::*;
use wsw_api::Class;
use wsw_api::control::Request;
use wsw_api::event::{Action, Kind};
use wsw_api::id::RequestId;
use wsw_api::object::NodeState;
use wsw_api::spec::NodeRole;

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_cluster_of_this_node() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let store = manager.store();
    let cluster = store.cluster().unwrap();
    assert_eq!(cluster.id, manager.cluster_id());
    assert!(cluster.join_tokens.worker.starts_with("SWMTKN-1-") && cluster.join_tokens.worker != cluster.join_tokens.manager);
    let node = store.node(&manager.node_id()).unwrap();
    assert_eq!((node.role(), node.status.state, node.status.addr.as_str()), (NodeRole::Manager, NodeState::Unknown, "127.0.0.1"));
    assert_eq!(node.manager.as_ref().unwrap().addr, "127.0.0.1:2377");
    let again = Manager::bootstrap(config(root.path()), InitSpec { spec: ClusterSpec::default(), availability: Availability::Active }).await;
    assert!(again.is_err_and(|err| err.class == Class::Unavailable && err.message.contains("already part of a swarm")));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything_that_was_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let (node, cluster) = (manager.node_id(), manager.cluster_id());
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(create(&manager, &format!("service-{n}"), n).await);
    }
    let before = manager.store().to_snapshot();
    manager.shutdown().await;
    for _ in 0..3 {
        let manager = restart(root.path()).await;
        assert_eq!((manager.node_id(), manager.cluster_id()), (node, cluster));
        let store = manager.read().await.unwrap();
        assert_eq!(store.to_snapshot().services, before.services);
        assert_eq!(store.to_snapshot().tasks, before.tasks);
        assert_eq!(store.task_count(), (0..20).sum::<u64>() as usize);
        manager.shutdown().await;
    }
    let manager = restart(root.path()).await;
    scale(&manager, ids[0], 5).await;
    assert_eq!(manager.store().task_count_of_service(&ids[0]), 5);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_and_its_plan_are_one_entry() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let id = create(&manager, "web", 1).await;
    let before = manager.store().index();
    scale(&manager, id, 50).await;
    let store = manager.store();
    assert_eq!(store.index(), before + 1);
    assert_eq!(store.task_count_of_service(&id), 50);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_request_is_answered_from_memory_also_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let request = Request { id: RequestId::from_bytes([7; 16]), write: Write::CreateService { spec: spec("once", 2) } };
    let first = manager.request(request.clone()).await.unwrap();
    let (again, twice) = tokio::join!(manager.request(request.clone()), manager.request(request.clone()));
    assert_eq!((again.unwrap(), twice.unwrap()), (first.clone(), first.clone()));
    manager.shutdown().await;
    let manager = restart(root.path()).await;
    assert_eq!(manager.request(request).await.unwrap(), first);
    assert_eq!(manager.store().services().count(), 1);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_at_once_share_entries_and_each_gets_its_own_answer() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let before = manager.store().index();
    let writes = (0..200).map(|n| {
        let manager = manager.clone();
        // Every name is asked for twice: one of the two is refused.
        tokio::spawn(async move { manager.write(Write::CreateService { spec: spec(&format!("s{}", n / 2), 1) }).await })
    });
    let mut created = 0;
    for write in writes.collect::<Vec<_>>() {
        match write.await.unwrap() {
            Ok(_) => created += 1,
            Err(err) => assert_eq!(err.class, Class::Conflict, "{err}"),
        }
    }
    assert_eq!(created, 100);
    let store = manager.read().await.unwrap();
    assert_eq!((store.services().count(), store.task_count()), (100, 100));
    assert!(store.index() - before < 100, "{} entries", store.index() - before);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_what_happened_in_dockers_words() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let (_, mut events) = manager.events(None);
    let id = create(&manager, "web", 1).await;
    let created = events.recv().await.unwrap();
    assert_eq!((created.kind, created.action, created.id.clone(), created.attributes["name"].as_str()), (Kind::Service, Action::Create, id.to_string(), "web"));
    scale(&manager, id, 3).await;
    let updated = events.recv().await.unwrap();
    assert_eq!((updated.action, updated.attributes["replicas.old"].as_str(), updated.attributes["replicas.new"].as_str()), (Action::Update, "1", "3"));
    manager.write(Write::RemoveService { id }).await.unwrap();
    assert_eq!(events.recv().await.unwrap().action, Action::Remove);
    let (past, _) = manager.events(Some(created.time));
    assert_eq!(past.iter().map(|event| event.action).collect::<Vec<_>>(), [Action::Create, Action::Update, Action::Remove]);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_rotated_one_by_one_and_the_digest_stays() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let tokens = |manager: &Manager| manager.store().cluster().unwrap().join_tokens.clone();
    let old = tokens(&manager);
    manager.rotate_tokens(true, false).await.unwrap();
    let new = tokens(&manager);
    assert_ne!(new.worker, old.worker);
    assert_eq!(new.manager, old.manager);
    assert_eq!(new.worker[..59], old.worker[..59]);
    let stale = manager.update_cluster(1, ClusterSpec::default(), wsw_manager::Rotate::default(), &wsw_manager::identity::rotation::Given::default()).await;
    assert!(stale.is_err_and(|err| err.message.contains("out of sequence")));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wipe_makes_room_for_another_swarm() {
    let root = tempfile::tempdir().unwrap();
    assert!(Manager::restart(config(root.path())).await.unwrap().is_none());
    let manager = init(root.path()).await;
    let first = manager.cluster_id();
    manager.shutdown().await;
    wsw_manager::wipe(root.path()).unwrap();
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    assert!(Manager::restart(config(root.path())).await.unwrap().is_none());
    let manager = init(root.path()).await;
    assert_ne!(manager.cluster_id(), first);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_without_its_identity_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    init(root.path()).await.shutdown().await;
    let key = root.path().join("identity/data.key");
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, [1; 32]).unwrap();
    let refused = |result: wsw_api::Result<Option<Manager>>| result.err().map(|err| err.message).unwrap_or_default();
    assert!(refused(Manager::restart(config(root.path())).await).contains("data key does not open it"));
    std::fs::write(&key, right).unwrap();
    restart(root.path()).await.shutdown().await;
    std::fs::remove_dir_all(root.path().join("identity")).unwrap();
    assert!(refused(Manager::restart(config(root.path())).await).contains("identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_after_the_end_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    manager.clone().shutdown().await;
    let refused = manager.write(Write::CreateService { spec: spec("late", 1) }).await.unwrap_err();
    assert_eq!((refused.class, refused.message.as_str()), (Class::Unavailable, "this manager has stopped"));
    assert!(manager.read().await.unwrap().cluster().is_some());
}
