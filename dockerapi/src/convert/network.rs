//! Networks both ways, and a service's attachments.
//!
//! Owns: which of Docker's network settings wsw keeps. Ranges and names are checked by the planner.

use super::{not_served, some_list, time, unserved};
use crate::model::{Version, network as api};
use std::collections::BTreeMap;
use wsw_api::network::{Ipam, Network, NetworkAttachment, NetworkScope, NetworkSpec, Pool};
use wsw_api::spec::Annotations;
use wsw_api::{Error, NetworkId, Result};
use wsw_planner::Store;

/// Said wherever somebody makes or uses one.
pub const NO_DATA_PLANE: &str =
    "networks are recorded only: in this version tasks cannot reach each other over them; published ports and outbound allow-lists work without them";

/// A spec from the API.
pub fn read(body: api::NetworkCreate) -> Result<NetworkSpec> {
    unserved("ConfigFrom", &body.config_from)?;
    if body.config_only.unwrap_or_default() {
        return Err(not_served("ConfigOnly"));
    }
    if body.ingress.unwrap_or_default() {
        return Err(Error::unimplemented("Ingress: published ports need no ingress network; leave it out"));
    }
    let driver = body.driver.filter(|driver| !driver.is_empty()).unwrap_or_else(|| "bridge".into());
    let natural = match driver.as_str() {
        "overlay" => NetworkScope::Swarm,
        "bridge" => NetworkScope::Local,
        other => return Err(Error::not_found(format!("plugin {other:?} not found: use the driver overlay or bridge"))),
    };
    let scope = match body.scope.as_deref().unwrap_or_default() {
        "" => natural,
        "swarm" => NetworkScope::Swarm,
        "local" if natural == NetworkScope::Local => NetworkScope::Local,
        other => return Err(Error::invalid(format!("Scope: {other:?} does not go with the driver {driver}; use {}", natural.as_str()))),
    };
    let ipam = body.ipam.unwrap_or_default();
    let pools = ipam.config.unwrap_or_default().into_iter().map(|pool| Pool {
        subnet: pool.subnet.unwrap_or_default(),
        range: pool.range.unwrap_or_default(),
        gateway: pool.gateway.unwrap_or_default(),
        auxiliary: pool.auxiliary.unwrap_or_default(),
    });
    Ok(NetworkSpec {
        annotations: Annotations { name: body.name.unwrap_or_default(), labels: body.labels.unwrap_or_default() },
        driver,
        scope,
        internal: body.internal.unwrap_or_default(),
        attachable: body.attachable.unwrap_or_default(),
        ipv4: body.ipv4.unwrap_or(true),
        ipv6: body.ipv6.unwrap_or_default(),
        options: body.options.unwrap_or_default(),
        ipam: Ipam {
            driver: ipam.driver.filter(|driver| !driver.is_empty()).unwrap_or_else(|| "default".into()),
            options: ipam.options.unwrap_or_default(),
            pools: pools.collect(),
        },
    })
}

/// A network to the API.
pub fn write(network: &Network) -> api::Network {
    let spec = &network.spec;
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let pools = spec.ipam.pools.iter().map(|pool| api::Pool {
        subnet: some(&pool.subnet),
        range: some(&pool.range),
        gateway: some(&pool.gateway),
        auxiliary: (!pool.auxiliary.is_empty()).then(|| pool.auxiliary.clone()),
    });
    api::Network {
        name: Some(spec.annotations.name.clone()),
        id: Some(network.id.to_string()),
        created: Some(time::rfc3339(network.meta.created_at)),
        scope: Some(spec.scope.as_str()),
        driver: Some(spec.driver.clone()),
        ipv4: Some(spec.ipv4),
        ipv6: Some(spec.ipv6),
        ipam: Some(api::WrittenIpam {
            driver: Some(spec.ipam.driver.clone()),
            options: Some((!spec.ipam.options.is_empty()).then(|| spec.ipam.options.clone())),
            config: Some(pools.collect()),
        }),
        internal: Some(spec.internal),
        attachable: Some(spec.attachable),
        ingress: Some(false),
        config_from: Some(api::ConfigFrom { network: Some("") }),
        config_only: Some(false),
        containers: Some(BTreeMap::new()),
        options: Some(spec.options.clone()),
        labels: Some(spec.annotations.labels.clone()),
    }
}

/// A task's place on each of its networks.
pub fn of_task(store: &Store, attachments: &[NetworkAttachment]) -> Option<Vec<api::TaskAttachment>> {
    let driver = |network: &Network| Some(api::NamedDriver { name: Some(network.spec.driver.clone()) });
    let write = |network: &std::sync::Arc<Network>| api::TaskAttachment {
        network: Some(api::AttachedNetwork {
            id: Some(network.id.to_string()),
            version: Version::of(network.meta.version),
            created_at: Some(time::rfc3339(network.meta.created_at)),
            updated_at: Some(time::rfc3339(network.meta.updated_at)),
            spec: Some(api::AttachedSpec {
                name: Some(network.name().to_owned()),
                labels: Some(network.spec.annotations.labels.clone()),
                driver: driver(network),
                attachable: Some(network.spec.attachable),
                internal: Some(network.spec.internal),
                scope: Some(network.spec.scope.as_str()),
            }),
            driver: driver(network),
        }),
        addresses: Some(Vec::new()),
    };
    let networks: Vec<_> = attachments.iter().filter_map(|attachment| store.network(&attachment.network)).map(write).collect();
    (!networks.is_empty()).then_some(networks)
}

/// Attachments whose targets were resolved to ids before.
pub fn read_attachments(attachments: Vec<api::Attachment>) -> Result<Vec<NetworkAttachment>> {
    let read = |attachment: api::Attachment| {
        let target = attachment.target.unwrap_or_default();
        let network: NetworkId = target.parse().map_err(|_| Error::not_found(format!("network {target} not found")))?;
        Ok(NetworkAttachment { network, aliases: attachment.aliases.unwrap_or_default(), options: attachment.options.unwrap_or_default() })
    };
    attachments.into_iter().map(read).collect()
}

/// Attachments to the API; none when there are none.
pub fn write_attachments(attachments: &[NetworkAttachment]) -> Option<Vec<api::Attachment>> {
    let write = |attachment: &NetworkAttachment| api::Attachment {
        target: Some(attachment.network.to_string()),
        aliases: some_list(&attachment.aliases),
        options: (!attachment.options.is_empty()).then(|| attachment.options.clone()),
    };
    (!attachments.is_empty()).then(|| attachments.iter().map(write).collect())
}
