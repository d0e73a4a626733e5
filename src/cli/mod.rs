//! `wsw`'s command line client: docker's words, docker's output, over the Engine API.
//!
//! It knows the API and nothing of the cluster behind it: no state of its own, no decision. `args` takes the command line apart,
//! `format` and `template` lay out what is shown, the other modules are the commands, named after docker's groups.

pub mod args;
mod client;
mod commands;
mod completion;
mod compose;
mod confirm;
mod container;
mod credentials;
mod errors;
mod format;
mod image;
mod log_stream;
mod login;
mod network;
mod node;
mod output;
mod pack;
mod prune;
mod registry;
mod service;
mod session;
mod stack;
mod stream;
mod swarm;
mod system;
mod task;
mod template;
mod terminal;
mod topics;
mod up;
mod volume;

use std::process::ExitCode;

pub use session::Session;

/// Runs the command line (without the program's name).
pub fn run(words: &[String]) -> ExitCode {
    let outcome = match args::parse(&commands::ROOT, words) {
        Ok(outcome) => outcome,
        Err(error) => return failed(&error),
    };
    let done = match outcome {
        args::Outcome::Help(text) => output::print(&text),
        args::Outcome::Usage(text) => {
            output::warn(text.trim_end());
            Ok(())
        }
        args::Outcome::Run { command, root, leaf } => execute(command, &root, leaf),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn execute(command: &'static args::Command, root: &args::Matches, leaf: args::Matches) -> Result<(), errors::Error> {
    let Some(run) = command.run else {
        return output::line(&format!("wsw version {}", env!("CARGO_PKG_VERSION")));
    };
    let session = Session::new(root)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(session, leaf))
}

fn failed(error: &errors::Error) -> ExitCode {
    let text = error.to_string();
    if !text.is_empty() {
        output::warn(&text);
    }
    ExitCode::from(error.exit_code())
}
