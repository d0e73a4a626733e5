//! `docker X` and `wsw X` against the same daemon: the same output, the same errors, the same exit codes.
//!
//! Only the program's name is normalised. Time goes on between the two runs ("5 seconds ago"), so a difference counts when it stays.

use crate::harness::{self, Node, Run, free_tcp_port, guest, run};
use std::path::Path;

/// Looks at a difference before it counts: two runs fall into different seconds now and then.
const LOOKS: usize = 5;

/// What all docker clients print alike.
const SAME_IN_ALL: &[&str] = &[
    "service ls",
    "service ls -q",
    "service ls --filter name=hello",
    "service ls --filter mode=global",
    "service ls --format {{.Name}}:{{.Replicas}}:{{.Image}}:{{.Ports}}",
    "service ls --format table\\t{{.ID}}\\t{{.Name}}",
    "service ps hello",
    "service ps hello infinite_service",
    "service ps -q hello",
    "service ps --no-trunc hello",
    "service ps --no-resolve hello",
    "service ps --filter desired-state=shutdown hello",
    "service ps --format {{.Name}}|{{.Node}}|{{.DesiredState}} hello",
    "service inspect --pretty hello",
    "service inspect --pretty infinite_service",
    "service inspect hello",
    "service inspect --format {{.Spec.Name}} hello infinite_service",
    "service inspect --format {{json .Spec.Mode}} hello",
    "node ls",
    "node ls -q",
    "node ls --filter role=manager",
    "node ls --format {{.Hostname}}|{{.Status}}|{{.Availability}}|{{.ManagerStatus}}|{{.Self}}",
    "node ps",
    "node ps self",
    "node inspect self",
    "node inspect --pretty self",
    "node inspect --format {{.Spec.Role}} self",
    "image ls",
    "image ls -q",
    "image ls --no-trunc",
    "image ls --digests",
    "images",
    "image ls --format {{.Repository}}:{{.Tag}}",
    "history -q tick",
    "history --no-trunc tick",
    "tag tick copy:1",
    "tag nosuch copy:1",
    "save nosuch",
    "image prune -f --filter label=nosuch",
    "ps",
    "ps -q",
    "ps --no-trunc",
    "ps -a",
    "ps --format {{.Names}}|{{.Image}}",
    "ps --filter name=hello",
    "volume ls",
    "volume ls -q",
    "volume ls --filter name=data",
    "volume ls --filter dangling=true",
    "volume ls --filter label=tier",
    "volume ls --filter nosuch=1",
    "volume ls --format {{.Name}}|{{.Driver}}|{{.Scope}}|{{.Mountpoint}}|{{.Labels}}",
    "volume inspect data2",
    "volume inspect --format {{.Mountpoint}} data10 data2",
    "volume rm -f nosuch",
    "volume create data2",
    "volume create a/b",
    "volume create -d nfs other",
    "service inspect --format {{json .Spec.TaskTemplate.ContainerSpec.Mounts}} mounted",
    "service inspect --pretty mounted",
    "swarm join-token worker",
    "swarm join-token -q worker",
    "swarm join-token manager",
    "service logs --tail 0 infinite_service",
    "inspect nosuch",
    "service ps nosuch",
    "service logs nosuch",
    "service scale hello=x",
    "service ls --filter nosuch=1",
    "service ls --format {{.Nosuch}}",
    "swarm leave",
    "swarm init",
    "events --since 1 --until 2",
];

