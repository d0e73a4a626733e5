//! Flags to request bodies: the expectations are what docker 28.2.2 sent to a recording server for the same words.

use serde_json::{Value, json};

use super::{options, update_spec};
use crate::cli::{
    args::{Matches, Outcome, parse},
    commands,
};

fn matches(words: &[&str]) -> Matches {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match parse(&commands::ROOT, &words) {
        Ok(Outcome::Run { leaf, .. }) => leaf,
        Ok(_) => panic!("help instead of a command"),
        Err(error) => panic!("{error}"),
    }
}

fn create(words: &[&str]) -> Result<Value, String> {
    let all: Vec<&str> = ["service", "create"].iter().chain(words).copied().collect();
    let matches = matches(&all);
    options::spec(&matches, &matches.args[0], &matches.args[1..]).map_err(|error| error.to_string())
}

#[track_caller]
fn check_create(words: &[&str], expected: Value) {
    assert_eq!(create(words), Ok(expected));
}

fn plain(mode: Value) -> Value {
    json!({
        "Labels": {}, "Mode": mode, "EndpointSpec": {"Mode": "vip"},
        "TaskTemplate": {
            "ContainerSpec": {"DNSConfig": {}, "Image": "app", "Init": false},
            "ForceUpdate": 0, "Placement": {}, "Resources": {"Limits": {}, "Reservations": {}}
        }
    })
}

#[test]
fn the_least_that_docker_sends() {
    check_create(&["app"], plain(json!({"Replicated": {}})));
    check_create(&["--replicas", "0", "app"], plain(json!({"Replicated": {"Replicas": 0}})));
    check_create(&["--mode", "global", "app"], plain(json!({"Global": {}})));
    check_create(
        &["--mode", "replicated-job", "--replicas", "4", "--max-concurrent", "2", "app"],
        plain(json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 4}})),
    );
}

#[test]
fn what_runs_in_the_container() {
    let words = "-e A=1 --container-label c=d --mount type=bind,source=/a,target=/b,ro --dns 1.1.1.1 --host h:1.2.3.4 --health-interval 3s \
                 --stop-grace-period 4s --cap-add net_admin --sysctl a=b --ulimit nofile=1:2 -t --init --read-only --user u --group g -w /w --hostname hh \
                 --stop-signal TERM app cmd -x arg";
    let words: Vec<&str> = ["--health-cmd", "curl x", "--entrypoint", "a b"].into_iter().chain(words.split_whitespace()).collect();
    let mut expected = plain(json!({"Replicated": {}}));
    expected["TaskTemplate"]["ContainerSpec"] = json!({
        "Args": ["cmd", "-x", "arg"], "CapabilityAdd": ["CAP_NET_ADMIN"], "Command": ["a", "b"], "DNSConfig": {"Nameservers": ["1.1.1.1"]},
        "Dir": "/w", "Env": ["A=1"], "Groups": ["g"], "Healthcheck": {"Interval": 3_000_000_000i64, "Test": ["CMD-SHELL", "curl x"]},
        "Hostname": "hh", "Hosts": ["1.2.3.4 h"], "Image": "app", "Init": true, "Labels": {"c": "d"},
        "Mounts": [{"ReadOnly": true, "Source": "/a", "Target": "/b", "Type": "bind"}], "ReadOnly": true,
        "StopGracePeriod": 4_000_000_000i64, "StopSignal": "TERM", "Sysctls": {"a": "b"}, "TTY": true,
        "Ulimits": [{"Hard": 2, "Name": "nofile", "Soft": 1}], "User": "u"
    });
    check_create(&words, expected);
}

