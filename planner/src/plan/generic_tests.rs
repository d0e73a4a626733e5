//! Named scenarios of generic resources: who gets which, who waits, what happens when a node has less of them.

use crate::fixture::{World, node, node_id, spec};
use expect_test::{Expect, expect};
use std::sync::Arc;
use wsw_api::entry::Change;
use wsw_api::generic::{self, GenericReservation, GenericResource};
use wsw_api::id::ServiceId;
use wsw_api::spec::{ServiceMode, ServiceSpec};

fn offer(world: &mut World, number: u64, terms: &[&str]) {
    let terms: Vec<String> = terms.iter().map(|term| (*term).to_owned()).collect();
    world.set_node(number, |node| Arc::make_mut(&mut node.description).generic = generic::parse(&terms).unwrap());
    world.settle();
}

fn wanting(name: &str, replicas: u64, wants: &[(&str, u64)]) -> ServiceSpec {
    let mut wanted = spec(name, replicas);
    wanted.task.resources.generic = wants.iter().map(|(kind, value)| GenericReservation { kind: (*kind).to_owned(), value: *value }).collect();
    wanted
}

/// What each live task of the service was given.
fn given(world: &World, service: ServiceId) -> Vec<String> {
    let live = world.store.tasks_of_service(&service).filter(|task| task.is_placed() && task.status.state.is_live());
    live.map(|task| generic::environment(task.claims.as_deref().unwrap_or_default()).join(" ").replace("DOCKER_RESOURCE_", "")).collect()
}

fn shows(world: &World, service: ServiceId, want: Expect) {
    want.assert_eq(&world.show(service));
}

#[test]
fn numbers_and_names_are_given_once_and_given_back() {
    let mut world = World::new(2);
    offer(&mut world, 1, &["gpu=a", "gpu=b", "gpu=c", "ssd=2"]);
    let web = world.create(wanting("web", 3, &[("ssd", 1), ("gpu", 1)]));
    shows(
        &world,
        web,
        expect![[r#"
            1 n1 running assigned
            2 n1 running assigned
            3 - running pending [no suitable node (insufficient resources on 2 nodes)]
        "#]],
    );
    assert_eq!(given(&world, web), ["GPU=a SSD=1", "GPU=b SSD=1"]);
    let both = world.create(wanting("both", 1, &[("gpu", 2)]));
    shows(
        &world,
        both,
        expect![[r#"
            1 - running pending [no suitable node (insufficient resources on 2 nodes)]
        "#]],
    );
    world.settle();
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
    assert_eq!(given(&world, both), Vec::<String>::new(), "what is stopping still has it");
    world.settle();
    assert_eq!(given(&world, web), ["GPU=a SSD=1"]);
    assert_eq!(given(&world, both), ["GPU=b,c"]);
    // Nodes with enough of it are all that counts.
    offer(&mut world, 2, &["gpu=9"]);
    let many = world.create(wanting("many", 2, &[("gpu", 3), ("gpu", 1)]));
    assert_eq!(given(&world, many), ["GPU=3,1", "GPU=3,1"]);
}

#[test]
fn a_node_that_has_less_loses_the_youngest_and_another_kind_is_another() {
    let mut world = World::new(1);
    offer(&mut world, 1, &["gpu=a", "gpu=b"]);
    let web = world.create(wanting("web", 2, &[("gpu", 1)]));
    world.settle();
    offer(&mut world, 1, &["gpu=b"]);
    assert_eq!(given(&world, web), ["GPU=b"]);
    assert!(world.show(web).contains("rejected [assigned node no longer meets constraints]"), "{}", world.show(web));
    offer(&mut world, 1, &["gpu=1"]);
    assert_eq!(given(&world, web), ["GPU=1"], "names became a number: {}", world.show(web));
    offer(&mut world, 1, &["fpga=7"]);
    assert_eq!(given(&world, web), Vec::<String>::new());
    offer(&mut world, 1, &["gpu=c,gpu=d"]);
    assert_eq!(given(&world, web), ["GPU=c", "GPU=d"]);
}

#[test]
fn a_global_service_waits_where_it_is_not_to_be_had() {
    let mut world = World::new(2);
    offer(&mut world, 1, &["gpu=1"]);
    let agent = world.create(ServiceSpec { mode: ServiceMode::Global, ..wanting("agent", 0, &[("gpu", 1)]) });
    world.settle();
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 running running
            0 n2 running pending [insufficient resources on 1 node]
        "#]],
    );
    offer(&mut world, 2, &["gpu=x"]);
    assert_eq!(given(&world, agent), ["GPU=1", "GPU=x"]);
}

#[test]
fn many_claims_are_one_column_and_named_ones_are_cut_like_others() {
    let mut world = World::new(1);
    world.set_node(1, |node| Arc::make_mut(&mut node.description).generic = generic::parse(&["seat=5000".to_owned()]).unwrap());
    let (store, mut agenda) = (world.store.clone(), crate::Agenda::default());
    let create = wsw_api::control::Write::CreateService { spec: Box::new(wanting("web", 5_000, &[("seat", 1)])) };
    let request = wsw_api::control::Request { id: Default::default(), write: create };
    let mut draft = crate::Draft::new(&store, world.now);
    let mut mint = crate::fixture::counter(6);
    draft.write(&request, &mut mint).unwrap();
    let plan = draft.plan(&mut agenda, &mut mint);
    assert_eq!(plan.changes().filter(|change| matches!(change, Change::Claim { .. })).count(), 1);
    for entry in draft.finish() {
        assert!(rmp_serde::to_vec(&entry).unwrap().len() <= wsw_api::entry::MAX_ENTRY_BYTES);
        world.commit(&entry);
    }
    assert!(world.store.tasks().all(|task| task.claims.is_some()));
    // Long names, one for each task.
    let mut wide = node(2);
    let name = |n: usize| GenericResource::Named { kind: "gpu".into(), name: format!("{n:0>120}") };
    Arc::make_mut(&mut wide.description).generic = (0..generic::MAX_RESOURCES).map(name).collect();
    world.apply(vec![Change::PutNode(Box::new(wide))]);
    let named = world.create(wanting("named", generic::MAX_RESOURCES as u64, &[("gpu", 1)]));
    let mut names = given(&world, named);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), generic::MAX_RESOURCES);
    assert_eq!(world.store.placed(&named).map(|(node, _)| node).collect::<Vec<_>>(), [node_id(2)]);
}
