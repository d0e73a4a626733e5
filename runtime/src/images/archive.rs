//! Walks a tar archive that a stranger sent.
//!
//! Owns: names (they stay inside, appear once), entry types, bounds on entries and extension records. The `tar` crate reads headers and
//! checks their sums; long names are read here because it would take any length into memory.
//! Never: makes a file by a name from the archive.

use super::reader::Bounded;
use crate::error::{Error, Result};
use std::io::{self, Read};
use tar::{Archive, EntryType, PaxExtensions};

/// Entries of an archive of images: `docker save` writes up to four for each layer. Each becomes a file.
pub(crate) const MAX_FILES: usize = 10_000;
/// Entries of a layer: a whole system has some ten thousand. They are counted, not written.
pub(crate) const MAX_ENTRIES: usize = 100_000;
/// Longest extension record: names come in them, and attributes that are not read.
const MAX_RECORD: u64 = 64 * 1024;
/// All names of an archive together: a hundred thousand of them have 100 bytes each in the field.
const MAX_NAME_BYTES: usize = 16 << 20;

/// What an entry is.
pub(crate) enum Kind {
    File,
    Folder,
    /// Symbolic link; the text as it stands.
    Link(String),
    /// Hard link: a second name of an earlier entry.
    Hard(String),
}

/// Which archive it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Of images: devices and pipes are refused.
    Images,
    /// A layer: they are passed as folders, nobody makes them here.
    Layer,
}

/// Calls `visit(name, kind, content, size)` for each entry.
pub(crate) fn walk(reader: impl Read, which: Which, mut visit: impl FnMut(String, Kind, &mut dyn Read, u64) -> Result<()>) -> Result<()> {
    let mut archive = Archive::new(Bounded::new(reader));
    let entries = archive.entries().map_err(unreadable)?.raw(true);
    let (mut long, mut count, mut name_bytes) = (Long::default(), 0_usize, 0_usize);
    let max = if which == Which::Layer { MAX_ENTRIES } else { MAX_FILES };
    for entry in entries {
        let mut entry = entry.map_err(unreadable)?;
        count += 1;
        if count > max {
            return Err(Error::Invalid(format!("archive: more than {max} entries")));
        }
        let (kind, size) = (entry.header().entry_type(), entry.header().entry_size().map_err(unreadable)?);
        if long.read(kind, &mut entry, size)? {
            continue;
        }
        let long = std::mem::take(&mut long);
        let name = long.name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let link = long.link.or_else(|| entry.header().link_name_bytes().map(|name| name.into_owned()));
        name_bytes += name.len() + link.as_ref().map_or(0, Vec::len);
        if name_bytes > MAX_NAME_BYTES {
            return Err(Error::Invalid(format!("archive: the names of its entries are longer than {} MiB together", MAX_NAME_BYTES >> 20)));
        }
        let name = text(name)?;
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Link(text(link.unwrap_or_default())?),
            EntryType::Link => Kind::Hard(text(link.unwrap_or_default())?),
            EntryType::Char | EntryType::Block | EntryType::Fifo if which == Which::Layer => Kind::Folder,
            other => return Err(Error::Invalid(format!("archive: entry {name:?} is of a type ({:?}) that images do not hold", char::from(other.as_byte())))),
        };
        let size = if matches!(kind, Kind::File) { size } else { 0 };
        let mut content = entry.take(size);
        visit(name, kind, &mut content, size)?;
    }
    if count == 0 {
        return Err(Error::Invalid("archive: it holds no files; want a tar of an OCI layout or of \"docker save\"".into()));
    }
    Ok(())
}

/// Names that did not fit the header of the entry that follows.
#[derive(Default)]
struct Long {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Long {
    /// Reads an extension record; false when the entry is not one.
    fn read(&mut self, kind: EntryType, content: &mut impl Read, size: u64) -> Result<bool> {
        if !matches!(kind, EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader) {
            return Ok(false);
        }
        if size > MAX_RECORD {
            return Err(Error::Invalid(format!("archive: a name or extension record is larger than {} KiB", MAX_RECORD >> 10)));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 != size {
            return Err(truncated());
        }
        let trimmed = || bytes.strip_suffix(&[0]).unwrap_or(&bytes).to_vec();
        match kind {
            EntryType::GNULongName => self.name = Some(trimmed()),
            EntryType::GNULongLink => self.link = Some(trimmed()),
            EntryType::XHeader => {
                for extension in PaxExtensions::new(&bytes) {
                    let extension = extension.map_err(unreadable)?;
                    match extension.key_bytes() {
                        b"path" => self.name = Some(extension.value_bytes().to_vec()),
                        b"linkpath" => self.link = Some(extension.value_bytes().to_vec()),
                        b"size" => return Err(Error::Invalid("archive: an entry is larger than 8 GiB".into())),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| Error::Invalid(format!("archive: name {:?} is not UTF-8", String::from_utf8_lossy(error.as_bytes()))))
}

/// The name below the archive's root: no leading `/` or `./`, nothing that leads out of it.
pub(crate) fn inside(name: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in name.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." || part.contains('\0') {
            return Err(Error::Invalid(format!("archive: entry {name:?} leads out of the archive")));
        }
        parts.push(part);
    }
    if name.starts_with('/') {
        return Err(Error::Invalid(format!("archive: entry {name:?} has an absolute path")));
    }
    Ok(parts.join("/"))
}

/// A read that failed: a tar that is none, that was cut off, or a stream that broke.
pub(crate) fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        // The tar crate's own, for padding that is missing.
        io::ErrorKind::Other if error.to_string().starts_with("unexpected EOF") => truncated(),
        _ => Error::Invalid(format!("archive: cannot be read: {error}")),
    }
}

pub(crate) fn truncated() -> Error {
    Error::Invalid("archive: it ends in the middle of an entry; was it cut off?".into())
}
