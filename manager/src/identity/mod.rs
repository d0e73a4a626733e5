//! Who this node is: its certificate and key, the cluster's root, the key that encrypts its Raft log.
//!
//! Owns: the folder `identity/`. `ca` makes certificates, `token` join tokens. Invariants: every file is private to this user and
//! replaced whole; while autolock is on the two keys are in `sealed.keys` alone; `identity.json` is written last, so a folder without it is left over from a crash and counts as none.
//! Never: keeps the root's private key (the managers share it in the Raft state).

pub mod ca;
pub mod rotation;
pub mod sealed;
pub mod token;

use crate::files;
use crate::raft::crypto::{DataKey, KEY_BYTES};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use wsw_api::id::{ClusterId, NodeId};
use wsw_api::unlock::UnlockKey;

/// The folder's name in the data root.
pub const FOLDER: &str = "identity";
const FORMAT: u32 = 1;
const ABOUT: &str = "identity.json";
const ROOT: &str = "root-ca.crt";
const CERTIFICATE: &str = "node.crt";
const KEY: &str = "node.key";
const DATA_KEY: &str = "data.key";
/// In place of the last two while autolock is on.
const SEALED: &str = "sealed.keys";
/// Number of a node's first data key.
const FIRST_DATA_KEY: u32 = 1;

/// A node's identity.
#[derive(Debug, Clone)]
pub struct Identity {
    pub node: NodeId,
    pub cluster: ClusterId,
    /// PEM of the cluster's root certificate.
    pub root: String,
    /// PEM of this node's certificate.
    pub certificate: String,
    /// PEM of this node's private key.
    pub key: Secret,
    pub data_key: DataKey,
    /// What seals the two keys on disk.
    pub lock: Option<UnlockKey>,
    /// Version of the cluster that said so: an older one is not listened to.
    pub lock_version: u64,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    node: NodeId,
    cluster: ClusterId,
    data_key: u32,
    #[serde(default)]
    lock_version: u64,
}

impl Identity {
    /// A new one, with a data key of its own.
    pub fn new(node: NodeId, cluster: ClusterId, root: String, certificate: String, key: Secret) -> io::Result<Self> {
        Ok(Self { node, cluster, root, certificate, key, data_key: DataKey::generate(FIRST_DATA_KEY)?, lock: None, lock_version: 0 })
    }

    /// Writes the folder.
    pub fn save(&self, data_root: &Path) -> io::Result<()> {
        let folder = data_root.join(FOLDER);
        files::create_folder(&folder)?;
        files::write_private(&folder.join(ROOT), self.root.as_bytes())?;
        files::write_private(&folder.join(CERTIFICATE), self.certificate.as_bytes())?;
        match &self.lock {
            Some(unlock) => {
                sealed::write(&folder.join(SEALED), unlock, self.lock_version, &self.key, &self.data_key)?;
                remove(&folder, &[KEY, DATA_KEY])?;
            }
            None => {
                files::write_private(&folder.join(KEY), self.key.0.as_bytes())?;
                files::write_private(&folder.join(DATA_KEY), self.data_key.secret())?;
                remove(&folder, &[SEALED])?;
            }
        }
        let about = About { format: FORMAT, node: self.node, cluster: self.cluster, data_key: self.data_key.id, lock_version: self.lock_version };
        let json = serde_json::to_vec_pretty(&about).map_err(io::Error::other)?;
        files::write_private(&folder.join(ABOUT), &json)
    }

    /// PEM of the cluster's root certificate, which is there for a locked manager too.
    pub fn root_of(data_root: &Path) -> io::Result<String> {
        std::fs::read_to_string(data_root.join(FOLDER).join(ROOT))
    }

