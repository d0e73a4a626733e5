//! What a task sees of the node's files: bind mounts, volumes, tmpfs (Docker's `Mount`).
//!
//! Owns: shapes, and the amounts that hold when the user says none. Options are kept as they were given, so that `inspect` shows them.
//! Never: reads a path.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A tmpfs without a size gets this much (the kernel's own default is half of the machine's memory).
pub const DEFAULT_TMPFS_BYTES: u64 = 64 << 20;
/// Mode of a tmpfs's root when none was given; Docker's.
pub const DEFAULT_TMPFS_MODE: u32 = 0o1777;
/// The driver of volumes whose user names none, and the only one that nodes have.
pub const LOCAL_DRIVER: &str = "local";

/// Linux's `NAME_MAX`.
const MAX_VOLUME_NAME: usize = 255;

/// Docker's rule for a volume's name: two characters at least, the first of letters and digits.
pub fn volume_name(name: &str) -> Result<(), String> {
    if name.len() == 1 {
        return Err("volume name is too short, names should be at least two alphanumeric characters".into());
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !first || name.len() > MAX_VOLUME_NAME || !bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return Err(format!(
            "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
             If you intended to pass a host directory, use absolute path"
        ));
    }
    Ok(())
}

/// Where a mount's files come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the node.
    #[default]
    Bind,
    /// A volume of the node, made when it is first used.
    Volume,
    /// Memory, gone with the task.
    Tmpfs,
}

impl MountKind {
    /// The word in Docker's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
        }
    }
}

/// One mount of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    /// A path (bind), a volume's name (empty: a volume of the task's own), empty (tmpfs).
    pub source: String,
    /// Absolute path as the task sees it.
    pub target: String,
    pub read_only: bool,
    /// Kept for `inspect` only: it means nothing on Linux.
    pub consistency: String,
    pub bind: Option<BindOptions>,
    pub volume: Option<VolumeOptions>,
    pub tmpfs: Option<TmpfsOptions>,
}

/// Options of a bind mount; the propagation is always `rprivate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindOptions {
    /// What is mounted below the source is left out.
    pub non_recursive: bool,
    /// Make the source when it is missing.
    pub create_mountpoint: bool,
    /// `ReadOnly` holds for the source's own file system, not for what is mounted below it.
    pub read_only_non_recursive: bool,
    /// Fail when `ReadOnly` cannot hold for all that is mounted below (it always can here).
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount; they count when the volume is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOptions {
    pub no_copy: bool,
    pub labels: BTreeMap<String, String>,
    /// A folder of the volume instead of all of it.
    pub subpath: String,
    pub driver: Option<VolumeDriver>,
}

/// Who makes a volume, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDriver {
    /// Empty: [`LOCAL_DRIVER`].
    pub name: String,
    pub options: BTreeMap<String, String>,
}

/// Options of a tmpfs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsOptions {
    /// Zero: [`DEFAULT_TMPFS_BYTES`].
    pub size_bytes: u64,
    /// Zero: [`DEFAULT_TMPFS_MODE`].
    pub mode: u32,
}

impl Mount {
    /// The volume's driver, `local` when none is named.
    pub fn driver(&self) -> &str {
        let named = self.volume.as_ref().and_then(|volume| volume.driver.as_ref()).map_or("", |driver| driver.name.as_str());
        if named.is_empty() { LOCAL_DRIVER } else { named }
    }
}
