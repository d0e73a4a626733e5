//! Which users the shims and the compiler run as when the daemon is root.
//!
//! Owns: the choice, and the files that remember it (`<data root>/wasm-user`, `compile-user`). A named account wins; else a number
//! that no account has is picked once and kept, so that files of earlier tasks still belong to the same user.
//! Without root everything runs as the daemon's own user and nothing is chosen.

use crate::error::{Error, Result};
use crate::files;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Numbers that distributions leave alone, below `nobody` (65,534).
const FIRST: u32 = 64_000;
const COUNT: u32 = 1_500;

/// A user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// Whose files a service's are: what `--user` says, root by default, as with Docker.
    pub(crate) fn of_service(text: &str) -> Result<Self> {
        let id = |text: &str| if matches!(text, "" | "root") { Some(0) } else { text.parse().ok().filter(|id| *id < u32::MAX) };
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let wrong = || Error::Invalid(format!("user {text}: a Wasm image has no accounts; use numbers (UID or UID:GID)"));
        Ok(Self { uid: id(user).ok_or_else(wrong)?, gid: id(group).ok_or_else(wrong)? })
    }
}

/// None in both without root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Users {
    pub shim: Option<User>,
    pub compiler: Option<User>,
}

impl Users {
    /// Reads or makes the choice.
    pub(crate) fn choose(data_root: &Path) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::default());
        }
        let accounts = Accounts::read();
        let shim = choose(&accounts, "wsw-wasm", &data_root.join("wasm-user"), data_root, &[])?;
        let compiler = choose(&accounts, "wsw-compile", &data_root.join("compile-user"), data_root, &[shim.uid])?;
        Ok(Self { shim: Some(shim), compiler: Some(compiler) })
    }
}

fn choose(accounts: &Accounts, name: &str, memory: &Path, data_root: &Path, taken: &[u32]) -> Result<User> {
    if let Some(user) = accounts.named(name) {
        return Ok(user);
    }
    let kept = fs::read_to_string(memory).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(uid) = kept.filter(|uid| *uid > 0) {
        return Ok(User { uid, gid: uid });
    }
    // Data roots of one machine start at different places, so that two daemons rarely share a user.
    let digest = Sha256::digest(data_root.as_os_str().as_bytes());
    let start = digest.iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte)) % COUNT;
    let mut candidates = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    let uid = candidates.find(|id| !accounts.numbers.contains(id) && !taken.contains(id));
    let uid = uid.ok_or_else(|| Error::Temporary(format!("no free user number from {FIRST} up for {name}; create the user {name}")))?;
    files::write_synced(memory, format!("{uid}\n").as_bytes(), 0o600).map_err(|e| Error::io(format_args!("write {}", memory.display()), &e))?;
    Ok(User { uid, gid: uid })
}

/// The accounts of this machine's own files.
struct Accounts {
    passwd: String,
    numbers: BTreeSet<u32>,
}

impl Accounts {
    fn read() -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = fs::read_to_string("/etc/group").unwrap_or_default();
        Self::new(passwd, &group)
    }

    fn new(passwd: String, group: &str) -> Self {
        let number = |line: &str| line.split(':').nth(2).and_then(|field| field.parse().ok());
        let numbers = passwd.lines().chain(group.lines()).filter_map(number).collect();
        Self { passwd, numbers }
    }

    fn named(&self, name: &str) -> Option<User> {
        let mut fields = self.passwd.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.split(':').skip(1);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(User { uid, gid }).filter(|user| user.uid != 0)
    }
}

/// Says which folder keeps the shim's user from reaching `path`, before a shim fails on it with less to go by.
pub(crate) fn check_reachable(what: &str, path: &Path, user: Option<User>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    for folder in path.ancestors().skip(1) {
        let Ok(meta) = fs::metadata(folder) else { continue };
        let mode = meta.permissions().mode();
        let passes = match (meta.uid() == user.uid, meta.gid() == user.gid) {
            (true, _) => mode & 0o100 != 0,
            (false, true) => mode & 0o010 != 0,
            (false, false) => mode & 0o001 != 0,
        };
        if !passes {
            let (path, folder, mode, uid) = (path.display(), folder.display(), mode & 0o7777, user.uid);
            return Err(Error::Invalid(format!(
                "{what} {path}: Wasm runs as user {uid}, which cannot pass {folder} (mode {mode:04o}); use another folder or run: chmod o+x {folder}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_account_wins_and_numbers_in_use_are_passed_over() {
        let accounts = Accounts::new("root:x:0:0::/:/bin/sh\nwsw-wasm:x:990:991::/:/bin/false\n".into(), "g:x:64000:\n");
        assert_eq!(accounts.named("wsw-wasm"), Some(User { uid: 990, gid: 991 }));
        assert_eq!(accounts.named("root"), None);
        assert_eq!(accounts.named("wsw"), None);
        let dir = tempfile::tempdir().unwrap();
        let memory = dir.path().join("wasm-user");
        let first = choose(&accounts, "wsw-other", &memory, dir.path(), &[]).unwrap();
        assert!((FIRST..FIRST + COUNT).contains(&first.uid));
        assert_eq!(choose(&accounts, "wsw-other", &memory, Path::new("/elsewhere"), &[]).unwrap(), first);
        let second = choose(&accounts, "wsw-third", &dir.path().join("compile-user"), dir.path(), &[first.uid]).unwrap();
        assert_ne!(second.uid, first.uid);
    }

    #[test]
    fn a_services_user_is_a_number() {
        for (text, uid, gid) in [("", 0, 0), ("root", 0, 0), ("1000", 1_000, 0), ("1000:100", 1_000, 100), (":5", 0, 5)] {
            assert_eq!(User::of_service(text).unwrap(), User { uid, gid }, "{text}");
        }
        for text in ["app", "1000:staff", "-1", "4294967295", "1:2:3"] {
            assert!(User::of_service(text).unwrap_err().to_string().starts_with(&format!("user {text}: ")), "{text}");
        }
    }

    #[test]
    fn the_folder_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        files::folder(&closed.join("root"), 0o711).unwrap();
        files::folder(&closed, 0o700).unwrap();
        let stranger = User { uid: 64_999, gid: 64_999 };
        let error = check_reachable("exec root", &closed.join("root"), Some(stranger)).unwrap_err();
        assert!(error.to_string().contains("closed (mode 0700)"), "{error}");
        assert!(check_reachable("exec root", &closed.join("root"), None).is_ok());
    }
}
