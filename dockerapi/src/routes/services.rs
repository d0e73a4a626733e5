//! `/services`.

use super::transfers;
use crate::call::{self, Call};
use crate::convert::network::NO_DATA_PLANE;
use crate::convert::service;
use crate::error::{Answer, ApiError};
use crate::filters::Filters;
use crate::model::{self, service as api};
use crate::names;
use crate::resolve;
use crate::routes::networks;
use http::StatusCode;
use wsw_api::control::{Rollback, Write};
use wsw_api::entry::Outcome;
use wsw_api::registry::AuthFrom;
use wsw_api::spec::ServiceMode;
use wsw_api::{Error, Service};

const FILTERS: &[&str] = &["id", "label", "mode", "name", "runtime"];

/// `GET /services`.
pub async fn list(call: Call) -> Answer {
    let filters = call.query.filters(FILTERS)?;
    let modes = ["replicated", "global", "replicated-job", "global-job"];
    if let Some(value) = filters.get("mode").find(|value| !modes.contains(value)) {
        return Err(filters.bad("mode", value));
    }
    let store = call.backend.view().await?;
    let (defaults, status) = (call.query.flag("insertDefaults"), call.query.flag("status"));
    let found = store.services().filter(|found| matches(found, &filters));
    let services: Vec<_> = found.map(|found| service::object(&store, found, defaults, status)).collect();
    call::ok(&services)
}

fn matches(found: &Service, filters: &Filters) -> bool {
    let mode = match found.spec.mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    };
    filters.prefix("id", &found.id.to_string())
        && filters.prefix("name", found.name())
        && filters.exact("mode", mode)
        && filters.exact("runtime", "container")
        && filters.labels("label", &found.spec.annotations.labels)
}

/// `GET /services/{id}`.
pub async fn inspect(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let found = resolve::service(&store, &call.name)?;
    call::ok(&service::object(&store, &found, call.query.flag("insertDefaults"), false))
}

/// `POST /services/create`.
pub async fn create(mut call: Call) -> Answer {
    let mut body = call.json::<api::ServiceSpec>().await?;
    resolve_networks(&call, &mut body).await?;
    let mut spec = service::read(body)?;
    let attached = !spec.task.networks.is_empty();
    if spec.annotations.name.is_empty() {
        let store = call.backend.view().await?;
        spec.annotations.name = names::choose(rand::random(), |name| store.service_by_name(name).is_some());
    }
    let write = Write::CreateService { spec: Box::new(spec) };
    let write = match transfers::auth(&call.headers)? {
        Some(auth) => Write::WithRegistryAuth { write: Box::new(write), auth: Some(auth), from: AuthFrom::Spec },
        None => write,
    };
    match call.backend.write(write).await? {
        Outcome::ServiceCreated { id, mut warnings } => {
            warnings.extend(attached.then(|| NO_DATA_PLANE.to_owned()));
            let warnings = (!warnings.is_empty()).then_some(warnings);
            call::json(StatusCode::CREATED, &model::Created { id: Some(id.to_string()), warnings })
        }
        other => Err(Error::internal(format!("creating a service was answered with {other:?}")).into()),
    }
}

/// `POST /services/{id}/update`.
pub async fn update(mut call: Call) -> Answer {
    let version = call.query.version("service")?;
    let rollback = match call.query.get("rollback").unwrap_or_default() {
        "" => Rollback::No,
        "previous" => Rollback::Previous,
        other => return Err(ApiError::invalid(format!("unrecognized rollback option {other}"))),
    };
    let mut body = call.json::<api::ServiceSpec>().await?;
    resolve_networks(&call, &mut body).await?;
    let spec = service::read(body)?;
    let store = call.backend.view().await?;
    let id = resolve::service(&store, &call.name)?.id;
    let write = Write::UpdateService { id, version, spec: Box::new(spec), rollback };
    let auth = transfers::auth(&call.headers)?;
    let from = match call.query.get("registryAuthFrom").unwrap_or_default() {
        "" | "spec" => AuthFrom::Spec,
        "previous-spec" => AuthFrom::PreviousSpec,
        other => return Err(ApiError::invalid(format!("unsupported registryAuthFrom value: {other:?}; use spec or previous-spec"))),
    };
    let write = Write::WithRegistryAuth { write: Box::new(write), auth, from };
    let warnings = match call.backend.write(write).await? {
        Outcome::Warnings(warnings) => warnings,
        _ => Vec::new(),
    };
    call::ok(&model::Updated { warnings: (!warnings.is_empty()).then_some(warnings) })
}

/// Only a spec that names networks needs the state before it is read.
async fn resolve_networks(call: &Call, body: &mut api::ServiceSpec) -> Result<(), ApiError> {
    let in_task = body.task.as_ref().and_then(|task| task.networks.as_ref()).is_some_and(|networks| !networks.is_empty());
    if in_task || body.networks.as_ref().is_some_and(|networks| !networks.is_empty()) {
        networks::resolve_targets(&call.backend.view().await?, body)?;
    }
    Ok(())
}

/// `DELETE /services/{id}`.
pub async fn remove(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let id = resolve::service(&store, &call.name)?.id;
    call.backend.write(Write::RemoveService { id }).await?;
    call::empty()
}
