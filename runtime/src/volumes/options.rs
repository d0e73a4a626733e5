//! Options of the `local` driver (`type`, `device`, `o`), as far as they are served: a tmpfs, or a folder elsewhere.
//!
//! Owns: their reading and the refusals by name. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use wsw_api::mount::{DEFAULT_TMPFS_BYTES, DEFAULT_TMPFS_MODE};

/// Docker's option keys of this driver.
const KEYS: [&str; 4] = ["type", "o", "device", "size"];

/// What a volume is by its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder of its own.
    Plain,
    /// Memory, as long as a task of the node has it.
    Tmpfs { size: u64, mode: u32, uid: u32, gid: u32, files: u64 },
    /// A folder of the node.
    Bind { device: PathBuf, read_only: bool, recursive: bool },
}

impl Kind {
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(unknown) = options.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("invalid option: {unknown:?}"));
        }
        if options.contains_key("size") {
            return Err("option \"size\" needs a file system with quotas, which is not supported by this version of wsw; use type=tmpfs with o=size=…".into());
        }
        let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let (kind, device, flags) = (get("type"), get("device"), get("o"));
        if kind.is_empty() && device.is_empty() && flags.is_empty() {
            return Ok(Self::Plain);
        }
        if device.is_empty() {
            return Err("missing required option: \"device\"".into());
        }
        let words: Vec<&str> = flags.split(',').filter(|word| !word.is_empty()).collect();
        match kind {
            "tmpfs" => tmpfs(&words),
            "none" | "" | "bind" if kind == "bind" || words.iter().any(|word| matches!(*word, "bind" | "rbind")) => bind(device, &words),
            "" => Err("missing required option: \"type\"".into()),
            other => Err(format!("option type={other}: not supported by this version of wsw; use tmpfs, or none with o=bind")),
        }
    }
}

fn tmpfs(words: &[&str]) -> Result<Kind, String> {
    let (mut size, mut mode, mut uid, mut gid, mut files) = (DEFAULT_TMPFS_BYTES, DEFAULT_TMPFS_MODE, 0, 0, 0);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let wrong = || format!("option o={word}: not a value that {key} can have");
        match key {
            "size" => size = bytes(value).ok_or_else(wrong)?,
            "mode" => mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(wrong)?,
            "uid" => uid = value.parse().map_err(|_| wrong())?,
            "gid" => gid = value.parse().map_err(|_| wrong())?,
            "nr_inodes" => files = bytes(value).filter(|files| *files > 0).ok_or_else(wrong)?,
            // They hold anyway.
            "nosuid" | "nodev" | "noexec" | "rw" => {}
            _ => return Err(format!("option o={word}: not supported for type=tmpfs by this version of wsw; use size, mode, uid, gid or nr_inodes")),
        }
    }
    Ok(Kind::Tmpfs { size, mode, uid, gid, files })
}

/// The kernel's amounts: a number, with k, m or g behind it. Zero would be "no bound".
fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.bytes().last()?.to_ascii_lowercase() {
        b'k' => (text.get(..text.len() - 1)?, 10),
        b'm' => (text.get(..text.len() - 1)?, 20),
        b'g' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

fn bind(device: &str, words: &[&str]) -> Result<Kind, String> {
    if !device.starts_with('/') {
        return Err(format!("option device={device}: a folder's path must be absolute"));
    }
    let (mut read_only, mut recursive) = (false, false);
    for word in words {
        match *word {
            "bind" | "rw" | "nosuid" | "nodev" | "noexec" | "private" | "rprivate" => {}
            "rbind" => recursive = true,
            "ro" => read_only = true,
            _ => return Err(format!("option o={word}: not supported with bind by this version of wsw; use bind, rbind, ro or rw")),
        }
    }
    Ok(Kind::Bind { device: device.into(), read_only, recursive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Kind, String> {
        Kind::read(&options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_is_served() {
        assert_eq!(read(&[]), Ok(Kind::Plain));
        let tmpfs = |o: &str| read(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", o)]);
        assert_eq!(tmpfs("size=2m,uid=1000,mode=700"), Ok(Kind::Tmpfs { size: 2 << 20, mode: 0o700, uid: 1_000, gid: 0, files: 0 }));
        assert_eq!(tmpfs(""), Ok(Kind::Tmpfs { size: DEFAULT_TMPFS_BYTES, mode: 0o1777, uid: 0, gid: 0, files: 0 }));
        let bind = |o: &str| read(&[("type", "none"), ("device", "/srv"), ("o", o)]);
        assert_eq!(bind("bind,ro"), Ok(Kind::Bind { device: "/srv".into(), read_only: true, recursive: false }));
        assert_eq!(bind("rbind"), Ok(Kind::Bind { device: "/srv".into(), read_only: false, recursive: true }));
    }

    #[test]
    fn what_is_not_is_named() {
        for (options, words) in [
            (vec![("colour", "red")], "\"colour\""),
            (vec![("size", "1g")], "\"size\""),
            (vec![("type", "tmpfs")], "\"device\""),
            (vec![("type", "nfs"), ("device", ":/x"), ("o", "addr=1.2.3.4")], "type=nfs"),
            (vec![("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=0")], "o=size=0"),
            (vec![("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=99999999999g")], "o=size="),
            (vec![("type", "tmpfs"), ("device", "tmpfs"), ("o", "huge=always")], "o=huge=always"),
            (vec![("type", "none"), ("device", "srv"), ("o", "bind")], "device=srv"),
            (vec![("type", "none"), ("device", "/srv"), ("o", "bind,shared")], "o=shared"),
        ] {
            let error = read(&options).unwrap_err();
            assert!(error.contains(words), "{options:?}: {error}");
        }
    }
}
