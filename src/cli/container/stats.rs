//! `container stats`: what tasks of this node use, once or twice a second.
//!
//! One stream a container; the list follows the daemon's events. Owns: docker's arithmetic (shares of a processor between two readings).

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use http::Method;
use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{escape, filters},
    errors::Error,
    format::{config, short_id, table, units},
    output,
    stream::Reader,
    task::text,
    template::Val,
};

/// How often the table is drawn.
const PERIOD: Duration = Duration::from_millis(500);

const COLUMNS: table::Columns = table::Columns {
    default: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    titles: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    raw: "",
};

/// docker's digits of what was moved.
const DIGITS: usize = 3;

/// One container's stream, and what it said last.
type Next = (String, Result<Option<Value>, Error>, Reader);
type Readings = FuturesUnordered<LocalBoxFuture<'static, Next>>;

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let format = table::choose(config::format(&matches, "statsFormat").as_deref(), false, &COLUMNS);
    let truncate = !matches.on("no-trunc");
    let names = containers(&session, &matches).await?;
    if matches.on("no-stream") {
        let session = &session;
        let calls = names.iter().map(|name| async move { session.client.stream(Method::GET, &path(name), &[("stream", "0".into())], None).await });
        let mut rows = Vec::new();
        let mut errors = Vec::new();
        for (name, answer) in names.iter().zip(futures_util::future::join_all(calls).await) {
            match answer {
                Ok(answer) => rows.push(row(name, &Reader::new(answer.into_body()).json().await?.unwrap_or_default(), truncate)),
                Err(error) => errors.push(error),
            }
        }
        Error::join(errors)?;
        return output::print(&table::render(&format, &COLUMNS, &rows)?);
    }
    follow(&session, &matches, &format, truncate).await
}

fn path(name: &str) -> String {
    format!("/containers/{}/stats", escape(name))
}

/// Those that were named; else all that run, or all.
async fn containers(session: &Session, matches: &Matches) -> Result<Vec<String>, Error> {
    if !matches.args.is_empty() {
        return Ok(matches.args.clone());
    }
    let query = if matches.on("all") { vec![("all", "1".to_owned())] } else { Vec::new() };
    let listed = session.client.get("/containers/json", &query).await?;
    Ok(listed.as_array().into_iter().flatten().map(|found| short_id(text(&found["Id"])).to_owned()).collect())
}

/// Draws until nothing named is left, or for ever.
async fn follow(session: &Session, matches: &Matches, format: &str, truncate: bool) -> Result<(), Error> {
    let all = matches.args.is_empty();
    let query = vec![("filters", filters([("type", "container")]))];
    let mut events = Reader::new(session.client.stream(Method::GET, "/events", &query, None).await?.into_body());
    let mut shown: BTreeMap<String, Value> = BTreeMap::new();
    let mut readings = Readings::new();
    add(session, &containers(session, matches).await?, &mut shown, &readings).await?;
    let mut clock = tokio::time::interval(PERIOD);
    output::print("\x1b[2J\x1b[H")?;
    loop {
        tokio::select! {
            _ = clock.tick() => {
                draw(format, &shown, truncate)?;
                if shown.is_empty() && !all {
                    return Ok(());
                }
            }
            event = events.json::<Value>(), if all => {
                let Some(event) = event? else { return Ok(()) };
                let id = short_id(text(&event["Actor"]["ID"])).to_owned();
                match text(&event["Action"]) {
                    "start" => add(session, &[id], &mut shown, &readings).await?,
                    "die" if !matches.on("all") => drop(shown.remove(&id)),
                    "destroy" => drop(shown.remove(&id)),
                    _ => {}
                }
            }
            Some((name, value, reader)) = readings.next() => {
                if let Ok(Some(value)) = value
                    && let Some(place) = shown.get_mut(&name)
                {
                    *place = value;
                    readings.push(Box::pin(read(name, reader)));
                }
            }
        }
    }
}

async fn read(name: String, mut reader: Reader) -> Next {
    let value = reader.json().await;
    (name, value, reader)
}

