//! What a service spec must be like, whatever the state of the cluster.
//!
//! Owns: the checks of SwarmKit's `controlapi/service.go`, with its messages, and wsw's own bounds.

use super::{image, invalid, mounts};
use crate::constraint::Constraint;
use std::collections::BTreeSet;
use wsw_api::entry::MAX_ENTRY_BYTES;
use wsw_api::error::Result;
use wsw_api::generic::{self, GenericReservation};
use wsw_api::labels;
use wsw_api::placeholders::Fields;
use wsw_api::spec::{Annotations, EndpointMode, EndpointSpec, MAX_REPLICAS, PublishMode, Resources, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig};
use wsw_api::{NodeId, ServiceId, TaskId};

/// Length of a DNS label.
const MAX_NAME: usize = 63;
/// 0.001 CPU, in billionths.
const MIN_NANO_CPUS: u64 = 1_000_000;
const MIN_MEMORY: u64 = 4 * 1024 * 1024;
/// Ratios are in millionths.
const MAX_RATIO: u32 = 1_000_000;
/// An entry carries a spec up to three times (spec, previous spec, template); it must fit with room for the rest.
const MAX_SPEC_BYTES: usize = MAX_ENTRY_BYTES / 4;
/// Kinds of generic resources of one service: what is given is written into each task's record.
const MAX_GENERIC: usize = 64;
/// Ports of one service: a bound on what one request makes every node bind.
const MAX_PORTS: usize = 1_024;

pub(super) fn service(spec: &ServiceSpec) -> Result<()> {
    annotations(&spec.annotations)?;
    task(&spec.task, &spec.annotations)?;
    mode(&spec.mode)?;
    if spec.mode.is_job() && spec.update.is_some() {
        return Err(invalid("Jobs may not have an update config"));
    }
    for config in [&spec.update, &spec.rollback].into_iter().flatten() {
        update(config)?;
    }
    endpoint(&spec.endpoint)?;
    size("service", spec)
}

