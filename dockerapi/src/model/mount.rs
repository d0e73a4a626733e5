//! Mounts (`mount.Mount`).

use super::{Map, Unserved, model};

model! {
    /// One mount of a task.
    Mount {
        kind: String = "Type",
        source: String = "Source",
        target: String = "Target",
        read_only: bool = "ReadOnly",
        consistency: String = "Consistency",
        bind: BindOptions = "BindOptions",
        volume: VolumeOptions = "VolumeOptions",
        image: Unserved = "ImageOptions",
        tmpfs: TmpfsOptions = "TmpfsOptions",
        cluster: Unserved = "ClusterOptions",
    }
    /// Of a path of the node.
    BindOptions {
        propagation: String = "Propagation",
        non_recursive: bool = "NonRecursive",
        create_mountpoint: bool = "CreateMountpoint",
        read_only_non_recursive: bool = "ReadOnlyNonRecursive",
        read_only_force_recursive: bool = "ReadOnlyForceRecursive",
    }
    /// Of a volume.
    VolumeOptions { no_copy: bool = "NoCopy", labels: Map = "Labels", subpath: String = "Subpath", driver: Driver = "DriverConfig" }
    /// Who makes the volume.
    Driver { name: String = "Name", options: Map = "Options" }
    /// Of memory.
    TmpfsOptions { size: i64 = "SizeBytes", mode: u32 = "Mode", options: Unserved = "Options" }
}
