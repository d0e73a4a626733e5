//! Who a container's process is: `--user` and `--group` looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! Owns: Docker's rules and words. Pure but for reading the two files, below the root and bounded. Never: reads an account of the machine.

use crate::error::{Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A file of accounts has some KiB.
const MAX_FILE: u64 = 4 << 20;
/// Groups of one process: the kernel takes 65,536, an image has some dozens.
const MAX_GROUPS: usize = 1_024;

/// Numbers of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Reads both files below `root` and looks up.
pub(super) fn find(root: &Path, user: &str, groups: &[String]) -> Result<User> {
    look_up(&read(root, "etc/passwd")?, &read(root, "etc/group")?, user, groups)
}

/// A file of the image, whatever links lead to it; empty when it is missing.
pub(super) fn read(root: &Path, path: &str) -> Result<String> {
    let failed = |e: rustix::io::Errno| Error::io(format_args!("read /{path} of the image"), &e.into());
    let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) else {
        return Ok(String::new());
    };
    let file = File::from(file);
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn look_up(passwd: &str, group: &str, text: &str, extra: &[String]) -> Result<User> {
    let (name, group_name) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
    let field = |line: &str, at: usize| line.split(':').nth(at).map(str::to_owned);
    let number = |line: &str, at: usize| line.split(':').nth(at)?.parse::<u32>().ok();
    let name = if name.is_empty() { "0" } else { name };
    let by_name = passwd.lines().find(|line| field(line, 0).as_deref() == Some(name));
    let row = by_name.or_else(|| passwd.lines().find(|line| name.parse().is_ok_and(|uid: u32| number(line, 2) == Some(uid))));
    let unknown = || Error::Invalid(format!("unable to find user {name}: no matching entries in passwd file"));
    let uid = row.and_then(|line| number(line, 2)).or_else(|| name.parse().ok()).filter(|uid| *uid < u32::MAX).ok_or_else(unknown)?;
    let group_id = |wanted: &str| {
        let row = group.lines().find(|line| field(line, 0).as_deref() == Some(wanted));
        let found = row.and_then(|line| number(line, 2)).or_else(|| wanted.parse().ok()).filter(|gid| *gid < u32::MAX);
        found.ok_or_else(|| Error::Invalid(format!("unable to find group {wanted}: no matching entries in group file")))
    };
    let gid = match group_name.filter(|name| !name.is_empty()) {
        Some(name) => group_id(name)?,
        None => row.and_then(|line| number(line, 3)).unwrap_or(0),
    };
    let own = row.and_then(|line| field(line, 0));
    // A group that is named takes the place of those that the image gives.
    let member = |line: &&str| own.as_ref().is_some_and(|own| field(line, 3).is_some_and(|members| members.split(',').any(|member| member == own)));
    let mut groups: Vec<u32> = match group_name {
        Some(_) => Vec::new(),
        None => group.lines().filter(member).filter_map(|line| number(line, 2)).take(MAX_GROUPS).collect(),
    };
    for wanted in extra {
        groups.push(group_id(wanted)?);
    }
    groups.sort_unstable();
    groups.dedup();
    groups.retain(|id| *id != gid);
    Ok(User { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\nodd:x:nope\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:50:root,web\nadm:x:60:web\n";

    #[test]
    fn users_are_those_of_the_image() {
        let user = |text: &str, extra: &[&str]| look_up(PASSWD, GROUP, text, &extra.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let of = |uid, gid, groups: &[u32]| User { uid, gid, groups: groups.to_vec() };
        assert_eq!(user("", &[]).unwrap(), of(0, 0, &[50]));
        assert_eq!(user("web", &[]).unwrap(), of(33, 34, &[50, 60]));
        assert_eq!(user("33", &["7"]).unwrap(), of(33, 34, &[7, 50, 60]));
        assert_eq!(user("web:adm", &[]).unwrap(), of(33, 60, &[]));
        assert_eq!(user("1000:50", &[]).unwrap(), of(1000, 50, &[]));
        assert_eq!(user("1000", &[]).unwrap(), of(1000, 0, &[]));
        for (bad, words) in [
            ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
            ("web:nosuch", "unable to find group nosuch: no matching entries in group file"),
            ("4294967295", "unable to find user"),
        ] {
            assert!(user(bad, &[]).unwrap_err().to_string().contains(words), "{bad}");
        }
    }
}
