//! Tests of the whole program: real daemons, real shims, real clients, one binary.
//!
//! They need the guests (`make guests`) and a docker client (`scripts/setup`). Each test has a node of its own in a temporary folder; nothing is shared,
//! nothing outlives it. A test waits for a state, never for a time, and nothing asserts that something is fast.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failed test is a panic, in its helpers too")]

mod anew;
mod archives;
mod autolock;
mod bad_api;
mod bad_archives;
mod bad_cli;
mod bad_disk;
mod bad_guests;
mod bad_http;
mod bad_images;
mod bad_roots;
mod bad_routes;
mod blobs;
mod ca;
mod certificates;
mod chaos;
mod cluster;
mod cluster_bad;
mod cluster_events;
mod containers;
mod crash;
mod crowd;
mod diff;
mod faults_links;
mod faults_managers;
mod faults_nodes;
mod faults_workers;
mod foreign;
mod harness;
mod http;
mod ingress;
mod ingress_logs;
mod ingress_moves;
mod jobs;
mod labels;
mod laptop;
mod limits;
mod lists;
mod logins;
mod logs;
mod logs_diff;
mod managers;
mod managers_roles;
mod networks;
mod oci;
mod oci_bad;
mod oci_cluster;
mod oci_confine;
mod oci_cp;
mod oci_cp_hostile;
mod oci_exec;
mod oci_health;
mod oci_misbehaved;
mod oci_network;
mod oci_runtimes;
mod oci_shims;
mod outbound;
mod placement;
mod ports;
mod registry;
mod sandbox;
mod services;
mod sockets;
mod stack;
mod store;
mod suspects;
mod tidy;
mod trust;
mod update;
mod volumes;
mod walk;
