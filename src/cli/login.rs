//! `login` and `logout`: credentials are tried out through the daemon, then kept where docker's client keeps them.

use std::io::{BufRead, IsTerminal, Read, Write};

use serde_json::json;

use super::{Session, args::Matches, credentials, errors::Error, output, task::text};

/// A password from a pipe.
const LONGEST: u64 = 64 * 1024;

/// The server as docker keeps it.
fn server(matches: &Matches) -> String {
    let given = matches.args.first().map(String::as_str).unwrap_or_default();
    let host = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://")).unwrap_or(given).trim_end_matches('/');
    match host {
        "" | "docker.io" | "index.docker.io" | "index.docker.io/v1" => credentials::DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

pub async fn login(session: Session, matches: Matches) -> Result<(), Error> {
    let server = server(&matches);
    let given = |name: &str| matches.text(name).unwrap_or_default().to_owned();
    let (user, mut password) = (given("username"), given("password"));
    if matches.on("password-stdin") {
        if !password.is_empty() {
            return Err(Error::plain("conflicting options: cannot specify both --password and --password-stdin"));
        }
        if user.is_empty() {
            return Err(Error::plain("the --password-stdin option requires --username to be set"));
        }
        let mut text = String::new();
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text)?;
        password = text.trim_end_matches(['\r', '\n']).to_owned();
    } else if !password.is_empty() {
        output::warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let kept = credentials::find(&server)?;
    let (user, password) = match (user, password) {
        (user, password) if user.is_empty() && password.is_empty() && !text(&kept["username"]).is_empty() => {
            output::line("Authenticating with existing credentials...")?;
            (text(&kept["username"]).to_owned(), text(&kept["password"]).to_owned())
        }
        (user, password) => {
            let user = if user.is_empty() { ask("Username: ")? } else { user };
            let password = if password.is_empty() { ask_hidden()? } else { password };
            (user, password)
        }
    };
    let body = json!({"username": user, "password": password, "serveraddress": server});
    let answer = session.client.post("/auth", &[], Some(&body)).await?;
    if credentials::keep(&server, &user, &password)?.is_none() {
        output::warn(
            "\nWARNING! Your credentials are stored unencrypted in the configuration file of docker's client.\n\
             Configure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
        );
    }
    output::line(text(&answer["Status"]))
}

pub async fn logout(_: Session, matches: Matches) -> Result<(), Error> {
    let server = server(&matches);
    output::line(&format!("Removing login credentials for {server}"))?;
    if !credentials::forget(&server)? {
        output::warn(&format!("Not logged in to {server}"));
    }
    Ok(())
}

fn ask(question: &str) -> Result<String, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::plain("cannot perform an interactive login from a non-TTY device"));
    }
    output::print(question)?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Asks without showing what is typed.
fn ask_hidden() -> Result<String, Error> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let Ok(before) = tcgetattr(&stdin) else { return Err(Error::plain("cannot perform an interactive login from a non-TTY device")) };
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    let failed = |error: rustix::io::Errno| Error::Plain(format!("the terminal cannot be made silent: {error}"));
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(failed)?;
    let answer = ask("Password: ");
    tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(failed)?;
    output::line("")?;
    answer
}
