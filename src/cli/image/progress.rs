//! docker's progress messages, on a terminal (redrawn in place) or in a file (words only).
//!
//! The byte sequences are docker's (`jsonmessage`): a layer has a line, which is gone up to and written anew.

use std::collections::BTreeMap;

use hyper::body::Incoming;
use serde_json::Value;

use crate::cli::{errors::Error, format::units, output, stream::Reader, task::text};

/// Narrower terminals get no bars.
const BAR_NEEDS: u16 = 110;
/// The width of a terminal that does not say.
const ASSUMED_WIDTH: u16 = 200;

/// Shows messages to the end; an error among them is the command's. Nothing is shown when `quiet`.
pub async fn show(answer: http::Response<Incoming>, quiet: bool) -> Result<(), Error> {
    let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(ASSUMED_WIDTH, |size| size.ws_col);
    let mut display = Display { terminal: output::stdout_is_terminal(), width, lines: BTreeMap::new() };
    let mut reader = Reader::new(answer.into_body());
    while let Some(message) = reader.json::<Value>().await? {
        let detail = text(&message["errorDetail"]["message"]);
        let error = if detail.is_empty() { text(&message["error"]) } else { detail };
        if !error.is_empty() {
            return Err(Error::Plain(error.to_owned()));
        }
        if !quiet {
            output::print(&display.draw(&message))?;
        }
    }
    Ok(())
}

struct Display {
    terminal: bool,
    width: u16,
    /// Where each layer's line stands, counted from the first.
    lines: BTreeMap<String, usize>,
}

impl Display {
    fn draw(&mut self, message: &Value) -> String {
        let (id, status, said) = (text(&message["id"]), text(&message["status"]), text(&message["stream"]));
        let detail = message.get("progressDetail");
        let bar = detail.map(|detail| self.bar(detail)).unwrap_or_default();
        let named = if id.is_empty() { String::new() } else { format!("{id}: ") };
        if !self.terminal {
            return match (bar.is_empty(), said) {
                (false, _) => String::new(),
                (true, "") => format!("{named}{status}\n"),
                (true, said) => format!("{named}{said}"),
            };
        }
        let mut out = String::new();
        let mut up = 0;
        if !id.is_empty() && detail.is_some() {
            let next = self.lines.len();
            let at = *self.lines.entry(id.to_owned()).or_insert_with(|| {
                out.push('\n');
                next
            });
            up = self.lines.len() - at;
            out += &format!("\x1b[{up}A");
        } else {
            self.lines.clear();
        }
        match (detail, said) {
            (Some(_), "") => out += &format!("\x1b[2K\r{named}{status} {bar}\r"),
            (_, "") => out += &format!("{named}{status}\n"),
            (_, said) => out += &format!("{named}{said}"),
        }
        if up > 0 {
            out += &format!("\x1b[{up}B");
        }
        out
    }

    /// `[=====>   ]  1.2MB/3MB`; empty when there is nothing to count.
    fn bar(&self, detail: &Value) -> String {
        let number = |key: &str| detail[key].as_u64().unwrap_or(0);
        let (current, total) = (number("current"), number("total"));
        let size = |bytes: u64| units::human_size(bytes as f64);
        match (current, total) {
            (0, 0) => String::new(),
            (current, 0) => format!("{:>8}", size(current)),
            (current, total) => {
                let filled = usize::try_from(current.saturating_mul(100) / total / 2).unwrap_or(50).min(50);
                let bar = if self.width > BAR_NEEDS { format!("[{}>{}] ", "=".repeat(filled), " ".repeat(50 - filled)) } else { String::new() };
                let counts = if current > total { format!("{:>8}", size(current)) } else { format!("{:>8}/{}", size(current), size(total)) };
                format!("{bar}{counts}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn drawn(terminal: bool, messages: &[Value]) -> String {
        let mut display = Display { terminal, width: 80, lines: BTreeMap::new() };
        messages.iter().map(|message| display.draw(message)).collect()
    }

    #[test]
    fn a_file_gets_words_and_a_terminal_lines_that_change() {
        let messages = [
            json!({"status": "Pulling from app", "id": "v1"}),
            json!({"status": "Pulling fs layer", "progressDetail": {}, "id": "a"}),
            json!({"status": "Pulling fs layer", "progressDetail": {}, "id": "b"}),
            json!({"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "a"}),
            json!({"status": "Digest: x"}),
        ];
        assert_eq!(drawn(false, &messages), "v1: Pulling from app\na: Pulling fs layer\nb: Pulling fs layer\nDigest: x\n");
        assert_eq!(
            drawn(true, &messages),
            "v1: Pulling from app\n\n\x1b[1A\x1b[2K\ra: Pulling fs layer \r\x1b[1B\n\x1b[1A\x1b[2K\rb: Pulling fs layer \r\x1b[1B\
             \x1b[2A\x1b[2K\ra: Downloading       1B/2B\r\x1b[2BDigest: x\n"
        );
    }

    #[test]
    fn bars_are_docker_s() {
        let display = Display { terminal: true, width: 200, lines: BTreeMap::new() };
        let bar = display.bar(&json!({"current": 500_000, "total": 1_000_000}));
        assert_eq!(bar, format!("[{}>{}]    500kB/1MB", "=".repeat(25), " ".repeat(25)));
    }
}