    /// Reads the folder; none when there is no whole one. `LockedOut` when it is sealed and this is not its key.
    pub fn load(data_root: &Path, unlock: Option<&UnlockKey>) -> io::Result<Option<Self>> {
        let folder = data_root.join(FOLDER);
        let about = match std::fs::read(folder.join(ABOUT)) {
            Ok(json) => json,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        let about: About = serde_json::from_slice(&about).map_err(|err| invalid(&folder.join(ABOUT), err))?;
        if about.format != FORMAT {
            return Err(invalid(&folder.join(ABOUT), format!("it has format {}, this build knows {FORMAT}; use a newer build", about.format)));
        }
        let text = |name: &str| {
            std::fs::read_to_string(folder.join(name)).map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", folder.join(name).display())))
        };
        let (lock_version, key, data_key) = if folder.join(SEALED).exists() {
            let opened = sealed::read(&folder.join(SEALED), unlock.ok_or(sealed::LockedOut::NoKey)?)?;
            // A crash may have left them when the folder was sealed.
            remove(&folder, &[KEY, DATA_KEY])?;
            opened
        } else {
            let bytes =
                std::fs::read(folder.join(DATA_KEY)).map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", folder.join(DATA_KEY).display())))?;
            let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| invalid(&folder.join(DATA_KEY), "it is not 32 bytes"))?;
            (about.lock_version, Secret(text(KEY)?), DataKey::new(about.data_key, bytes))
        };
        let lock = unlock.filter(|_| folder.join(SEALED).exists()).cloned();
        let (root, certificate) = (text(ROOT)?, text(CERTIFICATE)?);
        Ok(Some(Self { node: about.node, cluster: about.cluster, root, certificate, key, data_key, lock, lock_version }))
    }
}

/// Removes files durably; those that are not there are fine.
fn remove(folder: &Path, names: &[&str]) -> io::Result<()> {
    for name in names {
        match std::fs::remove_file(folder.join(name)) {
            Ok(()) => files::sync_parent(&folder.join(name))?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn invalid(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn identity() -> Identity {
        let root = ca::Root::generate().unwrap();
        let (node, cluster) = (NodeId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));
        let issued = root.issue(node, cluster, ca::NODE_LIFE).unwrap();
        Identity {
            node,
            cluster,
            root: root.certificate().to_owned(),
            certificate: issued.certificate,
            key: Secret(issued.key),
            data_key: DataKey::generate(1).unwrap(),
            lock: None,
            lock_version: 0,
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Identity::load(folder.path(), None).unwrap().is_none());
        let written = identity();
        written.save(folder.path()).unwrap();
        let read = Identity::load(folder.path(), None).unwrap().unwrap();
        assert_eq!((read.node, read.cluster, &read.certificate, &read.key), (written.node, written.cluster, &written.certificate, &written.key));
        assert!(read.data_key == written.data_key);
        for entry in std::fs::read_dir(folder.path().join(FOLDER)).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!format!("{read:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_folder_that_a_crash_left_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        identity().save(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join(FOLDER).join(ABOUT)).unwrap();
        assert!(Identity::load(folder.path(), None).unwrap().is_none());
    }

    #[test]
    fn a_newer_or_spoilt_folder_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        identity().save(folder.path()).unwrap();
        let about = folder.path().join(FOLDER).join(ABOUT);
        let json = std::fs::read_to_string(&about).unwrap();
        std::fs::write(&about, json.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert!(Identity::load(folder.path(), None).unwrap_err().to_string().contains("newer build"));
        std::fs::write(&about, json).unwrap();
        std::fs::write(folder.path().join(FOLDER).join(DATA_KEY), b"short").unwrap();
        assert!(Identity::load(folder.path(), None).unwrap_err().to_string().contains("data.key"));
    }

    #[test]
    fn a_sealed_folder_needs_its_key_and_has_no_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let plain = identity();
        plain.save(at).unwrap();
        let names = || {
            std::fs::read_dir(at.join(FOLDER))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let before = names();
        let (first, second) = (sealed::generate().unwrap(), sealed::generate().unwrap());
        for (key, version, other) in [(&first, 5, &second), (&second, 9, &first)] {
            Identity { lock: Some(key.clone()), lock_version: version, ..plain.clone() }.save(at).unwrap();
            assert!(!names().contains(KEY) && !names().contains(DATA_KEY));
            assert_eq!(sealed::LockedOut::of(&Identity::load(at, None).unwrap_err()), Some(sealed::LockedOut::NoKey));
            assert_eq!(sealed::LockedOut::of(&Identity::load(at, Some(other)).unwrap_err()), Some(sealed::LockedOut::WrongKey));
            // As a crash in the middle of sealing leaves it.
            std::fs::write(at.join(FOLDER).join(KEY), "left").unwrap();
            let read = Identity::load(at, Some(key)).unwrap().unwrap();
            assert!(read.data_key == plain.data_key && read.key == plain.key && read.lock.as_ref() == Some(key) && read.lock_version == version);
            assert!(!names().contains(KEY));
        }
        Identity { lock: None, lock_version: 12, ..plain.clone() }.save(at).unwrap();
        assert_eq!(names(), before);
        let read = Identity::load(at, Some(&second)).unwrap().unwrap();
        assert!(read.lock.is_none() && read.lock_version == 12 && read.data_key == plain.data_key);
    }
}
