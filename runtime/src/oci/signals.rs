//! Signals as images and services name them.

/// Linux's last signal.
const LAST: u32 = 64;
const RTMIN: u32 = 34;

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; none for what is no signal.
pub(super) fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return Some(number).filter(|number| (1..=LAST).contains(number));
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(above) = name.strip_prefix("RTMIN") {
        let above = if above.is_empty() { 0 } else { above.strip_prefix('+')?.parse::<u32>().ok()? };
        return Some(RTMIN + above).filter(|number| *number <= LAST);
    }
    let known = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ABRT", libc::SIGABRT),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("STOP", libc::SIGSTOP),
        ("WINCH", libc::SIGWINCH),
        ("PWR", libc::SIGPWR),
    ];
    known.iter().find(|(known, _)| *known == name).and_then(|(_, number)| u32::try_from(*number).ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMIN+40", None),
            ("0", None),
            ("", None),
            ("SIGNOPE", None),
        ] {
            assert_eq!(super::parse(text), number, "{text}");
        }
    }
}
