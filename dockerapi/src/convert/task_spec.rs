//! `TaskTemplate` ↔ our task spec: container, resources, restart policy, placement.
//!
//! Owns: which of Docker's container fields wsw serves. Image references, label and constraint values are checked by the planner.

use super::{confine, generic, go_nanos, health, mount, non_negative, not_served, some_list, some_text, unserved};
use crate::model::{self, task as api};
use wsw_api::spec::{ContainerSpec, LogDriver, Placement, Platform, ResourceRequirements, Resources, RestartCondition, RestartPolicy, TaskSpec};
use wsw_api::{Error, Result};

/// From the API.
pub fn read(spec: api::TaskSpec) -> Result<TaskSpec> {
    unserved("TaskTemplate.PluginSpec", &spec.plugin_spec)?;
    unserved("TaskTemplate.NetworkAttachmentSpec", &spec.attachment)?;
    match spec.runtime.as_deref() {
        None | Some("" | "container") => {}
        Some(_) => return Err(not_served("TaskTemplate.Runtime")),
    }
    let container = spec.container.ok_or_else(|| Error::invalid("TaskTemplate.ContainerSpec: must be provided"))?;
    Ok(TaskSpec {
        container: read_container(container)?,
        resources: read_resources(spec.resources.unwrap_or_default())?,
        restart: spec.restart.map(read_restart).transpose()?.unwrap_or_default(),
        placement: read_placement(spec.placement.unwrap_or_default())?,
        log_driver: spec.log_driver.map(read_log_driver).transpose()?,
        force_update: spec.force_update.unwrap_or_default(),
        networks: super::network::read_attachments(spec.networks.unwrap_or_default())?,
    })
}

/// Kept as it was given, once it is known to be one that is served.
fn read_log_driver(driver: api::LogDriver) -> Result<LogDriver> {
    let driver = LogDriver { name: driver.name.unwrap_or_default(), options: driver.options.unwrap_or_default() };
    wsw_api::log::driver(Some(&driver)).map_err(|mut error| {
        error.message = format!("TaskTemplate.{}", error.message);
        error
    })?;
    Ok(driver)
}

fn read_container(mut spec: api::ContainerSpec) -> Result<ContainerSpec> {
    let confinement = confine::read(&mut spec)?;
    refuse_container(&spec)?;
    Ok(ContainerSpec {
        image: spec.image.unwrap_or_default(),
        labels: spec.labels.unwrap_or_default(),
        command: spec.command.unwrap_or_default(),
        args: spec.args.unwrap_or_default(),
        env: spec.env.unwrap_or_default(),
        hostname: spec.hostname.unwrap_or_default(),
        dir: spec.dir.unwrap_or_default(),
        user: spec.user.unwrap_or_default(),
        groups: spec.groups.unwrap_or_default(),
        tty: spec.tty.unwrap_or_default(),
        open_stdin: spec.open_stdin.unwrap_or_default(),
        read_only: spec.read_only.unwrap_or_default(),
        init: spec.init,
        stop_signal: spec.stop_signal.unwrap_or_default(),
        stop_grace_period: match spec.stop_grace_period {
            None => None,
            given => Some(non_negative("ContainerSpec.StopGracePeriod", given)?),
        },
        mounts: spec.mounts.unwrap_or_default().into_iter().map(mount::read).collect::<Result<_>>()?,
        confinement,
        healthcheck: spec.healthcheck.map(health::read).transpose()?,
    })
}

fn refuse_container(spec: &api::ContainerSpec) -> Result<()> {
    for (field, value) in [("ContainerSpec.Secrets", &spec.secrets), ("ContainerSpec.Configs", &spec.configs)] {
        unserved(field, value)?;
    }
    Ok(())
}

fn read_resources(spec: api::Resources) -> Result<ResourceRequirements> {
    unserved("Resources.SwapBytes", &spec.swap_bytes)?;
    unserved("Resources.MemorySwappiness", &spec.memory_swappiness)?;
    let (limits, mut reservations) = (spec.limits.unwrap_or_default(), spec.reservations.unwrap_or_default());
    if limits.generic.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(Error::invalid("Resources.Limits.GenericResources: generic resources are reserved, not limited; use Resources.Reservations"));
    }
    let generic = reservations.generic.take().unwrap_or_default();
    Ok(ResourceRequirements {
        limits: read_amounts("Resources.Limits", limits)?,
        reservations: read_amounts("Resources.Reservations", reservations)?,
        generic: generic::read("Resources.Reservations.GenericResources", generic)?,
    })
}

fn read_amounts(path: &str, amounts: api::Amounts) -> Result<Resources> {
    Ok(Resources {
        nano_cpus: non_negative(&format!("{path}.NanoCPUs"), amounts.nano_cpus)?,
        memory_bytes: non_negative(&format!("{path}.MemoryBytes"), amounts.memory_bytes)?,
        // -1 is "no limit" too
        pids: non_negative(&format!("{path}.Pids"), amounts.pids.map(|pids| if pids == -1 { 0 } else { pids }))?,
    })
}

