//! Progress lines on a terminal (redrawn in place) or in a file (each line once).
//!
//! The byte sequences are docker's: lines are named, a known one is redrawn where it stands, a new one is added below.

use crate::cli::{errors::Error, output};

/// Narrower terminals get no bars.
const BAR_NEEDS: u16 = 110;
const BAR_WIDTH: usize = 50;
/// The width of a terminal that does not say.
const ASSUMED_WIDTH: u16 = 200;

/// One line of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    pub action: String,
    /// How far, of how much; (0, 0) shows no bar.
    pub done: (u64, u64),
    /// What is counted; empty shows no numbers.
    pub units: &'static str,
}

impl Line {
    pub fn action(name: impl Into<String>, action: impl Into<String>) -> Line {
        Line { name: name.into(), action: action.into(), done: (0, 0), units: "" }
    }
}

/// Draws lines.
pub struct Display {
    quiet: bool,
    terminal: bool,
    width: u16,
    names: Vec<String>,
}

impl Display {
    pub fn new(quiet: bool) -> Display {
        let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(ASSUMED_WIDTH, |size| size.ws_col);
        Display { quiet, terminal: output::stdout_is_terminal(), width, names: Vec::new() }
    }

    pub fn show(&mut self, line: Line) -> Result<(), Error> {
        let text = self.draw(&line);
        if self.quiet { Ok(()) } else { output::print(&text) }
    }

    /// A line that is no progress: what was drawn stays above it.
    pub fn message(&mut self, text: &str) -> Result<(), Error> {
        self.names.clear();
        if self.quiet { Ok(()) } else { output::line(text) }
    }

    pub fn message_for(&mut self, name: &str, text: &str) -> Result<(), Error> {
        self.message(&format!("{name}: {text}"))
    }

    /// The bytes that show `line`.
    fn draw(&mut self, line: &Line) -> String {
        let mut text = String::new();
        let known = self.names.iter().position(|name| *name == line.name);
        let at = known.unwrap_or_else(|| {
            self.names.push(line.name.clone());
            if self.terminal {
                text.push('\n');
            }
            self.names.len() - 1
        });
        if !self.terminal {
            // A bar makes no sense in a file.
            return if line.done == (0, 0) { format!("{}: {} \n", line.name, line.action) } else { String::new() };
        }
        let up = self.names.len() - at;
        text += &format!("\x1b[{up}A\x1b[2K\r{}: {} {}\r\x1b[{up}B", line.name, line.action, self.bar(line));
        text
    }

    fn bar(&self, line: &Line) -> String {
        let (done, total) = line.done;
        let numbers = if line.units.is_empty() { String::new() } else { format!("{done}/{total} {}", line.units) };
        if total == 0 || self.width <= BAR_NEEDS {
            return numbers;
        }
        let filled = ((done as f64 / total as f64 * 100.0) as usize / 2).min(BAR_WIDTH);
        format!("[{}>{}] {numbers}", "=".repeat(filled), " ".repeat(BAR_WIDTH - filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(terminal: bool) -> Display {
        Display { quiet: false, terminal, width: 120, names: Vec::new() }
    }

    #[test]
    fn lines_are_redrawn_in_place() {
        let mut display = display(true);
        assert_eq!(display.draw(&Line::action("a", "x")), "\n\x1b[1A\x1b[2K\ra: x \r\x1b[1B");
        assert_eq!(display.draw(&Line::action("b", "y")), "\n\x1b[1A\x1b[2K\rb: y \r\x1b[1B");
        assert_eq!(display.draw(&Line::action("a", "z")), "\x1b[2A\x1b[2K\ra: z \r\x1b[2B");
        let bar = display.draw(&Line { name: "b".into(), action: "running".into(), done: (9, 9), units: "" });
        assert_eq!(bar, format!("\x1b[1A\x1b[2K\rb: running [{}>] \r\x1b[1B", "=".repeat(50)));
        let counted = display.draw(&Line { name: "b".into(), action: String::new(), done: (1, 2), units: "nodes" });
        assert_eq!(counted, format!("\x1b[1A\x1b[2K\rb:  [{}>{}] 1/2 nodes\r\x1b[1B", "=".repeat(25), " ".repeat(25)));
    }

    #[test]
    fn a_file_gets_plain_lines() {
        let mut display = display(false);
        assert_eq!(display.draw(&Line::action("verify", "Service x converged")), "verify: Service x converged \n");
        assert_eq!(display.draw(&Line { name: "1/1".into(), action: "running".into(), done: (9, 9), units: "" }), "");
    }
}
