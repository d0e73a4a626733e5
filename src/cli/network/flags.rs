//! Flags of `wsw network`, in docker's words.

use crate::cli::args::{Flag, check};

pub const CREATE: &[Flag] = &[
    Flag::boolean("attachable", "Enable manual container attachment"),
    Flag::custom("aux-address", "map", check::any, "Auxiliary IPv4 or IPv6 addresses used by Network driver").default("map[]"),
    Flag::string("config-from", "The network from which to copy the configuration"),
    Flag::boolean("config-only", "Create a configuration only network"),
    Flag::string("driver", "Driver to manage the Network").short('d').default("bridge"),
    Flag::custom("gateway", "strings", check::any, "IPv4 or IPv6 Gateway for the master subnet"),
    Flag::boolean("ingress", "Create swarm routing-mesh network"),
    Flag::boolean("internal", "Restrict external access to the network"),
    Flag::custom("ip-range", "strings", check::any, "Allocate container ip from a sub-range"),
    Flag::string("ipam-driver", "IP Address Management Driver").default("default"),
    Flag::custom("ipam-opt", "map", check::any, "Set IPAM driver specific options").default("map[]"),
    Flag { default: "true", ..Flag::boolean("ipv4", "Enable or disable IPv4 address assignment") },
    Flag::boolean("ipv6", "Enable or disable IPv6 address assignment"),
    Flag::list("label", "Set metadata on a network").checked(check::label),
    Flag::custom("opt", "map", check::any, "Set driver specific options").short('o').default("map[]"),
    Flag::string("scope", "Control the network's scope"),
    Flag::custom("subnet", "strings", check::any, "Subnet in CIDR format that represents a network segment"),
];
pub const RM: &[Flag] = &[Flag::boolean("force", "Do not error if the network does not exist").short('f')];
pub const PRUNE: &[Flag] = &[
    Flag::custom("filter", "filter", check::filter, "Provide filter values (e.g. \"until=<timestamp>\")"),
    Flag::boolean("force", "Do not prompt for confirmation").short('f'),
];
pub const CONNECT: &[Flag] = &[
    Flag::custom("alias", "strings", check::any, "Add network-scoped alias for the container"),
    Flag::custom("driver-opt", "strings", check::any, "driver options for the network"),
    Flag::int("gw-priority", "Highest gw-priority provides the default gateway. Accepts positive and negative values."),
    Flag::string("ip", "IPv4 address (e.g., \"172.30.100.104\")"),
    Flag::string("ip6", "IPv6 address (e.g., \"2001:db8::33\")"),
    Flag::list("link", "Add link to another container"),
    Flag::custom("link-local-ip", "strings", check::any, "Add a link-local address for the container"),
];
pub const DISCONNECT: &[Flag] = &[Flag::boolean("force", "Force the container to disconnect from a network").short('f')];