fn read_restart(policy: api::RestartPolicy) -> Result<RestartPolicy> {
    let condition = match policy.condition.as_deref() {
        None | Some("" | "any") => RestartCondition::Any,
        Some("on-failure") => RestartCondition::OnFailure,
        Some("none") => RestartCondition::None,
        Some(other) => return Err(Error::invalid(format!("RestartPolicy.Condition: invalid value {other:?}; use none, on-failure or any"))),
    };
    let delay = match policy.delay {
        None => RestartPolicy::default().delay,
        given => non_negative("RestartPolicy.Delay", given)?,
    };
    let window = non_negative("RestartPolicy.Window", policy.window)?;
    Ok(RestartPolicy { condition, delay, max_attempts: policy.max_attempts.unwrap_or_default(), window })
}

fn read_placement(placement: api::Placement) -> Result<Placement> {
    let spread = placement.preferences.unwrap_or_default().into_iter().map(|preference| {
        let descriptor = preference.spread.and_then(|spread| spread.descriptor);
        descriptor.ok_or_else(|| Error::invalid("Placement.Preferences: each needs Spread.SpreadDescriptor"))
    });
    let platforms = placement.platforms.unwrap_or_default().into_iter();
    Ok(Placement {
        constraints: placement.constraints.unwrap_or_default(),
        spread: spread.collect::<Result<_>>()?,
        max_replicas: placement.max_replicas.unwrap_or_default(),
        platforms: platforms.map(|p| Platform { os: p.os.unwrap_or_default(), architecture: p.architecture.unwrap_or_default() }).collect(),
    })
}

/// To the API; `defaults` fills in what the user left open.
pub fn write(spec: &TaskSpec, defaults: bool) -> api::TaskSpec {
    let restart = (defaults || spec.restart != RestartPolicy::default()).then(|| write_restart(&spec.restart));
    api::TaskSpec {
        container: Some(write_container(&spec.container, defaults)),
        resources: Some(api::Resources {
            limits: Some(write_amounts(&spec.resources.limits)),
            reservations: Some(api::Amounts { generic: generic::write(&spec.resources.generic), ..write_amounts(&spec.resources.reservations) }),
            ..Default::default()
        }),
        restart,
        placement: Some(write_placement(&spec.placement)),
        force_update: Some(spec.force_update),
        networks: super::network::write_attachments(&spec.networks),
        log_driver: spec
            .log_driver
            .as_ref()
            .map(|driver| api::LogDriver { name: some_text(&driver.name), options: (!driver.options.is_empty()).then(|| driver.options.clone()) }),
        runtime: Some("container".into()),
        ..Default::default()
    }
}

fn write_container(spec: &ContainerSpec, defaults: bool) -> api::ContainerSpec {
    let grace = spec.stop_grace_period.or_else(|| defaults.then(|| spec.stop_grace()));
    let mut out = api::ContainerSpec {
        image: Some(spec.image.clone()),
        labels: (!spec.labels.is_empty()).then(|| spec.labels.clone()),
        command: some_list(&spec.command),
        args: some_list(&spec.args),
        hostname: some_text(&spec.hostname),
        env: some_list(&spec.env),
        dir: some_text(&spec.dir),
        user: some_text(&spec.user),
        groups: some_list(&spec.groups),
        init: spec.init,
        stop_signal: some_text(&spec.stop_signal),
        tty: spec.tty.then_some(true),
        open_stdin: spec.open_stdin.then_some(true),
        read_only: spec.read_only.then_some(true),
        stop_grace_period: grace.and_then(go_nanos),
        healthcheck: spec.healthcheck.as_ref().map(health::write),
        mounts: some_list(&spec.mounts.iter().map(mount::write).collect::<Vec<_>>()),
        ..Default::default()
    };
    confine::write(&spec.confinement, &mut out);
    out
}

fn write_amounts(amounts: &Resources) -> api::Amounts {
    let some = |n: u64| if n == 0 { None } else { go_nanos(n) };
    api::Amounts { nano_cpus: some(amounts.nano_cpus), memory_bytes: some(amounts.memory_bytes), pids: some(amounts.pids), generic: None }
}

fn write_restart(policy: &RestartPolicy) -> api::RestartPolicy {
    let condition = match policy.condition {
        RestartCondition::None => "none",
        RestartCondition::OnFailure => "on-failure",
        RestartCondition::Any => "any",
    };
    api::RestartPolicy {
        condition: Some(condition.into()),
        delay: go_nanos(policy.delay),
        max_attempts: Some(policy.max_attempts),
        window: if policy.window == 0 { None } else { go_nanos(policy.window) },
    }
}

fn write_placement(placement: &Placement) -> api::Placement {
    let spread = |descriptor: &String| api::Preference { spread: Some(api::Spread { descriptor: Some(descriptor.clone()) }) };
    let preferences: Vec<_> = placement.spread.iter().map(spread).collect();
    let platforms: Vec<_> = placement.platforms.iter().map(write_platform).collect();
    api::Placement {
        constraints: some_list(&placement.constraints),
        preferences: some_list(&preferences),
        max_replicas: (placement.max_replicas > 0).then_some(placement.max_replicas),
        platforms: some_list(&platforms),
    }
}

/// A platform in the API's words.
pub fn write_platform(platform: &Platform) -> model::Platform {
    model::Platform { architecture: some_text(&platform.architecture), os: some_text(&platform.os) }
}
