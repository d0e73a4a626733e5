//! Objects that wsw has none of yet: empty lists, and "not found" for whatever is asked by name.
//!
//! `docker inspect X` asks for every kind of object in turn and goes on only after a 404, and `docker system df`, `stack rm` and
//! dashboards list them all; so reading is answered truthfully (there are none) and only making one is refused.

use crate::call::{self, Call};
use crate::error::{Answer, ApiError};

/// A list without entries. Filters need no check: none can hide anything.
pub async fn none(_: Call) -> Answer {
    call::ok(&[(); 0])
}

/// `GET /secrets/{id}`.
pub async fn secret(call: Call) -> Answer {
    Err(ApiError::not_found(format!("secret {} not found", call.name)))
}

/// `GET /configs/{id}`.
pub async fn config(call: Call) -> Answer {
    Err(ApiError::not_found(format!("config {} not found", call.name)))
}

/// `GET /plugins/{name}/json`.
pub async fn plugin(call: Call) -> Answer {
    Err(ApiError::not_found(format!("plugin {:?} not found", call.name)))
}
