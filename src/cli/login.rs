//! `login` and `logout`: credentials are tried out through the daemon, then kept where docker's client keeps them.

use std::io::{BufRead, IsTerminal, Read, Write};

use serde_json::json;

use super::{Session, args::Matches, credentials, errors::Error, output, task::text};

/// docker's words, its prefix included.
const NO_TERMINAL: &str = "Error: Cannot perform an interactive login from a non TTY device";
/// A password from a pipe.
const LONGEST: u64 = 64 * 1024;

/// The server as docker keeps it.
fn server(matches: &Matches) -> String {
    let given = matches.args.first().map(String::as_str).unwrap_or_default();
    let host = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://")).unwrap_or(given);
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "" | "docker.io" | "index.docker.io" => credentials::DOCKER_HUB.to_owned(),
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
    if user.is_empty() && password.is_empty() && login_again(&session, &server).await? {
        return Ok(());
    }
    let user = if user.is_empty() { ask("Username: ")? } else { user };
    let password = if password.is_empty() { ask_hidden()? } else { password };
    let status = try_out(&session, &server, &user, &password).await?;
    if let Some(file) = credentials::keep(&server, &user, &password)? {
        output::warn(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            file.display()
        ));
    }
    output::line(&status)
}

/// With what is kept, where something is; false when new ones have to be asked for.
async fn login_again(session: &Session, server: &str) -> Result<bool, Error> {
    let kept = credentials::find(server);
    let (user, password) = (text(&kept["username"]), text(&kept["password"]));
    if user.is_empty() || password.is_empty() {
        return Ok(false);
    }
    output::warn(&format!(
        "Authenticating with existing credentials... [Username: {user}]\n\n \
         Info -> To login with a different account, run 'wsw logout' followed by 'wsw login'\n\n"
    ));
    match try_out(session, server, user, password).await {
        Ok(status) => output::line(&status).map(|()| true),
        Err(error) => {
            output::warn(&format!("Login did not succeed, error: {error}"));
            Ok(false)
        }
    }
}

/// Shows them to the registry, through the daemon; what it says.
async fn try_out(session: &Session, server: &str, user: &str, password: &str) -> Result<String, Error> {
    let body = json!({"username": user, "password": password, "serveraddress": server});
    let answer = session.client.post("/auth", &[], Some(&body)).await?;
    Ok(text(&answer["Status"]).to_owned())
}

pub async fn logout(_: Session, matches: Matches) -> Result<(), Error> {
    let server = server(&matches);
    output::line(&format!("Removing login credentials for {server}"))?;
    credentials::forget(&server)
}

fn ask(question: &str) -> Result<String, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::plain(NO_TERMINAL));
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
    let Ok(before) = tcgetattr(&stdin) else { return Err(Error::plain(NO_TERMINAL)) };
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    let failed = |error: rustix::io::Errno| Error::Plain(format!("the terminal cannot be made silent: {error}"));
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(failed)?;
    let answer = ask("Password: ");
    tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(failed)?;
    output::line("")?;
    answer
}
