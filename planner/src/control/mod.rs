//! API writes: one request in, guards and changes (or a refusal in Swarm's words) out.
//!
//! Owns: what a user may ask for. One file per object. Reads the store it is handed, writes nothing.
//! Invariant: a refusal names the field, and nothing of a refused request is in the answer.

mod cluster;
mod image;
mod mounts;
mod network;
mod node;
mod ports;
mod registry;
mod service;
mod validate;

#[cfg(test)]
mod tests;

use crate::Store;
use std::fmt;
use wsw_api::control::Write;
use wsw_api::entry::{Change, Guard, Outcome};
use wsw_api::error::{Error, Result};
use wsw_api::time::Time;

pub use cluster::check as check_cluster;
pub use node::check_demotion;

/// Where 16 random bytes come from.
pub type Mint<'a> = dyn FnMut() -> [u8; 16] + 'a;

/// What a write asks of the log, and what its caller is told once that is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub guards: Vec<Guard>,
    pub changes: Vec<Change>,
    pub outcome: Outcome,
}

/// Checks one write against the state and turns it into guards and changes.
pub fn handle(view: &Store, write: &Write, now: Time, mint: &mut Mint<'_>) -> Result<Decision> {
    match write {
        Write::CreateService { spec } => service::create(view, spec, now, mint),
        Write::UpdateService { id, version, spec, rollback } => service::update(view, id, *version, spec, *rollback, now),
        Write::RemoveService { id } => service::remove(view, id),
        Write::WithRegistryAuth { write, auth, from } => registry::with(view, write, auth.as_ref(), *from, now, mint),
        Write::UpdateNode { id, version, spec } => node::update(view, id, *version, spec),
        Write::RemoveNode { id, force } => node::remove(view, id, *force, now),
        Write::AddNode { id, role, availability, hostname, addr } => node::add(view, id, *role, *availability, hostname, addr),
        Write::EnrollManager { id, raft_id, addr } => node::enroll(view, id, *raft_id, addr),
        Write::UpdateCluster { version, spec, worker_token, manager_token, unlock_key, rotate_unlock_key, root } => {
            let tokens = (worker_token.as_deref(), manager_token.as_deref());
            cluster::update(view, *version, spec, tokens, (unlock_key.as_ref(), *rotate_unlock_key), root)
        }
        Write::CreateNetwork { spec } => network::create(view, spec, mint),
        Write::RemoveNetwork { id } => network::remove(view, id),
    }
}

/// gRPC's words, which clients of Swarm see in front of every refusal of its managers.
#[derive(Debug, Clone, Copy)]
enum Code {
    InvalidArgument,
    FailedPrecondition,
    AlreadyExists,
    Unimplemented,
    Unknown,
}

/// A refusal as moby passes it on: `rpc error: code = … desc = …`.
fn refuse(code: Code, text: impl fmt::Display) -> Error {
    let message = format!("rpc error: code = {code:?} desc = {text}");
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => Error::invalid(message),
        Code::AlreadyExists | Code::Unknown => Error::conflict(message),
        Code::Unimplemented => Error::unimplemented(message),
    }
}

fn invalid(text: impl fmt::Display) -> Error {
    refuse(Code::InvalidArgument, text)
}

/// The object changed since its caller read it. Clients look for these words and try again.
fn out_of_sequence() -> Error {
    refuse(Code::Unknown, "update out of sequence")
}
