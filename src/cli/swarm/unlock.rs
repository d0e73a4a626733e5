//! `swarm unlock` and `swarm unlock-key`.

use std::io::{BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::update::{self, Rotate};
use crate::cli::{Session, args::Matches, errors::Error, output, task::text};

pub async fn run(session: Session, _: Matches) -> Result<(), Error> {
    // Nobody is asked for a key that is of no use.
    let info = session.client.get("/info", &[]).await?;
    match text(&info["Swarm"]["LocalNodeState"]) {
        "inactive" => return Err(Error::plain("Error: This node is not part of a swarm")),
        "pending" | "active" | "error" => return Err(Error::plain("Error: swarm is not locked")),
        _ => {}
    }
    let key = read_key("Enter unlock key: ")?;
    session.client.post("/swarm/unlock", &[], Some(&json!({"UnlockKey": key}))).await.map(drop)
}

/// A line of standard input; a terminal does not show it.
fn read_key(prompt: &str) -> Result<String, Error> {
    let input = std::io::stdin();
    let mut line = String::new();
    if !input.is_terminal() {
        input.lock().read_line(&mut line)?;
        return Ok(line.trim().to_owned());
    }
    output::print(prompt)?;
    let before = tcgetattr(&input).map_err(std::io::Error::from)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Now, &hidden).map_err(std::io::Error::from)?;
    let read = input.lock().read_line(&mut line);
    tcsetattr(&input, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
    output::line("")?;
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

pub async fn key(session: Session, matches: Matches) -> Result<(), Error> {
    let quiet = matches.on("quiet");
    if matches.on("rotate") {
        let swarm = session.client.get("/swarm", &[]).await?;
        if swarm["Spec"]["EncryptionConfig"]["AutoLockManagers"] != Value::Bool(true) {
            return Err(Error::plain("cannot rotate because autolock is not turned on"));
        }
        update::send(&session, &swarm, Rotate { unlock_key: true, ..Rotate::default() }).await?;
        if !quiet {
            output::line("Successfully rotated manager unlock key.")?;
        }
    }
    let key = fetch_key(&session).await?;
    if key.is_empty() {
        return Err(Error::plain("no unlock key is set"));
    }
    if quiet { output::line(&key) } else { print_command(&key) }
}

pub async fn fetch_key(session: &Session) -> Result<String, Error> {
    let answer = session.client.get("/swarm/unlockkey", &[]).await.map_err(|error| Error::Plain(format!("could not fetch unlock key: {error}")))?;
    Ok(text(&answer["UnlockKey"]).to_owned())
}

pub fn print_command(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Ok(());
    }
    output::print(&format!(
        "To unlock a swarm manager after it restarts, run the `wsw swarm unlock`\ncommand and provide the following key:\n\n    {key}\n\n\
         Remember to store this key in a password manager, since without it you\nwill not be able to restart the manager.\n"
    ))
}
