//! `container kill`, `stop`, `restart`, `pause`, `unpause`, `rm`, `wait` and `top`: what may be done to one task past its service.

use http::Method;

use crate::cli::{
    Session,
    args::Matches,
    client::{Query, escape},
    errors::Error,
    format::table,
    output,
    stream::Reader,
    task::text,
};

pub async fn kill(session: Session, matches: Matches) -> Result<(), Error> {
    let query: Vec<_> = matches.text("signal").filter(|signal| !signal.is_empty()).map(|signal| ("signal", signal.to_owned())).into_iter().collect();
    each(&session, &matches.args, "kill", &query).await
}

pub async fn stop(session: Session, matches: Matches) -> Result<(), Error> {
    let mut query = Vec::new();
    if let Some(signal) = matches.text("signal").filter(|signal| !signal.is_empty()) {
        query.push(("signal", signal.to_owned()));
    }
    if let Some(seconds) = matches.int("timeout").or_else(|| matches.int("time")) {
        query.push(("t", seconds.to_string()));
    }
    each(&session, &matches.args, "stop", &query).await
}

pub async fn restart(session: Session, matches: Matches) -> Result<(), Error> {
    each(&session, &matches.args, "restart", &[]).await
}

pub async fn pause(session: Session, matches: Matches) -> Result<(), Error> {
    each(&session, &matches.args, "pause", &[]).await
}

pub async fn unpause(session: Session, matches: Matches) -> Result<(), Error> {
    each(&session, &matches.args, "unpause", &[]).await
}

pub async fn rm(session: Session, matches: Matches) -> Result<(), Error> {
    let query: Vec<_> = [("force", "force"), ("link", "link"), ("v", "volumes")]
        .into_iter()
        .filter(|(_, flag)| matches.on(flag))
        .map(|(name, _)| (name, "1".to_owned()))
        .collect();
    let mut errors = Vec::new();
    for name in &matches.args {
        let path = name.trim_matches('/');
        if path.is_empty() {
            return Err(Error::plain("container name cannot be empty"));
        }
        match session.client.delete(&format!("/containers/{}", escape(path)), &query).await {
            Ok(_) => output::line(name)?,
            // By force, what is not there is as good as removed.
            Err(error) if matches.on("force") && error.is_not_found() => output::warn(&error.to_string()),
            Err(error) => errors.push(error),
        }
    }
    Error::join(errors)
}

/// The same for all at once: each grace period runs beside the others.
async fn each(session: &Session, names: &[String], verb: &str, query: Query<'_>) -> Result<(), Error> {
    let calls = names.iter().map(|name| async move {
        let path = format!("/containers/{}/{verb}", escape(name));
        session.client.stream(Method::POST, &path, query, None).await
    });
    let done = futures_util::future::join_all(calls).await;
    let mut errors = Vec::new();
    for (name, result) in names.iter().zip(done) {
        match result {
            Ok(_) => output::line(name)?,
            Err(error) => errors.push(error),
        }
    }
    Error::join(errors)
}

pub async fn wait(session: Session, matches: Matches) -> Result<(), Error> {
    let mut errors = Vec::new();
    for name in &matches.args {
        match code(&session, name).await {
            Ok(code) => output::line(&code.to_string())?,
            Err(error) => errors.push(error),
        }
    }
    Error::join(errors)
}

/// Waits for a task's end; its exit code.
pub async fn code(session: &Session, name: &str) -> Result<u64, Error> {
    let answer = session.client.stream(Method::POST, &format!("/containers/{}/wait", escape(name)), &[], None).await?;
    let waited: serde_json::Value = Reader::new(answer.into_body()).json().await?.unwrap_or_default();
    match text(&waited["Error"]["Message"]) {
        "" => Ok(waited["StatusCode"].as_u64().unwrap_or(0)),
        why => Err(Error::Plain(why.to_owned())),
    }
}

pub async fn top(session: Session, matches: Matches) -> Result<(), Error> {
    let (name, options) = (&matches.args[0], matches.args[1..].join(" "));
    let query = if options.is_empty() { Vec::new() } else { vec![("ps_args", options)] };
    let found = session.client.get(&format!("/containers/{}/top", escape(name)), &query).await?;
    let row = |row: &serde_json::Value| row.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join("\t");
    let mut lines = row(&found["Titles"]) + "\n";
    for process in found["Processes"].as_array().into_iter().flatten() {
        lines += &(row(process) + "\n");
    }
    output::print(&table::align(&lines, TOP_WIDTH, TOP_PADDING))
}

/// docker's tabs of `top`.
const TOP_WIDTH: usize = 17;
const TOP_PADDING: usize = 3;
