//! Services: spec both ways, the object and its counts to the API.
//!
//! Owns: mode, update settings and ports. The task template is in [`super::task_spec`].

use super::{go_nanos, non_negative, some_text, task_spec, time};
use crate::model::{self, service as api};
use wsw_api::spec::{
    Annotations, EndpointMode, EndpointSpec, FailureAction, PortConfig, Protocol, PublishMode, ServiceMode, ServiceSpec, UpdateConfig, UpdateOrder,
};
use wsw_api::{Error, Result, Service, Task, TaskState, object};
use wsw_planner::Store;

/// Millionths in one: ratios are stored as integers.
const PPM: f64 = 1_000_000.0;

/// A spec from the API.
pub fn read(spec: api::ServiceSpec) -> Result<ServiceSpec> {
    let task = spec.task.ok_or_else(|| Error::invalid("TaskTemplate: must be provided"))?;
    Ok(ServiceSpec {
        annotations: Annotations { name: spec.name.unwrap_or_default(), labels: spec.labels.unwrap_or_default() },
        task: task_spec::read(task)?,
        mode: read_mode(spec.mode.unwrap_or_default())?,
        update: spec.update.map(|config| read_update("UpdateConfig", config)).transpose()?,
        rollback: spec.rollback.map(|config| read_update("RollbackConfig", config)).transpose()?,
        endpoint: read_endpoint(spec.endpoint.unwrap_or_default())?,
    })
}

fn read_mode(mode: api::Mode) -> Result<ServiceMode> {
    match (mode.replicated, mode.global, mode.replicated_job, mode.global_job) {
        (None, None, None, None) => Ok(ServiceMode::Replicated { replicas: 1 }),
        (Some(replicated), None, None, None) => Ok(ServiceMode::Replicated { replicas: replicated.replicas.unwrap_or(1) }),
        (None, Some(_), None, None) => Ok(ServiceMode::Global),
        (None, None, Some(job), None) => {
            let max_concurrent = job.max_concurrent.unwrap_or(1);
            Ok(ServiceMode::ReplicatedJob { max_concurrent, total_completions: job.total_completions.unwrap_or(max_concurrent) })
        }
        (None, None, None, Some(_)) => Ok(ServiceMode::GlobalJob),
        _ => Err(Error::invalid("Mode: must specify only one service mode")),
    }
}

fn read_update(path: &str, config: api::UpdateConfig) -> Result<UpdateConfig> {
    let failure_action = match config.failure_action.as_deref() {
        None | Some("" | "pause") => FailureAction::Pause,
        Some("continue") => FailureAction::Continue,
        Some("rollback") if path == "UpdateConfig" => FailureAction::Rollback,
        Some(other) => return Err(Error::invalid(format!("{path}.FailureAction: unrecognized update failure action {other}"))),
    };
    let order = match config.order.as_deref() {
        None | Some("" | "stop-first") => UpdateOrder::StopFirst,
        Some("start-first") => UpdateOrder::StartFirst,
        Some(other) => return Err(Error::invalid(format!("{path}.Order: invalid value {other:?}; use stop-first or start-first"))),
    };
    let ratio = config.max_failure_ratio.unwrap_or_default().0;
    if !(0.0..=1.0).contains(&ratio) {
        return Err(Error::invalid(format!("{path}.MaxFailureRatio: cannot be less than 0 or bigger than 1")));
    }
    // zero and absent are the same to Go
    let monitor = non_negative(&format!("{path}.Monitor"), config.monitor)?;
    Ok(UpdateConfig {
        parallelism: config.parallelism.unwrap_or_default(),
        delay: non_negative(&format!("{path}.Delay"), config.delay)?,
        failure_action,
        monitor: if monitor == 0 { UpdateConfig::default().monitor } else { monitor },
        max_failure_ratio_ppm: (ratio * PPM).round() as u32,
        order,
    })
}

fn read_endpoint(spec: api::EndpointSpec) -> Result<EndpointSpec> {
    let mode = match spec.mode.as_deref() {
        None | Some("" | "vip") => EndpointMode::Vip,
        Some("dnsrr") => EndpointMode::DnsRoundRobin,
        Some(other) => return Err(Error::invalid(format!("EndpointSpec.Mode: invalid value {other:?}; use vip or dnsrr"))),
    };
    let ports = spec.ports.unwrap_or_default().into_iter().map(read_port).collect::<Result<_>>()?;
    Ok(EndpointSpec { mode, ports })
}

fn read_port(port: api::Port) -> Result<PortConfig> {
    let protocol = match port.protocol.as_deref() {
        None | Some("" | "tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some("sctp") => Protocol::Sctp,
        Some(other) => return Err(Error::invalid(format!("EndpointSpec.Ports.Protocol: invalid value {other:?}; use tcp, udp or sctp"))),
    };
    let mode = match port.mode.as_deref() {
        None | Some("" | "ingress") => PublishMode::Ingress,
        Some("host") => PublishMode::Host,
        Some(other) => return Err(Error::invalid(format!("EndpointSpec.Ports.PublishMode: invalid value {other:?}; use ingress or host"))),
    };
    let number = |field: &str, value: Option<u32>| {
        let value = value.unwrap_or_default();
        u16::try_from(value).map_err(|_| Error::invalid(format!("EndpointSpec.Ports.{field}: {value} is not a port number (at most 65535)")))
    };
    let (target, published) = (number("TargetPort", port.target)?, number("PublishedPort", port.published)?);
    Ok(PortConfig { name: port.name.unwrap_or_default(), protocol, target, published, mode })
}

/// A spec to the API; `defaults` fills in what the user left open.
pub fn write(spec: &ServiceSpec, defaults: bool) -> api::ServiceSpec {
    let is_job = spec.mode.is_job();
    let filled = |config: &Option<UpdateConfig>| config.or_else(|| (defaults && !is_job).then(UpdateConfig::default)).map(|config| write_update(&config));
    api::ServiceSpec {
        name: Some(spec.annotations.name.clone()),
        labels: Some(spec.annotations.labels.clone()),
        task: Some(task_spec::write(&spec.task, defaults)),
        mode: Some(write_mode(spec.mode)),
        update: filled(&spec.update),
        rollback: filled(&spec.rollback),
        networks: None,
        endpoint: Some(write_endpoint(&spec.endpoint)),
    }
}

fn write_mode(mode: ServiceMode) -> api::Mode {
    let mut out = api::Mode::default();
    match mode {
        ServiceMode::Replicated { replicas } => out.replicated = Some(api::Replicated { replicas: Some(replicas) }),
        ServiceMode::Global => out.global = Some(model::Empty {}),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            out.replicated_job = Some(api::ReplicatedJob { max_concurrent: Some(max_concurrent), total_completions: Some(total_completions) });
        }
        ServiceMode::GlobalJob => out.global_job = Some(model::Empty {}),
    }
    out
}

