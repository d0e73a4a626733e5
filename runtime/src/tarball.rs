//! Reads the tar of a layer, or of what is copied into a container, with all that a file system needs of it.
//!
//! Owns: headers, extension records (PAX, GNU long names), their bounds. Fields are read by the `tar` crate.
//! Invariant: no more entries than the caller says and [`MAX_RECORD`] bytes of extensions before one. Never: touches a file.

use crate::error::{Error, Result};
use crate::images::{truncated, unreadable};
use crate::sparse::{Map, Records};
use std::io::{self, Read};
use tar::{EntryType, Header, PaxExtensions};

/// Entries of a layer: a whole distribution with its documentation has some 300,000.
pub(crate) const MAX_ENTRIES: u64 = 1_000_000;
/// Longest extension record: names and attributes come in them; an attribute has at most 64 KiB.
const MAX_RECORD: u64 = 256 << 10;
/// Attributes that an image may set; `trusted.overlay.*` would lead an overlay to other folders.
const ATTRIBUTES: [&str; 2] = ["user.", "security.capability"];
const PAX_ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
const PAX_SPARSE: &[u8] = b"GNU.sparse.";
const BLOCK: usize = 512;
/// Where a header's sum stands; it counts as blanks.
const SUM: std::ops::Range<usize> = 148..156;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link(String),
    Hard(String),
    Device { block: bool, major: u32, minor: u32 },
    Pipe,
}

/// One entry with its metadata.
pub(crate) struct Entry<'a> {
    pub name: String,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: i64,
    pub size: u64,
    /// Of a file with holes: where the content's bytes belong.
    pub map: Option<Map>,
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
    size: Option<u64>,
    sparse: Records,
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
            b"size" => self.size = Some(text().parse().map_err(|_| Error::Invalid(format!("extension record: size {:?} is not a number", text())))?),
            _ if key.starts_with(PAX_SPARSE) => return self.sparse.take(key.get(PAX_SPARSE.len()..).unwrap_or_default(), value),
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

/// The next header; none at the archive's end, which is a block of zeros or no block at all.
fn header(reader: &mut impl Read) -> Result<Option<Header>> {
    let mut header = Header::new_old();
    let mut got = 0;
    while got < BLOCK {
        match reader.read(header.as_mut_bytes().get_mut(got..).unwrap_or_default()) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(truncated()),
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    let bytes = header.as_bytes();
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let counted = |(at, byte): (usize, &u8)| if SUM.contains(&at) { u32::from(b' ') } else { u32::from(*byte) };
    let sum: u32 = bytes.iter().enumerate().map(counted).sum();
    match header.cksum() {
        Ok(said) if said == sum => Ok(Some(header)),
        _ => Err(unreadable(io::Error::other("archive header checksum mismatch"))),
    }
}

/// What is left of an entry, and what fills its last block.
fn skip(reader: &mut impl Read, bytes: u64) -> Result<()> {
    let skipped = io::copy(&mut reader.take(bytes), &mut io::sink()).map_err(unreadable)?;
    if skipped == bytes { Ok(()) } else { Err(truncated()) }
}

/// Calls `visit` for each entry.
pub(crate) fn walk(reader: &mut impl Read, most: u64, mut visit: impl FnMut(&mut Entry<'_>) -> Result<()>) -> Result<()> {
    let (mut extended, mut count) = (Extended::default(), 0);
    while let Some(header) = header(reader)? {
        count += 1;
        if count > most {
            return Err(Error::Invalid(format!("more than {most} entries")));
        }
        let kind = header.entry_type();
        let own = header.entry_size().map_err(unreadable)?;
        if extended.read(kind, &mut (&mut *reader).take(own), own)? {
            skip(reader, padding(own))?;
            continue;
        }
        let mut extended = std::mem::take(&mut extended);
        let size = extended.size.unwrap_or(own);
        let holes = std::mem::take(&mut extended.sparse);
        extended.name = holes.name.clone().or(extended.name);
        let gnu = match header.as_gnu() {
            // Its map goes on in blocks that are no part of its size.
            Some(gnu) if kind == EntryType::GNUSparse => Some(Map::of_gnu(gnu, reader, size)?),
            _ => None,
        };
        let mut content = (&mut *reader).take(size);
        let map = if kind == EntryType::Regular { holes.map(&mut content, size)? } else { gnu };
        visit(&mut entry(&header, extended, (size, map), &mut content)?)?;
        let left = content.limit();
        let rest = left.checked_add(padding(size)).ok_or_else(truncated)?;
        skip(reader, rest)?;
    }
    Ok(())
}

fn padding(size: u64) -> u64 {
    let over = size % BLOCK as u64;
    if over == 0 { 0 } else { BLOCK as u64 - over }
}

fn entry<'a>(header: &Header, extended: Extended, (size, map): (u64, Option<Map>), content: &'a mut dyn Read) -> Result<Entry<'a>> {
    let name = text(extended.name.unwrap_or_else(|| header.path_bytes().into_owned()))?;
    let link = extended.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default();
    let owner = |found: io::Result<u64>| found.ok().and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX);
    let wrong = |what: &str| Error::Invalid(format!("entry {name:?}: its {what} cannot be read"));
    let uid = extended.uid.or_else(|| owner(header.uid())).ok_or_else(|| wrong("owner"))?;
    let gid = extended.gid.or_else(|| owner(header.gid())).ok_or_else(|| wrong("group"))?;
    let mode = header.mode().map_err(|_| wrong("mode"))?;
    let modified = extended.modified.or_else(|| header.mtime().ok().and_then(|at| i64::try_from(at).ok())).unwrap_or_default();
    // Fields that are left blank are zero.
    let number = |found: io::Result<Option<u32>>| found.ok().flatten().unwrap_or_default();
    let device = |block| Kind::Device { block, major: number(header.device_major()), minor: number(header.device_minor()) };
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Link(text(link)?),
        EntryType::Link => Kind::Hard(text(link)?),
        EntryType::Char => device(false),
        EntryType::Block => device(true),
        EntryType::Fifo => Kind::Pipe,
        other => return Err(Error::Invalid(format!("entry {name:?} is of a type ({:?}) that is not supported", char::from(other.as_byte())))),
    };
    let size = if kind == Kind::File { map.as_ref().map_or(size, |map| map.size) } else { 0 };
    Ok(Entry { name, kind, mode, uid, gid, modified, size, map, attributes: extended.attributes, content })
}
