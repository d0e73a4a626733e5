//! Containers and what their service says of their surroundings: capabilities, limits, kernel parameters, init, hosts, name servers; from flags and from a stack file.

use crate::harness::Node;
use crate::harness::containers::{contained, infinite};

/// What a container finds, one fact a line.
const PROBE: &str = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; echo files $(ulimit -n) $(ulimit -Hn); echo queue $(cat /proc/sys/net/core/somaxconn); \
    echo score $(cat /proc/self/oom_score_adj); echo first $(cat /proc/1/comm); grep -E '10.9.9.9' /etc/hosts; cat /etc/resolv.conf; touch /x || echo read-only; test -t 1 && echo terminal; true";

fn logs(node: &Node, service: &str) -> String {
    node.wait_task(service, "complete");
    node.wsw(&["service", "logs", "--raw", service]).ok().replace('\r', "")
}

fn holds(logs: &str, lines: &[&str]) {
    let found = logs.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    for line in lines {
        assert!(found.iter().any(|known| known == line), "{line:?} in {logs}");
    }
}

fn node() -> Option<Node> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let node = Node::swarm();
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    Some(node)
}

#[test]
fn a_container_is_confined_as_its_service_says() {
    let Some(node) = node() else { return };
    let create = |name: &str, flags: &[&str]| {
        let image = ["eon01/infinite", "sh", "-c", PROBE];
        node.wsw(&[&["service", "create", "-d", "--restart-condition", "none", "--name", name], flags, &image].concat()).ok();
        logs(&node, name)
    };
    // Docker's fourteen.
    holds(&create("plain", &[]), &["CapEff: 00000000a80425fb", "CapBnd: 00000000a80425fb", "NoNewPrivs: 0", "Seccomp: 2", "score 0", "first sh"]);
    let limits = ["--ulimit", "nofile=100:200", "--sysctl", "net.core.somaxconn=77", "--oom-score-adj", "300", "--init", "--read-only"];
    let names = ["--host", "db:10.9.9.9", "--dns", "10.1.1.1", "--dns-search", "example.org", "--dns-option", "ndots:2"];
    let flags = [&["--cap-drop", "ALL", "--cap-add", "net_admin", "--cap-add", "KILL"][..], &limits, &names].concat();
    let wanted = ["CapEff: 0000000000001020", "files 100 200", "queue 77", "score 300", "first docker-init", "10.9.9.9 db"];
    let more = ["search example.org", "nameserver 10.1.1.1", "options ndots:2", "read-only"];
    holds(&create("all", &flags), &[&wanted[..], &more].concat());
    let shown = node.wsw(&["service", "inspect", "--pretty", "all"]).ok();
    for line in [" Init:\t\ttrue", " Add: CAP_KILL, CAP_NET_ADMIN", " Drop: ALL", " net.core.somaxconn: 77", " nofile: 100:200"] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    holds(&create("user", &["--user", "web"]), &["CapEff: 0000000000000000", "CapBnd: 00000000a80425fb"]);
    holds(&create("screen", &["--tty"]), &["terminal"]);
    // An update changes them one by one.
    node.wsw(&["service", "update", "-d", "--cap-drop", "chown", "--ulimit-add", "nofile=7", "--host-rm", "db:10.9.9.9", "plain"]).ok();
    let spec = node.json("/services/plain")["Spec"]["TaskTemplate"]["ContainerSpec"].clone();
    assert_eq!(
        (&spec["CapabilityDrop"], &spec["Ulimits"]),
        (&serde_json::json!(["CAP_CHOWN"]), &serde_json::json!([{"Name": "nofile", "Hard": 7, "Soft": 7}]))
    );
}

