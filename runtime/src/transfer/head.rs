//! Headers of the archives that are written, as Go's `archive/tar` writes them: USTAR, and PAX records for what does not fit.
//!
//! Pure. A client that counts bytes counts the same as with Docker.

use std::io::{self, Write};
use tar::{EntryType, Header};

pub(super) const BLOCK: usize = 512;
/// Bytes of a name, and of a link's target, in a header.
const NAME: usize = 100;
/// Largest numbers of the octal fields.
const MAX_SIZE: u64 = 0o77_777_777_777;
const MAX_ID: u32 = 0o7_777_777;

/// What stands before an entry's bytes.
#[derive(Debug, Clone)]
pub(super) struct Head<'a> {
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub kind: EntryType,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub modified: i64,
    pub device: (u32, u32),
    /// `security.capability`.
    pub capability: Option<Vec<u8>>,
}

impl Head<'_> {
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let records = self.records();
        if !records.is_empty() {
            let base = self.name.strip_suffix(b"/").unwrap_or(self.name).rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let name = [b"PaxHeaders.0/", base].concat();
            let mut header = Header::new_ustar();
            plain(&mut header, &name, EntryType::XHeader, records.len() as u64);
            out.write_all(finished(&mut header))?;
            out.write_all(&records)?;
            pad(out, records.len() as u64)?;
        }
        let mut header = Header::new_ustar();
        plain(&mut header, self.name, self.kind, if self.size > MAX_SIZE { 0 } else { self.size });
        put(header.as_mut_bytes(), 157, self.link);
        header.set_mode(self.mode & 0o7777);
        header.set_uid(if self.uid > MAX_ID { 0 } else { self.uid.into() });
        header.set_gid(if self.gid > MAX_ID { 0 } else { self.gid.into() });
        header.set_mtime(u64::try_from(self.modified).ok().filter(|at| *at <= MAX_SIZE).unwrap_or_default());
        if matches!(self.kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(self.device.0)?;
            header.set_device_minor(self.device.1)?;
        }
        out.write_all(finished(&mut header))
    }

    fn records(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut add = |key: &str, value: &[u8]| all.extend(record(key, value));
        let fits = |name: &[u8]| name.len() <= NAME && name.is_ascii();
        if !fits(self.name) {
            add("path", self.name);
        }
        if !fits(self.link) {
            add("linkpath", self.link);
        }
        if self.size > MAX_SIZE {
            add("size", self.size.to_string().as_bytes());
        }
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id > MAX_ID {
                add(key, id.to_string().as_bytes());
            }
        }
        if u64::try_from(self.modified).map_or(true, |at| at > MAX_SIZE) {
            add("mtime", self.modified.to_string().as_bytes());
        }
        if let Some(value) = &self.capability {
            add("SCHILY.xattr.security.capability", value);
        }
        all
    }
}

/// `27 path=…`: the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() > length {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn plain(header: &mut Header, name: &[u8], kind: EntryType, size: u64) {
    put(header.as_mut_bytes(), 0, name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
}

/// A name's field, cut off where it ends: the whole name is in a record then.
fn put(header: &mut [u8; BLOCK], at: usize, name: &[u8]) {
    let shown = name.get(..NAME).unwrap_or(name);
    if let Some(field) = header.get_mut(at..at + shown.len()) {
        field.copy_from_slice(shown);
    }
}

fn finished(header: &mut Header) -> &[u8] {
    header.set_cksum();
    header.as_bytes()
}

/// Fills the last block of so many bytes.
pub(super) fn pad(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    let over = (bytes % BLOCK as u64) as usize;
    if over == 0 { Ok(()) } else { out.write_all(&[0; BLOCK][over..]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::{Kind, walk};

    #[test]
    fn what_does_not_fit_a_header_is_in_records() {
        let name = [b"folder/".repeat(30), "ä".as_bytes().to_vec()].concat();
        let head = Head {
            name: &name,
            link: b"",
            kind: EntryType::Regular,
            mode: 0o100_640,
            uid: 3_000_000,
            gid: 5,
            size: 9 << 30,
            modified: -7,
            device: (0, 0),
            capability: Some(vec![1, 0, 255]),
        };
        let mut bytes = Vec::new();
        head.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 3 * BLOCK);
        let mut seen = 0;
        let cut = walk(&mut bytes.as_slice(), 9, |entry| {
            seen += 1;
            assert_eq!((entry.name.as_bytes(), &entry.kind, entry.mode, entry.size), (name.as_slice(), &Kind::File, 0o640, 9 << 30));
            assert_eq!((entry.uid, entry.gid, entry.modified), (3_000_000, 5, -7));
            assert_eq!(entry.attributes, [("security.capability".to_owned(), vec![1, 0, 255])]);
            Ok(())
        });
        assert!(seen == 1 && cut.unwrap_err().to_string().contains("cut off"), "nine GiB are missing");
    }

    #[test]
    fn a_record_s_length_counts_itself() {
        for length in 1..200 {
            let made = record("path", &vec![b'x'; length]);
            let said: usize = String::from_utf8_lossy(&made).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, made.len());
        }
    }
}
