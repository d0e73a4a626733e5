//! Tests of the crate's parts together, with a scripted executor, hand-over and leader.

mod agent;
mod crash;
pub(crate) mod fake;
mod ingress;
mod leader;
mod log_files;
mod logs;
mod script;
mod stored;
mod udp;
