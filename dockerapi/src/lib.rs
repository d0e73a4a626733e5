//! The Docker Engine HTTP API of wsw: the stock `docker` CLI, stack files and dashboards talk to this.
//!
//! Owns: routes, JSON shapes, conversions, error texts. Docker's spellings live in this crate only.
//! Invariants: an answer is JSON with `Api-Version`, `Ostype` and `Server`; what wsw does not serve is refused by name, never ignored.
//! Never: decides anything; everything goes through [`Backend`], which the daemon implements.
//!
//! ```text
//! server ─> router (table) ─> routes/* ──> Backend (the daemon)
//!               │                │ ▲
//!           negotiate      convert/* ── model/*   (Docker's JSON)
//! ```

pub mod backend;
mod call;
mod convert;
mod drain;
mod error;
mod exec_store;
mod file_store;
mod filters;
pub mod image_store;
mod model;
mod names;
mod negotiate;
mod resolve;
mod router;
mod routes;
mod server;
mod signals;
mod stdcopy;
pub mod volume_store;

pub use backend::Backend;
pub use convert::event::{of_prune as prune_event, of_task as task_event, of_volume as volume_event};
pub use convert::task::container_id;
pub use convert::time::human as human_duration;
pub use negotiate::{ApiVersion, NEWEST, OLDEST};
pub use router::router;
pub use server::serve;
