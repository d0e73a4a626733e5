//! Nodes (`swarm.Node`).

use super::{Map, Platform, Version, answers, model};

model! {
    /// A node as its operator wants it.
    NodeSpec { name: String = "Name", labels: Map = "Labels", role: String = "Role", availability: String = "Availability" }
}

answers! {
    /// A node.
    Node {
        id: String = "ID",
        version: Version = "Version",
        created_at: String = "CreatedAt",
        updated_at: String = "UpdatedAt",
        spec: NodeSpec = "Spec",
        description: Description = "Description",
        status: NodeStatus = "Status",
        manager: ManagerStatus = "ManagerStatus",
    }
    /// What it says of itself.
    Description {
        hostname: String = "Hostname",
        platform: Platform = "Platform",
        resources: NodeResources = "Resources",
        engine: Engine = "Engine",
        tls: TlsInfo = "TLSInfo",
    }
    /// What it has.
    NodeResources { nano_cpus: u64 = "NanoCPUs", memory_bytes: u64 = "MemoryBytes", generic: Vec<super::task::GenericResource> = "GenericResources" }
    /// Its software.
    Engine { version: String = "EngineVersion", labels: Map = "Labels", plugins: Vec<Plugin> = "Plugins" }
    /// One driver or shim.
    Plugin { kind: String = "Type", name: String = "Name" }
    /// The root that it trusts; the issuer's fields are base64 of DER.
    TlsInfo { trust_root: String = "TrustRoot", issuer_subject: String = "CertIssuerSubject", issuer_public_key: String = "CertIssuerPublicKey" }
    /// The leader's view of it.
    NodeStatus { state: &'static str = "State", message: String = "Message", addr: String = "Addr" }
    /// Its place among the managers.
    ManagerStatus { leader: bool = "Leader", reachability: &'static str = "Reachability", addr: String = "Addr" }
}
