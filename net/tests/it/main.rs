//! Two ends and real sockets: what a peer may do, what it may not, and that nothing wrong gets further than its own stream.

#![allow(clippy::unwrap_used, clippy::panic)] // The helpers of tests may; clippy only knows the test functions themselves.

mod fixture;
mod flood;
mod join;
mod streams;
mod trust;
