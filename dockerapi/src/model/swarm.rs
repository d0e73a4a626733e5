//! The cluster: `swarm.Swarm`, and what init, join, update and unlock carry.

use super::node::TlsInfo;
use super::{Map, Unserved, Version, answers, model};

model! {
    /// Settings of the whole cluster.
    SwarmSpec {
        name: String = "Name",
        labels: Map = "Labels",
        orchestration: Orchestration = "Orchestration",
        raft: RaftConfig = "Raft",
        dispatcher: Dispatcher = "Dispatcher",
        ca: CaConfig = "CAConfig",
        task_defaults: TaskDefaults = "TaskDefaults",
        encryption: Encryption = "EncryptionConfig",
    }
    /// Of tasks.
    Orchestration { history_limit: i64 = "TaskHistoryRetentionLimit" }
    /// Of the log.
    RaftConfig {
        snapshot_interval: u64 = "SnapshotInterval",
        keep_old_snapshots: u64 = "KeepOldSnapshots",
        entries_for_slow_followers: u64 = "LogEntriesForSlowFollowers",
        election_tick: i64 = "ElectionTick",
        heartbeat_tick: i64 = "HeartbeatTick",
    }
    /// Of sessions.
    Dispatcher { heartbeat_period: i64 = "HeartbeatPeriod" }
    /// Of certificates.
    CaConfig {
        node_cert_expiry: i64 = "NodeCertExpiry",
        external_cas: Unserved = "ExternalCAs",
        signing_ca_cert: String = "SigningCACert",
        signing_ca_key: String = "SigningCAKey",
        force_rotate: u64 = "ForceRotate",
    }
    /// For tasks that say nothing else.
    TaskDefaults { log_driver: Unserved = "LogDriver" }
    /// Autolock.
    Encryption { auto_lock: bool = "AutoLockManagers" }
    /// `POST /swarm/init`.
    InitRequest {
        listen_addr: String = "ListenAddr",
        advertise_addr: String = "AdvertiseAddr",
        data_path_addr: String = "DataPathAddr",
        data_path_port: u32 = "DataPathPort",
        force_new_cluster: bool = "ForceNewCluster",
        spec: SwarmSpec = "Spec",
        auto_lock: bool = "AutoLockManagers",
        availability: String = "Availability",
        addr_pool: Vec<String> = "DefaultAddrPool",
        subnet_size: u32 = "SubnetSize",
    }
    /// `POST /swarm/join`.
    JoinRequest {
        listen_addr: String = "ListenAddr",
        advertise_addr: String = "AdvertiseAddr",
        data_path_addr: String = "DataPathAddr",
        remote_addrs: Vec<String> = "RemoteAddrs",
        join_token: String = "JoinToken",
        availability: String = "Availability",
    }
    /// `POST /swarm/unlock`.
    UnlockRequest { key: String = "UnlockKey" }
}

answers! {
    /// The cluster, with its tokens.
    Swarm {
        id: String = "ID",
        version: Version = "Version",
        created_at: String = "CreatedAt",
        updated_at: String = "UpdatedAt",
        spec: SwarmSpec = "Spec",
        tls: TlsInfo = "TLSInfo",
        root_rotation: bool = "RootRotationInProgress",
        addr_pool: Vec<String> = "DefaultAddrPool",
        subnet_size: u32 = "SubnetSize",
        data_path_port: u32 = "DataPathPort",
        join_tokens: JoinTokens = "JoinTokens",
    }
    /// Secrets that let a node join.
    JoinTokens { worker: String = "Worker", manager: String = "Manager" }
    /// `GET /swarm/unlockkey`.
    UnlockKey { key: String = "UnlockKey" }
}
