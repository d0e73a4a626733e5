//! Tests of API writes: what is refused, in which words, and what is decided.

use crate::fixture::{World, node_id, service_id, spec};
use expect_test::{Expect, expect};
use wsw_api::control::{Rollback, Write};
use wsw_api::error::Class;
use wsw_api::id::ServiceId;
use wsw_api::object::NodeState;
use wsw_api::spec::{
    Annotations, Availability, ClusterSpec, EndpointMode, NodeRole, NodeSpec, PortConfig, Protocol, PublishMode, ServiceMode, ServiceSpec, UpdateConfig,
};
use wsw_api::trust::RootChange;

fn port(published: u16, target: u16, mode: PublishMode) -> PortConfig {
    PortConfig { published, target, mode, ..PortConfig::default() }
}

fn refused(world: &mut World, write: Write) -> (Class, String) {
    let before = world.store.to_snapshot();
    let error = world.write(write).unwrap_err();
    let after = world.store.to_snapshot();
    assert_eq!((before.services, before.nodes, before.tasks), (after.services, after.nodes, after.tasks), "a refusal changes nothing");
    (error.class, error.message)
}

fn check_spec(change: impl FnOnce(&mut ServiceSpec), class: Class, want: Expect) {
    let mut wanted = spec("web", 1);
    change(&mut wanted);
    let (got, message) = refused(&mut World::new(1), Write::CreateService { spec: Box::new(wanted) });
    want.assert_eq(&message);
    assert_eq!(got, class);
}

#[test]
fn names_follow_swarms_rules() {
    let invalid = Class::InvalidArgument;
    check_spec(|s| s.annotations.name.clear(), invalid, expect!["rpc error: code = InvalidArgument desc = meta: name must be provided"]);
    for name in ["-a", "a-", "a b", "a.b", "ä", "_a"] {
        let want = expect!["rpc error: code = InvalidArgument desc = name must be valid as a DNS name component"];
        check_spec(|s| s.annotations.name = name.into(), invalid, want);
    }
    let want = expect!["rpc error: code = InvalidArgument desc = name must be 63 characters or fewer"];
    check_spec(|s| s.annotations.name = "a".repeat(64), invalid, want);
    let mut world = World::new(1);
    world.create(spec("infinite_service", 0));
    world.create(spec(&"a".repeat(63), 0));
}