#[test]
fn a_stack_file_says_the_same() {
    let Some(node) = node() else { return };
    let service = serde_json::json!({
        "image": "eon01/infinite", "command": ["sh", "-c", PROBE.replace('$', "$$")], "cap_drop": ["ALL"], "cap_add": ["CHOWN"], "sysctls": {"net.core.somaxconn": 78},
        "ulimits": {"nofile": {"soft": 101, "hard": 201}}, "init": true, "extra_hosts": ["db:10.9.9.9"], "dns": ["10.1.1.2"], "dns_search": ["example.net"],
        "read_only": true, "deploy": {"restart_policy": {"condition": "none"}, "resources": {"limits": {"pids": 50}}},
    });
    let file = node.folder().join("stack.yml");
    std::fs::write(&file, serde_json::json!({"version": "3.13", "services": {"box": service}}).to_string()).expect("the folder is ours");
    node.wsw(&["stack", "deploy", "-c", &file.to_string_lossy(), "s"]).ok();
    let wanted =
        ["CapEff: 0000000000000001", "files 101 201", "queue 78", "first docker-init", "10.9.9.9 db", "nameserver 10.1.1.2", "search example.net", "read-only"];
    holds(&logs(&node, "s_box"), &wanted);
}

#[test]
fn privileges_come_by_the_api_and_wrong_values_change_nothing() {
    let Some(node) = node() else { return };
    let create = |name: &str, container: serde_json::Value| {
        let mut spec = serde_json::json!({"Image": "eon01/infinite", "Command": ["sh", "-c", PROBE]});
        spec.as_object_mut().expect("it is one").extend(container.as_object().cloned().unwrap_or_default());
        let body = serde_json::json!({"Name": name, "TaskTemplate": {"ContainerSpec": spec, "RestartPolicy": {"Condition": "none"}}});
        node.api("POST", "/services/create", body.to_string().as_bytes()).status
    };
    let status = create("locked", serde_json::json!({"Privileges": {"NoNewPrivileges": true, "Seccomp": {"Mode": "unconfined"}}}));
    assert_eq!(status, 201);
    holds(&logs(&node, "locked"), &["NoNewPrivs: 1", "Seccomp: 0"]);
    // {"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO"}]}
    let profile = "eyJkZWZhdWx0QWN0aW9uIjoiU0NNUF9BQ1RfQUxMT1ciLCJzeXNjYWxscyI6W3sibmFtZXMiOlsic2V0aG9zdG5hbWUiXSwiYWN0aW9uIjoiU0NNUF9BQ1RfRVJSTk8ifV19";
    assert_eq!(create("own", serde_json::json!({"Privileges": {"Seccomp": {"Mode": "custom", "Profile": profile}}})), 201);
    holds(&logs(&node, "own"), &["NoNewPrivs: 0", "Seccomp: 2"]);
    let before = node.wsw(&["service", "ls", "-q"]).ok();
    for (flags, words) in [
        (&["--cap-add", "fly"][..], "unknown capability: \"CAP_FLY\""),
        (&["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic=1' is not allowed"),
        (&["--ulimit", "nofile=5:1"], "ulimit soft limit must be less than or equal to hard limit: 5 > 1"),
        (&["--isolation", "hyperv"], "invalid isolation 'hyperv' on linux"),
        (&["--credential-spec", "file://a"], "credential specs are for Windows containers"),
        (&["--oom-score-adj", "2000"], "range for oom score adj is [-1000, 1000]"),
    ] {
        let said = node.wsw(&[&["service", "create", "-d", "--name", "bad"], flags, &["eon01/infinite"]].concat()).failed();
        assert!(said.contains(words), "{flags:?}: {said}");
    }
    assert_eq!(node.wsw(&["service", "ls", "-q"]).ok(), before);
    // A Wasm task has none of these, and says so.
    let tick = crate::harness::guest("tick");
    node.wsw(&["service", "create", "-d", "--name", "wasm", "--sysctl", "net.core.somaxconn=5", "--restart-condition", "none", &tick.to_string_lossy()]).ok();
    let task = node.wait_task("wasm", "rejected");
    assert!(task["Status"]["Err"].as_str().is_some_and(|why| why.contains("ContainerSpec.Sysctls: means nothing to a Wasm task")), "{task}");
    assert!(contained(node.data_root()).is_empty());
}
