//! The API against the in-memory backend: golden requests and answers, as the stock clients send and read them.
// clippy.toml allows these in test functions; helpers of tests are no test functions
#![allow(clippy::unwrap_used, clippy::panic)]

mod bad_input;
mod client;
mod containers;
mod control;
mod fixture;
mod images;
mod logs;
mod networks;
mod nodes;
mod services;
mod socket;
mod spoilt;
mod swarm;
mod system;
mod tasks;
mod volumes;
