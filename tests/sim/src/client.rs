//! Clients: they write services through any manager, read them, and remember what they were answered (`history`).
//!
//! Invariants: a write is retried under one id; an answer that is no refusal and no success leaves the outcome open; each update adds a label
//! and sets the number of replicas in one write; a read is held against what was acknowledged before it began.

use crate::chance;
use crate::history::{Fate, History};
use crate::host::Common;
use crate::plant::Plant;
use crate::trace::event;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::sleep;
use wsw_api::control::{Request, Rollback, Write};
use wsw_api::entry::Outcome;
use wsw_api::error::Class;
use wsw_api::id::RequestId;
use wsw_api::object::Service;
use wsw_api::spec::{
    Annotations, ContainerSpec, EndpointSpec, Placement, PortConfig, RestartPolicy, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig, UpdateOrder,
};
use wsw_api::time::SECOND;

/// Tries of one write before its client gives up.
const TRIES: usize = 4;
/// So many answers in a thousand never arrive.
const LOST: u64 = 30;
/// Services that there are at most.
const SERVICES: usize = 5;

/// Carries a write to some manager, and to others when that one does not know.
pub async fn ask(common: &Common, write: Write) -> Fate {
    let mut request = Request { id: RequestId::from_bytes(chance::id()), write };
    let anew = common.plant == Some(Plant::RetriesAnew);
    let lost = if anew { 250 } else { LOST };
    for _ in 0..TRIES {
        if anew {
            request.id = RequestId::from_bytes(chance::id());
        }
        let doors: Vec<_> = (0..16).filter_map(|host| common.net.door(host)).collect();
        if let Some(door) = chance::one(&doors) {
            let (manager, request) = (door.manager.clone(), request.clone());
            let asked = door.machine.spawn(async move { manager.request(request).await });
            drop((door, doors));
            match asked.await {
                // Now and then the answer is lost: the same request is answered the same.
                Ok(Ok(outcome)) if !chance::per_mille(lost) => return Fate::Done(outcome),
                Ok(Err(error)) if error.class != Class::Unavailable => return Fate::Refused(error.message),
                Ok(_) | Err(_) => {}
            }
        }
        sleep(chance::millis(50, 800)).await;
    }
    Fate::Open
}

/// One client, until it is aborted.
pub async fn run(common: Arc<Common>, history: Arc<History>, number: usize) {
    let mut next = 0;
    loop {
        sleep(chance::millis(30, 900)).await;
        let doors: Vec<_> = (0..16).filter_map(|host| common.net.door(host)).collect();
        let Some(store) = chance::one(&doors).map(|door| door.manager.store()) else { continue };
        drop(doors);
        let services: Vec<Arc<Service>> = store.services().filter(|service| !service.pending_delete).cloned().collect();
        next += 1;
        let name = format!("s{number}-{next}");
        match (chance::one(&services), chance::below(10)) {
            (Some(service), 0) => remove(&common, &history, &service).await,
            (Some(service), roll) if roll < 7 || services.len() >= SERVICES => update(&common, &history, &service, &name).await,
            (None, _) | (Some(_), _) => create(&common, &history, name).await,
        }
    }
}

async fn create(common: &Common, history: &History, name: String) {
    let spec = spec(&name);
    history.note(&name, |record| record.created = Some(Fate::Open));
    let fate = ask(common, Write::CreateService { spec: Box::new(spec) }).await;
    event!(common.trace, "create {name}: {fate:?}");
    history.note(&name, |record| {
        if let Fate::Done(Outcome::ServiceCreated { id, .. }) = &fate {
            record.id = Some(*id);
        }
        record.created = Some(fate);
    });
}

async fn update(common: &Common, history: &History, service: &Service, label: &str) {
    let mut spec = (*service.spec).clone();
    spec.annotations.labels.insert(label.to_owned(), String::new());
    if let ServiceMode::Replicated { replicas } = &mut spec.mode {
        *replicas = chance::below(6) as u64;
        spec.annotations.labels.insert("replicas".into(), replicas.to_string());
    }
    if chance::below(5) == 0 {
        spec.task.container.image = format!("app:{label}");
    }
    history.note(service.name(), |record| drop(record.labels.insert(label.to_owned(), Fate::Open)));
    let (id, version) = (service.id, service.meta.version);
    let fate = ask(common, Write::UpdateService { id, version, spec: Box::new(spec), rollback: Rollback::No }).await;
    event!(common.trace, "update {} with {label}: {fate:?}", service.name());
    history.note(service.name(), |record| drop(record.labels.insert(label.to_owned(), fate)));
}

async fn remove(common: &Common, history: &History, service: &Service) {
    history.note(service.name(), |record| record.removed = record.removed.take().or(Some(Fate::Open)));
    let fate = ask(common, Write::RemoveService { id: service.id }).await;
    event!(common.trace, "remove {}: {fate:?}", service.name());
    history.note(service.name(), |record| {
        if matches!(fate, Fate::Done(_)) {
            record.removed = Some(fate);
        }
    });
}

fn spec(name: &str) -> ServiceSpec {
    let replicas = chance::below(5) as u64;
    let mode = match chance::below(8) {
        0 => ServiceMode::Global,
        1 => ServiceMode::ReplicatedJob { max_concurrent: 1 + replicas, total_completions: 1 + 2 * replicas },
        _ => ServiceMode::Replicated { replicas },
    };
    let mut labels = BTreeMap::new();
    if matches!(mode, ServiceMode::Replicated { .. }) {
        labels.insert("replicas".to_owned(), replicas.to_string());
    }
    let restart = RestartPolicy { delay: chance::below(3) as u64 * SECOND / 2, ..RestartPolicy::default() };
    let max_replicas = if chance::below(6) == 0 && !mode.is_global() { 4 } else { 0 };
    let order = if chance::below(2) == 0 { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst };
    let update = Some(UpdateConfig { parallelism: chance::below(3) as u64, monitor: SECOND, order, ..UpdateConfig::default() });
    let published =
        if chance::below(4) == 0 { vec![PortConfig { target: 80, published: 8_000 + chance::below(3) as u16, ..PortConfig::default() }] } else { Vec::new() };
    ServiceSpec {
        annotations: Annotations { name: name.to_owned(), labels },
        task: TaskSpec {
            container: ContainerSpec { image: "app:1".into(), ..ContainerSpec::default() },
            restart,
            placement: Placement { max_replicas, ..Placement::default() },
            ..TaskSpec::default()
        },
        mode,
        update: update.filter(|_| !mode.is_job()),
        rollback: None,
        endpoint: EndpointSpec { ports: if mode.is_job() { Vec::new() } else { published }, ..EndpointSpec::default() },
    }
}

/// One that reads, wherever it can, until it is aborted: what was acknowledged before is there.
pub async fn read(common: Arc<Common>, history: Arc<History>) {
    loop {
        sleep(chance::millis(20, 700)).await;
        let doors: Vec<_> = (0..16).filter_map(|host| common.net.door(host)).collect();
        let Some(door) = chance::one(&doors) else { continue };
        drop(doors);
        let (before, manager, stale) = (history.acknowledged(), door.manager.clone(), common.plant == Some(Plant::ReadsStale));
        let asked = door.machine.spawn(async move { if stale { Ok(manager.store()) } else { manager.read_surely().await } });
        drop(door);
        if let Ok(Ok(store)) = asked.await
            && let Some(missing) = history.missing(&before, &store)
        {
            common.checks.fail(format!("a read at index {} does not see {missing}", store.index()));
        }
    }
}
