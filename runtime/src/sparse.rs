//! Files with holes, in the four forms that GNU tar writes: its own of old, and PAX 0.0, 0.1 and 1.0.
//!
//! Owns: the map of a file: which pieces of it the archive has. Invariants: pieces come in order, do not overlap and lie within the file; there are at most [`MAX_PIECES`]; a hole costs
//! neither time nor room, and a file is no larger than [`MAX_SIZE`]. Never: writes a file.

use crate::error::{Error, Result};
use crate::images::{truncated, unreadable};
use std::io::Read;
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

/// GNU tar makes one for each run of blocks; a database of 100 GiB has some thousands.
const MAX_PIECES: usize = 100_000;
/// As large as one that tar's own field can tell.
const MAX_SIZE: u64 = 8 << 30;
const BLOCK: usize = 512;

/// Where the archive's bytes belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    /// Of the whole file.
    pub size: u64,
    /// Offset and length.
    pub pieces: Vec<(u64, u64)>,
}

fn wrong(why: &str) -> Error {
    Error::Invalid(format!("the map of a sparse file {why}"))
}

impl Map {
    fn checked(size: u64, pieces: Vec<(u64, u64)>, stored: u64) -> Result<Self> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for (offset, length) in &pieces {
            if *offset < end {
                return Err(wrong("is not in order"));
            }
            end = offset.checked_add(*length).filter(|end| *end <= size).ok_or_else(|| wrong("leads out of the file"))?;
            sum += length;
        }
        if size > MAX_SIZE {
            return Err(Error::Invalid("an entry is larger than 8 GiB".into()));
        }
        if sum == stored { Ok(Self { size, pieces }) } else { Err(wrong(&format!("has {sum} bytes, the archive {stored}"))) }
    }

    /// GNU's own form: pieces in the header, and in further blocks behind it.
    pub(crate) fn of_gnu(header: &GnuHeader, reader: &mut dyn Read, stored: u64) -> Result<Self> {
        let mut pieces = Vec::new();
        gnu_pieces(&header.sparse, &mut pieces)?;
        let mut goes_on = header.is_extended();
        while goes_on {
            let mut more = GnuExtSparseHeader::new();
            reader.read_exact(more.as_mut_bytes()).map_err(unreadable)?;
            gnu_pieces(more.sparse(), &mut pieces)?;
            goes_on = more.is_extended();
        }
        Self::checked(header.real_size().map_err(unreadable)?, pieces, stored)
    }
}

fn gnu_pieces(found: &[GnuSparseHeader], pieces: &mut Vec<(u64, u64)>) -> Result<()> {
    for piece in found.iter().filter(|piece| !piece.is_empty()) {
        add(pieces, piece.offset().map_err(unreadable)?, piece.length().map_err(unreadable)?)?;
    }
    Ok(())
}

fn add(pieces: &mut Vec<(u64, u64)>, offset: u64, length: u64) -> Result<()> {
    if pieces.len() == MAX_PIECES {
        return Err(wrong(&format!("has more than {MAX_PIECES} pieces")));
    }
    pieces.push((offset, length));
    Ok(())
}

fn number(text: &[u8]) -> Result<u64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| wrong(&format!("has {:?} for a number", String::from_utf8_lossy(text))))
}

/// What the extension records of a file say of its holes.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// 1 says that the map stands before the content.
    major: u64,
    size: Option<u64>,
    /// The file's own name; the entry's is a stand-in.
    pub name: Option<Vec<u8>>,
    pieces: Vec<(u64, u64)>,
    /// Of a piece whose length comes next.
    offset: Option<u64>,
}

impl Records {
    /// Takes one whose key begins with `GNU.sparse.`.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"major" => self.major = number(value)?,
            b"minor" | b"numblocks" => drop(number(value)?),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"offset" => self.offset = Some(number(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(|| wrong("has a length without an offset"))?;
                add(&mut self.pieces, offset, number(value)?)?;
            }
            b"map" if value.is_empty() => {}
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').map(number).collect::<Result<Vec<_>>>()?;
                for pair in numbers.chunks(2) {
                    let [offset, length] = pair else { return Err(wrong("has an offset without a length")) };
                    add(&mut self.pieces, *offset, *length)?;
                }
            }
            _ => return Err(wrong(&format!("has an unknown word {:?}", String::from_utf8_lossy(key)))),
        }
        Ok(())
    }

    /// The map, if the records tell of one; version 1.0's is read from the content.
    pub(crate) fn map(self, content: &mut dyn Read, stored: u64) -> Result<Option<Map>> {
        let Some(size) = self.size else { return Ok(None) };
        match self.major {
            0 => Map::checked(size, self.pieces, stored).map(Some),
            1 => {
                let (pieces, read) = leading(content)?;
                Map::checked(size, pieces, stored.checked_sub(read).ok_or_else(truncated)?).map(Some)
            }
            other => Err(wrong(&format!("is of version {other}"))),
        }
    }
}

/// Numbers, one a line: how many pieces, then offset and length of each; padded to whole blocks. Also how many bytes that took.
fn leading(content: &mut dyn Read) -> Result<(Vec<(u64, u64)>, u64)> {
    let (mut block, mut at, mut read) = ([0_u8; BLOCK], BLOCK, 0);
    let mut next = || -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                content.read_exact(&mut block).map_err(unreadable)?;
                (at, read) = (0, read + BLOCK as u64);
            }
            let byte = block.get(at).copied().unwrap_or_default();
            at += 1;
            match byte {
                b'\n' => return number(&digits),
                _ if digits.len() > 20 => return Err(wrong("has a number that is too long")),
                byte => digits.push(byte),
            }
        }
    };
    let count = next()?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        let (offset, length) = (next()?, next()?);
        add(&mut pieces, offset, length)?;
    }
    Ok((pieces, read))
}
