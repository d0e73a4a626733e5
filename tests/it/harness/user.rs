//! Running as an ordinary user when the tests themselves run as root, as they do in CI.

use std::path::{Path, PathBuf};

/// `nobody`: no rights, no groups.
const NOBODY: u32 = 65_534;

/// A `wsw` binary that an ordinary user can reach (the build's own folder is often closed), and the user to run it as; none: we are one already.
pub fn ordinary_user(folder: &Path) -> (PathBuf, Option<u32>) {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_wsw"));
    if !rustix::process::geteuid().is_root() {
        return (built, None);
    }
    let copy = folder.join("wsw");
    if !copy.exists() {
        // By another process: what this one holds open for writing, a child of another test may hold too ("text file busy").
        let done = std::process::Command::new("cp").arg(built).arg(&copy).status().expect("cp is there");
        assert!(done.success(), "{} is ours", folder.display());
    }
    (copy, Some(NOBODY))
}

/// Makes a folder and what is in it the ordinary user's own.
pub fn give_to_ordinary_user(folder: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).expect("we are root");
    for entry in std::fs::read_dir(folder).expect("it is readable").flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => give_to_ordinary_user(&entry.path()),
            _ => std::os::unix::fs::chown(entry.path(), Some(NOBODY), Some(NOBODY)).expect("we are root"),
        }
    }
}