/// Opens the streams of containers that are not shown yet; one that is gone already is left out.
async fn add(session: &Session, names: &[String], shown: &mut BTreeMap<String, Value>, readings: &Readings) -> Result<(), Error> {
    for name in names.iter().filter(|name| !shown.contains_key(*name)).cloned().collect::<Vec<_>>() {
        match session.client.stream(Method::GET, &path(&name), &[("stream", "1".into())], None).await {
            Ok(answer) => {
                shown.insert(name.clone(), Value::Null);
                readings.push(Box::pin(read(name, Reader::new(answer.into_body()))));
            }
            Err(error) if error.is_not_found() && names.len() > 1 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn draw(format: &str, shown: &BTreeMap<String, Value>, truncate: bool) -> Result<(), Error> {
    let rows: Vec<Val> = shown.iter().map(|(name, value)| row(name, value, truncate)).collect();
    let text = table::render(format, &COLUMNS, &rows)?;
    let lines: String = text.split('\n').map(|line| format!("{line} \x1b[K\n")).collect();
    output::print(&format!("\x1b[H{lines}\x1b[J"))
}

fn row(container: &str, stats: &Value, truncate: bool) -> Val {
    let (id, name) = (text(&stats["id"]), text(&stats["name"]).trim_start_matches('/'));
    let id = if truncate { short_id(id) } else { id };
    let known = !stats["read"].as_str().unwrap_or_default().is_empty() && stats["memory_stats"]["limit"].is_u64();
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let (used, limit) = (number(&stats["memory_stats"]["usage"]), number(&stats["memory_stats"]["limit"]));
    let share = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let shown = |text: String, missing: &str| Val::from(if known { text } else { missing.to_owned() });
    Val::row(
        "*container.statsContext",
        [
            ("Container", Val::from(container)),
            ("Name", Val::from(if name.is_empty() { "--" } else { name })),
            ("ID", Val::from(if id.is_empty() { "--" } else { id })),
            ("CPUPerc", shown(format!("{:.2}%", cpu_share(stats)), "--")),
            ("MemUsage", shown(format!("{} / {}", units::bytes_size(used), units::bytes_size(limit)), "-- / --")),
            ("MemPerc", shown(format!("{share:.2}%"), "--")),
            ("NetIO", shown(moved(&links(stats)), "--")),
            ("BlockIO", shown(moved(&devices(stats)), "--")),
            ("PIDs", shown(number(&stats["pids_stats"]["current"]).to_string(), "--")),
        ],
    )
}

/// Received and sent over all links.
fn links(stats: &Value) -> (f64, f64) {
    let sum = |key: &str| stats["networks"].as_object().into_iter().flatten().filter_map(|(_, link)| link[key].as_f64()).fold(0.0, |sum, bytes| sum + bytes);
    (sum("rx_bytes"), sum("tx_bytes"))
}

/// Read from devices and written to them.
fn devices(stats: &Value) -> (f64, f64) {
    let lines = || stats["blkio_stats"]["io_service_bytes_recursive"].as_array().into_iter().flatten();
    let sum = |way: char| {
        lines()
            .filter(|line| text(&line["op"]).to_ascii_lowercase().starts_with(way))
            .filter_map(|line| line["value"].as_f64())
            .fold(0.0, |sum, bytes| sum + bytes)
    };
    (sum('r'), sum('w'))
}

fn moved((one, other): &(f64, f64)) -> String {
    format!("{} / {}", units::human_size_digits(*one, DIGITS), units::human_size_digits(*other, DIGITS))
}

/// Of one processor: what the task used between the two readings, of what the machine had.
fn cpu_share(stats: &Value) -> f64 {
    let at = |which: &str, path: &str| stats[which].pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let used = at("cpu_stats", "/cpu_usage/total_usage") - at("precpu_stats", "/cpu_usage/total_usage");
    let whole = at("cpu_stats", "/system_cpu_usage") - at("precpu_stats", "/system_cpu_usage");
    if used > 0.0 && whole > 0.0 { used / whole * at("cpu_stats", "/online_cpus") * 100.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shares_are_between_two_readings() {
        let cpu = |used: u64, system: u64| json!({"cpu_usage": {"total_usage": used}, "system_cpu_usage": system, "online_cpus": 2});
        assert_eq!(cpu_share(&json!({"cpu_stats": cpu(500, 2_000), "precpu_stats": cpu(0, 0)})), 50.0);
        assert_eq!(cpu_share(&json!({"cpu_stats": cpu(500, 2_000), "precpu_stats": cpu(500, 1_000)})), 0.0);
        assert_eq!(cpu_share(&json!({})), 0.0);
    }
}
