//! What the progress lines of a service show: overall counts and a line for each slot or node.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::display::{Display, Line};
use crate::cli::{errors::Error, format::short_id, task::text};

/// States in the order in which a task passes them.
const STATES: [&str; 13] =
    ["new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running", "complete", "shutdown", "failed", "rejected"];
const RUNNING: usize = 9;
const COMPLETE: usize = 10;
/// More tasks than this get no line of their own.
const MOST_LINES: u64 = 20;
/// The longest state that is shown, so that bars stand in a column.
const STATE_WIDTH: usize = 9;
/// Errors are cut to fit a narrow terminal.
const ERROR_WIDTH: usize = 75;

/// The picture of one service.
pub enum Updater {
    Replicated { slots: BTreeMap<u64, u64>, started: bool, done: bool },
    Global { started: bool, done: bool },
    ReplicatedJob { started: bool },
    GlobalJob { nodes: Option<BTreeSet<String>> },
}

/// A state's place in the order; 0 for one that we do not know.
fn place(state: &Value) -> usize {
    STATES.iter().position(|name| *name == text(state)).map_or(0, |at| at + 1)
}

fn is_running(task: &Value) -> bool {
    place(&task["DesiredState"]) <= RUNNING && place(&task["Status"]["State"]) == RUNNING
}

impl Updater {
    pub fn of(service: &Value) -> Result<Updater, Error> {
        let mode = &service["Spec"]["Mode"];
        if mode["Replicated"]["Replicas"].is_u64() {
            return Ok(Updater::Replicated { slots: BTreeMap::new(), started: false, done: false });
        }
        if mode["Global"].is_object() {
            return Ok(Updater::Global { started: false, done: false });
        }
        if mode["ReplicatedJob"].is_object() {
            return Ok(Updater::ReplicatedJob { started: false });
        }
        if mode["GlobalJob"].is_object() {
            return Ok(Updater::GlobalJob { nodes: None });
        }
        Err(Error::plain("unrecognized service mode"))
    }

    /// Shows the present state; true when the service has converged.
    pub fn update(&mut self, service: &Value, tasks: &[Value], nodes: &[Value], rollback: bool, display: &mut Display) -> Result<bool, Error> {
        let active: BTreeSet<&str> = nodes.iter().filter(|node| text(&node["Status"]["State"]) != "down").map(|node| text(&node["ID"])).collect();
        let mode = &service["Spec"]["Mode"];
        match self {
            Updater::Replicated { slots, started, done } => {
                let replicas = mode["Replicated"]["Replicas"].as_u64().ok_or_else(|| Error::plain("no replica count"))?;
                replicated(slots, started, done, replicas, &by_slot(tasks, &active), rollback, display)
            }
            Updater::Global { started, done } => global(started, done, tasks, &active, rollback, display),
            Updater::ReplicatedJob { started } => {
                let iteration = iteration(&service["JobStatus"]);
                let count = |name: &str| mode["ReplicatedJob"][name].as_u64().unwrap_or(1);
                replicated_job(started, count("TotalCompletions"), count("MaxConcurrent"), &of_iteration(tasks, iteration), display)
            }
            Updater::GlobalJob { nodes } => {
                global_job(nodes, &of_iteration(tasks, iteration(&service["JobStatus"])), tasks.is_empty() && !active.is_empty(), display)
            }
        }
    }
}

fn overall(done: usize, total: u64, rollback: bool, display: &mut Display) -> Result<(), Error> {
    let prefix = if rollback { "rolling back update: " } else { "" };
    display.show(Line::action("overall progress", format!("{prefix}{done} out of {total} tasks")))
}

fn replicated(
    slots: &mut BTreeMap<u64, u64>,
    started: &mut bool,
    done: &mut bool,
    replicas: u64,
    tasks: &BTreeMap<u64, &Value>,
    rollback: bool,
    display: &mut Display,
) -> Result<bool, Error> {
    if !*started {
        overall(0, replicas, rollback, display)?;
        if replicas <= MOST_LINES {
            for slot in 1..=replicas {
                display.show(Line::action(format!("{slot}/{replicas}"), " "))?;
            }
        }
        *started = true;
    }
    *done = *done && tasks.values().all(|task| place(&task["Status"]["State"]) == RUNNING);
    for (slot, task) in tasks {
        let next = slots.len() as u64 + 1;
        let line = *slots.entry(*slot).or_insert(next);
        if !*done && replicas <= MOST_LINES && line <= replicas {
            task_line(format!("{line}/{replicas}"), task, RUNNING, display)?;
        }
    }
    let running = tasks.values().filter(|task| is_running(task)).count();
    if !*done {
        overall(running, replicas, rollback, display)?;
        *done = running as u64 == replicas;
    }
    Ok(running as u64 == replicas)
}

/// The line of one task: its error, or its state with a bar.
fn task_line(name: String, task: &Value, full: usize, display: &mut Display) -> Result<(), Error> {
    let error = text(&task["Status"]["Err"]);
    if !error.is_empty() {
        return display.show(Line::action(name, cut(error)));
    }
    let state = place(&task["Status"]["State"]);
    if full == RUNNING && (place(&task["DesiredState"]) > RUNNING || state > RUNNING) {
        return Ok(());
    }
    let action = format!("{:<STATE_WIDTH$}", text(&task["Status"]["State"]));
    display.show(Line { name, action, done: (state as u64, full as u64), units: "" })
}

fn cut(error: &str) -> String {
    crate::cli::format::ellipsis(&error.replace('\n', " "), ERROR_WIDTH)
}

