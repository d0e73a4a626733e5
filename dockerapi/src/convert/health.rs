//! Health checks, between Docker's JSON and ours: of a spec, and what was found of a container.
//!
//! Owns: SwarmKit's words for what is refused. Never: runs one.

use super::{go_nanos, some_list, time};
use crate::model::container as found;
use crate::model::task as api;
use wsw_api::health::{Health, HealthConfig, SHORTEST};
use wsw_api::{Error, Result};

/// The check of a spec.
pub fn read(config: api::HealthConfig) -> Result<HealthConfig> {
    let invalid = |text: String| Error::invalid(format!("rpc error: code = InvalidArgument desc = ContainerSpec: {text}"));
    let nanos = |name: &str, value: Option<i64>| match u64::try_from(value.unwrap_or_default()) {
        Ok(0) => Ok(0),
        Ok(nanos) if nanos >= SHORTEST => Ok(nanos),
        _ => Err(invalid(format!("{name} in HealthConfig cannot be less than 1ms"))),
    };
    let retries = config.retries.unwrap_or_default();
    if retries < 0 {
        return Err(invalid("Retries in HealthConfig cannot be negative".into()));
    }
    Ok(HealthConfig {
        test: config.test.unwrap_or_default(),
        interval: nanos("Interval", config.interval)?,
        timeout: nanos("Timeout", config.timeout)?,
        start_period: nanos("StartPeriod", config.start_period)?,
        start_interval: nanos("StartInterval", config.start_interval)?,
        retries: u32::try_from(retries).map_err(|_| invalid(format!("Retries in HealthConfig cannot be more than {}", u32::MAX)))?,
    })
}

/// What was said of it.
pub fn write(config: &HealthConfig) -> api::HealthConfig {
    let nanos = |value: u64| if value == 0 { None } else { go_nanos(value) };
    api::HealthConfig {
        test: some_list(&config.test),
        interval: nanos(config.interval),
        timeout: nanos(config.timeout),
        start_period: nanos(config.start_period),
        start_interval: nanos(config.start_interval),
        retries: (config.retries > 0).then_some(config.retries.into()),
    }
}

/// What was found of a container, for `inspect`.
pub fn found(health: &Health) -> found::Health {
    let result = |probe: &wsw_api::health::Probe| found::HealthResult {
        start: Some(time::rfc3339(probe.start)),
        end: Some(time::rfc3339(probe.end)),
        code: Some(probe.code),
        output: Some(probe.output.clone()),
    };
    found::Health { status: Some(health.state.as_str()), failing: Some(health.failing), log: Some(health.log.iter().map(result).collect()) }
}
