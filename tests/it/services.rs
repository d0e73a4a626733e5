//! Services beyond the walk: waiting with a reason, restart policies, history, detached creation, events.

use crate::harness::{self, Node, guest, until};

fn path(name: &str) -> String {
    guest(name).to_string_lossy().into_owned()
}

#[test]
fn pending_with_the_reason() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "picky", "--constraint", "node.labels.disk==ssd", &path("tick")]).ok();
    let task = node.wait_task("picky", "pending");
    let wanted = "no suitable node (scheduling constraints not satisfied on 1 node)";
    until("the reason to show", || {
        let tasks = node.tasks("picky");
        let said = tasks[0]["Status"]["Err"].as_str().unwrap_or_default().to_owned();
        if said == wanted { Ok(()) } else { Err(format!("{said:?} of {task:#}")) }
    });
    let shown = node.wsw(&["service", "ps", "--no-trunc", "picky"]).ok();
    assert!(shown.contains("Pending") && shown.contains(wanted), "{shown}");
    // A change of the node is all it takes.
    node.wsw(&["node", "update", "--label-add", "disk=ssd", "self"]).ok();
    node.wait_running("picky", 1);
}

#[test]
fn too_large_a_reservation() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "large", "--reserve-memory", "100TiB", &path("tick")]).ok();
    until("the reason to show", || {
        let shown = node.wsw(&["service", "ps", "--no-trunc", "large"]).ok();
        if shown.contains("no suitable node (insufficient resources on 1 node)") { Ok(()) } else { Err(shown) }
    });
}

#[test]
fn drained_and_active_again() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--replicas", "3", &path("tick")]).ok();
    node.wsw(&["node", "update", "--availability", "drain", "self"]).ok();
    node.wait_running("ticking", 0);
    node.wsw(&["node", "update", "--availability", "active", "self"]).ok();
    node.wait_running("ticking", 3);
}

#[test]
fn restarts_as_often_as_the_policy_says() {
    let node = Node::swarm();
    let (sum, flags) = (path("sum"), ["service", "create", "-d", "--restart-delay", "0s"]);
    let create = |name: &str, more: &[&str]| {
        let mut words = flags.to_vec();
        words.extend(["--name", name]);
        words.extend(more);
        words.extend([sum.as_str(), "not-a-number"]);
        node.wsw(&words).ok();
    };
    create("thrice", &["--restart-max-attempts", "2"]);
    create("never", &["--restart-condition", "none"]);
    let ended = |service: &str| node.tasks(service).iter().filter(|task| task["Status"]["State"] == "failed").count();
    let settled = |service: &str, count: usize| if ended(service) == count { Ok(()) } else { Err(format!("{} have failed", ended(service))) };
    until("the first try and two more", || settled("thrice", 3));
    until("the only try", || settled("never", 1));
    harness::stays("no further try", std::time::Duration::from_secs(2), || {
        let all = node.tasks("thrice").len() + node.tasks("never").len();
        if all == 4 { Ok(()) } else { Err(format!("{all} tasks")) }
    });
    assert!(node.wsw(&["service", "ls"]).ok().contains(" 0/1 "));
}

#[test]
fn history_is_bounded() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "busy", "--restart-delay", "0s", &path("sum"), "1"]).ok();
    // Swarm keeps five ended tasks of a slot; more than those have run when ids go on changing.
    let mut seen = std::collections::BTreeSet::new();
    until("twelve runs of one slot", || {
        let tasks = node.tasks("busy");
        assert!(tasks.len() <= 8, "history grows: {} tasks", tasks.len());
        seen.extend(tasks.iter().filter_map(|task| Some(task["ID"].as_str()?.to_owned())));
        if seen.len() >= 12 { Ok(()) } else { Err(format!("{} runs seen", seen.len())) }
    });
}

