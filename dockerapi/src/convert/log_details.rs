//! What `--details` shows before a line: labels and variables that the service's log options name, and where the line comes from.
//!
//! Owns: the words. Invariant: who wrote a line is said by us; a label cannot say otherwise. Never: reads logs.

use super::container::swarm_labels;
use crate::resolve;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use wsw_api::Task;
use wsw_api::log::{self, Line};
use wsw_planner::Store;

/// The labels and variables of the task that its log options name.
pub fn of_task(store: &Store, task: &Task) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Some(template) = store.template(&task.service, task.template) else { return found };
    // It was read when the service was made.
    let Ok(named) = log::driver(template.spec.log_driver.as_ref()) else { return found };
    let service = resolve::service_name(store, task);
    let swarm: BTreeMap<_, _> = swarm_labels(task.id, task.service, task.node, service, &task.name(service)).into_iter().collect();
    for name in named.labels {
        if let Some(value) = swarm.get(&name).or_else(|| template.spec.container.labels.get(&name)) {
            found.insert(name, value.clone());
        }
    }
    for variable in &template.spec.container.env {
        if let Some((name, value)) = variable.split_once('=').filter(|(name, _)| named.env.iter().any(|wanted| wanted == name)) {
            found.insert(name.to_owned(), value.to_owned());
        }
    }
    found
}

/// Where a line comes from, as the CLI needs it to name the task.
pub fn with_context(mut details: BTreeMap<String, String>, line: &Line) -> BTreeMap<String, String> {
    for (key, value) in [("node.id", line.node.to_string()), ("service.id", line.service.to_string()), ("task.id", line.task.to_string())] {
        details.insert(format!("com.docker.swarm.{key}"), value);
    }
    details
}

/// `key=value,…`, sorted, each escaped as in a query.
pub fn text(details: &BTreeMap<String, String>) -> String {
    details.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect::<Vec<_>>().join(",")
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            // a String takes every write
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_sorted_and_escaped() {
        let details = [("b", "x, y=z"), ("a/ü", "1+1")].into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert_eq!(text(&details), "a%2F%C3%BC=1%2B1,b=x%2C+y%3Dz");
        assert_eq!(text(&BTreeMap::new()), "");
    }
}
