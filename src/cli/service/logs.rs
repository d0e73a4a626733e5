//! `service logs`.

use std::{cell::RefCell, collections::BTreeMap};

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    format::short_id,
    log_stream,
    task::{Names, text},
};

const NODE: &str = "com.docker.swarm.node.id";
const SERVICE: &str = "com.docker.swarm.service.id";
const TASK: &str = "com.docker.swarm.task.id";

/// Whose logs, and how its lines are padded.
struct Target {
    path: String,
    tty: bool,
    width: usize,
}

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let target = find(&session, &matches.args[0]).await?;
    let raw = matches.on("raw");
    if target.tty && !raw {
        return Err(Error::plain("tty service logs only supported with --raw"));
    }
    // Who wrote a line is in its details, so they are needed unless the lines stay as they are.
    let query = log_stream::query(&matches, &["since"], matches.on("details") || !raw)?;
    if raw {
        return log_stream::copy(&session, &target.path, &query, target.tty).await;
    }
    let lines = Lines {
        session: &session,
        names: Names::new(session.client.clone(), !matches.on("no-resolve")),
        matches: &matches,
        width: target.width,
        known: RefCell::default(),
    };
    log_stream::copy_lines(&session, &target.path, &query, async |frame| lines.dress(frame).await).await
}

async fn find(session: &Session, name: &str) -> Result<Target, Error> {
    let escaped = escape(name);
    match session.client.get(&format!("/services/{escaped}"), &[]).await {
        Ok(service) => {
            let tty = service["Spec"]["TaskTemplate"]["ContainerSpec"]["TTY"] == Value::Bool(true);
            let replicas = service["Spec"]["Mode"]["Replicated"]["Replicas"].as_u64();
            Ok(Target { path: format!("/services/{escaped}/logs"), tty, width: replicas.map_or(1, digits) })
        }
        Err(error) if error.is_not_found() => match session.client.get(&format!("/tasks/{escaped}"), &[]).await {
            Ok(task) => {
                let tty = task["Spec"]["ContainerSpec"]["TTY"] == Value::Bool(true);
                Ok(Target { path: format!("/tasks/{escaped}/logs"), tty, width: digits(task["Slot"].as_u64().unwrap_or(0)) })
            }
            Err(error) if error.is_not_found() => Err(Error::Plain(format!("no such task or service: {name}"))),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn digits(number: u64) -> usize {
    number.to_string().len()
}

/// Puts names before the lines.
struct Lines<'a> {
    session: &'a Session,
    names: Names,
    matches: &'a Matches,
    width: usize,
    /// Written prefixes by task.
    known: RefCell<BTreeMap<String, String>>,
}

impl Lines<'_> {
    /// `[timestamp ]details message` as `[timestamp ]name.slot.id@node    | [details ]message`.
    async fn dress(&self, frame: &[u8]) -> Result<Vec<u8>, Error> {
        let invalid = || Error::Plain(format!("invalid context in log message: {}", String::from_utf8_lossy(frame)));
        let mut rest = frame;
        let mut dressed = Vec::with_capacity(frame.len() + 64);
        if self.matches.on("timestamps") {
            let (timestamp, tail) = cut(rest).ok_or_else(invalid)?;
            dressed.extend_from_slice(timestamp);
            dressed.push(b' ');
            rest = tail;
        }
        let (details, message) = cut(rest).ok_or_else(invalid)?;
        let mut details = parse_details(&String::from_utf8_lossy(details))?;
        let mut take = |key: &str, what: &str| {
            details.remove(key).ok_or_else(|| Error::Plain(format!("missing {what} id in details: {:?}", String::from_utf8_lossy(frame))))
        };
        let (node, service, task) = (take(NODE, "node")?, take(SERVICE, "service")?, take(TASK, "task")?);
        dressed.extend_from_slice(self.prefix(&node, &service, &task).await?.as_bytes());
        dressed.extend_from_slice(b"    | ");
        if self.matches.on("details") {
            let listed: Vec<_> = details.iter().map(|(key, value)| format!("{key}={value}")).collect();
            dressed.extend_from_slice(listed.join(",").as_bytes());
            dressed.push(b' ');
        }
        dressed.extend_from_slice(message);
        Ok(dressed)
    }

    async fn prefix(&self, node: &str, service: &str, task: &str) -> Result<String, Error> {
        let key = format!("{task}@{node}");
        let known = self.known.borrow().get(&key).cloned();
        if let Some(prefix) = known {
            return Ok(prefix);
        }
        let node = self.names.node(node).await;
        let service = self.names.service(service).await;
        let found = self.session.client.get(&format!("/tasks/{}", escape(task)), &[]).await?;
        let slot = found["Slot"].as_u64().unwrap_or(0);
        let mut name = format!("{service}.{slot}");
        if !self.matches.on("no-task-ids") {
            let id = text(&found["ID"]);
            name += &format!(".{}", if self.matches.on("no-trunc") { id } else { short_id(id) });
        }
        let padding = " ".repeat(self.width.saturating_sub(digits(slot)));
        let prefix = format!("{name}@{node}{padding}");
        self.known.borrow_mut().insert(key, prefix.clone());
        Ok(prefix)
    }
}

fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// `key=value,…`, percent-encoded.
fn parse_details(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut details = BTreeMap::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| Error::plain("invalid details format"))?;
        details.insert(unescape(key), unescape(value));
    }
    Ok(details)
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(match (code, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn details_are_decoded() {
        let details = parse_details("a=b%20c,com.docker.swarm.task.id=x").unwrap();
        assert_eq!(details["a"], "b c");
        assert_eq!(details[TASK], "x");
        assert_eq!(cut(b"one two three"), Some((b"one".as_slice(), b"two three".as_slice())));
    }
}
