//! Generic resources: what services reserve, what nodes offer, what tasks were given.

use crate::model::task as api;
use wsw_api::generic::{GenericReservation, GenericResource};
use wsw_api::{Error, Result};

/// Reservations from the API: a service reserves numbers, whatever the nodes have.
pub fn read(path: &str, list: Vec<api::GenericResource>) -> Result<Vec<GenericReservation>> {
    let one = |resource: api::GenericResource| {
        let refuse = |kind: String, why: &str| Err(Error::invalid(format!("{path}: invalid argument for resource {kind}: {why}")));
        match (resource.discrete, resource.named) {
            (Some(api::DiscreteResource { kind, value }), None) => {
                let kind = kind.unwrap_or_default();
                match u64::try_from(value.unwrap_or_default()) {
                    Ok(value) => Ok(GenericReservation { kind, value }),
                    Err(_) => refuse(kind, "must not be negative"),
                }
            }
            (None, Some(named)) => refuse(named.kind.unwrap_or_default(), "services reserve a number of it, not one by name"),
            _ => Err(Error::invalid(format!("{path}: each needs a DiscreteResourceSpec"))),
        }
    };
    list.into_iter().map(one).collect()
}

/// Reservations to the API; none when there are none.
pub fn write(list: &[GenericReservation]) -> Option<Vec<api::GenericResource>> {
    let discrete = list.iter().map(|wanted| GenericResource::Discrete { kind: wanted.kind.clone(), value: wanted.value });
    write_all(&discrete.collect::<Vec<_>>())
}

/// What a node offers or a task was given; none when there is nothing.
pub fn write_all(list: &[GenericResource]) -> Option<Vec<api::GenericResource>> {
    let one = |resource: &GenericResource| match resource.clone() {
        GenericResource::Discrete { kind, value } => {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let discrete = api::DiscreteResource { kind: Some(kind), value: (value != 0).then_some(value) };
            api::GenericResource { discrete: Some(discrete), named: None }
        }
        GenericResource::Named { kind, name } => {
            api::GenericResource { named: Some(api::NamedResource { kind: Some(kind), value: Some(name) }), discrete: None }
        }
    };
    (!list.is_empty()).then(|| list.iter().map(one).collect())
}
