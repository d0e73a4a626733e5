//! `attach`: what a task writes from now on, to its end; its exit code becomes ours.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

use super::act;
use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    output,
    stream::{Channel, Reader},
    task::text,
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
    if !matches.on("no-stdin") && found["Config"]["OpenStdin"] == serde_json::Value::Bool(true) {
        query.push(("stdin", "1".to_owned()));
    }
    let tty = found["Config"]["Tty"] == serde_json::Value::Bool(true);
    let stream = Reader::hijacked(session.client.hijack(&format!("/containers/{id}/attach"), &query).await?);
    let proxies = !tty && (!matches.changed("sig-proxy") || matches.on("sig-proxy"));
    tokio::select! {
        copied = copy(stream, tty) => copied?,
        failed = pass_signals(&session, &id), if proxies => failed?,
    }
    match act::code(&session, &id).await? {
        0 => Ok(()),
        code => Err(Error::Silent(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

async fn copy(mut stream: Reader, tty: bool) -> Result<(), Error> {
    if tty {
        while let Some(chunk) = stream.chunk().await? {
            output::bytes(&chunk)?;
        }
        return Ok(());
    }
    while let Some((channel, frame)) = stream.frame().await? {
        match channel {
            Channel::Stdout => output::bytes(&frame)?,
            Channel::Stderr => std::io::stderr().lock().write_all(&frame)?,
            Channel::System => return Err(Error::Plain(format!("error from daemon in stream: {}", String::from_utf8_lossy(&frame)))),
        }
    }
    Ok(())
}

/// Never ends by itself.
async fn pass_signals(session: &Session, id: &str) -> Result<(), Error> {
    let (send, mut received) = tokio::sync::mpsc::channel(SIGNALS.len());
    for (name, kind) in SIGNALS {
        let (mut signals, send) = (signal(kind)?, send.clone());
        tokio::spawn(async move { while signals.recv().await.is_some() && send.send(name).await.is_ok() {} });
    }
    while let Some(name) = received.recv().await {
        let path = format!("/containers/{}/kill", escape(id));
        // One that has just ended needs no signal.
        let _ = session.client.stream(http::Method::POST, &path, &[("signal", name.to_owned())], None).await;
    }
    Ok(())
}
