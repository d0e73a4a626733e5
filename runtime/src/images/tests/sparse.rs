//! Layers with sparse files, as GNU tar writes them in each of its forms, and maps that are none.

use crate::error::Result;
use crate::images::unpack::Target;
use crate::tarball;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

/// The end of the file, far beyond what it holds.
const SIZE: u64 = 3 << 30;

fn unpack(bytes: &[u8], into: &Path) -> Result<()> {
    let mut target = Target::open(into, &[])?;
    tarball::walk(&mut &bytes[..], tarball::MAX_ENTRIES, |entry| target.take(entry))?;
    target.finish()
}

/// A file of so many pieces, each at a place of its own.
fn make(path: &Path, pieces: u64) {
    let file = std::fs::File::create(path).unwrap();
    for piece in 0..pieces {
        file.write_all_at(format!("piece {piece:05}").as_bytes(), piece * (SIZE / (pieces + 1)) + 5).unwrap();
    }
    file.set_len(SIZE).unwrap();
}

#[test]
fn holes_stay_holes_in_every_form_of_them() {
    for pieces in [1, 3, 40] {
        for format in [
            &["--format=gnu"][..],
            &["--format=pax", "--sparse-version=0.0"],
            &["--format=pax", "--sparse-version=0.1"],
            &["--format=pax", "--sparse-version=1.0"],
        ] {
            let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            make(&from.path().join("holes"), pieces);
            std::fs::write(from.path().join("last"), "after it").unwrap();
            let made = Command::new("tar").args(["--sparse", "-C"]).arg(from.path()).args(format).args(["-cf", "-", "holes", "last"]).output().unwrap();
            assert!(made.status.success() && made.stdout.len() < 1 << 20, "{format:?}: {}", String::from_utf8_lossy(&made.stderr));
            unpack(&made.stdout, to.path()).unwrap_or_else(|error| panic!("{format:?}, {pieces} pieces: {error}"));
            let file = std::fs::File::open(to.path().join("holes")).unwrap();
            let status = file.metadata().unwrap();
            assert_eq!(status.len(), SIZE, "{format:?}");
            assert!(status.blocks() < 100_000, "{format:?}: {} blocks of 512 bytes are on the disk", status.blocks());
            for piece in 0..pieces {
                let mut found = [0; 13];
                file.read_exact_at(&mut found, piece * (SIZE / (pieces + 1)) + 4).unwrap();
                assert_eq!(found.as_slice(), [b"\0", format!("piece {piece:05}").as_bytes(), b"\0"].concat(), "{format:?}, {pieces} pieces");
            }
            assert_eq!(std::fs::read_to_string(to.path().join("last")).unwrap(), "after it", "{format:?}");
            assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 2, "{format:?}: no stand-in");
        }
    }
}

/// A file of four bytes with these extension records.
fn with_records(records: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o644);
    header.set_uid(rustix::process::getuid().as_raw().into());
    header.set_gid(rustix::process::getgid().as_raw().into());
    builder.append_data(&mut header, "x", &b"four"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn maps_that_lie_are_refused() {
    let size = ("GNU.sparse.size", "100");
    for (records, words) in [
        (&[size, ("GNU.sparse.map", "0,4")][..], ""),
        (&[size, ("GNU.sparse.map", "0,2,98,2")], ""),
        (&[size, ("GNU.sparse.map", "0,3")], "has 3 bytes, the archive 4"),
        (&[size, ("GNU.sparse.map", "98,4")], "leads out of the file"),
        (&[size, ("GNU.sparse.map", "18446744073709551615,4")], "leads out of the file"),
        (&[size, ("GNU.sparse.map", "0,2,1,2")], "is not in order"),
        (&[size, ("GNU.sparse.map", "0,4,9")], "an offset without a length"),
        (&[size, ("GNU.sparse.map", "a,b")], "\"a\" for a number"),
        (&[size, ("GNU.sparse.numbytes", "4")], "a length without an offset"),
        (&[size, ("GNU.sparse.odd", "4")], "an unknown word \"odd\""),
        (&[("GNU.sparse.size", "8589934593"), ("GNU.sparse.map", "0,4")], "larger than 8 GiB"),
        (&[size, ("GNU.sparse.major", "2")], "is of version 2"),
        (&[size, ("GNU.sparse.major", "1")], "cut off"),
        (&[size, ("GNU.sparse.name", "../x"), ("GNU.sparse.map", "0,4")], "leads out of the image"),
    ] {
        let to = tempfile::tempdir().unwrap();
        match unpack(&with_records(records), to.path()) {
            Ok(()) => assert_eq!((words, std::fs::metadata(to.path().join("x")).unwrap().len()), ("", 100), "{records:?}"),
            Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{records:?}: {error}"),
        }
    }
}