#[test]
fn specs_are_checked_field_by_field() {
    let bad = Class::InvalidArgument;
    check_spec(
        |s| s.mode = ServiceMode::Replicated { replicas: 1_000_000_000 },
        bad,
        expect!["rpc error: code = InvalidArgument desc = replicas: 1000000000 is too many; use a number up to 1000000"],
    );
    check_spec(
        |s| s.mode = ServiceMode::Replicated { replicas: u64::MAX },
        bad,
        expect!["rpc error: code = InvalidArgument desc = Number of replicas must be non-negative"],
    );
    let job = |max_concurrent, total_completions| ServiceMode::ReplicatedJob { max_concurrent, total_completions };
    for (mode, want) in [
        (job(u64::MAX, 1), expect!["rpc error: code = InvalidArgument desc = Maximum concurrent jobs must not be negative"]),
        (job(1, u64::MAX), expect!["rpc error: code = InvalidArgument desc = Total completed jobs must not be negative"]),
        (job(1, 1_000_001), expect!["rpc error: code = InvalidArgument desc = total completions: 1000001 is too many; use a number up to 1000000"]),
    ] {
        check_spec(|s| s.mode = mode, bad, want);
    }
    for mode in [job(1, 1), ServiceMode::GlobalJob] {
        let with_update = |s: &mut ServiceSpec| (s.mode, s.update) = (mode, Some(UpdateConfig::default()));
        check_spec(with_update, bad, expect!["rpc error: code = InvalidArgument desc = Jobs may not have an update config"]);
    }
    check_spec(|s| s.task.container.image.clear(), bad, expect!["rpc error: code = InvalidArgument desc = ContainerSpec: image reference must be provided"]);
    check_spec(
        |s| s.task.container.image = "No Image".into(),
        bad,
        expect![[r#"rpc error: code = InvalidArgument desc = ContainerSpec: "No Image" is not a valid repository/tag"#]],
    );
    check_spec(
        |s| s.task.resources.limits.nano_cpus = 500_000,
        bad,
        expect!["rpc error: code = InvalidArgument desc = invalid cpu value 0.0005: Must be at least 0.001"],
    );
    check_spec(
        |s| s.task.resources.reservations.memory_bytes = 1024,
        bad,
        expect!["rpc error: code = InvalidArgument desc = invalid memory value 1024: Must be at least 4MiB"],
    );
}

#[test]
fn what_a_task_asks_of_its_node_is_checked() {
    let bad = Class::InvalidArgument;
    let generic = |kind: &str| wsw_api::generic::GenericReservation { kind: kind.into(), value: 1 };
    check_spec(
        |s| s.task.resources.generic = vec![generic("gpu"), generic("a b")],
        bad,
        expect![[r#"rpc error: code = InvalidArgument desc = GenericResources: kind "a b" is not valid; use letters, digits and -_.:/"#]],
    );
    check_spec(
        |s| s.task.resources.generic = (0..65).map(|n| generic(&format!("k{n}"))).collect(),
        bad,
        expect!["rpc error: code = InvalidArgument desc = GenericResources: 65 kinds are too many; use at most 64"],
    );
    check_spec(
        |s| s.task.placement.constraints = vec!["node.role=manager".into()],
        bad,
        expect!["rpc error: code = InvalidArgument desc = constraint expected one operator from ==, !="],
    );
    check_spec(
        |s| s.task.placement.spread = vec!["zone".into()],
        bad,
        expect![
            "rpc error: code = InvalidArgument desc = placement preference: 'zone' is not a spread descriptor; use node.labels.<name> or engine.labels.<name>"
        ],
    );
    check_spec(
        |s| _ = s.task.container.labels.insert("wsw.wasm.queue".into(), "many".into()),
        bad,
        expect![[r#"label wsw.wasm.queue: "many" is not valid; use a number from 0 to 100000"#]],
    );
    check_spec(
        |s| s.update = Some(UpdateConfig { max_failure_ratio_ppm: 1_000_001, ..UpdateConfig::default() }),
        bad,
        expect!["rpc error: code = InvalidArgument desc = TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"],
    );
    // The bound is on the whole spec, so that the number grows with every field there is.
    let mut large = spec("web", 1);
    large.task.container.env = vec!["x".repeat(300_000)];
    let bytes = crate::size::encoded(&large);
    let (class, message) = refused(&mut World::new(1), Write::CreateService { spec: Box::new(large) });
    assert_eq!(message, format!("rpc error: code = InvalidArgument desc = service spec: {bytes} bytes are too many; use at most 262144"));
    assert!(class == bad && bytes > 300_000);
}

#[test]
fn endpoints_are_checked() {
    let bad = Class::InvalidArgument;
    check_spec(
        |s| s.endpoint.ports = vec![port(80, 0, PublishMode::Ingress)],
        bad,
        expect!["rpc error: code = InvalidArgument desc = EndpointSpec: a published port needs a target port from 1 to 65535"],
    );
    check_spec(
        |s| s.endpoint.ports = vec![port(80, 80, PublishMode::Ingress), port(80, 81, PublishMode::Host)],
        bad,
        expect!["rpc error: code = InvalidArgument desc = EndpointSpec: duplicate published ports provided"],
    );
    check_spec(
        |s| {
            s.endpoint.mode = EndpointMode::DnsRoundRobin;
            s.endpoint.ports = vec![port(80, 80, PublishMode::Ingress)];
        },
        bad,
        expect!["rpc error: code = InvalidArgument desc = EndpointSpec: port published with ingress mode can't be used with dnsrr mode"],
    );
}

#[test]
fn names_and_ports_belong_to_one_service() {
    let mut world = World::new(1);
    let mut wanted = spec("web", 1);
    wanted.endpoint.ports = vec![port(80, 8080, PublishMode::Ingress), port(81, 8080, PublishMode::Host)];
    let web = world.create(wanted.clone());
    let (class, message) = refused(&mut world, Write::CreateService { spec: Box::new(spec("web", 1)) });
    assert_eq!(class, Class::Conflict);
    assert_eq!(message, "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists");
    let mut with_port = |published, mode, protocol| {
        let mut wanted = spec("other", 0);
        wanted.endpoint.ports = vec![PortConfig { protocol, ..port(published, 80, mode) }];
        world.write(Write::CreateService { spec: Box::new(wanted) })
    };
    let message = with_port(80, PublishMode::Ingress, Protocol::Tcp).unwrap_err().message;
    assert_eq!(message, format!("rpc error: code = InvalidArgument desc = port '80' is already in use by service 'web' ({web}) as an ingress port"));
    assert!(with_port(80, PublishMode::Host, Protocol::Tcp).is_err());
    let message = with_port(81, PublishMode::Ingress, Protocol::Tcp).unwrap_err().message;
    assert_eq!(message, format!("rpc error: code = InvalidArgument desc = port '81' is already in use by service 'web' ({web}) as a host-published port"));
    assert!(with_port(80, PublishMode::Ingress, Protocol::Udp).is_ok(), "another protocol is another port");
    // Name and port are free as soon as the service is removed, although its task still runs.
    world.settle();
    world.write(Write::RemoveService { id: web }).unwrap();
    assert!(world.store.task_count() > 0);
    world.create(wanted);
}

#[test]
fn open_ports_get_numbers_and_keep_them() {
    let mut world = World::new(1);
    let mut wanted = spec("web", 1);
    wanted.endpoint.ports = vec![port(0, 80, PublishMode::Ingress), port(30_001, 81, PublishMode::Ingress), port(0, 82, PublishMode::Host)];
    let web = world.create(wanted.clone());
    let numbers = |world: &World, id: &ServiceId| world.store.service(id).unwrap().ports.iter().map(|port| port.published).collect::<Vec<_>>();
    assert_eq!(numbers(&world, &web), [30_000, 30_001, 0]);
    wanted.annotations.name = "second".into();
    wanted.endpoint.ports.remove(1);
    let second = world.create(wanted);
    assert_eq!(numbers(&world, &second), [30_002, 0]);
    let tasks = world.store.task_count();
    world.update(web, |spec| spec.endpoint.ports.insert(0, port(0, 90, PublishMode::Ingress)));
    assert_eq!(numbers(&world, &web), [30_003, 30_000, 30_001, 0], "the number stays with its target");
    assert!(world.store.task_count() > tasks, "another endpoint is another template");
    assert_eq!(world.store.port_owner(Protocol::Tcp, 30_003), Some(web));
}

#[test]
fn updates_are_checked_against_the_state() {
    let mut world = World::new(1);
    let web = world.create(spec("web", 1));
    let version = world.store.service(&web).unwrap().meta.version;
    let update = |spec: ServiceSpec, version, rollback| Write::UpdateService { id: web, version, spec: Box::new(spec), rollback };
    for (write, class, want) in [
        (update(spec("web", 2), version + 1, Rollback::No), Class::Conflict, "rpc error: code = Unknown desc = update out of sequence".to_owned()),
        (
            update(ServiceSpec { mode: ServiceMode::Global, ..spec("web", 1) }, version, Rollback::No),
            Class::Unimplemented,
            "rpc error: code = Unimplemented desc = service mode change is not allowed".to_owned(),
        ),
        (
            update(spec("other", 1), version, Rollback::No),
            Class::Unimplemented,
            "rpc error: code = Unimplemented desc = renaming services is not supported".to_owned(),
        ),
        (
            update(spec("web", 1), version, Rollback::Previous),
            Class::InvalidArgument,
            format!("rpc error: code = FailedPrecondition desc = service {web} does not have a previous spec"),
        ),
        (Write::RemoveService { id: service_id(9) }, Class::NotFound, format!("service {} not found", service_id(9))),
    ] {
        assert_eq!(refused(&mut world, write), (class, want));
    }
    world.write(Write::RemoveService { id: web }).unwrap();
    assert_eq!(refused(&mut world, Write::RemoveService { id: web }).0, Class::NotFound, "a removed service is not there any more");
}

#[test]
fn rollback_swaps_spec_and_template() {
    let mut world = World::new(1);
    let web = world.create(spec("web", 1));
    let first = world.store.service(&web).unwrap().template;
    world.settle();
    world.update(web, |spec| spec.task.container.image = "app:2".into());
    world.settle();
    let service = world.store.service(&web).unwrap().clone();
    let second = service.template;
    assert!(second > first);
    let spec = service.spec.clone();
    let write = Write::UpdateService { id: web, version: service.meta.version, spec: Box::new((*spec).clone()), rollback: Rollback::Previous };
    world.write(write).unwrap();
    let service = world.store.service(&web).unwrap().clone();
    assert_eq!((service.template, service.previous_template), (first, Some(second)));
    assert_eq!(service.spec.task.container.image, "app:latest");
    assert_eq!(service.update_status.clone().unwrap().message, "manually requested rollback");
    world.settle();
    assert_eq!(world.store.service(&web).unwrap().update_status.clone().unwrap().message, "rollback completed");
    // Going back by hand to what the previous spec says is the previous template, not a new one.
    world.update(web, |spec| spec.task.container.image = "app:2".into());
    assert_eq!(world.store.service(&web).unwrap().template, second);
}

#[test]
fn nodes_are_guarded() {
    let mut world = World::new(2);
    world.set_node(1, |node| {
        node.spec.role = NodeRole::Manager;
        node.manager = Some(wsw_api::object::ManagerStatus { raft_id: 1, addr: "127.0.0.1:2377".into() });
    });
    let worker = NodeSpec { annotations: Annotations::default(), role: NodeRole::Worker, availability: Availability::Active };
    let version = |world: &World, number| world.store.node(&node_id(number)).unwrap().meta.version;
    let demote = Write::UpdateNode { id: node_id(1), version: version(&world, 1), spec: Box::new(worker.clone()) };
    let want = "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm";
    assert_eq!(refused(&mut world, demote), (Class::InvalidArgument, want.into()));
    let want = format!(
        "rpc error: code = FailedPrecondition desc = node {} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
        node_id(1)
    );
    assert_eq!(refused(&mut world, Write::RemoveNode { id: node_id(1), force: true }), (Class::InvalidArgument, want));
    let want = format!("rpc error: code = FailedPrecondition desc = node {} is not down and can't be removed", node_id(2));
    assert_eq!(refused(&mut world, Write::RemoveNode { id: node_id(2), force: false }), (Class::InvalidArgument, want));
    assert_eq!(refused(&mut world, Write::RemoveNode { id: node_id(9), force: true }).1, format!("node {} not found", node_id(9)));
    let stale = Write::UpdateNode { id: node_id(2), version: version(&world, 2) + 1, spec: Box::new(worker.clone()) };
    assert_eq!(refused(&mut world, stale).1, "rpc error: code = Unknown desc = update out of sequence");
    let drain = NodeSpec { availability: Availability::Drain, ..worker };
    let drain = Write::UpdateNode { id: node_id(2), version: version(&world, 2), spec: Box::new(drain) };
    world.write(drain).unwrap();
    world.node_status(2, NodeState::Down);
    world.write(Write::RemoveNode { id: node_id(2), force: false }).unwrap();
    assert!(world.store.node(&node_id(2)).is_none());
}

#[test]
fn a_manager_is_promoted_enrolled_and_demoted_while_a_quorum_is_left() {
    let mut world = World::new(3);
    let update = |world: &World, number, role| {
        let node = world.store.node(&node_id(number)).unwrap();
        Write::UpdateNode { id: node.id, version: node.meta.version, spec: Box::new(NodeSpec { role, ..node.spec.clone() }) }
    };
    let enroll = |number: u64, raft_id| Write::EnrollManager { id: node_id(number), raft_id, addr: format!("10.0.0.{number}:2377") };
    assert!(refused(&mut world, enroll(1, 10)).1.ends_with("is not a manager"));
    for number in 1..=3 {
        let promote = update(&world, number, NodeRole::Manager);
        world.write(promote).unwrap();
        world.write(enroll(number, number * 10)).unwrap();
        let version = world.store.node(&node_id(number)).unwrap().meta.version;
        world.write(enroll(number, number * 10)).unwrap();
        assert_eq!(world.store.node(&node_id(number)).unwrap().meta.version, version, "said twice, changed once");
    }
    assert!(refused(&mut world, enroll(3, 20)).1.contains("Raft id 20"), "another's id");
    let wrong = Write::EnrollManager { id: node_id(3), raft_id: 31, addr: "nowhere".into() };
    assert!(refused(&mut world, wrong).1.contains("must be IP:PORT"));
    let heard = |ids: &[u64]| crate::membership::Seen {
        own: 10,
        voters: [10, 20, 30].into(),
        heard: ids.iter().copied().collect(),
        ..crate::membership::Seen::default()
    };
    let demote = update(&world, 2, NodeRole::Worker);
    assert!(super::check_demotion(&world.store, &heard(&[10, 20, 30]), &demote).is_ok());
    let want = "rpc error: code = FailedPrecondition desc = can't remove member from the raft: this would result in a loss of quorum";
    assert_eq!(super::check_demotion(&world.store, &heard(&[10, 20]), &demote).unwrap_err().message, want);
    // One that is demoted already is not counted on.
    let first = update(&world, 3, NodeRole::Worker);
    world.write(first).unwrap();
    assert_eq!(super::check_demotion(&world.store, &heard(&[10, 30]), &update(&world, 1, NodeRole::Worker)).unwrap_err().message, want);
}

#[test]
fn a_node_is_added_once() {
    let mut world = World::new(1);
    let add = |role| Write::AddNode { id: node_id(7), role, availability: Availability::Pause, hostname: "h7".into(), addr: "[::1]:2377".into() };
    for _ in 0..2 {
        world.write(add(NodeRole::Worker)).unwrap();
        let node = world.store.node(&node_id(7)).unwrap();
        assert_eq!((node.status.state, node.status.addr.as_str(), node.spec.availability), (NodeState::Unknown, "::1", Availability::Pause));
        assert_eq!(world.store.node_count(), 2);
    }
    assert_eq!(refused(&mut world, add(NodeRole::Manager)).0, Class::Conflict);
    let long = Write::AddNode { id: node_id(8), role: NodeRole::Worker, availability: Availability::Active, hostname: "h".repeat(256), addr: String::new() };
    assert_eq!(refused(&mut world, long).0, Class::InvalidArgument);
}

#[test]
fn the_cluster_keeps_its_name() {
    let mut world = World::new(1);
    let update = |name: &str| {
        let spec = ClusterSpec { annotations: Annotations { name: name.into(), ..Annotations::default() }, ..ClusterSpec::default() };
        Write::UpdateCluster {
            version: 0,
            spec: Box::new(spec),
            worker_token: None,
            manager_token: None,
            unlock_key: None,
            rotate_unlock_key: false,
            root: RootChange::Keep,
        }
    };
    assert_eq!(refused(&mut world, update("mine")).1, "rpc error: code = InvalidArgument desc = modification of cluster name is not allowed");
    assert_eq!(refused(&mut world, update("default")).0, Class::Unavailable, "before init there is nothing to update");
}

#[test]
fn a_cluster_has_an_unlock_key_while_autolock_is_on() {
    let mut world = World::new(1);
    world.apply(vec![wsw_api::entry::Change::PutCluster(Box::new(crate::fixture::cluster_object()))]);
    let mut update = |autolock: bool, key: &str, rotate_unlock_key: bool| {
        let old = world.store.cluster().unwrap();
        let (version, spec) = (old.meta.version, ClusterSpec { autolock, ..old.spec.clone() });
        let unlock_key = Some(wsw_api::unlock::UnlockKey::from_body(key));
        world
            .write(Write::UpdateCluster {
                version,
                spec: Box::new(spec),
                worker_token: None,
                manager_token: None,
                unlock_key,
                rotate_unlock_key,
                root: RootChange::Keep,
            })
            .unwrap();
        world.store.cluster().unwrap().unlock_key.as_ref().map(|key| key.body().to_owned())
    };
    assert_eq!(update(false, "a", true), None);
    assert_eq!(update(true, "b", false).as_deref(), Some("b"));
    assert_eq!(update(true, "c", false).as_deref(), Some("b"), "it stays");
    assert_eq!(update(true, "d", true).as_deref(), Some("d"));
    assert_eq!(update(false, "e", false), None);
    assert_eq!(update(true, "f", false).as_deref(), Some("f"));
}

#[test]
fn settings_of_the_cluster_have_bounds() {
    let mut world = World::new(1);
    world.apply(vec![wsw_api::entry::Change::PutCluster(Box::new(crate::fixture::cluster_object()))]);
    let mut update = |change: &dyn Fn(&mut ClusterSpec)| {
        let old = world.store.cluster().unwrap();
        let (version, mut spec) = (old.meta.version, old.spec.clone());
        change(&mut spec);
        world
            .write(Write::UpdateCluster {
                version,
                spec: Box::new(spec),
                worker_token: None,
                manager_token: None,
                unlock_key: None,
                rotate_unlock_key: false,
                root: RootChange::Keep,
            })
            .map_err(|err| err.message)
    };
    update(&|spec| spec.heartbeat_period = 5_000_000_000).unwrap();
    update(&|spec| (spec.task_history_limit, spec.snapshot_interval) = (-1, 7)).unwrap();
    let want = "rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s";
    assert_eq!(update(&|spec| spec.node_cert_expiry = 3_599_000_000_000).unwrap_err(), want);
    let want = "rpc error: code = InvalidArgument desc = Dispatcher.HeartbeatPeriod: use a heartbeat period of at least 100ms";
    assert_eq!(update(&|spec| spec.heartbeat_period = 1).unwrap_err(), want);
    let spec = &world.store.cluster().unwrap().spec;
    assert_eq!((spec.heartbeat_period, spec.task_history_limit, spec.snapshot_interval), (5_000_000_000, -1, 7));
}