pub(super) fn annotations(annotations: &Annotations) -> Result<()> {
    let name = annotations.name.as_str();
    if name.is_empty() {
        return Err(invalid("meta: name must be provided"));
    }
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let inner = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !inner || !ends(name.bytes().next()) || !ends(name.bytes().next_back()) {
        return Err(invalid("name must be valid as a DNS name component"));
    }
    if name.len() > MAX_NAME {
        return Err(invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

fn task(task: &TaskSpec, service: &Annotations) -> Result<()> {
    resources(&task.resources.limits)?;
    resources(&task.resources.reservations)?;
    generic_resources(&task.resources.generic)?;
    Constraint::parse_all(&task.placement.constraints).map_err(invalid)?;
    for descriptor in &task.placement.spread {
        let lower = descriptor.to_ascii_lowercase();
        if !["node.labels.", "engine.labels."].iter().any(|prefix| lower.len() > prefix.len() && lower.starts_with(prefix)) {
            return Err(invalid(format!("placement preference: '{descriptor}' is not a spread descriptor; use node.labels.<name> or engine.labels.<name>")));
        }
    }
    let container = &task.container;
    if container.image.is_empty() {
        return Err(invalid("ContainerSpec: image reference must be provided"));
    }
    if !image::is_reference(&container.image) {
        return Err(invalid(format!("ContainerSpec: {:?} is not a valid repository/tag", container.image)));
    }
    // As it might be for some task (SwarmKit does the same): what placeholders come to is checked, not how they are written.
    let (id, node, sample) = (ServiceId::default(), NodeId::default(), TaskId::default());
    let fields = Fields {
        service: id,
        service_name: &service.name,
        service_labels: &service.labels,
        node,
        hostname: "host",
        architecture: "x86_64",
        task: sample,
        slot: 1,
    };
    mounts::check(&container.expanded(&fields).map_err(invalid)?.mounts)?;
    labels::parse(&container.labels).map(|_| ())
}

fn resources(resources: &Resources) -> Result<()> {
    let Resources { nano_cpus, memory_bytes, .. } = *resources;
    if nano_cpus != 0 && nano_cpus < MIN_NANO_CPUS {
        return Err(invalid(format!("invalid cpu value {}: Must be at least 0.001", decimal(nano_cpus))));
    }
    if memory_bytes != 0 && memory_bytes < MIN_MEMORY {
        return Err(invalid(format!("invalid memory value {memory_bytes}: Must be at least 4MiB")));
    }
    Ok(())
}

fn generic_resources(wanted: &[GenericReservation]) -> Result<()> {
    if wanted.len() > MAX_GENERIC {
        return Err(invalid(format!("GenericResources: {} kinds are too many; use at most {MAX_GENERIC}", wanted.len())));
    }
    match wanted.iter().find(|want| !generic::is_name(&want.kind)) {
        Some(want) => Err(invalid(format!("GenericResources: kind {:?} is not valid; use letters, digits and -_.:/", want.kind))),
        None => Ok(()),
    }
}

/// Billionths as a decimal number without trailing zeros. (Go prints `%g`, which has an exponent below 0.0001.)
fn decimal(nano: u64) -> String {
    let (whole, rest) = (nano / 1_000_000_000, nano % 1_000_000_000);
    let digits = format!("{rest:09}");
    let digits = digits.trim_end_matches('0');
    if whole == 0 && rest > 0 && rest < 100_000 {
        let significant = digits.trim_start_matches('0');
        let exponent = digits.len() - significant.len() + 1;
        let (head, tail) = significant.split_at(1);
        let point = if tail.is_empty() { "" } else { "." };
        return format!("{head}{point}{tail}e-{exponent:02}");
    }
    if digits.is_empty() { whole.to_string() } else { format!("{whole}.{digits}") }
}

fn mode(mode: &ServiceMode) -> Result<()> {
    match *mode {
        ServiceMode::Replicated { replicas } => {
            if i64::try_from(replicas).is_err() {
                return Err(invalid("Number of replicas must be non-negative"));
            }
            if replicas > MAX_REPLICAS {
                return Err(invalid(format!("replicas: {replicas} is too many; use a number up to {MAX_REPLICAS}")));
            }
            Ok(())
        }
        ServiceMode::Global | ServiceMode::GlobalJob => Ok(()),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            if i64::try_from(max_concurrent).is_err() {
                return Err(invalid("Maximum concurrent jobs must not be negative"));
            }
            if i64::try_from(total_completions).is_err() {
                return Err(invalid("Total completed jobs must not be negative"));
            }
            if total_completions > MAX_REPLICAS {
                return Err(invalid(format!("total completions: {total_completions} is too many; use a number up to {MAX_REPLICAS}")));
            }
            Ok(())
        }
    }
}

fn update(config: &UpdateConfig) -> Result<()> {
    if config.max_failure_ratio_ppm > MAX_RATIO {
        return Err(invalid("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"));
    }
    Ok(())
}

fn endpoint(endpoint: &EndpointSpec) -> Result<()> {
    if endpoint.ports.len() > MAX_PORTS {
        return Err(invalid(format!("EndpointSpec: {} published ports are too many; use at most {MAX_PORTS}", endpoint.ports.len())));
    }
    let mut seen = BTreeSet::new();
    for port in &endpoint.ports {
        if port.target == 0 {
            return Err(invalid("EndpointSpec: a published port needs a target port from 1 to 65535"));
        }
        if endpoint.mode == EndpointMode::DnsRoundRobin && port.mode == PublishMode::Ingress {
            return Err(invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode"));
        }
        if port.published != 0 && !seen.insert((port.published, port.protocol)) {
            return Err(invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}

pub(super) fn size(what: &str, spec: &impl serde::Serialize) -> Result<()> {
    let bytes = crate::size::encoded(spec);
    if bytes > MAX_SPEC_BYTES {
        return Err(invalid(format!("{what} spec: {bytes} bytes are too many; use at most {MAX_SPEC_BYTES}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn cpu_amounts_print_as_in_swarm() {
        for (nano, want) in
            [(1, "1e-09"), (1_500, "1.5e-06"), (10_000, "1e-05"), (100_000, "0.0001"), (500_000, "0.0005"), (1_500_000_000, "1.5"), (2_000_000_000, "2")]
        {
            assert_eq!(decimal(nano), want);
        }
    }
}
