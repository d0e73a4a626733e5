//! `docker service logs` and `docker logs` against `wsw`'s: the same lines, the same errors, for every flag.

use crate::diff;
use crate::harness::{Node, guest, until};

/// `TASK`, `ENDED` and `TERMINAL` stand for ids of tasks, `BOX` and `ENDED_BOX` for containers, `MOMENT` for a time between two lines.
const TYPED: &[&str] = &[
    "service logs told",
    "service logs --raw told",
    "service logs --raw --details told",
    "service logs -t told",
    "service logs --timestamps --details told",
    "service logs --details told",
    "service logs --no-trunc told",
    "service logs --no-task-ids told",
    "service logs --no-resolve told",
    "service logs --no-resolve --no-trunc --no-task-ids told",
    "service logs -n 0 told",
    "service logs --tail 1 told",
    "service logs --tail 3 told",
    "service logs --tail all told",
    "service logs --tail bad told",
    "service logs --tail -1 told",
    "service logs --tail= told",
    "service logs --since 1h told",
    "service logs --since 0s told",
    "service logs --since 1h30m5s told",
    "service logs --since 2020-01-02 told",
    "service logs --since 2020-01-02T03:04 told",
    "service logs --since 2020-01-02T03:04:05 told",
    "service logs --since 2020-01-02T03:04:05Z told",
    "service logs --since 2020-01-02T03:04:05.000000006+07:00 told",
    "service logs --since 1577934245 told",
    "service logs --since 1577934245.123456789 told",
    "service logs --since MOMENT told",
    "service logs --since MOMENT -t --tail 4 told",
    "service logs --since 2999-01-01 told",
    "service logs --since yesterday told",
    "service logs --since 2020-13-45 told",
    "service logs --since= told",
    "service logs TASK",
    "service logs --tail 2 -t TASK",
    "service logs -f ENDED",
    "service logs -f --tail 2 ENDED",
    "service logs -f --raw --since MOMENT ENDED",
    "service logs ended",
    "service logs nosuch",
    "service logs tol",
    "service logs told.1",
    "service logs told nosuch",
    "service logs",
    "service logs --nosuch told",
    "service logs --until 1h told",
    "service logs terminal",
    "service logs --raw terminal",
    "service logs TERMINAL",
    "service logs --raw TERMINAL",
    "service logs quiet",
    "logs BOX",
    "container logs BOX",
    "logs -t BOX",
    "logs --details BOX",
    "logs --details -t BOX",
    "logs -n 0 BOX",
    "logs --tail 1 BOX",
    "logs --tail all BOX",
    "logs --tail bad BOX",
    "logs --since 1h BOX",
    "logs --since MOMENT BOX",
    "logs --until MOMENT BOX",
    "logs --until 0s BOX",
    "logs --since MOMENT --until MOMENT BOX",
    "logs --since 2020-01-02T03:04 --until 2020-01-02 BOX",
    "logs --until tomorrow BOX",
    "logs -f ENDED_BOX",
    "logs -f --until 1s ENDED_BOX",
    "logs --follow --tail 1 ENDED_BOX",
    "logs QUIET_BOX",
    "logs TERMINAL_BOX",
    "logs nosuch",
    "logs BOX nosuch",
    "logs",
];

fn create(node: &Node, name: &str, flags: &[&str], arguments: &[&str]) {
    let wasm = guest("flood").to_string_lossy().into_owned();
    node.wsw(&[&["service", "create", "-d", "--name", name], flags, &[wasm.as_str()], arguments].concat()).ok();
}

/// A task of the service, once it has said `lines` lines; they come no more.
fn task(node: &Node, service: &str, lines: usize) -> String {
    until("its lines", || {
        let run = node.wsw(&["service", "logs", "--raw", service]);
        if run.out.lines().count() + run.err.lines().count() == lines { Ok(()) } else { Err(run.to_string()) }
    });
    let tasks = node.tasks(service);
    tasks[0]["ID"].as_str().expect("a task has an id").to_owned()
}

#[test]
fn every_flag() {
    let docker = crate::harness::newest_docker();
    let node = Node::swarm();
    let details = ["--container-label", "tier=back, front", "-e", "COLOUR=red", "-e", "OTHER=x"];
    let options = ["--log-driver", "json-file", "--log-opt", "labels=tier,com.docker.swarm.service.name,nosuch", "--log-opt", "env=COLOUR,NOSUCH"];
    create(&node, "told", &[&["--replicas", "2"][..], &details, &options].concat(), &["5", "0", "30", "wait"]);
    create(&node, "ended", &["--restart-condition", "none"], &["6", "0", "30"]);
    create(&node, "terminal", &["--tty"], &["3", "0", "30", "wait"]);
    create(&node, "quiet", &["--log-driver", "none"], &["3", "0", "30", "wait"]);
    let (told, ended, terminal) = (task(&node, "told", 12), task(&node, "ended", 6), task(&node, "terminal", 4));
    node.wait_task("ended", "complete");
    let quiet = node.wait_running("quiet", 1).into_keys().next().expect("one runs");
    let stamps = node.wsw(&["service", "logs", "-t", "--raw", "--tail", "3", &ended]).ok();
    let moment = stamps.split(' ').next().expect("a line begins with its time");
    let replace = |typed: &&str| {
        let boxed = |service: &str, task: &str| {
            let slot = node.tasks(service).iter().find(|found| found["ID"] == task).and_then(|found| found["Slot"].as_u64()).expect("it has a slot");
            format!("{service}.{slot}.{task}")
        };
        let typed = typed.replace("ENDED_BOX", &boxed("ended", &ended)).replace("TERMINAL_BOX", &boxed("terminal", &terminal));
        let typed = typed.replace("QUIET_BOX", &boxed("quiet", &quiet)).replace("BOX", &boxed("told", &told));
        typed.replace("TASK", &told).replace("ENDED", &ended).replace("TERMINAL", &terminal).replace("MOMENT", moment)
    };
    let differences: Vec<String> = TYPED.iter().map(replace).filter_map(|typed| diff::difference(&node, &docker, &typed)).collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    // What is compared says something.
    let ok = |words: &[&str]| node.wsw(&[&["service", "logs"], words].concat()).ok();
    let line = ok(&["--details", "--tail", "2", &told]);
    assert!(line.contains("    | COLOUR=red,com.docker.swarm.service.name=told,tier=back, front line 5 "), "{line}");
    assert_eq!(ok(&["--raw", "--since", moment, &ended]).lines().count(), 3);
    assert_eq!(ok(&["told"]).lines().count(), 10);
    assert_eq!(ok(&["quiet"]), "");
}