/// What the newest client prints; older ones differ among themselves (usage lines, prefixes of errors, fields that were added since).
const SAME_IN_NEWEST: &[&str] = &[
    "volume rm nosuch",
    "volume inspect nosuch",
    "rmi nosuch",
    "service ls --format {{upper .Name}}|{{lower .Name}}|{{title .Mode}}|{{pad .Name 2 3}}|{{truncate .Name 4}}",
    "service ls --format {{join (split .Name \"_\") \"+\"}}|{{len .Name}}|{{printf \"%-20s|%3d\" .Name 7}}",
    "service ls --format {{if eq .Mode \"replicated\"}}yes{{else}}no{{end}}",
    "service ls --format {{range $i, $part := split .Name \"_\"}}{{$i}}={{$part}},{{end}}",
    "service ls --format {{with .Ports}}{{.}}{{else}}none{{end}}{{println .Name}}",
    "service ls --format {{json .}}",
    "service ls --format table {{.Name}}\\t{{lower .Name}}",
    "service ls --format {{index (split .Name \"_\") 5}}",
    "service ls --format {{.NosuchFieldWithAVeryLongName}}",
    "service ls --format {{slice .Name 3 1}}",
    "service ls --format {{index .Name 99}}",
    "service ls --format {{nosuch .Name}}",
    "service ls --format {{.Name",
    "service ls --filter label=tier=back",
    "service ls --filter mode=odd",
    "service ps --filter node=nosuch hello",
    "service ps --filter nosuch=1 hello",
    "service ps --format {{.ID}}|{{.Name}}|{{.Image}}|{{.Error}}|{{.Ports}} hello",
    "node ls --filter nosuch=1",
    "node ls --filter role=boss",
    "node ls --format {{.ID}}|{{.EngineVersion}}|{{.TLSStatus}}",
    "node inspect --format {{json .Description.Platform}} self",
    "node update --availability asleep self",
    "node update --role boss self",
    "node promote nosuch",
    "node demote self",
    "image ls --filter nosuch=1",
    "image ls --format {{.ID}}|{{.Size}}|{{.CreatedSince}}|{{.Digest}}",
    "ps --size",
    "ps --filter label=com.docker.swarm.service.name=hello -q",
    "ps --filter nosuch=1",
    "ps --format {{.ID}}|{{.Command}}|{{.RunningFor}}|{{.Status}}|{{.Size}}|{{.Ports}}|{{.Networks}}|{{.Mounts}}|{{.LocalVolumes}}|{{.State}}",
    "ps --format {{.Label \"com.docker.swarm.service.name\"}}",
    "ps -n 1 --no-trunc",
    "system df",
    "swarm update --task-history-limit x",
    "swarm update --cert-expiry 1s",
    "swarm ca",
    "swarm unlock-key",
    "inspect --type nosuch x",
    "inspect --type service hello",
    "inspect --format {{.ID}} hello",
    "inspect --size hello",
    "network ls",
    "network ls -q",
    "network ls --no-trunc",
    "network ls --format json",
    "network ls --filter driver=overlay --format {{.Name}}|{{.IPv4}}|{{.IPv6}}|{{.Internal}}|{{.Labels}}|{{.CreatedAt}}",
    "network ls --filter nosuch=1",
    "network inspect front",
    "network inspect --format {{.Driver}} front nosuch",
    "network rm nosuch",
    "network rm -f nosuch",
    "network create",
    "network create front",
    "network create --subnet x -d overlay other",
    "network create --gateway 10.0.0.1 other",
    "network connect front",
    "network prune",
    "inspect --type network front",
    "kill nosuch",
    "kill",
    "stop nosuch",
    "stop --timeout x nosuch",
    "wait nosuch",
    "logs nosuch",
    "top nosuch",
    "port nosuch",
    "port",
    "port a b c",
    "stats --no-stream nosuch",
    "stats --no-stream --format {{.Nosuch}}",
    "container prune -f",
    "container prune",
    "container prune --filter nosuch=1 -f",
    "system prune",
    "system prune -a --volumes --filter label=a=b",
    "system prune --volumes --filter until=1h -f",
    "system df --format {{.Type}}|{{.TotalCount}}|{{.Active}}",
    "ps --filter status=asleep",
    "ps --filter exited=x",
    "ps --filter before=nosuch",
    "ps --filter expose=80",
    "ps --format json",
    "events --since 1h --until 0s --filter type=network --format {{.Action}}",
    "events --format {{.Nosuch}}",
    "events --since x",
    "image inspect tick:latest",
    "service inspect nosuch",
    "service inspect hello nosuch",
    "service rm nosuch",
    "service scale nosuch=1",
    "service scale hello",
    "node inspect nosuch",
    "node rm nosuch",
    "node ps nosuch",
    "image inspect nosuch",
    "image rm nosuch",
    "history tick",
    "tag tick -x",
    "pull nosuch.invalid/UPPER",
    "pull -a tick:latest",
    "history -H=false tick",
    "history nosuch",
    "history --format json tick",
    "image prune -f --filter nosuch=x",
    "push nosuch",
    "pull",
    "push",
    "save",
    "tag tick",
    "service ls --format json",
    "service ps --format json hello",
    "node ls --format json",
    "image ls --format json",
    "service create",
    "service create --nosuch",
    "service create --mount x tick",
    "service create --mount type=bind,target=/b,tmpfs-size=1m tick",
    "service create --mount type=bind,source=/a,target=b tick",
    "service create --mount source=/a,target=/b tick",
    "volume ls --format json",
    "volume ls --cluster",
    "volume update data2",
    "volume prune --filter nosuch=1 -f",
    "service create --replicas -1 tick",
    "service create --replicas x tick",
    "service ls extra",
    "service ps",
    "service scale",
    "service nosuch",
    "node nosuch",
    "swarm join-token",
    "swarm join-token boss",
    "nosuch",
    "--nosuch",
];

