//! A command that a user runs in a running task, and a terminal's keys that leave it.
//!
//! Owns: the shapes between the API, the worker and the runtime, and Docker's detach keys. Never stored in the cluster's state; pure.

use serde::{Deserialize, Serialize};

/// Why a Wasm task has no commands.
pub const NO_SHELL: &str = "a Wasm task has no shell and no second process that a command could be started in";

/// Why a Wasm task has no size.
pub const NO_TERMINAL: &str = "a Wasm task has no terminal";

/// What is run, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub args: Vec<String>,
    /// Added to the container's own.
    pub env: Vec<String>,
    /// Empty: the container's.
    pub user: String,
    /// Empty: the container's.
    pub dir: String,
    pub tty: bool,
    pub privileged: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// What a user types to leave a terminal; empty: Docker's own.
    pub detach_keys: Vec<u8>,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub height: u16,
    pub width: u16,
}

/// Where a command is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub task: crate::TaskId,
    pub command: Command,
    pub running: bool,
    /// On the node; 0 before it was started.
    pub pid: u32,
    /// Once it has ended.
    pub code: Option<u32>,
}

/// Docker's: ctrl-p, ctrl-q.
pub const DETACH: [u8; 2] = [16, 17];
/// Longer sequences are a mistake.
const MAX_KEYS: usize = 64;

/// Reads `ctrl-a,x`: letters, `ctrl-` with a letter or one of `@ [ \ ] ^ _`, `DEL`.
pub fn detach_keys(text: &str) -> Result<Vec<u8>, String> {
    let key = |name: &str| match (name.as_bytes(), name.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([only], _) => Ok(*only),
        (_, Some([letter @ b'a'..=b'z'])) => Ok(letter - b'a' + 1),
        (_, Some([b'@'])) => Ok(0),
        (_, Some([sign @ b'['..=b'_'])) => Ok(sign - b'[' + 27),
        (b"DEL", _) => Ok(127),
        _ => Err(format!("Unknown character: '{name}'")),
    };
    let keys = text.split(',').map(key).collect::<Result<Vec<_>, _>>()?;
    if keys.len() > MAX_KEYS { Err(format!("more than {MAX_KEYS} keys")) } else { Ok(keys) }
}

/// Watches what a user types for the keys that leave a terminal.
#[derive(Debug)]
pub struct Escape {
    keys: Vec<u8>,
    /// How many of them were typed.
    typed: usize,
}

impl Escape {
    /// For these keys; none are Docker's own.
    pub fn new(keys: &[u8]) -> Self {
        Self { keys: if keys.is_empty() { DETACH.to_vec() } else { keys.to_vec() }, typed: 0 }
    }

    /// What of the input goes on, and whether the user left after it. Keys that may begin the sequence are held back until it is known.
    pub fn pass(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.get(self.typed) == Some(byte) {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(self.keys.get(..self.typed).unwrap_or_default());
            // The byte may begin the sequence anew.
            self.typed = usize::from(self.keys.first() == Some(byte));
            if self.typed == 0 {
                out.push(*byte);
            } else if self.keys.len() == 1 {
                return (out, true);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q").unwrap(), DETACH);
        assert_eq!(detach_keys("ctrl-@,ctrl-[,ctrl-_,a,DEL").unwrap(), [0, 27, 31, b'a', 127]);
        for bad in ["", "ctrl-", "ctrl-1", "ab", "a,,b", "é"] {
            assert!(detach_keys(bad).unwrap_err().starts_with("Unknown character"), "{bad}");
        }
        assert!(detach_keys(&["a"; 65].join(",")).is_err());
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_nothing_else_is_lost() {
        let mut escape = Escape::new(&[]);
        assert_eq!(escape.pass(b"ls\n\x10"), (b"ls\n".to_vec(), false));
        assert_eq!(escape.pass(b"\x10x"), (b"\x10\x10x".to_vec(), false));
        assert_eq!(escape.pass(b"\x10\x11rest"), (Vec::new(), true));
        let mut one = Escape::new(b"~");
        assert_eq!(one.pass(b"a~b"), (b"a".to_vec(), true));
    }
}
