//! What the mounts of a service must be like, whatever the node: targets, sources, options that fit the kind.
//!
//! Owns: the checks of SwarmKit (`validateMounts`) and of moby's mount parser, in their words; moby makes the latter on the node, where the
//! task would be rejected again and again. Never: looks at a file system.

use super::invalid;
use std::collections::BTreeSet;
use wsw_api::error::Result;
use wsw_api::mount::volume_name;
use wsw_api::spec::{Mount, MountKind};

/// Mounts of one task: a bound on what one request makes every node mount.
const MAX_MOUNTS: usize = 64;
/// Linux's `PATH_MAX`.
const MAX_PATH: usize = 4_095;
/// Permission bits, set-id bits and the sticky bit.
const MAX_MODE: u32 = 0o7777;

pub(super) fn check(mounts: &[Mount]) -> Result<()> {
    if mounts.len() > MAX_MOUNTS {
        return Err(invalid(format!("ContainerSpec: {} mounts are too many; use at most {MAX_MOUNTS}", mounts.len())));
    }
    let mut seen = BTreeSet::new();
    for mount in mounts {
        if !seen.insert(clean(&mount.target)) {
            return Err(invalid(format!("ContainerSpec: duplicate mount point: {}", mount.target)));
        }
        let wrong = |why: String| invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind.as_str()));
        target(&mount.target).map_err(wrong)?;
        match mount.kind {
            MountKind::Bind => bind(mount).map_err(wrong)?,
            MountKind::Volume => volume(mount)?,
            MountKind::Tmpfs => tmpfs(mount).map_err(wrong)?,
        }
    }
    Ok(())
}

/// A path's parts, without empty ones and `.`: two spellings of one place are one place.
fn clean(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

fn target(target: &str) -> Result<(), String> {
    if target.is_empty() {
        return Err("field Target must not be empty".into());
    }
    absolute(target)?;
    match clean(target).as_slice() {
        [] => Err("invalid specification: destination can't be '/'".into()),
        parts if parts.contains(&"..") => Err(format!("invalid mount path: '{target}' mount path must not contain '..'")),
        _ => Ok(()),
    }
}

fn absolute(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("invalid mount path: '{path}' mount path must be absolute"));
    }
    if path.len() > MAX_PATH || path.contains('\0') {
        return Err(format!("invalid mount path: a path has at most {MAX_PATH} bytes and no NUL"));
    }
    Ok(())
}

fn no_options(present: [(&str, bool); 2]) -> Result<(), String> {
    present.into_iter().find(|(_, present)| *present).map_or(Ok(()), |(name, _)| Err(format!("field {name} must not be specified")))
}

fn bind(mount: &Mount) -> Result<(), String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    no_options([("VolumeOptions", mount.volume.is_some()), ("TmpfsOptions", mount.tmpfs.is_some())])?;
    absolute(&mount.source)?;
    let options = mount.bind.unwrap_or_default();
    let needs = |name: &str| Err(format!("mount options conflict: {name} needs ReadOnly"));
    match (mount.read_only, options.read_only_non_recursive, options.read_only_force_recursive) {
        (_, true, true) => Err("mount options conflict: both ReadOnlyNonRecursive and ReadOnlyForceRecursive are set".into()),
        (false, true, _) => needs("ReadOnlyNonRecursive"),
        (false, _, true) => needs("ReadOnlyForceRecursive"),
        _ => Ok(()),
    }
}

fn volume(mount: &Mount) -> Result<()> {
    let wrong = |why: String| invalid(format!("invalid mount config for type \"volume\": {why}"));
    // Which drivers there are is the node's to say.
    no_options([("BindOptions", mount.bind.is_some()), ("TmpfsOptions", mount.tmpfs.is_some())]).map_err(wrong)?;
    if mount.source.starts_with('/') {
        return Err(invalid(format!("invalid volume mount source, must not be an absolute path: {}", mount.source)));
    }
    let subpath = mount.volume.as_ref().map_or("", |options| options.subpath.as_str());
    if mount.source.is_empty() {
        if !subpath.is_empty() {
            return Err(wrong("must not set Subpath when using anonymous volumes".into()));
        }
        if mount.read_only {
            return Err(wrong("must not set ReadOnly mode when using anonymous volumes".into()));
        }
    } else {
        volume_name(&mount.source).map_err(|why| wrong(format!("create {}: {why}", mount.source)))?;
    }
    if subpath.starts_with('/') || subpath.split('/').any(|part| part == "..") || subpath.contains('\0') || subpath.len() > MAX_PATH {
        return Err(wrong("subpath must be a relative path within the volume".into()));
    }
    Ok(())
}

