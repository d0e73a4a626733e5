//! Containers: the article's walk with a Linux image, and what makes them outlive the daemon. As root; elsewhere a node says that it has none.

use crate::harness::containers::{self, architecture, bridge, config, contained, docker_save, infinite, node_with_image, shims_of, system, wait_gone};
use crate::harness::{self, Node, Setup, free_tcp_port, is_root, run, until};
use serde_json::json;
use std::path::Path;

#[test]
fn the_articles_walk() {
    if !is_root() {
        return;
    }
    let mut node = node_with_image();
    node.wsw(&["service", "create", "--name", "infinite_service", "eon01/infinite"]).ok();
    assert_eq!(node.running("infinite_service").len(), 1, "the prompt is back: it runs");
    let shown = node.wsw(&["ps"]).ok();
    assert!(shown.contains("eon01/infinite:latest") && shown.contains("\"tail -f /dev/null\"") && shown.contains("infinite_service.1."), "{shown}");

    let scaled = node.wsw(&["service", "scale", "infinite_service=2"]).ok();
    assert!(scaled.starts_with("infinite_service scaled to 2\n"), "{scaled}");
    node.wsw(&["service", "scale", "infinite_service=50"]).ok();
    let before = node.running("infinite_service");
    assert_eq!((before.len(), contained(node.data_root()).len()), (50, 50));

    // One is killed from outside: it alone is replaced.
    let (victim, pid) = before.iter().next().expect("there are fifty");
    harness::kill(*pid as i32, rustix::process::Signal::KILL);
    let task = until("the end to be told", || {
        let tasks = node.tasks("infinite_service");
        let dead = tasks.into_iter().find(|task| task["ID"] == victim.as_str()).expect("it is its slot's history");
        if dead["Status"]["State"] == "failed" { Ok(dead) } else { Err(dead["Status"].to_string()) }
    });
    assert_eq!((task["Status"]["ContainerStatus"]["ExitCode"].as_i64(), &task["Status"]["Err"]), (Some(137), &json!("task: non-zero exit (137)")));
    let after = node.wait_running("infinite_service", 50);
    assert_eq!(after.iter().filter(|(task, pid)| before.get(*task) == Some(pid)).count(), 49);

    // The daemon is killed: nothing is restarted, and the ends are noticed as before.
    node.kill();
    let orphan = *after.values().next_back().expect("there are fifty");
    harness::kill(orphan as i32, rustix::process::Signal::KILL);
    node.restart();
    until("the end of one while the daemon was away to be noticed, and nothing else", || {
        let again = node.running("infinite_service");
        let same = again.iter().filter(|(task, pid)| after.get(*task) == Some(pid)).count();
        if (again.len(), same) == (50, 49) { Ok(()) } else { Err(format!("{} run, {same} of them as before", again.len())) }
    });

    node.wsw(&["service", "rm", "infinite_service"]).ok();
    wait_gone(&node);
    node.wsw(&["swarm", "leave", "--force"]).ok();
    until("the network to go", || if bridge(node.data_root()).exists() { Err("the bridge is there".into()) } else { Ok(()) });
}

#[test]
fn a_published_port_leads_to_containers_and_their_logs_survive_the_daemon() {
    if !is_root() {
        return;
    }
    let mut node = node_with_image();
    let port = free_tcp_port();
    let publish = format!("{port}:80");
    node.wsw(&["service", "create", "--name", "web", "-p", &publish, "--replicas", "2", "eon01/infinite", "sh", "-c", "exec httpd -f -v -p 80 -h /www 2>&1"])
        .ok();
    let get =
        || until("an answer", || harness::get(port, "/").and_then(|answer| if answer.status == 200 { Ok(answer.body) } else { Err(format!("{answer:?}")) }));
    assert_eq!(get(), "hello from a container\n");
    let lines = |node: &Node| node.wsw(&["service", "logs", "--raw", "web"]).ok().lines().filter(|line| line.contains("response:200")).count();
    until("the request to be in the log", || if lines(&node) == 1 { Ok(()) } else { Err(format!("{} lines", lines(&node))) });
    node.kill();
    node.restart();
    assert_eq!(get(), "hello from a container\n");
    until("the second request to follow the first", || if lines(&node) == 2 { Ok(()) } else { Err(format!("{} lines", lines(&node))) });
    node.wsw(&["service", "rm", "web"]).ok();
    wait_gone(&node);
}

