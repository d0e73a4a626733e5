//! "Are you sure?": the question before something is removed.

use std::io::BufRead;

use super::{errors::Error, output};

/// Asks on standard output and reads a line; anything but `y` cancels, as does the end of the input.
pub fn ask(message: &str) -> Result<(), Error> {
    output::print(&format!("{message} [y/N] "))?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    // As docker: who declines is told nothing, and that is no failure.
    Err(Error::Silent(0))
}
