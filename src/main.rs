//! The `wsw` binary: the client, `wsw daemon`, and the hidden programs that the daemon starts (shim, compiler, trial of a runtime), all in one file.
//!
//! Owns: which of them a command line means. The hidden words are looked at first and never reach the client's parser.

mod cli;
mod daemon;

use std::process::ExitCode;

use clap::{Args, FromArgMatches};

/// The daemon in a session of its own: how `wsw up` starts it.
const BACKGROUND: &str = "daemon-background";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match words.first().map(String::as_str) {
        Some("wasm-shim") => {
            wsw_runtime::heap::one_arena();
            wsw_wasm_shim::shim_main(words[1..].to_vec())
        }
        Some("wasm-compile") => wsw_wasm_shim::compile_main(words[1..].to_vec()),
        Some(wsw_runtime::trial::WORD) => wsw_runtime::trial::main(&words[1..]),
        Some("daemon") => run_daemon(&words[1..]),
        Some(BACKGROUND) => {
            // Fails only for a group's leader, which is then as detached as it can be.
            let _ = rustix::process::setsid();
            run_daemon(&words[1..])
        }
        _ => cli::run(&words),
    }
}

fn run_daemon(words: &[String]) -> ExitCode {
    wsw_runtime::heap::one_arena();
    let command = clap::Command::new("wsw daemon").no_binary_name(true);
    // The derived part has a page of its own for readers of the code; users get these.
    let command = daemon::Args::augment_args(command).about(daemon::help::ABOUT).long_about(None).after_help(daemon::help::MORE);
    let parsed = command.try_get_matches_from(words).and_then(|matches| daemon::Args::from_arg_matches(&matches));
    let args = match parsed {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    match daemon::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wsw daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
