//! `exec`: a command in a running container; its exit code becomes ours.

use serde_json::{Value, json};

use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    service::options::environment,
    task::text,
    terminal::{self, End, Raw, Talk},
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let (tty, stdin, detach) = (matches.on("tty"), matches.on("interactive") && !matches.on("detach"), matches.on("detach"));
    let env = environment(&matches)?;
    if tty && stdin && !terminal::stdin_is_terminal() {
        return Err(Error::plain("the input device is not a TTY"));
    }
    let name = escape(&matches.args[0]);
    // Before anything is made: a name that is wrong is told as docker tells it.
    session.client.get(&format!("/containers/{name}/json"), &[]).await?;
    let keys = terminal::keys(matches.text("detach-keys"));
    let (console, words) = (if tty { terminal::console() } else { Value::Null }, |flag: &str| matches.text(flag).unwrap_or_default().to_owned());
    let body = json!({
        "User": words("user"),
        "Privileged": matches.on("privileged"),
        "Tty": tty,
        "ConsoleSize": console,
        "AttachStdin": stdin,
        "AttachStderr": !detach,
        "AttachStdout": !detach,
        "DetachKeys": keys,
        "Env": env,
        "WorkingDir": words("workdir"),
        "Cmd": matches.args[1..],
    });
    let created = session.client.post(&format!("/containers/{name}/exec"), &[], Some(&body)).await?;
    let id = text(&created["Id"]).to_owned();
    let start = json!({"Detach": detach, "Tty": tty, "ConsoleSize": console});
    if detach {
        return session.client.post(&format!("/exec/{id}/start"), &[], Some(&start)).await.map(drop);
    }
    let connection = session.client.hijack(&format!("/exec/{id}/start"), &[], Some(&start)).await?;
    let raw = if tty && stdin { Raw::set() } else { None };
    let talk = Talk { stdin, tty, escape: raw.as_ref().map(|_| terminal::escape(&keys)) };
    let path = format!("/exec/{id}/resize");
    let end = tokio::select! {
        end = talk.run(connection) => end,
        failed = terminal::follow_size(&session.client, &path), if tty && terminal::stdin_is_terminal() => failed.map(|()| End::Over),
    };
    drop(raw);
    if end? == End::Detached {
        return Err(Error::plain("read escape sequence"));
    }
    match session.client.get(&format!("/exec/{id}/json"), &[]).await?["ExitCode"].as_u64().unwrap_or(0) {
        0 => Ok(()),
        code => Err(Error::Silent(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}