/// Commands whose `--help` is docker's to the letter.
const SAME_HELP: &[&str] = &[
    "volume",
    "volume create",
    "volume inspect",
    "volume ls",
    "volume prune",
    "volume rm",
    "volume update",
    "attach",
    "container attach",
    "container cp",
    "container exec",
    "container inspect",
    "container kill",
    "container logs",
    "container ls",
    "container pause",
    "container port",
    "container prune",
    "container restart",
    "container rm",
    "container stats",
    "container stop",
    "container top",
    "container unpause",
    "container wait",
    "cp",
    "events",
    "exec",
    "image history",
    "image inspect",
    "image load",
    "image ls",
    "image prune",
    "image pull",
    "image push",
    "image rm",
    "image save",
    "image tag",
    "images",
    "info",
    "kill",
    "logs",
    "network",
    "network connect",
    "network create",
    "network disconnect",
    "network inspect",
    "network ls",
    "network prune",
    "network rm",
    "node",
    "node demote",
    "node inspect",
    "node ls",
    "node promote",
    "node ps",
    "node rm",
    "node update",
    "pause",
    "port",
    "ps",
    "restart",
    "rm",
    "rmi",
    "service",
    "service create",
    "service inspect",
    "service logs",
    "service ls",
    "service ps",
    "service rm",
    "service rollback",
    "service scale",
    "service update",
    "stack",
    "stack config",
    "stack deploy",
    "stack ls",
    "stack ps",
    "stack rm",
    "stack services",
    "stats",
    "stop",
    "swarm",
    "swarm ca",
    "swarm init",
    "swarm join",
    "swarm join-token",
    "swarm leave",
    "swarm unlock",
    "swarm unlock-key",
    "swarm update",
    "system events",
    "system info",
    "system prune",
    "top",
    "unpause",
    "wait",
];

/// Docker's output as it would be if the program were called `wsw`; in ours only what the daemon says keeps docker's words.
fn renamed(text: &str) -> String {
    // Labels keep Docker's names.
    text.replace("DOCKER", "WSW").replace("docker", "wsw").replace("com.wsw.", "com.docker.")
}

fn theirs_renamed(run: &Run) -> (i32, String, String) {
    (run.code, renamed(&run.out), renamed(&run.err))
}

fn ours_renamed(run: &Run) -> (i32, String, String) {
    let line = |line: &str| if line.starts_with("Error response from daemon: ") { renamed(line) } else { line.to_owned() };
    (run.code, run.out.clone(), run.err.split_inclusive('\n').map(line).collect())
}

pub fn difference(node: &Node, docker: &Path, typed: &str) -> Option<String> {
    let words: Vec<&str> = typed.split(' ').collect();
    // `{{json .x}}` is one word.
    let joined = join_templates(&words);
    let words: Vec<&str> = joined.iter().map(String::as_str).collect();
    let mut last = String::new();
    for _ in 0..LOOKS {
        let theirs = run(&mut node.client(docker, &words));
        let ours = node.wsw(&words);
        if theirs_renamed(&theirs) == ours_renamed(&ours) {
            return None;
        }
        last = format!("=== {typed}\n--- docker\n{theirs}\n--- wsw\n{ours}");
    }
    Some(last)
}

fn join_templates(words: &[&str]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if last.contains("{{") && last.matches("{{").count() > last.matches("}}").count() => {
                last.push(' ');
                last.push_str(word);
            }
            _ => joined.push((*word).to_owned()),
        }
    }
    joined
}

fn node_with_services() -> Node {
    let node = Node::swarm();
    let port = format!("{}:80", free_tcp_port());
    node.wsw(&["service", "create", "--name", "infinite_service", "--label", "tier=back", "-e", "A=b", &guest("tick").to_string_lossy()]).ok();
    node.wsw(&["network", "create", "-d", "overlay", "--label", "a=b", "--subnet", "10.9.0.0/24", "front"]).ok();
    let hello = guest("hello_http").to_string_lossy().into_owned();
    for name in ["data10", "data2"] {
        node.wsw(&["volume", "create", "--label", "tier=back", "--label", "b=c", name]).ok();
    }
    let mounts = ["--mount", "source=data2,target=/data,readonly,volume-nocopy", "--mount", "type=bind,source=/srv,target=/srv"];
    let words = ["service", "create", "-d", "--name", "mounted", "--replicas", "0", "--mount", "type=tmpfs,target=/tmp,tmpfs-size=1m,tmpfs-mode=700"];
    node.wsw(&[&words[..], &mounts, &[&guest("tick").to_string_lossy()]].concat()).ok();
    node.wsw(&["service", "create", "--name", "hello", "--replicas", "3", "--limit-memory", "64M", "-p", &port, &hello]).ok();
    node
}

