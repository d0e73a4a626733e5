//! Published ports: conflicts between services, and numbers for ports that the user left open.
//!
//! Owns: the dynamic range. An ingress port belongs to one service in the whole cluster; a host port may be shared by services,
//! the scheduler decides per node.

use super::{Code, invalid, refuse};
use crate::Store;
use std::collections::BTreeSet;
use wsw_api::error::Result;
use wsw_api::id::ServiceId;
use wsw_api::object::Service;
use wsw_api::spec::{EndpointSpec, PortConfig, Protocol, PublishMode};

/// SwarmKit's range for ports that the user does not name.
const DYNAMIC: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Refuses ports that another service has.
pub(super) fn check(view: &Store, endpoint: &EndpointSpec, own: Option<&ServiceId>) -> Result<()> {
    let wanted: Vec<&PortConfig> = endpoint.ports.iter().filter(|port| port.published != 0).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    for service in view.services().filter(|service| Some(&service.id) != own) {
        for taken in service.ports.iter().filter(|port| port.published != 0) {
            let mut same = wanted.iter().filter(|port| port.published == taken.published && port.protocol == taken.protocol);
            let conflict = match taken.mode {
                PublishMode::Ingress => same.next().is_some(),
                PublishMode::Host => same.any(|port| port.mode == PublishMode::Ingress),
            };
            if conflict {
                return Err(taken_by(service, taken));
            }
        }
    }
    Ok(())
}

fn taken_by(service: &Service, port: &PortConfig) -> wsw_api::Error {
    let how = match port.mode {
        PublishMode::Ingress => "an ingress port",
        PublishMode::Host => "a host-published port",
    };
    invalid(format!("port '{}' is already in use by service '{}' ({}) as {how}", port.published, service.name(), service.id))
}

/// The endpoint's ports with every open ingress number filled in. A number that the service had for the same target stays.
pub(super) fn allocate(view: &Store, endpoint: &EndpointSpec, old: &[PortConfig]) -> Result<Vec<PortConfig>> {
    let mut own: BTreeSet<(Protocol, u16)> = endpoint.ports.iter().map(|port| (port.protocol, port.published)).collect();
    let mut kept: Vec<&PortConfig> = old.iter().filter(|port| port.mode == PublishMode::Ingress && DYNAMIC.contains(&port.published)).collect();
    let mine: BTreeSet<(Protocol, u16)> = kept.iter().map(|port| (port.protocol, port.published)).collect();
    let mut ports = endpoint.ports.clone();
    for port in ports.iter_mut().filter(|port| port.published == 0 && port.mode == PublishMode::Ingress) {
        let before = kept.iter().position(|old| {
            old.name == port.name && old.protocol == port.protocol && old.target == port.target && !own.contains(&(old.protocol, old.published))
        });
        let number = match before {
            Some(at) => Some(kept.remove(at).published),
            None => DYNAMIC.into_iter().find(|number| {
                let key = (port.protocol, *number);
                !own.contains(&key) && !mine.contains(&key) && view.port_owner(port.protocol, *number).is_none()
            }),
        };
        let Some(number) = number else {
            let (first, last) = (DYNAMIC.start(), DYNAMIC.end());
            let text = format!("no {} port is free in the dynamic range {first}-{last}; name the published port", port.protocol.as_str());
            return Err(refuse(Code::FailedPrecondition, text));
        };
        port.published = number;
        own.insert((port.protocol, number));
    }
    Ok(ports)
}
