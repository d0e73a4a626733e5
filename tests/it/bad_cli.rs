//! Bad input at the command line: a clear error that names what is wrong, docker's exit codes, and nothing changed.

use crate::harness::{Node, guest};

/// What is typed, the exit code, and what the message has to name.
struct Case {
    typed: &'static str,
    code: i32,
    names: &'static [&'static str],
}

const fn case(typed: &'static str, code: i32, names: &'static [&'static str]) -> Case {
    Case { typed, code, names }
}

/// `TICK` is replaced by the guest's path. 125 is docker's code for what the command line's parser refuses.
const CASES: &[Case] = &[
    case("--nosuch", 125, &["unknown flag: --nosuch"]),
    case("nosuch", 1, &["nosuch"]),
    case("service nosuch", 1, &["nosuch"]),
    case("service create --nosuch TICK", 125, &["unknown flag: --nosuch"]),
    case("service create", 1, &["requires at least 1 argument"]),
    case("service create --replicas -1 TICK", 125, &["invalid argument \"-1\" for \"--replicas\" flag"]),
    case("service create --replicas many TICK", 125, &["invalid argument \"many\" for \"--replicas\" flag"]),
    case("service create --name new --replicas 1000000000 TICK", 1, &["1000000000", "1000000"]),
    case("service create --name -bad- TICK", 1, &["name must be valid"]),
    case("service create --name taken TICK", 1, &["taken", "already exists"]),
    case("service create -p 99999:80 TICK", 125, &["99999"]),
    case("service create -p nonsense TICK", 125, &["nonsense"]),
    case("service create --limit-memory lots TICK", 125, &["lots"]),
    case("service create --name new --restart-condition sometimes TICK", 1, &["sometimes"]),
    case("service create --name new --mode odd TICK", 1, &["odd"]),
    case("service create --name new --container-label wsw.wasm.nosuch=1 TICK", 1, &["wsw.wasm.nosuch"]),
    case("service create --name new --container-label wsw.wasm.max-instances=none TICK", 1, &["wsw.wasm.max-instances"]),
    case("service inspect nosuch", 1, &["nosuch"]),
    case("service ps nosuch", 1, &["no such service: nosuch"]),
    case("service logs nosuch", 1, &["nosuch"]),
    case("service rm nosuch", 1, &["nosuch"]),
    case("service scale nosuch=2", 1, &["nosuch"]),
    case("service scale taken", 1, &["invalid scale specifier"]),
    case("service scale taken=-1", 1, &["-1"]),
    case("service scale taken=1000000000", 1, &["1000000000", "1000000"]),
    case("node inspect nosuch", 1, &["nosuch"]),
    case("node rm nosuch", 1, &["nosuch"]),
    case("image inspect nosuch", 1, &["nosuch"]),
    case("image rm nosuch", 1, &["nosuch"]),
    case("image load -i /nonexistent/archive.tar", 1, &["/nonexistent/archive.tar"]),
    case("swarm init", 1, &["already part of a swarm"]),
    case("swarm leave", 1, &["--force"]),
    case("swarm join-token boss", 1, &["boss"]),
    case("service ls --filter nosuch=1", 1, &["nosuch"]),
    case("service ls --format {{.Nosuch}}", 1, &["Nosuch"]),
    case("service ls --format {{.ID", 1, &["template parsing error"]),
    case("network create", 1, &["requires 1 argument"]),
    case("network create -d nosuch x", 1, &["nosuch", "overlay"]),
    case("network create -d overlay --subnet nonsense x", 1, &["Subnet", "nonsense"]),
    case("network create -d overlay --subnet 10.0.0.0/24 --gateway 10.9.0.1 x", 1, &["no matching subnet", "10.9.0.1"]),
    case("network create -d overlay --label =b x", 125, &["label"]),
    case("network create -d overlay a/b", 1, &["name"]),
    case("network connect taken taken", 1, &["is not implemented by wsw"]),
    case("network rm nosuch", 1, &["nosuch"]),
    case("network ls --filter nosuch=1", 1, &["nosuch"]),
    case("service create --name new --network nosuch TICK", 1, &["network nosuch not found"]),
    case("kill", 1, &["requires at least 1 argument"]),
    case("kill -s NOSUCH nosuch", 1, &["NOSUCH"]),
    case("stop -t soon nosuch", 125, &["soon"]),
    case("wait nosuch", 1, &["nosuch"]),
    case("top nosuch", 1, &["nosuch"]),
    case("port nosuch", 1, &["nosuch"]),
    case("logs nosuch", 1, &["nosuch"]),
    case("logs --since yesterday nosuch", 1, &["nosuch"]),
    case("stats --no-stream nosuch", 1, &["nosuch"]),
    case("stats --format {{.ID", 1, &["template parsing error"]),
    case("container prune -f --filter nosuch=1", 1, &["nosuch"]),
    case("system prune -f --filter nonsense", 125, &["bad format of filter"]),
    case("system prune -f --volumes --filter until=1h", 1, &["until"]),
    case("events --since yesterday", 1, &["yesterday"]),
    case("events --filter nosuch=1", 1, &["nosuch"]),
    case("help nosuch", 1, &["unknown help topic: nosuch"]),
    case("-H nonsense://x service ls", 1, &["nonsense"]),
    case("-H unix:///nonexistent/socket service ls", 1, &["/nonexistent/socket"]),
];

#[test]
fn each_is_refused_and_named() {
    let node = Node::swarm();
    let tick = guest("tick").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "--name", "taken", &tick]).ok();
    let before = node.json("/services");
    let mut wrong = Vec::new();
    for Case { typed, code, names } in CASES {
        let words: Vec<&str> = typed.split(' ').map(|word| if word == "TICK" { tick.as_str() } else { word }).collect();
        let run = node.wsw(&words);
        let said = format!("{}{}", run.err, run.out);
        if run.code != *code || said.contains("panicked at") || !names.iter().all(|name| said.contains(name)) {
            wrong.push(format!("wanted code {code} and {names:?}\n{run}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    assert_eq!(node.json("/services"), before, "nothing was changed");
}

/// Flags of `swarm init` whose feature does not exist yet are refused by name; their default values are not.
#[test]
fn swarm_init_refuses_by_name() {
    let node = Node::start();
    for (flag, names) in [
        ("--external-ca=protocol=cfssl,url=https://localhost", "ExternalCAs"),
        ("--default-addr-pool=10.20.0.0/16", "DefaultAddrPool"),
        ("--data-path-port=4800", "DataPathPort"),
        ("--availability=nonsense", "nonsense"),
        ("--cert-expiry=nonsense", "nonsense"),
    ] {
        let said = node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1", flag]).failed();
        assert!(said.contains(names), "{flag} names {names}: {said}");
    }
    // The values that docker's client sends by itself.
    node.wsw(&["swarm", "init", "--listen-addr", "0.0.0.0:2377", "--advertise-addr", "127.0.0.1", "--data-path-port", "0", "--snapshot-interval", "10000"])
        .ok();
}

#[test]
fn outside_a_swarm() {
    let node = Node::start();
    for words in [&["service", "ls"][..], &["node", "ls"], &["service", "create", "nosuch"], &["swarm", "join-token", "worker"]] {
        let said = node.wsw(words).failed();
        assert!(said.contains("not a swarm manager"), "{words:?}: {said}");
    }
    let said = node.wsw(&["swarm", "leave"]).failed();
    assert!(said.contains("not part of a swarm"), "{said}");
}
