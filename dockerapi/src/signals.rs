//! Signals by name or number, as `--signal` spells them.
//!
//! Owns: Linux's names and moby's refusal.

use crate::error::ApiError;

pub const SIGTERM: u32 = 15;
pub const SIGKILL: u32 = 9;
/// Linux's last signal (`SIGRTMAX`).
const LAST: u32 = 64;

/// In the order of their numbers, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP",
    "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM`, `term` or `15`.
pub fn parse(text: &str) -> Result<u32, ApiError> {
    let bad = || ApiError::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<u32>() {
        return (1..=LAST).contains(&number).then_some(number).ok_or_else(bad);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().zip(1..).find(|(known, _)| **known == name).map(|(_, number)| number).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings() {
        for (text, number) in [("SIGTERM", 15), ("term", 15), ("15", 15), ("SIGKILL", 9), ("HUP", 1), ("64", 64), ("SIGSYS", 31)] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-9", "SIGNOSUCH", "SIG", "9x"] {
            assert_eq!(parse(text).unwrap_err().message, format!("invalid signal: {text}"));
        }
    }
}