fn write_update(config: &UpdateConfig) -> api::UpdateConfig {
    let action = match config.failure_action {
        FailureAction::Pause => "pause",
        FailureAction::Continue => "continue",
        FailureAction::Rollback => "rollback",
    };
    let order = match config.order {
        UpdateOrder::StopFirst => "stop-first",
        UpdateOrder::StartFirst => "start-first",
    };
    api::UpdateConfig {
        parallelism: Some(config.parallelism),
        delay: if config.delay == 0 { None } else { go_nanos(config.delay) },
        failure_action: Some(action.into()),
        monitor: go_nanos(config.monitor),
        max_failure_ratio: Some(api::Ratio(f64::from(config.max_failure_ratio_ppm) / PPM)),
        order: Some(order.into()),
    }
}

fn write_endpoint(spec: &EndpointSpec) -> api::EndpointSpec {
    let mode = match spec.mode {
        EndpointMode::Vip => "vip",
        EndpointMode::DnsRoundRobin => "dnsrr",
    };
    api::EndpointSpec { mode: Some(mode.into()), ports: write_ports(&spec.ports) }
}

/// Ports to the API; none when there are none.
pub fn write_ports(ports: &[PortConfig]) -> Option<Vec<api::Port>> {
    let write = |port: &PortConfig| api::Port {
        name: some_text(&port.name),
        protocol: Some(port.protocol.as_str().into()),
        target: Some(port.target.into()),
        published: (port.published != 0).then_some(port.published.into()),
        mode: Some(if port.mode == PublishMode::Host { "host" } else { "ingress" }.into()),
    };
    (!ports.is_empty()).then(|| ports.iter().map(write).collect())
}

/// The object to the API; `status` asks for the counts of its tasks.
pub fn object(store: &Store, service: &Service, defaults: bool, status: bool) -> api::Service {
    api::Service {
        id: Some(service.id.to_string()),
        version: model::Version::of(service.meta.version),
        created_at: Some(time::rfc3339(service.meta.created_at)),
        updated_at: Some(time::rfc3339(service.meta.updated_at)),
        spec: Some(write(&service.spec, defaults)),
        previous_spec: service.previous_spec.as_ref().map(|spec| write(spec, defaults)),
        endpoint: Some(api::Endpoint { spec: Some(write_endpoint(&service.spec.endpoint)), ports: write_ports(&service.ports) }),
        update_status: service.update_status.as_ref().map(write_update_status),
        service_status: status.then(|| counts(store, service)),
        job_status: service.job.map(|job| api::JobStatus { iteration: iteration(job.iteration), last_execution: Some(time::rfc3339(job.last_execution)) }),
    }
}

/// A run of a job; the first has the number zero, which Go leaves out.
pub fn iteration(number: u64) -> Option<model::Version> {
    Some(model::Version { index: (number > 0).then_some(number) })
}

fn write_update_status(status: &object::UpdateStatus) -> api::UpdateStatus {
    let state = match status.state {
        object::UpdateState::Updating => "updating",
        object::UpdateState::Paused => "paused",
        object::UpdateState::Completed => "completed",
        object::UpdateState::RollbackStarted => "rollback_started",
        object::UpdateState::RollbackPaused => "rollback_paused",
        object::UpdateState::RollbackCompleted => "rollback_completed",
    };
    api::UpdateStatus {
        state: Some(state),
        started_at: Some(time::rfc3339(status.started_at)),
        completed_at: status.completed_at.map(time::rfc3339),
        message: Some(status.message.clone()),
    }
}

/// How many tasks run and how many should (SwarmKit's `ListServiceStatuses`).
pub fn counts(store: &Store, service: &Service) -> api::ServiceStatus {
    let tasks = || store.tasks_of_service(&service.id).filter(|task| service.job.is_none_or(|job| task.job_iteration == job.iteration));
    let count = |test: &dyn Fn(&Task) -> bool| tasks().filter(|task| test(task)).count() as u64;
    let wanted = || count(&|task| task.desired.wants_run() && task.status.state.is_live());
    let desired = match service.spec.mode {
        ServiceMode::Replicated { replicas } => replicas,
        // Also when fewer are left to be done.
        ServiceMode::ReplicatedJob { max_concurrent, .. } => max_concurrent,
        ServiceMode::Global | ServiceMode::GlobalJob => wanted(),
    };
    let (running, completed) = match service.job {
        None => (store.running_tasks(&service.id), 0),
        Some(_) => (count(&|task| task.status.state == TaskState::Running), count(&|task| task.status.state == TaskState::Complete)),
    };
    api::ServiceStatus { running: Some(running), desired: Some(desired), completed: Some(completed) }
}
