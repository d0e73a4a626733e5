//! `/volumes`: the volumes of this node.

use crate::call::{self, Call};
use crate::convert::volume;
use crate::error::{Answer, ApiError};
use crate::model::volume::{Pruned, Volumes};
use crate::volume_store::{ANONYMOUS, Volume};
use axum::response::IntoResponse;
use http::StatusCode;
use wsw_api::event::Kind;

/// Before this minor version a prune took named volumes, too.
const PRUNES_ANONYMOUS: u32 = 42;

/// `GET /volumes`.
pub async fn list(call: Call) -> Answer {
    let filters = call.query.filters(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.bool("dangling")?;
    let found = call.backend.volumes();
    let shown = found.iter().filter(|one| volume::matches(one, &filters, dangling)).map(|one| volume::shown(one, None));
    call::ok(&Volumes { volumes: Some(shown.collect()), warnings: Some(Vec::new()) })
}

fn find(call: &Call) -> Result<Volume, ApiError> {
    let found = call.backend.volumes().into_iter().find(|one| one.name == call.name);
    found.ok_or_else(|| ApiError::not_found(format!("get {}: no such volume", call.name)))
}

/// `GET /volumes/{name}`.
pub async fn inspect(call: Call) -> Answer {
    call::ok(&volume::shown(&find(&call)?, None))
}

/// `POST /volumes/create`.
pub async fn create(mut call: Call) -> Answer {
    let new = volume::read(call.json().await?)?;
    let made = call.backend.volume_create(new).await?;
    call::json(StatusCode::CREATED, &volume::shown(&made, None))
}

/// `DELETE /volumes/{name}`.
pub async fn remove(call: Call) -> Answer {
    let force = call.query.flag("force");
    match find(&call) {
        Ok(found) if !found.users.is_empty() => return Err(volume::in_use(&found)),
        Err(error) if !force => return Err(error),
        Ok(_) | Err(_) => {}
    }
    call.backend.volume_remove(&call.name, force).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PUT /volumes/{name}`: cluster volumes only, in Docker too.
pub async fn update(call: Call) -> Answer {
    find(&call)?;
    Err(ApiError::invalid(format!("volume {}: only cluster volumes can be updated, and this version of wsw has none", call.name)))
}

/// All volumes with what they take, for `GET /system/df`.
pub async fn measured(call: &Call) -> Vec<crate::model::volume::Volume> {
    let mut shown = Vec::new();
    for one in call.backend.volumes() {
        let size = call.backend.volume_size(&one.name).await.unwrap_or_default();
        shown.push(volume::shown(&one, Some(size)));
    }
    shown
}

/// `POST /volumes/prune`.
pub async fn prune(call: Call) -> Answer {
    let filters = call.query.filters(&["label", "label!", "all"])?;
    let all = filters.bool("all")?.unwrap_or(call.version.minor < PRUNES_ANONYMOUS);
    let wanted = |one: &Volume| {
        let excluded = filters.has("label!") && filters.labels("label!", &one.labels);
        one.users.is_empty() && (all || one.labels.contains_key(ANONYMOUS)) && filters.labels("label", &one.labels) && !excluded
    };
    let (mut deleted, mut reclaimed) = (Vec::new(), 0);
    for one in call.backend.volumes().into_iter().filter(wanted) {
        let size = call.backend.volume_size(&one.name).await.unwrap_or_default();
        // A task may have taken it meanwhile: it stays, as with moby.
        if call.backend.volume_remove(&one.name, false).await.is_ok() {
            reclaimed += size;
            deleted.push(one.name);
        }
    }
    call.backend.pruned(Kind::Volume, reclaimed);
    call::ok(&Pruned { deleted: Some(deleted), reclaimed: Some(reclaimed) })
}
