//! Named scenarios of placement: filters, preferences, what cannot be placed, and how a large plan is cut.

use crate::fixture::{World, node_id, spec};
use expect_test::expect;
use wsw_api::control::Write;
use wsw_api::entry::{Applied, MAX_ENTRY_BYTES};
use wsw_api::spec::{Availability, Platform};
use wsw_api::task::{Task, TaskState};

#[test]
fn what_cannot_be_placed_says_why_and_is_placed_when_there_is_room() {
    let mut world = World::new(2);
    let mut wanted = spec("big", 3);
    wanted.task.resources.reservations.memory_bytes = 6 << 30;
    let big = world.create(wanted);
    expect![[r#"
        1 n1 running assigned
        2 n2 running assigned
        3 - running pending [no suitable node (insufficient resources on 2 nodes)]
    "#]]
    .assert_eq(&world.show(big));
    world.settle();
    world.set_node(1, |node| node.spec.availability = Availability::Pause);
    world.plan();
    expect![[r#"
        1 n1 running running
        2 n2 running running
        3 - running pending [no suitable node (1 node not available for new tasks; insufficient resources on 1 node)]
    "#]]
    .assert_eq(&world.show(big));
    let mut node = crate::fixture::node(3);
    node.description = std::sync::Arc::new(wsw_api::object::NodeDescription { hostname: "n3".into(), ..(*node.description).clone() });
    world.apply(vec![wsw_api::entry::Change::PutNode(Box::new(node))]);
    world.plan();
    expect![[r#"
        1 n1 running running
        2 n2 running running
        3 n3 running assigned
    "#]]
    .assert_eq(&world.show(big));
}

#[test]
fn a_node_gets_no_more_tasks_than_it_holds() {
    let mut world = World::new(2);
    for number in [1, 2] {
        world.set_node(number, |node| {
            let mut said = (*node.description).clone();
            said.resources.pids = 2;
            node.description = std::sync::Arc::new(said);
        });
    }
    let many = world.create(spec("many", 5));
    expect![[r#"
        1 n1 running assigned
        2 n2 running assigned
        3 n1 running assigned
        4 n2 running assigned
        5 - running pending [no suitable node (insufficient resources on 2 nodes)]
    "#]]
    .assert_eq(&world.show(many));
}

#[test]
fn constraints_platforms_and_max_replicas_filter() {
    let mut world = World::new(3);
    world.set_node(1, |node| _ = node.spec.annotations.labels.insert("zone".into(), "east".into()));
    world.plan();
    let mut wanted = spec("east", 2);
    wanted.task.placement.constraints = vec!["node.labels.zone==east".into()];
    wanted.task.placement.max_replicas = 1;
    let east = world.create(wanted);
    expect![[r#"
        1 n1 running assigned
        2 - running pending [no suitable node (scheduling constraints not satisfied on 2 nodes; max replicas per node limit exceed)]
    "#]]
    .assert_eq(&world.show(east));
    let mut arm = spec("arm", 1);
    arm.task.placement.platforms = vec![Platform { os: "linux".into(), architecture: "arm64".into() }];
    let arm = world.create(arm);
    expect![[r#"
        1 - running pending [no suitable node (unsupported platform on 3 nodes)]
    "#]]
    .assert_eq(&world.show(arm));
    let mut wasm = spec("wasm", 1);
    wasm.task.placement.platforms = vec![Platform { os: "wasi".into(), architecture: "wasm".into() }];
    let wasm = world.create(wasm);
    assert!(world.store.tasks_of_service(&wasm).all(|task| task.node.is_some()));
    // The label goes: its task is rejected, and its successor finds no node.
    world.settle();
    world.set_node(1, |node| node.spec.annotations.labels.clear());
    world.plan();
    expect![[r#"
        1 - running pending [no suitable node (scheduling constraints not satisfied on 3 nodes)]
        1 n1 shutdown rejected [assigned node no longer meets constraints]
        2 - running pending [no suitable node (scheduling constraints not satisfied on 3 nodes)]
    "#]]
    .assert_eq(&world.show(east));
}

#[test]
fn spread_preferences_give_equal_shares() {
    let mut world = World::new(4);
    for number in 1..=4 {
        let zone = if number == 4 { "b" } else { "a" };
        world.set_node(number, |node| _ = node.spec.annotations.labels.insert("zone".into(), zone.into()));
    }
    world.plan();
    let mut wanted = spec("web", 6);
    wanted.task.placement.spread = vec!["node.labels.zone".into()];
    let web = world.create(wanted);
    let placed: Vec<u32> = world.store.placed(&web).map(|(_, placed)| placed.active).collect();
    assert_eq!(placed, [1, 1, 1, 3], "three in each zone");
}

#[test]
fn many_tasks_spread_evenly_over_many_nodes() {
    let mut world = World::new(200);
    let first = world.create(spec("first", 100));
    let web = world.create(spec("web", 1_100));
    assert!(world.store.placed(&web).all(|(_, placed)| (5..=6).contains(&placed.active)));
    // The nodes that got the sixth task are those without a task of the other service.
    let with_first: Vec<_> = world.store.placed(&first).map(|(node, _)| node).collect();
    assert!(world.store.placed(&web).all(|(node, placed)| (placed.active == 5) == with_first.contains(&node)));
}

#[test]
fn nodes_on_which_the_service_fails_come_last() {
    let mut world = World::new(2);
    let mut wanted = spec("web", 6);
    wanted.task.restart.delay = 0;
    let web = world.create(wanted);
    world.settle();
    let failing: Vec<Task> = world.store.tasks_on_node(&node_id(1)).map(|task| (**task).clone()).collect();
    for task in failing {
        world.say(&task, TaskState::Failed);
    }
    world.plan();
    assert_eq!(world.store.placed(&web).map(|(_, placed)| placed.active).collect::<Vec<_>>(), [3, 3], "three failures are few");
    for _ in 0..2 {
        world.settle();
        let task = world.store.tasks_on_node(&node_id(1)).find(|task| task.is_runnable()).map(|task| (**task).clone()).unwrap();
        world.say(&task, TaskState::Failed);
        world.plan();
    }
    assert_eq!(world.store.placed(&web).map(|(_, placed)| placed.active).collect::<Vec<_>>(), [2, 4], "five are not");
}

#[test]
fn a_large_plan_is_cut_at_slots_and_each_piece_is_small_enough() {
    let mut world = World::new(50);
    let web = world.create(spec("web", 11_000));
    assert_eq!(world.store.task_count_of_service(&web), 11_000);
    let (store, id) = (world.store.clone(), web);
    world.update(web, |spec| spec.task.force_update = 1);
    let mut draft = crate::Draft::new(&store, world.now);
    let old = store.service(&id).unwrap();
    let (version, mut spec) = (old.meta.version, (*old.spec).clone());
    spec.task.force_update = 1;
    let write = Write::UpdateService { id, version, spec: Box::new(spec), rollback: Default::default() };
    let request = wsw_api::control::Request { id: wsw_api::id::RequestId::default(), write };
    let mut mint = crate::fixture::counter(6);
    draft.write(&request, &mut mint).unwrap();
    let plan = draft.plan(&mut crate::Agenda::default(), &mut mint);
    assert!(plan.pieces.len() >= 2);
    let mut copy = store.clone();
    for entry in draft.finish() {
        assert!(rmp_serde::to_vec(&entry).unwrap().len() <= MAX_ENTRY_BYTES);
        assert_eq!(copy.apply(copy.index() + 1, &entry), Applied::Done);
        let mut runnable = std::collections::BTreeMap::new();
        copy.tasks_of_service(&id).filter(|task| task.is_runnable()).for_each(|task| *runnable.entry(task.slot).or_insert(0) += 1);
        assert!(runnable.len() == 11_000 && runnable.values().all(|count| *count == 1), "each entry keeps the property by itself");
    }
    let tasks: Vec<&std::sync::Arc<Task>> = world.store.tasks_of_service(&web).collect();
    assert_eq!(tasks.len(), 22_000);
    for slot in tasks.chunk_by(|a, b| a.slot == b.slot) {
        assert_eq!(slot.iter().filter(|task| task.is_runnable()).count(), 1, "slot {}", slot[0].slot);
    }
}
