//! Standard output and error: all that commands print goes through here.
//!
//! A closed pipe ends the command quietly with the code of SIGPIPE, as a Go program ends.

use std::io::{self, IsTerminal, Write};

use super::errors::Error;

/// Prints `text` as it is and flushes.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints bytes as they are and flushes.
pub fn bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

pub fn line(text: &str) -> Result<(), Error> {
    print(&format!("{text}\n"))
}

/// A warning or hint; failing to show it fails nothing.
pub fn warn(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}
