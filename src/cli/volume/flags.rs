//! Flags of the `volume` commands, in docker's words.

use crate::cli::args::{Flag, check};

const AVAILABILITY: Flag = Flag::string("availability", "Cluster Volume availability (\"active\", \"pause\", \"drain\")").default("active");

pub const CREATE: &[Flag] = &[
    AVAILABILITY,
    Flag::string("driver", "Specify volume driver name").short('d').default("local"),
    Flag::string("group", "Cluster Volume group (cluster volumes)"),
    Flag::custom("label", "list", check::label, "Set metadata for a volume"),
    Flag::custom("limit-bytes", "bytes", check::bytes, "Minimum size of the Cluster Volume in bytes"),
    Flag::custom("opt", "map", check::any, "Set driver specific options").short('o').default("map[]"),
    Flag::custom("required-bytes", "bytes", check::bytes, "Maximum size of the Cluster Volume in bytes"),
    Flag::string("scope", "Cluster Volume access scope (\"single\", \"multi\")").default("single"),
    Flag::custom("secret", "map", check::any, "Cluster Volume secrets").default("map[]"),
    Flag::string("sharing", "Cluster Volume access sharing (\"none\", \"readonly\", \"onewriter\", \"all\")").default("none"),
    Flag::list("topology-preferred", "A topology that the Cluster Volume would be preferred in"),
    Flag::list("topology-required", "A topology that the Cluster Volume must be accessible from"),
    Flag::string("type", "Cluster Volume access type (\"mount\", \"block\")").default("block"),
];
/// Those of [`CREATE`] that ask for a cluster volume.
pub const CLUSTER: &[&str] =
    &["availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred", "topology-required", "type"];
pub const UPDATE: &[Flag] = &[AVAILABILITY];
pub const RM: &[Flag] = &[Flag::boolean("force", "Force the removal of one or more volumes").short('f')];
pub const PRUNE: &[Flag] = &[
    Flag::boolean("all", "Remove all unused volumes, not just anonymous ones").short('a'),
    Flag::custom("filter", "filter", check::filter, "Provide filter values (e.g. \"label=<label>\")"),
    Flag::boolean("force", "Do not prompt for confirmation").short('f'),
];
