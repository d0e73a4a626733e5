//! Waiting for a service to converge, with docker's progress lines.
//!
//! The picture is drawn by `display`, what it shows is worked out by `view` from the service, its tasks and the nodes.
//! wsw returns when all tasks run; docker's verification (the monitor period) comes only when the caller asked for it.

mod display;
mod view;

use std::time::{Duration, Instant};

use serde_json::Value;

pub use display::{Display, Line};

use crate::cli::{
    client::{Client, filters},
    errors::Error,
    task::text,
};

/// The first questions come quickly, so that a fast start is seen fast; then at docker's pace.
const PACE: [Duration; 4] = [Duration::from_millis(10), Duration::from_millis(25), Duration::from_millis(50), Duration::from_millis(100)];
const SLOWEST: Duration = Duration::from_millis(200);

/// Within a longer pause the daemon is asked for numbers alone this often: they cost it little, and the list is looked at when all run.
const COUNT: Duration = Duration::from_millis(50);

/// How long to stay after all tasks run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    UntilRunning,
    /// docker's verification: for the service's monitor period.
    UntilStable,
}

/// The monitor period of a service that names none.
const MONITOR: Duration = Duration::from_secs(5);

pub async fn wait(client: &Client, service: &str, quiet: bool, patience: Patience) -> Result<(), Error> {
    let mut display = Display::new(quiet);
    let work = follow(client, service, patience, &mut display);
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => {
            let mut display = Display::new(quiet);
            display.message("Operation continuing in background.")?;
            display.message(&format!("Use `wsw service ps {service}` to check progress."))
        }
    }
}

async fn follow(client: &Client, name: &str, patience: Patience, display: &mut Display) -> Result<(), Error> {
    let path = format!("/services/{}", crate::cli::client::escape(name));
    let mut updater: Option<view::Updater> = None;
    let mut converged_at: Option<Instant> = None;
    let mut rollback = Rollback::default();
    let (mut pace, mut counted) = (PACE.iter(), Value::Null);
    loop {
        let asked = Instant::now();
        let service = client.get(&path, &[]).await?;
        if updater.is_none() {
            updater = Some(view::Updater::of(&service)?);
        }
        let Some(view) = updater.as_mut() else { continue };
        if rollback.look(&service["UpdateStatus"], converged_at.is_some(), display)? {
            return Ok(());
        }
        let wanted = filters([("_up-to-date", "true"), ("service", text(&service["ID"]))]);
        let tasks = client.get("/tasks", &[("filters", wanted)]).await?;
        let nodes = client.get("/nodes", &[]).await?;
        let all_run = view.update(&service, list(&tasks), list(&nodes), rollback.running, display)?;
        if all_run && service["JobStatus"].is_object() {
            return display.message("job complete");
        }
        let verify = |action: String| Line::action("verify", action);
        if all_run {
            let since = *converged_at.get_or_insert_with(Instant::now);
            let monitor = match patience {
                Patience::UntilRunning => Duration::ZERO,
                Patience::UntilStable => monitor(&service),
            };
            match monitor.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
                Some(left) => display.show(verify(format!("Waiting {} seconds to verify that tasks are stable...", left.as_secs() + 1)))?,
                None => {
                    display.show(verify(format!("Service {name} converged")))?;
                    return rollback.last_word(display);
                }
            }
        } else if converged_at.take().is_some() {
            display.show(verify("Detected task failure".into()))?;
        }
        // A large service's list costs the daemon time that its tasks need: ask at most a fifth of the time.
        let pause = *pace.next().unwrap_or(&SLOWEST);
        pause_until(client, text(&service["ID"]), Instant::now() + pause.max(asked.elapsed() * 4), &mut counted).await?;
    }
}

/// Waits until then, or until as many tasks run as should. Numbers that ended a pause before end no other: the list said otherwise.
async fn pause_until(client: &Client, id: &str, end: Instant, counted: &mut Value) -> Result<(), Error> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(COUNT)).await;
        if left <= COUNT {
            return Ok(());
        }
        let services = client.get("/services", &[("filters", filters([("id", id)])), ("status", "true".to_owned())]).await?;
        let status = &services[0]["ServiceStatus"];
        let all_run = status["DesiredTasks"].as_u64().is_some_and(|desired| status["RunningTasks"].as_u64() >= Some(desired));
        if all_run && status != counted {
            *counted = status.clone();
            return Ok(());
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn monitor(service: &Value) -> Duration {
    service["Spec"]["UpdateConfig"]["Monitor"].as_u64().filter(|nanos| *nanos > 0).map_or(MONITOR, Duration::from_nanos)
}

/// What an update's status says while we wait.
#[derive(Default)]
struct Rollback {
    running: bool,
    message: Option<String>,
}

impl Rollback {
    /// True when the update has ended and there is nothing left to watch.
    fn look(&mut self, status: &Value, converged: bool, display: &mut Display) -> Result<bool, Error> {
        let message = text(&status["Message"]);
        match text(&status["State"]) {
            "updating" => self.running = false,
            "completed" if !converged => return Ok(true),
            "paused" => return Err(Error::Plain(format!("service update paused: {message}"))),
            "rollback_paused" => return Err(Error::Plain(format!("service rollback paused: {message}"))),
            "rollback_started" => {
                if !self.running && !message.is_empty() {
                    display.show(Line::action("rollback", message.to_owned()))?;
                }
                self.running = true;
            }
            "rollback_completed" => {
                if !converged {
                    self.message = Some(message.to_owned());
                }
                self.running = true;
            }
            _ => {}
        }
        Ok(false)
    }

    fn last_word(&self, display: &mut Display) -> Result<(), Error> {
        match &self.message {
            Some(message) => display.message_for("rollback", message),
            None => Ok(()),
        }
    }
}