#[test]
fn scaled_to_none_and_back() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--replicas", "0", &path("tick")]).ok();
    assert!(node.wsw(&["service", "ls"]).ok().contains(" 0/0 "));
    for replicas in [7, 0, 3] {
        node.wsw(&["service", "scale", &format!("ticking={replicas}")]).ok();
        node.wait_running("ticking", replicas);
    }
}

#[test]
fn events_tell_what_happened() {
    let node = Node::swarm();
    let events = harness::Follow::start(&mut node.client(std::path::Path::new(env!("CARGO_BIN_EXE_wsw")), &["events", "--since", "1h"]));
    node.wsw(&["service", "create", "--name", "ticking", &path("tick")]).ok();
    node.wsw(&["service", "scale", "ticking=2"]).ok();
    node.wsw(&["service", "rm", "ticking"]).ok();
    let line = events.line("its creation", |line| line.contains(" service create "));
    assert!(line.contains("name=ticking"), "{line}");
    let line = events.line("its scaling", |line| line.contains("replicas.new=2"));
    assert!(line.contains(" service update ") && line.contains("replicas.old=1"), "{line}");
    events.line("its removal", |line| line.contains(" service remove "));
}

#[test]
fn progress_and_completion() {
    let node = Node::swarm();
    let shown = node.wsw(&["service", "create", "--name", "ticking", "--replicas", "3", &path("tick")]).ok();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("overall progress: ")), "plain lines when it is not a terminal: {shown}");
    assert!(!shown.contains('\u{1b}'), "no escapes: {shown:?}");
    let quiet = node.wsw(&["service", "create", "-q", "--name", "quiet", &path("tick")]).ok();
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(node.wsw(&["completion", shell]).ok().contains("wsw"), "{shell}");
    }
}

/// A service of its own shim, and one that shares: the label decides, and a death is the group's alone.
#[test]
fn groups_have_shims_of_their_own() {
    let node = Node::swarm();
    for (name, group) in [("first", "shared"), ("second", "shared"), ("alone", "own"), ("apart", "service")] {
        let label = format!("wsw.wasm.group={group}");
        node.wsw(&["service", "create", "--name", name, "--replicas", "2", "--container-label", &label, &path("tick")]).ok();
    }
    let shims = |name: &str| {
        let mut pids: Vec<i64> = node.running(name).into_values().collect();
        assert_eq!(pids.len(), 2, "{name}");
        pids.dedup();
        pids
    };
    let (first, second, alone, apart) = (shims("first"), shims("second"), shims("alone"), shims("apart"));
    assert_eq!(first, second, "shared is shared");
    assert_eq!((first.len(), alone.len(), apart.len()), (1, 2, 1));
    assert!(!alone.contains(&first[0]) && !apart.contains(&first[0]) && !alone.contains(&apart[0]), "{first:?} {alone:?} {apart:?}");
}

/// Docker's daemon makes a name up; so do we.
#[test]
fn without_a_name() {
    let node = Node::swarm();
    for _ in 0..3 {
        node.wsw(&["service", "create", "-q", &path("tick")]).ok();
    }
    let names = node.wsw(&["service", "ls", "--format", "{{.Name}}"]).ok();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == 3 && names.iter().all(|name| name.contains('_')), "{names:?}");
}

/// Many writers at once: a name is taken once, and nothing is lost between them.
#[test]
fn writers_at_once() {
    let node = Node::swarm();
    let tick = path("tick");
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let create = || node.wsw(&["service", "create", "-d", "--name", "contended", &tick]).code;
        let writers: Vec<_> = (0..6).map(|_| scope.spawn(create)).collect();
        writers.into_iter().map(|writer| writer.join().expect("the writer does not panic")).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    node.wait_running("contended", 1);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (node, tick) = (&node, &tick);
            scope.spawn(move || node.wsw(&["service", "create", "--name", &format!("s{number}"), "--replicas", "3", tick]).ok());
        }
    });
    for number in 0..6 {
        assert_eq!(node.running(&format!("s{number}")).len(), 3, "s{number}");
    }
}
