//! The handlers, one file per object. Each reads the call, asks the backend, converts, answers.
//!
//! Never: decides anything about the cluster; refuses what the planner would refuse.

pub mod archive;
pub mod attach;
pub mod containers;
pub mod control;
pub mod events;
pub mod exec;
pub mod hijack;
pub mod images;
pub mod logs;
pub mod networks;
pub mod nodes;
pub mod services;
pub mod stats;
pub mod stubs;
pub mod swarm;
pub mod system;
mod talk;
pub mod tasks;
pub mod top;
pub mod transfers;
pub mod volumes;