/// Of several tasks in a slot the one that is to live, else the one that is less far.
fn by_slot<'a>(tasks: &'a [Value], active: &BTreeSet<&str>) -> BTreeMap<u64, &'a Value> {
    let mut chosen: BTreeMap<u64, &Value> = BTreeMap::new();
    for task in tasks {
        let node = text(&task["NodeID"]);
        if !is_known(task) || (!node.is_empty() && !active.contains(node)) {
            continue;
        }
        prefer(&mut chosen, task["Slot"].as_u64().unwrap_or(0), task);
    }
    chosen
}

fn is_known(task: &Value) -> bool {
    place(&task["DesiredState"]) > 0 && place(&task["Status"]["State"]) > 0
}

fn prefer<'a, K: Ord>(chosen: &mut BTreeMap<K, &'a Value>, key: K, task: &'a Value) {
    let rank = |task: &Value| (place(&task["DesiredState"]), place(&task["Status"]["State"]));
    match chosen.entry(key) {
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(task);
        }
        std::collections::btree_map::Entry::Occupied(mut entry) => {
            if rank(task) < rank(entry.get()) {
                entry.insert(task);
            }
        }
    }
}

fn global(started: &mut bool, done: &mut bool, tasks: &[Value], active: &BTreeSet<&str>, rollback: bool, display: &mut Display) -> Result<bool, Error> {
    let mut by_node: BTreeMap<&str, &Value> = BTreeMap::new();
    for task in tasks.iter().filter(|task| is_known(task)) {
        prefer(&mut by_node, text(&task["NodeID"]), task);
    }
    let count = by_node.len() as u64;
    if !*started {
        if count == 0 {
            display.show(Line::action("overall progress", "waiting for new tasks"))?;
            return Ok(false);
        }
        overall(0, count, rollback, display)?;
        *started = true;
    }
    *done = *done && by_node.values().all(|task| place(&task["Status"]["State"]) == RUNNING);
    let mut running = 0;
    for (node, task) in by_node.iter().filter(|(node, _)| active.contains(*node)) {
        running += usize::from(is_running(task));
        if !*done && count <= MOST_LINES {
            task_line(short_id(node).to_owned(), task, RUNNING, display)?;
        }
    }
    if !*done {
        overall(running, count, rollback, display)?;
        *done = running as u64 == count;
    }
    Ok(running as u64 == count)
}

fn iteration(status: &Value) -> u64 {
    status["JobIteration"]["Index"].as_u64().unwrap_or(0)
}

fn of_iteration(tasks: &[Value], iteration: u64) -> Vec<&Value> {
    tasks.iter().filter(|task| is_known(task) && task["JobIteration"].is_object() && self::iteration(task) == iteration).collect()
}

fn replicated_job(started: &mut bool, total: u64, concurrent: u64, tasks: &[&Value], display: &mut Display) -> Result<bool, Error> {
    let mut by_slot: BTreeMap<u64, &Value> = BTreeMap::new();
    for task in tasks {
        prefer(&mut by_slot, task["Slot"].as_u64().unwrap_or(0), task);
    }
    let overall = |active: usize, completed: usize, display: &mut Display| -> Result<(), Error> {
        let (wide, narrow) = (total.to_string().len(), concurrent.to_string().len());
        let action = format!("{completed:>wide$} out of {total} complete");
        display.show(Line { name: "job progress".into(), action, done: (completed as u64, total), units: "" })?;
        let desired = total.saturating_sub(completed as u64).min(concurrent);
        display.show(Line::action("active tasks", format!("{active:>narrow$} out of {desired:>narrow$} tasks")))
    };
    if !*started {
        overall(0, 0, display)?;
        if total <= MOST_LINES {
            for slot in 1..=total {
                display.show(Line::action(format!("{slot}/{total}"), " "))?;
            }
        }
        *started = true;
    }
    for (slot, task) in by_slot.iter().filter(|_| total <= MOST_LINES) {
        task_line(format!("{}/{total}", slot + 1), task, COMPLETE, display)?;
    }
    let active = by_slot.values().filter(|task| place(&task["Status"]["State"]) < COMPLETE).count();
    let completed = by_slot.values().filter(|task| place(&task["Status"]["State"]) == COMPLETE).count();
    overall(active, completed, display)?;
    Ok(completed as u64 == total)
}

fn global_job(nodes: &mut Option<BTreeSet<String>>, tasks: &[&Value], waiting: bool, display: &mut Display) -> Result<bool, Error> {
    if nodes.is_none() && waiting {
        display.show(Line::action("job progress", "waiting for tasks"))?;
        return Ok(false);
    }
    let first = nodes.is_none();
    let nodes = nodes.get_or_insert_with(|| tasks.iter().map(|task| text(&task["NodeID"]).to_owned()).collect());
    let total = nodes.len() as u64;
    let overall = |complete: u64, display: &mut Display| {
        let action = format!("{complete:>wide$} out of {total} complete", wide = total.to_string().len());
        display.show(Line { name: "job progress".into(), action, done: (complete, total), units: "" })
    };
    if first {
        overall(0, display)?;
    }
    let mut by_node: BTreeMap<&str, &Value> = BTreeMap::new();
    for task in tasks.iter().filter(|task| nodes.contains(text(&task["NodeID"]))) {
        prefer(&mut by_node, text(&task["NodeID"]), task);
    }
    for (node, task) in by_node.iter().filter(|_| total <= MOST_LINES) {
        task_line((*node).to_owned(), task, COMPLETE, display)?;
    }
    let complete = by_node.values().filter(|task| place(&task["Status"]["State"]) == COMPLETE).count() as u64;
    overall(complete, display)?;
    Ok(complete == total)
}