/// Both programs with every line of `lists`, against one node.
pub fn compare(docker: &Path, lists: &[&[&str]]) {
    let node = node_with_services();
    let differences: Vec<String> = lists.iter().flat_map(|list| list.iter()).filter_map(|typed| difference(&node, docker, typed)).collect();
    assert!(differences.is_empty(), "{} differences to {}:\n{}", differences.len(), docker.display(), differences.join("\n"));
}

#[test]
fn all_clients() {
    for docker in harness::docker_clients() {
        compare(&docker, &[SAME_IN_ALL]);
    }
}

#[test]
fn the_newest_client() {
    let newest = harness::newest_docker();
    compare(&newest, &[SAME_IN_NEWEST]);
}

/// Formats that a user keeps in docker's settings.
#[test]
fn formats_of_config_json() {
    let newest = harness::newest_docker();
    let node = node_with_services();
    let folder = tempfile::tempdir().unwrap();
    let settings = r#"{"psFormat": "{{.Names}}", "servicesFormat": "table {{.Name}}\\t{{.Mode}}", "tasksFormat": "{{.Name}}/{{.Image}}", "nodesFormat": "{{.Hostname}}", "imagesFormat": "{{.Repository}}", "networksFormat": "{{.Name}}={{.Driver}}"}"#;
    let both = |words: &[&str]| {
        let with = |program: &Path| run(node.client(program, words).env("DOCKER_CONFIG", folder.path()));
        (with(&newest), with(Path::new(env!("CARGO_BIN_EXE_wsw"))))
    };
    std::fs::write(folder.path().join("config.json"), settings).unwrap();
    for words in
        [&["ps"][..], &["ps", "-q"], &["service", "ls"], &["service", "ps", "hello"], &["node", "ls"], &["images"], &["network", "ls"], &["node", "ps"]]
    {
        let (theirs, ours) = both(words);
        assert_eq!((theirs.code, &theirs.out), (ours.code, &ours.out), "{words:?}");
    }
    assert_eq!(both(&["network", "ls"]).1.ok().trim(), "front=overlay");
    std::fs::write(folder.path().join("config.json"), "{").unwrap();
    let (_, ours) = both(&["network", "ls"]);
    assert!(ours.err.contains("WARNING: Error loading config file: ") && ours.out.contains("NETWORK ID"), "{ours}");
}

/// What is said of the server; the client describes itself before.
#[test]
fn info() {
    let newest = harness::newest_docker();
    let node = node_with_services();
    let server = |text: String| text.split_once("Server:").map(|(_, server)| renamed(server)).unwrap_or_default();
    // Clocks and counters go on between the two.
    let lines = |text: String| server(text).lines().filter(|line| !line.contains("System Time")).map(str::to_owned).collect::<Vec<_>>();
    let theirs = lines(run(&mut node.client(&newest, &["info"])).ok());
    assert_eq!(lines(node.wsw(&["info"]).ok()), theirs);
    for part in [" Containers: 4", "  Running: 4", " Swarm: active", "  Is Manager: true", "  Managers: 1", "  Log: json-file local none"] {
        assert!(theirs.iter().any(|line| line == part), "{part:?} in {theirs:#?}");
    }
}

#[test]
fn help() {
    let newest = harness::newest_docker();
    let node = Node::swarm();
    let mut wrong = Vec::new();
    for command in SAME_HELP {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let (theirs, ours) = (run(&mut node.client(&newest, &words)), node.wsw(&words));
        // The name is shorter, so that lists of commands may be padded differently; nothing else may differ.
        if theirs.out.replace("docker", "wsw").replace("Docker", "wsw") != ours.out.replace("docker", "wsw").replace("Docker", "wsw") || ours.code != 0 {
            wrong.push(format!("=== {command}\n--- docker\n{theirs}\n--- wsw\n{ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    // Pages of our own.
    for topic in ["labels", "files", "environment", "exit-codes", "formats"] {
        assert!(node.wsw(&["help", topic]).ok().lines().count() > 8, "{topic}");
    }
    assert_eq!(node.wsw(&["help", "service", "ls"]).ok(), node.wsw(&["service", "ls", "--help"]).ok());
    assert!(node.wsw(&["help", "nosuch"]).failed().contains("unknown help topic: nosuch"));
    for command in ["up", "down"] {
        let page = node.wsw(&[command, "--help"]).ok();
        assert!(page.contains("Exit codes:") && page.contains("Examples:\n  wsw "), "{page}");
    }
    let daemon = node.wsw(&["daemon", "--help"]).ok();
    for part in ["Files:", "Environment:", "Signals:", "Exit codes:", "Examples:", "--data-root", "[default: info]"] {
        assert!(daemon.contains(part), "{part} in {daemon}");
    }
}
