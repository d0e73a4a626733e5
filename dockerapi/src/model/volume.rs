//! Volumes (`volume.Volume`).

use super::{Map, Unserved, answers, model};

answers! {
    /// A volume; the two maps are null when empty.
    Volume {
        created: String = "CreatedAt",
        driver: &'static str = "Driver",
        labels: Option<Map> = "Labels",
        mountpoint: String = "Mountpoint",
        name: String = "Name",
        options: Option<Map> = "Options",
        scope: &'static str = "Scope",
        usage: UsageData = "UsageData",
    }
    /// For `system df`.
    UsageData { users: i64 = "RefCount", size: i64 = "Size" }
    /// `GET /volumes`.
    Volumes { volumes: Vec<Volume> = "Volumes", warnings: Vec<String> = "Warnings" }
    /// `POST /volumes/prune`.
    Pruned { deleted: Vec<String> = "VolumesDeleted", reclaimed: u64 = "SpaceReclaimed" }
}
model! {
    /// `POST /volumes/create`.
    NewVolume {
        cluster: Unserved = "ClusterVolumeSpec",
        driver: String = "Driver",
        options: Map = "DriverOpts",
        labels: Map = "Labels",
        name: String = "Name",
    }
}
