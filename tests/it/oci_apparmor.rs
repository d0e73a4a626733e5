//! AppArmor's profile: in force in containers and in commands in them, gone where a service does not want it, and told where the node cannot have it.
//!
//! Most machines that this is developed on have no AppArmor; `scripts/vm` has.

use crate::harness::containers::{INFINITE, infinite, node_with_image};
use crate::harness::{Node, Setup, is_root};

/// What a container finds: which profile it is in, and whether it may mount, for which its capabilities and the list of system calls are enough.
const PROBE: &str = "cat /proc/self/attr/current; mount -t tmpfs none /tmp && echo mounted || echo refused";
/// What is read from and written to is on a file system of the container's own, so that nothing else is in the way.
const OWN: &str = "mkdir /tmp/p && mount -t proc proc /tmp/p && echo 1 >/tmp/p/sys/vm/overcommit_ratio && echo written || echo refused";

fn has_apparmor() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y");
    if !(enabled && is_root()) {
        println!("skipped: this kernel has no AppArmor, or we are not root");
    }
    enabled && is_root()
}

fn logs(node: &Node, service: &str) -> String {
    node.wait_task(service, "complete");
    node.wsw(&["service", "logs", "--raw", service]).ok()
}

#[test]
fn a_container_is_in_its_profile_unless_it_does_not_want_it() {
    if !has_apparmor() {
        return;
    }
    let node = node_with_image();
    let label = node.wsw(&["node", "inspect", "self", "--pretty"]).ok();
    assert!(label.contains(", AppArmor profile wsw-default"), "{label}");
    let create = |name: &str, privileges: serde_json::Value, script: &str| {
        let container =
            serde_json::json!({"Image": "eon01/infinite", "Command": ["sh", "-c", script], "CapabilityAdd": ["CAP_SYS_ADMIN"], "Privileges": privileges});
        let body = serde_json::json!({"Name": name, "TaskTemplate": {"ContainerSpec": container, "RestartPolicy": {"Condition": "none"}}});
        let answer = node.api("POST", "/services/create", body.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        logs(&node, name)
    };
    for (name, privileges, found) in [
        ("plain", serde_json::json!({}), "wsw-default (enforce)\nrefused\n"),
        ("locked", serde_json::json!({"NoNewPrivileges": true}), "wsw-default (enforce)\nrefused\n"),
        ("named", serde_json::json!({"AppArmor": {"Mode": "default"}}), "wsw-default (enforce)\nrefused\n"),
        ("free", serde_json::json!({"AppArmor": {"Mode": "disabled"}}), "unconfined\nmounted\n"),
    ] {
        let said = create(name, privileges, PROBE);
        // What mount itself says is between the two.
        let lines = said.lines().filter(|line| !line.contains("mount:")).map(|line| format!("{line}\n")).collect::<String>();
        assert_eq!(lines, found, "{name}: {said}");
    }
    let free = create("kernel", serde_json::json!({"AppArmor": {"Mode": "disabled"}}), OWN);
    assert!(free.contains("written"), "what the profile forbids is possible without it: {free}");
}

#[test]
fn a_command_in_a_container_is_in_the_profile_too() {
    if !has_apparmor() {
        return;
    }
    let node = node_with_image();
    node.wsw(&["service", "create", "--name", "box", "--cap-add", "SYS_ADMIN", "eon01/infinite"]).ok();
    let id = node.wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned();
    let said = node.wsw(&["exec", &id, "sh", "-c", PROBE]).ok();
    assert!(said.starts_with("wsw-default (enforce)\n") && said.ends_with("refused\n"), "{said}");
    // Signals come from outside of the profile, and from one container to itself.
    node.wsw(&["exec", &id, "sh", "-c", "sleep 600 & kill $!; wait $!; test $? = 143"]).ok();
    node.wsw(&["kill", "-s", "TERM", &id]).ok();
    node.wsw(&["service", "rm", "box"]).ok();
    crate::harness::containers::wait_gone(&node);
}

#[test]
fn a_node_without_the_parser_says_so_and_runs_containers_without() {
    if !has_apparmor() {
        return;
    }
    let hidden = "mount --make-rprivate / && mount --bind /dev/null /usr/sbin/apparmor_parser && exec \"$@\"";
    let prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hidden, "sh"].map(str::to_owned).to_vec();
    let node = Node::start_with(Setup { prefix, ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    let label = node.wsw(&["node", "inspect", "self", "--pretty"]).ok();
    assert!(label.contains(", without AppArmor: apparmor_parser is not installed (Debian: package apparmor)"), "{label}");
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    node.wsw(&["service", "create", "-d", "--restart-condition", "none", "--name", "box", INFINITE, "cat", "/proc/self/attr/current"]).ok();
    assert_eq!(logs(&node, "box"), "unconfined\n");
}
