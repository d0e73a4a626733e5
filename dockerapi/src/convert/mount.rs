//! `Mounts` of a container spec ↔ ours.
//!
//! Owns: which of Docker's mount types and options wsw serves. What a target or a source must be like is the planner's.

use super::{go_nanos, non_negative, not_served, some_text, unserved};
use crate::model::mount as api;
use wsw_api::spec::{BindOptions, Mount, MountKind, TmpfsOptions, VolumeDriver, VolumeOptions};
use wsw_api::{Error, Result};

/// Docker's propagation modes besides `rprivate`, which every mount has here.
const PROPAGATIONS: [&str; 5] = ["private", "rshared", "shared", "rslave", "slave"];
const RPRIVATE: &str = "rprivate";

/// From the API.
pub fn read(mount: api::Mount) -> Result<Mount> {
    unserved("ContainerSpec.Mounts.ImageOptions", &mount.image)?;
    unserved("ContainerSpec.Mounts.ClusterOptions", &mount.cluster)?;
    Ok(Mount {
        kind: kind(mount.kind.as_deref().unwrap_or_default())?,
        source: mount.source.unwrap_or_default(),
        target: mount.target.unwrap_or_default(),
        read_only: mount.read_only.unwrap_or_default(),
        consistency: mount.consistency.unwrap_or_default(),
        bind: mount.bind.map(read_bind).transpose()?,
        volume: mount.volume.map(read_volume),
        tmpfs: mount.tmpfs.map(read_tmpfs).transpose()?,
    })
}

fn kind(word: &str) -> Result<MountKind> {
    match word.to_ascii_lowercase().as_str() {
        // Swarm's first value is bind
        "" | "bind" => Ok(MountKind::Bind),
        "volume" => Ok(MountKind::Volume),
        "tmpfs" => Ok(MountKind::Tmpfs),
        "npipe" | "cluster" | "image" => {
            Err(Error::unimplemented(format!("ContainerSpec.Mounts: type {word:?} is not supported by this version of wsw; use bind, volume or tmpfs")))
        }
        _ => Err(Error::invalid(format!("invalid MountType: {word:?}"))),
    }
}

fn read_bind(options: api::BindOptions) -> Result<BindOptions> {
    let propagation = options.propagation.unwrap_or_default().to_ascii_lowercase();
    match propagation.as_str() {
        "" | RPRIVATE => {}
        known if PROPAGATIONS.contains(&known) => {
            return Err(Error::unimplemented(format!(
                "ContainerSpec.Mounts.BindOptions.Propagation: {known:?} is not supported by this version of wsw; use rprivate"
            )));
        }
        other => return Err(Error::invalid(format!("invalid MountPropagation: {other:?}"))),
    }
    Ok(BindOptions {
        non_recursive: options.non_recursive.unwrap_or_default(),
        create_mountpoint: options.create_mountpoint.unwrap_or_default(),
        read_only_non_recursive: options.read_only_non_recursive.unwrap_or_default(),
        read_only_force_recursive: options.read_only_force_recursive.unwrap_or_default(),
    })
}

fn read_volume(options: api::VolumeOptions) -> VolumeOptions {
    let driver = options.driver.map(|driver| VolumeDriver { name: driver.name.unwrap_or_default(), options: driver.options.unwrap_or_default() });
    VolumeOptions {
        no_copy: options.no_copy.unwrap_or_default(),
        labels: options.labels.unwrap_or_default(),
        subpath: options.subpath.unwrap_or_default(),
        driver,
    }
}

fn read_tmpfs(options: api::TmpfsOptions) -> Result<TmpfsOptions> {
    if options.options.is_some_and(|options| options.as_array().is_none_or(|options| !options.is_empty())) {
        return Err(not_served("ContainerSpec.Mounts.TmpfsOptions.Options"));
    }
    Ok(TmpfsOptions { size_bytes: non_negative("ContainerSpec.Mounts.TmpfsOptions.SizeBytes", options.size)?, mode: options.mode.unwrap_or_default() })
}

/// To the API.
pub fn write(mount: &Mount) -> api::Mount {
    api::Mount {
        kind: Some(mount.kind.as_str().to_owned()),
        source: some_text(&mount.source),
        target: some_text(&mount.target),
        read_only: mount.read_only.then_some(true),
        consistency: some_text(&mount.consistency),
        bind: mount.bind.as_ref().map(write_bind),
        volume: mount.volume.as_ref().map(write_volume),
        tmpfs: mount.tmpfs.as_ref().map(write_tmpfs),
        ..Default::default()
    }
}

fn write_bind(options: &BindOptions) -> api::BindOptions {
    let some = |on: bool| on.then_some(true);
    api::BindOptions {
        // moby shows the mode of every bind that has options
        propagation: Some(RPRIVATE.to_owned()),
        non_recursive: some(options.non_recursive),
        create_mountpoint: some(options.create_mountpoint),
        read_only_non_recursive: some(options.read_only_non_recursive),
        read_only_force_recursive: some(options.read_only_force_recursive),
    }
}

fn write_volume(options: &VolumeOptions) -> api::VolumeOptions {
    let driver = options
        .driver
        .as_ref()
        .map(|driver| api::Driver { name: some_text(&driver.name), options: (!driver.options.is_empty()).then(|| driver.options.clone()) });
    api::VolumeOptions {
        no_copy: options.no_copy.then_some(true),
        labels: (!options.labels.is_empty()).then(|| options.labels.clone()),
        subpath: some_text(&options.subpath),
        driver,
    }
}

fn write_tmpfs(options: &TmpfsOptions) -> api::TmpfsOptions {
    let size = if options.size_bytes == 0 { None } else { go_nanos(options.size_bytes) };
    api::TmpfsOptions { size, mode: (options.mode != 0).then_some(options.mode), options: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn there_and_back(mount: Value) -> Result<Value> {
        let mount = read(serde_json::from_value(mount).unwrap())?;
        Ok(serde_json::to_value(write(&mount)).unwrap())
    }

    #[test]
    fn a_mount_is_shown_as_it_was_given() {
        for mount in [
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "Consistency": "cached"}),
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rprivate", "NonRecursive": true, "CreateMountpoint": true}}),
            json!({"Type": "volume", "Target": "/b", "VolumeOptions": {"DriverConfig": {}}}),
            json!({"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": {
                "NoCopy": true, "Labels": {"a": "1"}, "Subpath": "s", "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}},
            }}),
            json!({"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 448}}),
        ] {
            assert_eq!(there_and_back(mount.clone()).unwrap(), mount);
        }
    }

    #[test]
    fn no_type_is_a_bind_as_in_swarm() {
        assert_eq!(there_and_back(json!({"Source": "/a", "Target": "/b"})).unwrap()["Type"], "bind");
    }
}