#[test]
fn how_and_where_tasks_run() {
    let words = "-d --name x --replicas 3 -l a=b -p 8080:80 -p published=53,target=5353,protocol=udp --network name=net1,alias=al --limit-cpu 1.5 \
                 --limit-memory 64m --reserve-cpu .5 --restart-condition none --restart-delay 1s --update-delay 2s --update-monitor 0s \
                 --rollback-order start-first --constraint node.role==manager --placement-pref spread=node.labels.x --log-driver none --log-opt a=b app";
    let mut expected = plain(json!({"Replicated": {"Replicas": 3}}));
    expected["Name"] = json!("x");
    expected["Labels"] = json!({"a": "b"});
    expected["EndpointSpec"]["Ports"] = json!([
        {"Protocol": "tcp", "PublishMode": "ingress", "PublishedPort": 8080, "TargetPort": 80},
        {"Protocol": "udp", "PublishMode": "ingress", "PublishedPort": 53, "TargetPort": 5353}
    ]);
    let config = json!({"FailureAction": "pause", "MaxFailureRatio": 0, "Parallelism": 1});
    (expected["UpdateConfig"], expected["RollbackConfig"]) = (config.clone(), config);
    (expected["UpdateConfig"]["Delay"], expected["UpdateConfig"]["Order"]) = (json!(2_000_000_000i64), json!("stop-first"));
    (expected["RollbackConfig"]["Monitor"], expected["RollbackConfig"]["Order"]) = (json!(5_000_000_000i64), json!("start-first"));
    let task = &mut expected["TaskTemplate"];
    task["LogDriver"] = json!({"Name": "none", "Options": {"a": "b"}});
    task["Networks"] = json!([{"Aliases": ["al"], "Target": "net1"}]);
    task["Placement"] = json!({"Constraints": ["node.role==manager"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.x"}}]});
    task["Resources"] = json!({"Limits": {"MemoryBytes": 67_108_864, "NanoCPUs": 1_500_000_000i64}, "Reservations": {"NanoCPUs": 500_000_000}});
    task["RestartPolicy"] = json!({"Condition": "none", "Delay": 1_000_000_000, "MaxAttempts": 0});
    check_create(&words.split_whitespace().collect::<Vec<_>>(), expected);
}

#[test]
fn flags_behind_the_image_belong_to_the_command() {
    let spec = create(&["--name", "a", "app", "--name", "b", "-d"]).unwrap();
    assert_eq!(spec["Name"], "a");
    assert_eq!(spec["TaskTemplate"]["ContainerSpec"]["Args"], json!(["--name", "b", "-d"]));
    assert_eq!(create(&["--", "app", "-x"]).unwrap()["TaskTemplate"]["ContainerSpec"]["Args"], json!(["-x"]));
}

#[test]
fn contradictions_are_refused() {
    assert_eq!(create(&["--mode", "global", "--replicas", "2", "app"]).unwrap_err(), "replicas can only be used with replicated or replicated-job mode");
    assert_eq!(create(&["--mode", "foo", "app"]).unwrap_err(), "Unknown mode: foo, only replicated and global supported");
    assert_eq!(create(&["--no-healthcheck", "--health-cmd", "x", "app"]).unwrap_err(), "--no-healthcheck conflicts with --health-* options");
    let job = ["--mode", "replicated-job", "--update-delay", "1s", "app"];
    assert_eq!(create(&job).unwrap_err(), "update and rollback configuration is not supported for jobs");
}

#[track_caller]
fn check_update(words: &[&str], before: Value, expected: Value) {
    let all: Vec<&str> = ["service", "update"].iter().chain(words).chain(&["web"]).copied().collect();
    let mut spec = before;
    update_spec::change(&mut spec, &matches(&all)).unwrap();
    assert_eq!(spec, expected);
}

fn service(container: Value) -> Value {
    json!({"Name": "web", "Labels": {"a": "b"}, "Mode": {"Replicated": {"Replicas": 2}}, "TaskTemplate": {"ContainerSpec": container, "ForceUpdate": 0}})
}

#[test]
fn updates_change_what_is_named() {
    let before = service(json!({"Image": "app", "Env": ["A=1", "B=2"], "Init": false}));
    let mut expected = before.clone();
    expected["Mode"]["Replicated"]["Replicas"] = json!(5);
    expected["Labels"] = json!({"z": "1"});
    expected["TaskTemplate"]["ContainerSpec"]["Env"] = json!(["B=3", "C=4"]);
    expected["TaskTemplate"]["ForceUpdate"] = json!(1);
    let words = ["--replicas", "5", "--label-rm", "a", "--label-add", "z=1", "--env-rm", "A", "--env-add", "B=3", "--env-add", "C=4", "--force"];
    check_update(&words, before, expected);
}

#[test]
fn what_is_undone_leaves_no_trace() {
    let before = service(json!({"Image": "app", "TTY": true, "Mounts": [{"Type": "volume", "Source": "v", "Target": "/t"}], "CapabilityAdd": ["CAP_A"]}));
    check_update(&["--tty=false", "--mount-rm", "/t", "--cap-drop", "a"], before, service(json!({"Image": "app"})));
}

#[test]
fn ports_are_removed_by_target() {
    let port = |published: u64, target: u64| json!({"Protocol": "tcp", "PublishMode": "ingress", "PublishedPort": published, "TargetPort": target});
    let mut before = service(json!({"Image": "app"}));
    before["EndpointSpec"] = json!({"Mode": "vip", "Ports": [port(8080, 80)]});
    let mut expected = before.clone();
    expected["EndpointSpec"]["Ports"] = json!([port(9090, 90)]);
    check_update(&["--publish-rm", "80", "--publish-add", "9090:90"], before, expected);
}

#[test]
fn hosts_keep_their_order() {
    let before = service(json!({"Image": "app", "Hosts": ["127.0.0.2 b a", "127.0.0.1 a"]}));
    check_update(&["--host-rm", "a:127.0.0.1", "--host-add", "c:1.1.1.1"], before, service(json!({"Image": "app", "Hosts": ["127.0.0.2 b a", "1.1.1.1 c"]})));
}
