//! Writes to services: create, update, roll back, remove.
//!
//! Owns: when a template gets a new version, when a job a new iteration, and what becomes the previous spec.
//! Invariant: a template is immutable; equal content (task spec and endpoint with its numbers) is the same version.

use super::{Code, Decision, Mint, network, out_of_sequence, ports, refuse, validate};
use crate::Store;
use std::mem::discriminant;
use std::sync::Arc;
use wsw_api::control::Rollback;
use wsw_api::entry::{Change, Guard, Outcome};
use wsw_api::error::{Error, Result};
use wsw_api::id::ServiceId;
use wsw_api::object::{JobStatus, Meta, Service, Template, UpdateState, UpdateStatus};
use wsw_api::spec::{EndpointSpec, PortConfig, PublishMode, ServiceSpec};
use wsw_api::time::Time;

pub(super) fn create(view: &Store, spec: &ServiceSpec, now: Time, mint: &mut Mint<'_>) -> Result<Decision> {
    validate::service(spec)?;
    ports::check(view, &spec.endpoint, None)?;
    let name = spec.annotations.name.clone();
    if view.service_by_name(&name).is_some() {
        return Err(refuse(Code::AlreadyExists, format!("name conflicts with an existing object: service {name} already exists")));
    }
    let id = ServiceId::from_bytes(mint());
    let ports = ports::allocate(view, &spec.endpoint, &[])?;
    let version = next_version(view, &id);
    let mut guards = vec![Guard::ServiceNameAbsent(name)];
    guards.extend(network::attachments(view, &spec.task.networks)?);
    guards.extend(port_guards(id, &ports));
    let service = Service {
        id,
        meta: Meta::default(),
        spec: Arc::new(spec.clone()),
        previous_spec: None,
        template: version,
        previous_template: None,
        ports: ports.clone(),
        update_status: None,
        pending_delete: false,
        job: spec.mode.is_job().then_some(JobStatus { iteration: 0, last_execution: now }),
    };
    let changes = vec![Change::PutTemplate(template(&service, version)), Change::PutService(Box::new(service))];
    Ok(Decision { guards, changes, outcome: Outcome::ServiceCreated { id, warnings: Vec::new() } })
}

pub(super) fn update(view: &Store, id: &ServiceId, version: u64, spec: &ServiceSpec, rollback: Rollback, now: Time) -> Result<Decision> {
    if rollback == Rollback::No {
        validate::service(spec)?;
    }
    let old = find(view, id)?;
    let mut service = (**old).clone();
    if rollback == Rollback::No {
        if discriminant(&old.spec.mode) != discriminant(&spec.mode) {
            return Err(refuse(Code::Unimplemented, "service mode change is not allowed"));
        }
        if old.spec.annotations.name != spec.annotations.name {
            return Err(refuse(Code::Unimplemented, "renaming services is not supported"));
        }
        service.previous_spec = Some(old.spec.clone());
        service.spec = Arc::new(spec.clone());
        service.update_status = None;
    } else {
        let Some(previous) = old.previous_spec.clone() else {
            return Err(refuse(Code::FailedPrecondition, format!("service {id} does not have a previous spec")));
        };
        service.previous_spec = Some(std::mem::replace(&mut service.spec, previous));
        let message = "manually requested rollback".to_owned();
        service.update_status = Some(UpdateStatus { state: UpdateState::RollbackStarted, started_at: now, completed_at: None, message });
    }
    if old.meta.version != version {
        return Err(out_of_sequence());
    }
    // Each update of a job runs it again, also one that changes nothing.
    service.job = old.spec.mode.is_job().then(|| JobStatus { iteration: old.job.map_or(0, |job| job.iteration + 1), last_execution: now });
    if service.spec.endpoint != old.spec.endpoint {
        ports::check(view, &service.spec.endpoint, Some(id))?;
    }
    service.ports = ports::allocate(view, &service.spec.endpoint, &old.ports)?;
    service.previous_template = Some(old.template);
    let mut changes = Vec::new();
    service.template = match same_template(view, old, &service) {
        Some(known) => known,
        None => {
            let version = next_version(view, id);
            changes.push(Change::PutTemplate(template(&service, version)));
            version
        }
    };
    let mut guards = vec![Guard::ServiceExists(*id), Guard::ServiceVersion(*id, version)];
    guards.extend(network::attachments(view, &service.spec.task.networks)?);
    guards.extend(port_guards(*id, &service.ports));
    changes.push(Change::PutService(Box::new(service)));
    Ok(Decision { guards, changes, outcome: Outcome::Warnings(Vec::new()) })
}

pub(super) fn remove(view: &Store, id: &ServiceId) -> Result<Decision> {
    let mut service = (**find(view, id)?).clone();
    service.pending_delete = true;
    service.previous_spec = None;
    service.previous_template = None;
    service.update_status = None;
    let changes = vec![Change::PutService(Box::new(service))];
    Ok(Decision { guards: vec![Guard::ServiceExists(*id)], changes, outcome: Outcome::Done })
}

fn find<'a>(view: &'a Store, id: &ServiceId) -> Result<&'a Arc<Service>> {
    view.service(id).filter(|service| !service.pending_delete).ok_or_else(|| Error::not_found(format!("service {id} not found")))
}

fn port_guards(id: ServiceId, ports: &[PortConfig]) -> impl Iterator<Item = Guard> + '_ {
    ports.iter().filter(|port| port.mode == PublishMode::Ingress).map(move |port| Guard::PortFree(id, port.protocol, port.published))
}

/// Higher than any version that the service ever had: a worker may still know a template that was dropped here.
fn next_version(view: &Store, id: &ServiceId) -> u64 {
    view.last_template(id).max(view.index()) + 1
}

fn template(service: &Service, version: u64) -> Arc<Template> {
    Arc::new(Template {
        service: service.id,
        version,
        annotations: service.spec.annotations.clone(),
        spec: Arc::new(service.spec.task.clone()),
        endpoint: EndpointSpec { mode: service.spec.endpoint.mode, ports: service.ports.clone() },
    })
}

/// The version among the two that the service knows whose content is the new one: going back by hand replaces no task that
/// never left the old template.
fn same_template(view: &Store, old: &Service, new: &Service) -> Option<u64> {
    [Some(old.template), old.previous_template].into_iter().flatten().find(|version| {
        view.template(&old.id, *version)
            .is_some_and(|known| *known.spec == new.spec.task && known.endpoint.mode == new.spec.endpoint.mode && known.endpoint.ports == new.ports)
    })
}
