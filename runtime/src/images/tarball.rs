//! Reads the tar of a layer, with all that a file system needs of it.
//!
//! Owns: headers, extension records (PAX, GNU long names), their bounds. Sums are checked by the `tar` crate.
//! Invariant: at most [`MAX_ENTRIES`] entries and [`MAX_RECORD`] bytes of extensions before one. Never: touches a file.

use super::archive::{truncated, unreadable};
use crate::error::{Error, Result};
use std::io::Read;
use tar::{Archive, EntryType, PaxExtensions};

/// Entries of a layer: a whole distribution with its documentation has some 300,000.
const MAX_ENTRIES: usize = 1_000_000;
/// Longest extension record: names and attributes come in them; an attribute has at most 64 KiB.
const MAX_RECORD: u64 = 256 << 10;
/// Attributes that an image may set; `trusted.overlay.*` would lead an overlay to other folders.
const ATTRIBUTES: [&str; 2] = ["user.", "security.capability"];
const PAX_ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link(String),
    Hard(String),
    Device { block: bool, major: u32, minor: u32 },
    Pipe,
}

/// One entry with its metadata.
pub(super) struct Entry<'a> {
    pub name: String,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: i64,
    pub size: u64,
    pub attributes: Vec<(String, Vec<u8>)>,
    pub content: &'a mut dyn Read,
}

/// What extension records say of the entry that follows.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<i64>,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Extended {
    fn read(&mut self, kind: EntryType, content: &mut impl Read, size: u64) -> Result<bool> {
        if !matches!(kind, EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader) {
            return Ok(false);
        }
        if size > MAX_RECORD {
            return Err(Error::Invalid(format!("an extension record is larger than {} KiB", MAX_RECORD >> 10)));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 != size {
            return Err(truncated());
        }
        match kind {
            EntryType::GNULongName => self.name = Some(trimmed(&bytes)),
            EntryType::GNULongLink => self.link = Some(trimmed(&bytes)),
            EntryType::XHeader => {
                for record in PaxExtensions::new(&bytes) {
                    let record = record.map_err(unreadable)?;
                    self.record(record.key_bytes(), record.value_bytes())?;
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let text = || std::str::from_utf8(value).unwrap_or_default();
        let number = |what: &str| text().parse::<u32>().map_err(|_| Error::Invalid(format!("extension record: {what} {:?} is not a number", text())));
        match key {
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"uid" => self.uid = Some(number("uid")?),
            b"gid" => self.gid = Some(number("gid")?),
            b"mtime" => self.modified = text().split('.').next().and_then(|seconds| seconds.parse().ok()),
            b"size" => return Err(Error::Invalid("an entry is larger than 8 GiB".into())),
            _ if key.starts_with(b"GNU.sparse.") => return Err(Error::Invalid("sparse entries are not supported".into())),
            _ => {
                let name = key.strip_prefix(PAX_ATTRIBUTE).and_then(|name| std::str::from_utf8(name).ok());
                if let Some(name) = name.filter(|name| ATTRIBUTES.iter().any(|known| name.starts_with(known))) {
                    self.attributes.push((name.to_owned(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn trimmed(bytes: &[u8]) -> Vec<u8> {
    bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec()
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| Error::Invalid(format!("name {:?} is not UTF-8", String::from_utf8_lossy(error.as_bytes()))))
}

/// Calls `visit` for each entry of the layer.
pub(super) fn walk(reader: &mut impl Read, mut visit: impl FnMut(&mut Entry<'_>) -> Result<()>) -> Result<()> {
    let mut archive = Archive::new(reader);
    let (mut extended, mut count) = (Extended::default(), 0_usize);
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        count += 1;
        if count > MAX_ENTRIES {
            return Err(Error::Invalid(format!("more than {MAX_ENTRIES} entries")));
        }
        let (kind, size) = (entry.header().entry_type(), entry.header().entry_size().map_err(unreadable)?);
        if extended.read(kind, &mut entry, size)? {
            continue;
        }
        let extended = std::mem::take(&mut extended);
        let header = entry.header();
        let name = text(extended.name.unwrap_or_else(|| header.path_bytes().into_owned()))?;
        let link = extended.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default();
        let owner = |found: std::io::Result<u64>| found.ok().and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX);
        let wrong = |what: &str| Error::Invalid(format!("entry {name:?}: its {what} cannot be read"));
        let uid = extended.uid.or_else(|| owner(header.uid())).ok_or_else(|| wrong("owner"))?;
        let gid = extended.gid.or_else(|| owner(header.gid())).ok_or_else(|| wrong("group"))?;
        let mode = header.mode().map_err(|_| wrong("mode"))?;
        let modified = extended.modified.or_else(|| header.mtime().ok().and_then(|at| i64::try_from(at).ok())).unwrap_or_default();
        // Fields that are left blank are zero.
        let number = |found: std::io::Result<Option<u32>>| found.ok().flatten().unwrap_or_default();
        let device = |block| Kind::Device { block, major: number(header.device_major()), minor: number(header.device_minor()) };
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Link(text(link)?),
            EntryType::Link => Kind::Hard(text(link)?),
            EntryType::Char => device(false),
            EntryType::Block => device(true),
            EntryType::Fifo => Kind::Pipe,
            EntryType::GNUSparse => return Err(Error::Invalid(format!("entry {name:?}: sparse entries are not supported"))),
            other => return Err(Error::Invalid(format!("entry {name:?} is of a type ({:?}) that layers do not hold", char::from(other.as_byte())))),
        };
        let size = if kind == Kind::File { size } else { 0 };
        let mut content = (&mut entry).take(size);
        visit(&mut Entry { name, kind, mode, uid, gid, modified, size, attributes: extended.attributes, content: &mut content })?;
    }
    Ok(())
}
