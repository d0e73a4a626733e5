//! `/swarm`: inspect, init, join, leave, update, and the unlock key.

use crate::backend::Rotate;
use crate::call::{self, Call};
use crate::convert::swarm;
use crate::error::Answer;
use crate::model::swarm as api;
use wsw_api::Error;

/// `GET /swarm`.
pub async fn inspect(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let cluster = store.cluster().ok_or_else(not_ready)?;
    call::ok(&swarm::object(cluster))
}

fn not_ready() -> Error {
    Error::unavailable("the cluster's state is not there yet; try again")
}

/// `POST /swarm/init`: answers the node's id as a JSON string.
pub async fn init(mut call: Call) -> Answer {
    let request = swarm::read_init(call.json::<api::InitRequest>().await?)?;
    call::ok(&call.backend.swarm_init(request).await?.to_string())
}

/// `POST /swarm/join`.
pub async fn join(mut call: Call) -> Answer {
    let request = swarm::read_join(call.json::<api::JoinRequest>().await?)?;
    call.backend.swarm_join(request).await?;
    call::empty()
}

/// `POST /swarm/leave`.
pub async fn leave(call: Call) -> Answer {
    call.backend.swarm_leave(call.query.flag("force")).await?;
    call::empty()
}

/// `POST /swarm/update`: the spec, new join tokens, a new unlock key.
pub async fn update(mut call: Call) -> Answer {
    let version = call.query.version("swarm")?;
    let body = call.json::<api::SwarmSpec>().await?;
    let rotate = Rotate {
        worker_token: call.query.flag("rotateWorkerToken"),
        manager_token: call.query.flag("rotateManagerToken"),
        unlock_key: call.query.flag("rotateManagerUnlockKey"),
        root: swarm::read_root(&body),
    };
    let store = call.backend.view().await?;
    let spec = swarm::read(body, &store.cluster().ok_or_else(not_ready)?.spec)?;
    call.backend.swarm_update(version, spec, rotate).await?;
    call::empty()
}

/// `GET /swarm/unlockkey`: an empty one while autolock is off.
pub async fn unlock_key(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let key = store.cluster().ok_or_else(not_ready)?.unlock_key.as_ref().map(|key| key.text().to_owned());
    call::ok(&api::UnlockKey { key: Some(key.unwrap_or_default()) })
}

/// `POST /swarm/unlock`.
pub async fn unlock(mut call: Call) -> Answer {
    let request = call.json::<api::UnlockRequest>().await?;
    call.backend.swarm_unlock(&request.key.unwrap_or_default()).await?;
    call::empty()
}
