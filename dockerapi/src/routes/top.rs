//! `GET /containers/{id}/top`: the processes of a container, the line of a Wasm task.
//!
//! A container's are what `ps` of the node says of them, with the options that the user gives. A Wasm task is no process: it is one of many in its shim. What is shown is the shim's process with what this task has used of it.

use super::containers::find;
use super::control::{local, runs};
use crate::call::{self, Call};
use crate::convert::{task::container_id, time};
use crate::error::{Answer, ApiError};
use crate::model::answers;
use wsw_api::Error;
use wsw_api::time::SECOND;

answers! {
    /// The processes of a container.
    Processes { titles: Vec<String> = "Titles", processes: Vec<Vec<String>> = "Processes" }
    /// The line of a Wasm task.
    Top { titles: Vec<&'static str> = "Titles", processes: Vec<Vec<String>> = "Processes" }
}

/// The columns of `ps -ef`, which is what docker asks for when the user asks for nothing else.
const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

/// A container's: what the node's `ps` shows of its processes.
async fn processes(call: &Call, pids: &[u32], options: &str) -> Answer {
    let options = if options.is_empty() { "-ef" } else { options };
    // moby's: a heading that is called PID and is not would show others' processes.
    if let Some(word) = options.split_whitespace().find(|word| word.split_once('=').is_some_and(|(_, heading)| heading.starts_with("PID"))) {
        return Err(ApiError::invalid(format!("specifying \"{word}\" is not allowed")));
    }
    let words = options.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let shown = call.backend.ps(&words).await?;
    let (titles, processes) = of_container(&shown, pids)?;
    call::ok(&Processes { titles: Some(titles), processes: Some(processes) })
}

type Table = (Vec<String>, Vec<Vec<String>>);

/// The lines of `ps` whose process is one of these. The last column goes to the end of the line.
fn of_container(shown: &str, pids: &[u32]) -> Result<Table, ApiError> {
    let mut lines = shown.lines();
    let titles = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let column = titles.iter().position(|title| title == "PID").ok_or_else(|| Error::internal("couldn't find PID field in ps output"))?;
    let mut found = Vec::new();
    for line in lines {
        let words = line.split_whitespace().collect::<Vec<_>>();
        let pid = words.get(column).copied().unwrap_or_default();
        if !pid.parse().is_ok_and(|pid: u32| pids.contains(&pid)) {
            continue;
        }
        let (first, rest) = words.split_at(words.len().min(titles.len().saturating_sub(1)));
        found.push(first.iter().map(|word| (*word).to_owned()).chain([rest.join(" ")]).collect());
    }
    Ok((titles, found))
}

/// `GET /containers/{id}/top`.
pub async fn top(call: Call) -> Answer {
    let id = find(&call).await?;
    let task = local(&call, id)?;
    if !runs(&task) {
        return Err(Error::conflict(format!("container {} is not running", container_id(id))).into());
    }
    let options = call.query.get("ps_args").unwrap_or_default();
    if let Some(pids) = call.backend.pids_of(id).await? {
        return processes(&call, &pids, options).await;
    }
    if !["", "-ef"].contains(&options) {
        return Err(ApiError::missing(&format!("top with {options:?}"), "a Wasm task is one line of ps -ef, its shim's; leave the options out"));
    }
    let pid = task.status.pid.unwrap_or_default();
    let (user, parent) = call.backend.process(pid).unwrap_or_default();
    let spent = call.backend.task_usage(id).await.map(|usage| usage.cpu_nanos / SECOND).unwrap_or_default();
    let started = task.started.map_or_else(String::new, |at| time::rfc3339(at).get(11..16).unwrap_or_default().to_owned());
    let clock = format!("{:02}:{:02}:{:02}", spent / 3_600, spent / 60 % 60, spent % 60);
    let command = super::containers::command_of(&call, id).await;
    let line = vec![user.to_string(), pid.to_string(), parent.to_string(), "0".into(), started, "?".into(), clock, command];
    call::ok(&Top { titles: Some(TITLES.to_vec()), processes: Some(vec![line]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_container_s_processes_are_shown() {
        let shown = "UID        PID  PPID CMD\nroot         1     0 init\nroot        17     1 tail -f  /dev/null\nweb        170    17 sh\n";
        let (titles, lines) = of_container(shown, &[17, 170]).unwrap();
        assert_eq!(titles, ["UID", "PID", "PPID", "CMD"]);
        assert_eq!(lines, [["root", "17", "1", "tail -f /dev/null"], ["web", "170", "17", "sh"]]);
        assert!(of_container("CMD\nsh\n", &[1]).unwrap_err().message.contains("PID field"));
    }
}
