//! "Are you sure?": the question before something is removed.

use std::io::{BufRead, Write};

use super::{errors::Error, output};

/// Asks on standard output and reads a line; anything but `y` cancels, as does the end of the input.
pub fn ask(message: &str, what: &str) -> Result<(), Error> {
    output::print(&format!("{message} [y/N] "))?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    if line.is_empty() {
        // The answer's newline is missing; the error stands on a line of its own.
        let _ = writeln!(std::io::stdout().lock());
    }
    Err(Error::Plain(format!("{what} has been cancelled")))
}
