//! Docker's words and codes for a process that could not be started, whichever program was to start it.
//!
//! Owns: telling from a shim's refusal what was wrong (runc and crun say it differently), and saying it as Docker does, which has runc's words. Pure.

use crate::error::Error;
use crate::shim::Refusal;

/// Docker's codes of a first process that could not be run.
const NOT_FOUND: u32 = 127;
const NOT_EXECUTABLE: u32 = 126;
const NOT_STARTED: u32 = 128;
/// What crun says of a program, named or found by a path; and of one that it must not run, which it does not name.
const CRUN_MISSING: (&str, &str) = ("executable file `", "` not found in $PATH: No such file or directory");
const CRUN_REFUSED: &str = "open executable: Permission denied";

/// Of a container whose first process is `program`.
pub(super) fn of_task(step: &str, program: &str, refusal: Refusal) -> Error {
    let Refusal::Status(_, text) = &refusal else { return refusal.into() };
    let text = as_runc(text, program);
    Error::NotStarted {
        code: exit_code(&text),
        why: format!("starting container failed: failed to {step} task for container: failed to {step} shim task: {text}"),
    }
}

/// Of a command in a container. The shim's text ends without the code that Docker has behind it.
pub(super) fn of_exec(program: &str, refusal: Refusal) -> Error {
    let Refusal::Status(_, text) = &refusal else { return refusal.into() };
    let text = as_runc(text, program);
    Error::NotStarted { code: exit_code(&text), why: format!("{text}: unknown") }
}

fn as_runc(text: &str, program: &str) -> String {
    let (before, after) = CRUN_MISSING;
    if let Some((head, rest)) = text.split_once(before)
        && let Some((program, tail)) = rest.split_once(after)
    {
        let why = if program.contains('/') { format!("stat {program}: no such file or directory") } else { "executable file not found in $PATH".to_owned() };
        return format!("{head}unable to start container process: exec: \"{program}\": {why}{tail}");
    }
    text.replacen(CRUN_REFUSED, &format!("unable to start container process: exec: \"{program}\": permission denied"), 1)
}

fn exit_code(text: &str) -> u32 {
    let text = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // What runc itself would have told is missing then, and so is the file that it would have told it in.
    if says(&["unable to retrieve oci runtime error"]) {
        NOT_STARTED
    } else if says(&["executable file not found", "not found in $path", "no such file or directory"]) {
        NOT_FOUND
    } else if says(&["permission denied", "is a directory", "exec format error"]) {
        NOT_EXECUTABLE
    } else {
        NOT_STARTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ttrpc::Code;

    #[test]
    fn a_process_that_cannot_be_run_has_dockers_code_and_words() {
        for (text, code, words) in [
            ("exec: \"x\": executable file not found in $PATH", 127, "exec: \"x\": executable file not found in $PATH"),
            ("failed: executable file `x` not found in $PATH: No such file or directory", 127, "exec: \"x\": executable file not found in $PATH: unknown"),
            ("failed: executable file `/x` not found in $PATH: No such file or directory", 127, "exec: \"/x\": stat /x: no such file or directory: unknown"),
            ("failed: open executable: Permission denied", 126, "failed: unable to start container process: exec: \"own\": permission denied: unknown"),
            ("exec: \"/x\": permission denied", 126, "exec: \"/x\": permission denied"),
            ("unable to retrieve OCI runtime error (open /b/log.json: no such file or directory): runc did not terminate successfully: exit status 5", 128, ""),
            ("something else", 128, "something else: unknown"),
        ] {
            let Error::NotStarted { code: found, why } = of_exec("own", Refusal::Status(Code::UNKNOWN, text.into())) else { panic!("{text}") };
            assert!(found == code && why.contains(words), "{text}: {found}, {why}");
        }
    }
}