#[test]
fn a_container_is_what_its_service_says() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    let script = "id; hostname; echo $WHO $HOME; stat -c %a /tmp; cat /etc/hosts | grep -c $(hostname); ls /data; mount | grep -c 'on /scratch type tmpfs'; touch /x && echo writable; true";
    let source = node.folder().join("data");
    std::fs::create_dir(&source).expect("the folder is ours");
    std::fs::write(source.join("here"), "").expect("the folder is ours");
    let bind = format!("type=bind,source={},target=/data,readonly", source.display());
    let arguments =
        ["--hostname", "{{.Service.Name}}-{{.Task.Slot}}", "--env", "WHO={{.Service.Name}}", "--user", "web", "--group", "7", "--restart-condition", "none"];
    let mounts = ["--mount", &bind, "--mount", "type=tmpfs,target=/scratch", "--mount", "type=volume,source=pages,target=/www"];
    node.wsw(&[&["service", "create", "-d", "--name", "probe"], &arguments[..], &mounts[..], &["eon01/infinite", "sh", "-c", script]].concat()).ok();
    node.wait_task("probe", "complete");
    let logs = node.wsw(&["service", "logs", "--raw", "probe"]).ok();
    let wanted = ["uid=33(web) gid=34(web) groups=7,50(logs)", "probe-1", "probe /www", "1777", "1", "here", "1"];
    for line in wanted {
        assert!(logs.lines().any(|found| found == line || found.replace(",34(web)", "").replace("groups=34(web),", "groups=") == line), "{line:?} in {logs}");
    }
    assert!(!logs.contains("writable"), "another user does not write to root's folder: {logs}");
    let filled = node.data_root().join("volumes/pages/_data/index.html");
    assert_eq!(std::fs::read_to_string(filled).expect("a new volume begins with what the image has"), "hello from a container\n");
}

#[test]
fn both_clients_load_both_forms_and_tasks_of_both_kinds_run_side_by_side() {
    if !is_root() {
        return;
    }
    let node = Node::swarm();
    let layers = [system()];
    let file = node.folder().join("saved.tar");
    let settings = json!({"Entrypoint": ["tail"], "Cmd": ["-f", "/dev/null"], "Env": ["PATH=/bin"], "StopSignal": "9"});
    std::fs::write(&file, docker_save("saved:1", &layers, &config(&layers, &settings))).expect("the folder is ours");
    for docker in harness::docker_clients() {
        let loaded = run(&mut node.client(&docker, &["load", "-i", &file.to_string_lossy()])).ok();
        assert!(loaded.contains("Loaded image: saved:1"), "{loaded}");
        run(&mut node.client(&docker, &["service", "create", "-d", "--name", "boxes", "--replicas", "5", "saved:1"])).ok();
        node.wsw(&["service", "create", "-d", "--name", "ticks", "--replicas", "5", &harness::guest("tick").to_string_lossy()]).ok();
        node.wait_running("boxes", 5);
        node.wait_running("ticks", 5);
        until("one process for each container", || match contained(node.data_root()) {
            processes if processes.len() == 5 => Ok(()),
            processes => Err(format!("{processes:?}")),
        });
        run(&mut node.client(&docker, &["service", "rm", "boxes", "ticks"])).ok();
        wait_gone(&node);
    }
}

#[test]
fn a_shim_that_dies_takes_its_containers_along_and_they_are_replaced() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    node.wsw(&["service", "create", "--name", "web", "--replicas", "3", "--restart-delay", "10ms", "eon01/infinite"]).ok();
    let before = node.running("web");
    let shims = shims_of(&node, "web");
    assert_eq!(shims.len(), 1, "the tasks of a service share one");
    harness::kill(shims[0], rustix::process::Signal::KILL);
    let dead = node.wait_task("web", "failed");
    assert!(dead["Status"]["Err"].as_str().is_some_and(|why| why.contains("shim died")), "{dead}");
    until("three new tasks", || {
        let now = node.running("web");
        if now.len() == 3 && now.keys().all(|task| !before.contains_key(task)) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    until("the old processes to go", || match contained(node.data_root()).len() {
        3 => Ok(()),
        other => Err(format!("{other} processes")),
    });
}

#[test]
fn without_root_a_node_says_why_it_has_no_containers() {
    let node = Node::start_with(Setup { ordinary_user: true, ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node.wsw(&["service", "create", "-d", "--name", "box", "eon01/infinite"]).ok();
    let task = node.wait_task("box", "pending");
    until("the scheduler's reason", || {
        let tasks = node.tasks("box");
        let why = tasks[0]["Status"]["Err"].as_str().unwrap_or_default().to_owned();
        if why.contains("unsupported platform on 1 node") { Ok(()) } else { Err(format!("{why} ({task})")) }
    });
    let inspected = node.wsw(&["node", "inspect", "self", "--pretty"]).ok();
    assert!(inspected.contains("wsw.containers=none: the daemon does not run as root"), "{inspected}");
    node.wsw(&["service", "create", "--name", "ticks", &harness::guest("tick").to_string_lossy()]).ok();
}

#[test]
fn a_layer_is_unpacked_once_and_goes_with_its_image() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    node.wsw(&["service", "create", "--name", "one", "--replicas", "4", "eon01/infinite"]).ok();
    let layers = || std::fs::read_dir(node.data_root().join("images/layers")).expect("it is there").count();
    assert_eq!(layers(), 1);
    let log = Path::new("images/layers").join("x");
    assert!(!node.data_root().join(log).exists());
    node.wsw(&["service", "rm", "one"]).ok();
    wait_gone(&node);
    node.wsw(&["image", "rm", "eon01/infinite"]).ok();
    assert_eq!((layers(), architecture().is_empty()), (0, false));
    assert!(containers::contained(node.data_root()).is_empty());
}
