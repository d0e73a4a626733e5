//! Networks (`network.Inspect`, `network.CreateRequest`).

use super::{Empty, Map, Unserved, Version, answers, model};
use std::collections::BTreeMap;

model! {
    /// `POST /networks/create`.
    NetworkCreate {
        check_duplicate: Unserved = "CheckDuplicate",
        driver: String = "Driver",
        scope: String = "Scope",
        ipv4: bool = "EnableIPv4",
        ipv6: bool = "EnableIPv6",
        ipam: Ipam = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_only: bool = "ConfigOnly",
        config_from: Unserved = "ConfigFrom",
        options: Map = "Options",
        labels: Map = "Labels",
        name: String = "Name",
    }
    /// Where addresses come from.
    Ipam { driver: String = "Driver", options: Map = "Options", config: Vec<Pool> = "Config" }
    /// One range.
    Pool { subnet: String = "Subnet", range: String = "IPRange", gateway: String = "Gateway", auxiliary: Map = "AuxiliaryAddresses" }
    /// A service's place on a network.
    Attachment { target: String = "Target", aliases: Vec<String> = "Aliases", options: Map = "DriverOpts" }
}
answers! {
    /// What creating one answers.
    NetworkCreated { id: String = "Id", warning: String = "Warning" }
    /// What pruning answers.
    NetworksPruned { deleted: Vec<String> = "NetworksDeleted" }
    /// A network.
    Network {
        name: String = "Name",
        id: String = "Id",
        created: String = "Created",
        scope: &'static str = "Scope",
        driver: String = "Driver",
        ipv4: bool = "EnableIPv4",
        ipv6: bool = "EnableIPv6",
        ipam: WrittenIpam = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_from: ConfigFrom = "ConfigFrom",
        config_only: bool = "ConfigOnly",
        containers: BTreeMap<String, Empty> = "Containers",
        options: Map = "Options",
        labels: Map = "Labels",
    }
    /// As it goes out: a missing map is `null` there.
    WrittenIpam { driver: String = "Driver", options: Option<Map> = "Options", config: Vec<Pool> = "Config" }
    /// None is copied from another.
    ConfigFrom { network: &'static str = "Network" }
    /// A task's place on a network; without addresses while there is no data plane.
    TaskAttachment { network: AttachedNetwork = "Network", addresses: Vec<String> = "Addresses" }
    /// The network as the swarm's managers describe it.
    AttachedNetwork {
        id: String = "ID",
        version: Version = "Version",
        created_at: String = "CreatedAt",
        updated_at: String = "UpdatedAt",
        spec: AttachedSpec = "Spec",
        driver: NamedDriver = "DriverState",
    }
    /// Its spec, as far as tools read it.
    AttachedSpec { name: String = "Name", labels: Map = "Labels", driver: NamedDriver = "DriverConfiguration", attachable: bool = "Attachable", internal: bool = "Internal", scope: &'static str = "Scope" }
    /// A driver.
    NamedDriver { name: String = "Name" }
}