fn tmpfs(mount: &Mount) -> Result<(), String> {
    no_options([("BindOptions", mount.bind.is_some()), ("VolumeOptions", mount.volume.is_some())])?;
    if !mount.source.is_empty() {
        return Err("field Source must not be specified".into());
    }
    let options = mount.tmpfs.unwrap_or_default();
    if options.mode > MAX_MODE {
        return Err(format!("invalid tmpfs mode {:o}; use at most {MAX_MODE:o}", options.mode));
    }
    if i64::try_from(options.size_bytes).is_err() {
        return Err("invalid tmpfs size: too large".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsw_api::spec::{BindOptions, TmpfsOptions, VolumeOptions};

    fn mount(kind: MountKind, source: &str, target: &str) -> Mount {
        Mount { kind, source: source.into(), target: target.into(), ..Mount::default() }
    }

    #[test]
    fn sound_mounts_pass() {
        let sub = VolumeOptions { subpath: "a/b".into(), ..VolumeOptions::default() };
        check(&[
            mount(MountKind::Bind, "/srv", "/data"),
            mount(MountKind::Volume, "vol", "/data/sub"),
            mount(MountKind::Volume, "", "/own"),
            mount(MountKind::Tmpfs, "", "/tmp"),
            Mount { volume: Some(sub), read_only: true, ..mount(MountKind::Volume, "v2", "/part") },
        ])
        .unwrap();
    }

    #[test]
    fn wrong_mounts_are_refused_in_dockers_words() {
        use MountKind::{Bind, Tmpfs, Volume};
        let bind = |options: BindOptions| Mount { bind: Some(options), ..mount(Bind, "/a", "/b") };
        let cases = [
            (mount(Bind, "srv", "/b"), "invalid mount config for type \"bind\": invalid mount path: 'srv' mount path must be absolute"),
            (mount(Bind, "", "/b"), "invalid mount config for type \"bind\": field Source must not be empty"),
            (mount(Bind, "/a", ""), "invalid mount config for type \"bind\": field Target must not be empty"),
            (mount(Bind, "/a", "b"), "invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute"),
            (mount(Bind, "/a", "/./"), "invalid mount config for type \"bind\": invalid specification: destination can't be '/'"),
            (mount(Bind, "/a", "/b/../c"), "invalid mount config for type \"bind\": invalid mount path: '/b/../c' mount path must not contain '..'"),
            (
                Mount { tmpfs: Some(TmpfsOptions::default()), ..mount(Bind, "/a", "/b") },
                "invalid mount config for type \"bind\": field TmpfsOptions must not be specified",
            ),
            (
                bind(BindOptions { read_only_force_recursive: true, ..BindOptions::default() }),
                "invalid mount config for type \"bind\": mount options conflict: ReadOnlyForceRecursive needs ReadOnly",
            ),
            (mount(Volume, "/a", "/b"), "invalid volume mount source, must not be an absolute path: /a"),
            (
                mount(Volume, "a/b", "/b"),
                "invalid mount config for type \"volume\": create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
            (
                Mount { read_only: true, ..mount(Volume, "", "/b") },
                "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
            ),
            (
                Mount { volume: Some(VolumeOptions { subpath: "../x".into(), ..VolumeOptions::default() }), ..mount(Volume, "vv", "/b") },
                "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
            ),
            (mount(Tmpfs, "x", "/b"), "invalid mount config for type \"tmpfs\": field Source must not be specified"),
            (
                Mount { tmpfs: Some(TmpfsOptions { mode: 0o10000, size_bytes: 0 }), ..mount(Tmpfs, "", "/b") },
                "invalid mount config for type \"tmpfs\": invalid tmpfs mode 10000; use at most 7777",
            ),
        ];
        for (mount, words) in cases {
            assert_eq!(check(&[mount]).unwrap_err().message, format!("rpc error: code = InvalidArgument desc = {words}"));
        }
    }

    #[test]
    fn one_place_is_mounted_once() {
        let twice = [mount(MountKind::Bind, "/a", "/b"), mount(MountKind::Tmpfs, "", "/b/")];
        assert_eq!(check(&twice).unwrap_err().message, "rpc error: code = InvalidArgument desc = ContainerSpec: duplicate mount point: /b/");
        let many = vec![mount(MountKind::Bind, "/a", "/b"); MAX_MOUNTS + 1];
        assert!(check(&many).unwrap_err().message.contains("65 mounts are too many"));
    }
}
