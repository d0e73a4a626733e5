//! `attach`: what a task writes from now on, to its end, and what is typed for it; its exit code becomes ours.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::act;
use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    task::text,
    terminal::{self, End, Raw, Talk},
};

/// What is passed on to the task: docker passes on all that can be caught, these are those that users send.
const SIGNALS: [(&str, SignalKind); 4] =
    [("SIGHUP", SignalKind::hangup()), ("SIGINT", SignalKind::interrupt()), ("SIGQUIT", SignalKind::quit()), ("SIGTERM", SignalKind::terminate())];

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let found = session.client.get(&format!("/containers/{}/json", escape(&matches.args[0])), &[]).await?;
    if found["State"]["Running"] != serde_json::Value::Bool(true) {
        return Err(Error::plain("cannot attach to a stopped container, start it first"));
    }
    let id = text(&found["Id"]).to_owned();
    let mut query = vec![("stream", "1".to_owned()), ("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    let stdin = !matches.on("no-stdin") && found["Config"]["OpenStdin"] == serde_json::Value::Bool(true);
    if stdin {
        query.push(("stdin", "1".to_owned()));
    }
    let keys = terminal::keys(matches.text("detach-keys"));
    if !keys.is_empty() {
        query.push(("detachKeys", keys.clone()));
    }
    let tty = found["Config"]["Tty"] == serde_json::Value::Bool(true);
    if tty && stdin && !terminal::stdin_is_terminal() {
        return Err(Error::plain("the input device is not a TTY"));
    }
    let proxies = !tty && (!matches.changed("sig-proxy") || matches.on("sig-proxy"));
    // Before the connection is made: from then on a signal is the task's.
    let signals = if proxies { Some(caught()?) } else { None };
    let connection = session.client.hijack(&format!("/containers/{id}/attach"), &query, None).await?;
    let raw = if tty && stdin { Raw::set() } else { None };
    let talk = Talk { stdin, tty, escape: raw.as_ref().map(|_| terminal::escape(&keys)) };
    let path = format!("/containers/{id}/resize");
    let end = tokio::select! {
        end = talk.run(connection) => end,
        () = pass_signals(&session, &id, signals) => Ok(End::Over),
        failed = terminal::follow_size(&session.client, &path), if tty && terminal::stdin_is_terminal() => failed.map(|()| End::Over),
    };
    drop(raw);
    if end? == End::Detached {
        return Err(Error::plain("read escape sequence"));
    }
    match act::code(&session, &id).await? {
        0 => Ok(()),
        code => Err(Error::Silent(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// Signals by name, from now on.
fn caught() -> Result<mpsc::Receiver<&'static str>, Error> {
    let (send, received) = mpsc::channel(SIGNALS.len());
    for (name, kind) in SIGNALS {
        let (mut signals, send) = (signal(kind)?, send.clone());
        tokio::spawn(async move { while signals.recv().await.is_some() && send.send(name).await.is_ok() {} });
    }
    Ok(received)
}

/// Never ends by itself.
async fn pass_signals(session: &Session, id: &str, signals: Option<mpsc::Receiver<&'static str>>) {
    let Some(mut signals) = signals else { return std::future::pending().await };
    while let Some(name) = signals.recv().await {
        let path = format!("/containers/{}/kill", escape(id));
        // One that has just ended needs no signal.
        let _ = session.client.stream(http::Method::POST, &path, &[("signal", name.to_owned())], None).await;
    }
    std::future::pending().await
}
