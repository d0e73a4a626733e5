//! `/networks`.

use crate::call::{self, Call};
use crate::convert::network;
use crate::error::{Answer, ApiError};
use crate::filters::Filters;
use crate::model::{network as api, service::ServiceSpec};
use crate::resolve;
use axum::response::IntoResponse;
use http::StatusCode;
use wsw_api::Error;
use wsw_api::control::Write;
use wsw_api::entry::Outcome;
use wsw_api::event::Kind;
use wsw_api::network::Network;
use wsw_planner::Store;

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

/// `GET /networks`: none on a node that is no manager.
pub async fn list(call: Call) -> Answer {
    let filters = call.query.filters(FILTERS)?;
    for (key, words) in [("scope", &["swarm", "local", "global"][..]), ("type", &["custom", "builtin"][..])] {
        if let Some(value) = filters.get(key).find(|value| !words.contains(value)) {
            return Err(filters.bad(key, value));
        }
    }
    let dangling = filters.bool("dangling")?;
    let Ok(store) = call.backend.view().await else { return call::ok(&[(); 0]) };
    let unused = |found: &Network| store.network_user(&found.id).is_none();
    let shown = store.networks().filter(|found| matches(found, &filters) && dangling.is_none_or(|dangling| unused(found) == dangling));
    let networks: Vec<_> = shown.map(|found| network::write(found)).collect();
    call::ok(&networks)
}

fn matches(found: &Network, filters: &Filters) -> bool {
    filters.prefix("id", &found.id.to_string())
        && filters.any("name", |value| found.name().contains(value))
        && filters.exact("driver", &found.spec.driver)
        && filters.exact("scope", found.spec.scope.as_str())
        && filters.exact("type", "custom")
        && filters.labels("label", &found.spec.annotations.labels)
}

/// `GET /networks/{id}`.
pub async fn inspect(call: Call) -> Answer {
    let not_found = || ApiError::not_found(format!("network {} not found", call.name));
    // Asked on a node without the cluster's state there is none, and `docker inspect` goes on to other objects.
    let store = call.backend.view().await.map_err(|_| not_found())?;
    let found = resolve::network(&store, &call.name)?;
    let scope = call.query.get("scope").unwrap_or_default();
    if !scope.is_empty() && scope != found.spec.scope.as_str() {
        return Err(not_found());
    }
    call::ok(&network::write(&found))
}

/// `POST /networks/create`.
pub async fn create(mut call: Call) -> Answer {
    let spec = network::read(call.json::<api::NetworkCreate>().await?)?;
    match call.backend.write(Write::CreateNetwork { spec: Box::new(spec) }).await? {
        Outcome::NetworkCreated { id } => {
            call::json(StatusCode::CREATED, &api::NetworkCreated { id: Some(id.to_string()), warning: Some(network::NO_DATA_PLANE.into()) })
        }
        other => Err(Error::internal(format!("creating a network was answered with {other:?}")).into()),
    }
}

/// `DELETE /networks/{id}`.
pub async fn remove(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let id = resolve::network(&store, &call.name)?.id;
    call.backend.write(Write::RemoveNetwork { id }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /networks/prune`: what no service is attached to.
pub async fn prune(call: Call) -> Answer {
    let filters = call.query.filters(PRUNE_FILTERS)?;
    let until = filters.until(call.backend.local().now)?;
    let mut deleted = Vec::new();
    // A node without a swarm has no networks, and nothing to remove.
    let Ok(store) = call.backend.view().await else { return call::ok(&api::NetworksPruned { deleted: Some(deleted) }) };
    let unused: Vec<_> = store.networks().filter(|found| store.network_user(&found.id).is_none()).cloned().collect();
    for found in unused {
        let labels = &found.spec.annotations.labels;
        let wanted = filters.labels("label", labels) && filters.without_labels("label!", labels) && until.is_none_or(|until| found.meta.created_at <= until);
        if !wanted {
            continue;
        }
        match call.backend.write(Write::RemoveNetwork { id: found.id }).await {
            Ok(_) => deleted.push(found.name().to_owned()),
            // Somebody used or removed it meanwhile.
            Err(error) if matches!(error.class, wsw_api::Class::InvalidArgument | wsw_api::Class::NotFound | wsw_api::Class::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    call.backend.pruned(Kind::Network, 0);
    call::ok(&api::NetworksPruned { deleted: Some(deleted) })
}

/// Names of networks in a service's spec become ids (stack files name them); those of old clients stand beside the template.
pub fn resolve_targets(store: &Store, spec: &mut ServiceSpec) -> Result<(), ApiError> {
    let old = spec.networks.take().unwrap_or_default();
    let Some(task) = spec.task.as_mut() else { return Ok(()) };
    if task.networks.as_ref().is_none_or(Vec::is_empty) && !old.is_empty() {
        task.networks = Some(old);
    }
    for attachment in task.networks.iter_mut().flatten() {
        let target = attachment.target.take().unwrap_or_default();
        attachment.target = Some(resolve::network(store, &target)?.id.to_string());
    }
    Ok(())
}
