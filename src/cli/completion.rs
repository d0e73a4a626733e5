//! `completion`: the script for a shell, made from the tables of commands.

use clap_complete::{Shell, generate};

use super::{
    Session,
    args::{Command, Matches, parse},
    commands,
    errors::Error,
    output,
};

pub async fn run(_: Session, matches: Matches) -> Result<(), Error> {
    let shell = match matches.called_as.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        "powershell" => Shell::PowerShell,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    generate(shell, &mut tree(&commands::ROOT), commands::ROOT.name, &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// The whole tree as clap knows commands.
fn tree(command: &Command) -> clap::Command {
    let mut tree = parse::clap_leaf(command).about(command.about).no_binary_name(false);
    for sub in command.subs {
        tree = tree.subcommand(self::tree(sub).aliases(sub.aliases));
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let mut script = Vec::new();
            generate(shell, &mut tree(&commands::ROOT), "wsw", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("join-token") && script.contains("replicas-max-per-node"), "{shell}");
        }
    }
}
