//! Stacks: a Compose file means the same to `wsw stack` as to docker's: what it becomes, what is refused, what is deployed.

use crate::harness::{self, Node, Run, free_tcp_port, guest, image_tar, newest_docker, run, until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const WSW: &str = env!("CARGO_BIN_EXE_wsw");

/// Files, each in every spelling of some keys; good and bad ones alike: docker's answer is the measure.
const FILES: &[&str] = &[
    "services: {}",
    "version: '3'",
    "version: 3.8\nservices: {w: {image: a}}",
    "version: '2.1'\nservices: {}",
    "services: {w: {image: a}}\n---\nfoo: 1",
    "services: {w: {image: a, command: \"echo 'a b' $$HOME\", entrypoint: [x, y]}}",
    "services: {w: {image: a, command: 'a \"b'}}",
    "services: {w: {image: a, ports: ['8000-8002:80', '53/udp', '9000-9001:90-91', 99, '5:6/UDP']}}",
    "services: {w: {image: a, ports: [{target: 80, published: 8080, protocol: udp, mode: host}, {target: 90}]}}",
    "services: {w: {image: a, ports: ['80:80', '80:80']}}",
    "services: {w: {image: a, ports: [x]}}",
    "services: {w: {image: a, ports: [99999]}}",
    "services: {w: {image: a, ports: [{target: 80, name: x}]}}",
    "services: {w: {image: a, volumes: [x, /data, 'named:/d:ro,nocopy', './rel:/z', '../up:/u', 'C:\\a:/b', '/b:/y:rshared']}}",
    "services: {w: {image: a, volumes: ['/a:/b:ro:x']}}",
    "services: {w: {image: a, volumes: ['']}}",
    "services: {w: {image: a, volumes: [{source: a}]}}",
    "services: {w: {image: a, volumes: [{type: bind, target: /a}]}}",
    "services: {w: {image: a, volumes: [{type: bind, source: ., target: /a, bind: {propagation: rslave}, read_only: true}, {type: tmpfs, target: /t, tmpfs: {size: 1000}}, {type: volume, source: v, target: /v, volume: {nocopy: true}}]}}",
    "services: {w: {image: a, environment: [A, B=, 'C=d=e', N]}}",
    "services: {w: {image: a, env_file: [one.env, ./two.env], environment: {A: , EMPTY: y, N: ''}}}",
    "services: {w: {image: a, env_file: nosuch}}",
    "services: {w: {image: a, environment: {A: true}}}",
    "services: {w: {image: '$A/${N}-${NO:-x}$$'}}",
    "services: {w: {image: '${NO:?set it}'}}",
    "services: {w: {image: '${A'}}",
    "services: {w: {image: a, deploy: {replicas: '${N}'}, tty: '${NO:-yes}'}}",
    "services: {w: {image: a, deploy: {replicas: '${A}'}}}",
    "services: {w: {image: a, tty: '${A}'}}",
    "services: {w: {image: a, deploy: {replicas: -1}}}",
    "services: {w: {image: a, deploy: {replicas: '5'}}}",
    "services: {w: {image: a, deploy: {mode: global, update_config: {parallelism: 0, delay: 0s, max_failure_ratio: 0.25, order: start-first}, restart_policy: {condition: any, delay: 5s, max_attempts: 0, window: 120s}}}}",
    "services: {w: {image: a, deploy: {resources: {limits: {cpus: '0.5', memory: 50M, pids: 5}, reservations: {memory: 20M}}, placement: {constraints: [a==b], preferences: [{spread: z}], max_replicas_per_node: 2}, labels: [a, b=c], endpoint_mode: dnsrr}}}",
    "services: {w: {image: a, deploy: {resources: {limits: {memory: x}}}}}",
    "services: {w: {image: a, deploy: {update_config: {order: x}}}}",
    "services: {w: {image: a, deploy: {resources: {limits: {cpus: 0.5}}}}}",
    "services: {w: {image: a, healthcheck: {test: curl, interval: 1m30s, timeout: 1s, retries: 3, start_period: 5s}}}",
    "services: {w: {image: a, healthcheck: {interval: x}}}",
    "version: '3.8'\nservices: {w: {image: a, healthcheck: {start_interval: 5s}}}",
    "services: {w: {image: a, networks: {x: {aliases: [b], ipv4_address: 1.2.3.4}, y: }}}",
    "services: {w: {image: a, networks: [x, y]}}",
    "services: {w: {image: a, ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}, sysctls: {a: 1}, tmpfs: /x, dns: 1.1.1.1, extra_hosts: ['a=1.2.3.4', 'b:[::1]']}}",
    "services: {w: {image: a, ulimits: {nofile: {soft: 1}}}}",
    "services: {w: {image: a, init: false, tty: true, stop_grace_period: 90s, user: '5', working_dir: /x, hostname: h, stop_signal: SIGINT, logging: {driver: x, options: {a: 5, b: null}}}}",
    "services: {w: {image: a, user: 5}}",
    "services: {w: {image: a, shm_size: 5}}",
    "services: {w: {image: a, extends: b}}",
    "services: {w: {image: a, foo: 1}}",
    "services: {w w: {image: a}}",
    "services: [a]",
    "services: {w: null}",
    "services: {w: {image: 5}}",
    "services: {w: {image: a, image: b}}",
    "foo: 1",
    "x",
    "services: {w: {image: a}}\nnetworks: {x: {external: true}, y: {driver: overlay, attachable: true, labels: {a: b}, ipam: {config: [{subnet: 10.0.0.0/8}]}}}",
    "services: {w: {image: a}}\nnetworks: {x: {external: {name: y}, name: z}}",
    "services: {w: {image: a}}\nvolumes: {x: {external: true, driver: y}}",
    "services: {w: {image: a}}\nvolumes: {x: , y: {driver_opts: {a: 5}, name: z}}",
    "services: {w: {image: a, secrets: [a, {source: b, target: c, uid: '5', mode: 0400}]}}\nsecrets: {a: {file: ./x, labels: [a=b]}, b: {external: true}}",
    "services: {w: {image: a}}\nsecrets: {y: {driver: z, file: a}}",
    "x-base: &b {image: a, tty: true}\nservices: {w: {<<: *b, command: x}, v: *b}",
    "services: {w: {image: a, labels: {d: '2020-01-01', e: 0x10, f: 1e3, g: 07, h: yes, i: ~, j: 1.50, k: 'a #b', l: '*x', m: 'x: y', n: ' lead', o: \"a\\nb\\n\", p: '1:30', q: '- a', r: '{a}', s: \"tab\\there\"}}}",
];

/// What two files become one of.
const BASE: &str = "version: '3.8'\nservices:\n  w:\n    image: a\n    command: x y\n    environment: {A: 1, B: 2}\n    ports: ['80:80', '90:91']\n    volumes: ['v:/a', '/b:/b']\n    labels: {a: 1}\n    healthcheck: {test: [CMD, a], interval: 5s}\n    logging: {driver: x, options: {a: 1}}\n    networks: {n: {aliases: [q]}, m: }\n    deploy: {replicas: 2, labels: {z: 1}, placement: {constraints: [a==b]}}\n    dns: 1.1.1.1\n    stop_grace_period: 5s\n  only: {image: b}\nvolumes: {v: {driver: x, labels: {a: b}}}\nnetworks: {n: {driver: overlay, labels: {a: b}}, m: }\n";
const OVER: &str = "version: '3.8'\nservices:\n  w:\n    image: c\n    command: z\n    environment: {B: 3, C: , D: ''}\n    ports: ['81:81', '90:92/udp']\n    volumes: ['w:/a', '/c:/c']\n    labels: {a: 3, b: 4}\n    healthcheck: {test: [CMD, b], timeout: 5s}\n    logging: {options: {b: 1}}\n    networks: {n: {aliases: [r]}, o: }\n    deploy: {replicas: 0, labels: {y: 1}, placement: {constraints: [c==d]}}\n    dns: [2.2.2.2]\n    stop_grace_period: 0s\n  another: {image: d}\nvolumes: {v: {driver_opts: {a: b}}, w: }\nnetworks: {n: {labels: {c: d}}, o: {attachable: true}}\n";

fn in_folder(program: &Path, folder: &Path, words: &[&str]) -> Run {
    run(Command::new(program).args(words).current_dir(folder).env("A", "one").env("N", "3").env("EMPTY", ""))
}

fn same(theirs: &Run, ours: &Run) -> bool {
    (theirs.code, &theirs.out, theirs.err.replace("docker", "wsw")) == (ours.code, &ours.out, ours.err.clone())
}

#[test]
fn config_is_docker_s() {
    let docker = newest_docker();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("one.env", "# a comment\nFOO=one\nBAR=b=c\nN\n"), ("two.env", "FOO=two\nEMPTY=\n")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut wrong = Vec::new();
    for text in FILES {
        std::fs::write(folder.path().join("f.yml"), text).unwrap();
        let both = |words: &[&str]| (in_folder(&docker, folder.path(), words), in_folder(Path::new(WSW), folder.path(), words));
        for words in [&["stack", "config", "-c", "f.yml"][..], &["stack", "config", "--skip-interpolation", "-c", "f.yml"]] {
            let (theirs, ours) = both(words);
            if !same(&theirs, &ours) {
                wrong.push(format!("=== {text}\n{theirs}\n{ours}"));
            }
        }
    }
    std::fs::write(folder.path().join("a.yml"), BASE).unwrap();
    std::fs::write(folder.path().join("b.yml"), OVER).unwrap();
    std::fs::write(folder.path().join("old.yml"), "version: '3.7'\nservices: {w: {image: a}}").unwrap();
    for words in [&["-c", "a.yml", "-c", "b.yml"][..], &["-c", "b.yml,a.yml"], &["-c", "a.yml", "-c", "old.yml"], &["-c", "nosuch.yml"]] {
        let words = [&["stack", "config"], words].concat();
        let (theirs, ours) = (in_folder(&docker, folder.path(), &words), in_folder(Path::new(WSW), folder.path(), &words));
        if !same(&theirs, &ours) {
            wrong.push(format!("=== {words:?}\n{theirs}\n{ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where the parsers word it differently: refused all the same, with the line.
#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, at| {
        format!("{text}a{at}: &a{at} [{}]\n", vec![format!("*a{}", at - 1); 10].join(", "))
    });
    for (text, named) in [
        ("services:\n  w:\n    image: a\n   b: c", "yaml: line 4"),
        ("services:\n\tw: 1", "yaml: line 2"),
        ("a: [1", "yaml: line"),
        ("a: @1", "yaml: line 1"),
        ("a: \"x", "yaml: line"),
        ("a: *b", "anchor"),
        ("services:\n  5: {image: a}", "line 2: the key 5 must be a string"),
        (bomb.as_str(), "excessive aliasing"),
    ] {
        std::fs::write(folder.path().join("f.yml"), text).unwrap();
        let ours = in_folder(Path::new(WSW), folder.path(), &["stack", "config", "-c", "f.yml"]);
        assert_eq!(ours.code, 1, "{ours}");
        assert!(ours.clone().failed().contains(named), "{named}: {ours}");
    }
}

/// All that a stack uses, in the file's spellings.
fn shop(image: &str, ports: [u16; 2], more: &str) -> String {
    let [first, second] = ports;
    format!(
        r#"version: "3.8"
x-env: &env {{SHARED: "1", FROM: "${{HOME_TOWN:-nowhere}}"}}
services:
  web:
    image: {image}
    entrypoint: /x
    command: ["a", "b c"]
    environment: {{<<: *env, OWN: "$$x"}}
    ports: ["{first}:80", {{target: 81, published: {second}, mode: host, protocol: udp}}]
    labels: {{team: a}}
    hostname: h
    user: "1000:1000"
    working_dir: /srv
    stop_grace_period: 1m30s
    stop_signal: SIGINT
    read_only: true
    tty: false
    init: true
    volumes: ["data:/data:ro", "/srv:/srv:ro", {{type: tmpfs, target: /t, tmpfs: {{size: 1000000}}}}, {{type: volume, source: named, target: /n, volume: {{nocopy: true}}}}]
    networks: {{front: {{aliases: [page]}}, default: null}}
    logging: {{driver: json-file, options: {{max-size: 1m}}}}
{more}    deploy:
      replicas: 0
      labels: {{tier: front}}
      endpoint_mode: vip
      resources: {{limits: {{cpus: "0.5", memory: 64M}}, reservations: {{memory: 16M}}}}
      restart_policy: {{condition: on-failure, delay: 3s, max_attempts: 4, window: 1m}}
      update_config: {{parallelism: 2, delay: 5s, order: start-first, failure_action: continue, max_failure_ratio: 0.3, monitor: 7s}}
      rollback_config: {{parallelism: 3}}
      placement: {{constraints: [node.role == manager], preferences: [{{spread: node.labels.zone}}], max_replicas_per_node: 3}}
  every:
    image: {image}
    restart: always
    deploy: {{mode: global, placement: {{constraints: [node.labels.none == here]}}}}
networks:
  front: {{driver: overlay, attachable: true, labels: {{zone: dmz}}}}
volumes:
  data: {{labels: {{keep: "yes"}}}}
  named: {{name: own-name, driver: local}}
"#
    )
}

/// What this version of the daemon does not serve and stacks have.
const MORE: &str = "    healthcheck: {test: curl, interval: 1m30s, timeout: 1s, retries: 3, start_period: 5s}
    extra_hosts: [\"db:10.0.0.9\"]
    dns: [10.0.0.53]
    dns_search: example.com
    cap_add: [net_admin]
    cap_drop: [CHOWN]
    sysctls: {net.core.somaxconn: 512}
    ulimits: {nofile: 100, nproc: {soft: 1, hard: 2}}
    credential_spec: {file: x}
    isolation: process
    stdin_open: true
";

/// Answers a client as an empty swarm would, and keeps what it sends.
fn recorder(folder: &Path, name: &str) -> (String, std::sync::mpsc::Receiver<(String, Value)>) {
    let socket = folder.join(name);
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (send, sent) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let send = send.clone();
            std::thread::spawn(move || record(stream, &send));
        }
    });
    (format!("unix://{}", socket.display()), sent)
}

/// One connection: requests one after the other.
fn record(stream: std::os::unix::net::UnixStream, send: &std::sync::mpsc::Sender<(String, Value)>) -> Option<()> {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut request, mut length) = (String::new(), 0);
        reader.read_line(&mut request).ok().filter(|read| *read > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let path =
            request.split(' ').nth(1)?.split('?').next()?.trim_start_matches("/v1.").trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').to_owned();
        let (status, answer) = match (request.split(' ').next()?, path.as_str()) {
            ("POST", _) => {
                send.send((path.clone(), serde_json::from_slice(&body).unwrap_or_default())).ok()?;
                ("201 Created", r#"{"Id":"made","ID":"made"}"#)
            }
            (_, "/info") => ("200 OK", r#"{"Swarm":{"ControlAvailable":true}}"#),
            (_, "/_ping") => ("200 OK", "OK"),
            ("GET", "/services" | "/networks") => ("200 OK", "[]"),
            ("GET", "/secrets") => ("200 OK", r#"[{"ID":"s1","Spec":{"Name":"STACK_key"}},{"ID":"s2","Spec":{"Name":"there"}}]"#),
            ("GET", "/configs") => ("200 OK", r#"[{"ID":"c1","Spec":{"Name":"STACK_page"}}]"#),
            _ => ("404 Not Found", r#"{"message":"not here"}"#),
        };
        let body = if request.starts_with("HEAD") { "" } else { answer };
        let head = format!("HTTP/1.1 {status}\r\nApi-Version: 1.50\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        writer.write_all(head.as_bytes()).ok()?;
    }
}

/// A body without what says nothing: Go sends some of it, and Rust some else.
fn bare(value: Value) -> Value {
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    match value {
        Value::Object(map) => {
            map.into_iter().map(|(key, value)| (key, bare(value))).filter(|(_, value)| !says_nothing(value)).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(bare).collect(),
        other => other,
    }
}

/// All that a file can ask for arrives as docker sends it, whether this daemon serves it or not.
#[test]
fn both_clients_send_the_same() {
    let docker = newest_docker();
    let folder = tempfile::tempdir().unwrap();
    for name in ["key.txt", "page.html"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let files = "    secrets: [key, {source: there, target: /x, uid: \"5\", mode: 0400}]\n    configs: [page]\n";
    let objects = "secrets: {key: {file: ./key.txt, labels: {a: b}}, there: {external: true}}\nconfigs: {page: {file: ./page.html}}\n";
    let text = shop("reg.example/app:1", [8080, 8081], &format!("{MORE}{files}")) + objects;
    std::fs::write(folder.path().join("s.yml"), text).unwrap();
    let sent_by = |program: &Path, name: &str| {
        let (host, sent) = recorder(folder.path(), name);
        let words = ["-H", &host, "stack", "deploy", "--detach=true", "--resolve-image", "never", "-c", "s.yml", "STACK"];
        run(Command::new(program).args(words).current_dir(folder.path()).env_remove("DOCKER_HOST")).ok();
        let mut all: Vec<(String, Value)> = sent.try_iter().map(|(path, body)| (path, bare(body))).collect();
        // docker goes through its maps by chance.
        all.sort_by_key(|(path, body)| format!("{path} {}", body["Name"]));
        all
    };
    let (theirs, ours) = (sent_by(&docker, "d"), sent_by(Path::new(WSW), "w"));
    assert_eq!(theirs.len(), 6, "two networks, a secret, a config, two services: {theirs:#?}");
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

/// The spec of a service, free of the stack's name and of what differs by chance.
fn spec(node: &Node, stack: &str, service: &str) -> Value {
    let text = node.json(&format!("/services/{stack}_{service}"))["Spec"].to_string();
    let mut text = text.replace(&format!("{stack}_"), "STACK_").replace(&format!("\"{stack}\""), "\"STACK\"");
    for network in node.json("/networks").as_array().into_iter().flatten() {
        let name = network["Name"].as_str().unwrap_or_default().replace(&format!("{stack}_"), "STACK_");
        text = text.replace(network["Id"].as_str().unwrap_or_default(), &name);
    }
    serde_json::from_str(&text).unwrap()
}

/// Lists and refusals about the same stack, word by word.
fn said_alike(node: &Node, docker: &Path, file: &str) {
    for typed in [
        &["stack", "ls"][..],
        &["stack", "ls", "--format", "json"],
        &["stack", "ls", "--format", "{{.Name}}={{.Services}}"],
        &["stack", "ls", "--format", "{{.Nosuch}}"],
        &["stack", "services", "theirs"],
        &["stack", "services", "-q", "theirs"],
        &["stack", "services", "--filter", "name=theirs_web", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}", "theirs"],
        &["stack", "services", "--filter", "nosuch=1", "theirs"],
        &["stack", "services", "nosuch"],
        &["stack", "ps", "nosuch"],
        &["stack", "ps", "theirs"],
        &["stack", "rm", "nosuch"],
        &["stack", "rm"],
        &["stack", "ps", "' '"],
        &["stack", "deploy", "x"],
        &["stack", "deploy", "--resolve-image", "sometimes", "-c", file, "x"],
    ] {
        let (docker_said, wsw_said) = (run(&mut node.client(docker, typed)), node.wsw(typed));
        let words = |text: &str| text.replace("docker", "wsw").to_lowercase();
        assert_eq!((wsw_said.code, &wsw_said.out, words(&wsw_said.err)), (docker_said.code, &docker_said.out, words(&docker_said.err)), "{typed:?}");
    }
}

#[test]
fn both_clients_deploy_the_same() {
    let docker = newest_docker();
    let node = Node::swarm();
    let folder = tempfile::tempdir().unwrap();
    let archive = image_tar(folder.path(), "hello", &guest("hello_http"));
    node.wsw(&["load", "-i", &archive.to_string_lossy()]).ok();
    let image = node.wsw(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().trim().to_owned();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    // A port is one service's: each stack has its own, and they are left out of the comparison.
    let (theirs, ours) = (file("t.yml", shop(&image, [0; 2].map(|_| free_tcp_port()), "")), file("o.yml", shop(&image, [0; 2].map(|_| free_tcp_port()), "")));
    let published = |mut spec: Value| {
        for port in spec["EndpointSpec"]["Ports"].as_array_mut().into_iter().flatten() {
            assert!(port["PublishedPort"].take().is_u64(), "{port}");
        }
        spec
    };
    for resolve in ["never", "changed", "always"] {
        let words = |file: &str, stack: &str| ["stack", "deploy", "--resolve-image", resolve, "-c", file, stack].map(str::to_owned).to_vec();
        let run_with = |program: &Path, words: Vec<String>| run(&mut node.client(program, &words.iter().map(String::as_str).collect::<Vec<_>>()));
        let said_theirs = run_with(&docker, words(&theirs, "theirs"));
        let said_ours = run_with(Path::new(WSW), words(&ours, "ours"));
        assert_eq!((said_theirs.code, said_ours.code), (0, 0), "{said_theirs}\n{said_ours}");
        let lines = |run: &Run, stack: &str| {
            let text = run.out.replace(stack, "STACK");
            // The id of a service that is updated; and docker goes through its maps by chance.
            let mut lines: Vec<String> = text.lines().map(|line| line.split(" (id").next().unwrap_or_default().to_owned()).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&said_ours, "ours"), lines(&said_theirs, "theirs"));
        assert!(said_ours.err.contains("Ignoring unsupported options: restart\n\n") && said_ours.err.contains("Since --detach=false was not specified"));
        for service in ["web", "every"] {
            assert_eq!(published(spec(&node, "ours", service)), published(spec(&node, "theirs", service)), "{resolve} {service}");
        }
    }
    let networks = |stack: &str| {
        let name = format!("{stack}_front");
        let mut network = node.json(&format!("/networks/{name}"));
        [network["Labels"].take(), network["Driver"].take(), network["Attachable"].take()].map(|value| value.to_string().replace(stack, "STACK"))
    };
    assert_eq!(networks("ours"), networks("theirs"));
    said_alike(&node, &docker, &theirs);
    assert_eq!(node.wsw(&["stack", "rm", "ours", "theirs"]).ok().lines().filter(|line| line.starts_with("Removing service")).count(), 4);
    assert_eq!(node.wsw(&["stack", "ls", "-q"]).code, 125, "docker has no -q there");
}

#[test]
fn a_stack_lives_and_goes() {
    let node = Node::swarm();
    let folder = tempfile::tempdir().unwrap();
    let archive = image_tar(folder.path(), "hello", &guest("hello_http"));
    node.wsw(&["load", "-i", &archive.to_string_lossy()]).ok();
    let image = node.wsw(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().trim().to_owned();
    let (port, path) = (free_tcp_port(), folder.path().join("s.yml"));
    let file = path.to_string_lossy().into_owned();
    let text = |services: &str| format!("services:\n  web: {{image: '{image}', ports: ['{port}:80'], deploy: {{replicas: 2}}}}\n{services}");
    std::fs::write(&path, text(&format!("  gone: {{image: '{image}'}}\n"))).unwrap();
    let deploy = |words: &[&str]| node.wsw(&[&["stack", "deploy", "--resolve-image", "never"], words, &["-c", &file, "shop"]].concat());
    let said = deploy(&["--detach=false", "-q"]).ok();
    assert!(said.contains("Creating network shop_default\n") && said.contains("Creating service shop_web\n"), "{said}");
    // Everything runs before the prompt is back.
    assert_eq!((node.running("shop_web").len(), node.running("shop_gone").len()), (2, 1));
    harness::get(port, "/").unwrap();
    let before = node.running("shop_web");
    deploy(&["--detach=true"]).ok();
    assert_eq!(node.running("shop_web"), before, "once more changes nothing");
    std::fs::write(&path, text("")).unwrap();
    assert!(deploy(&["--prune"]).ok().contains("Removing service shop_gone\n"));
    assert_eq!(node.wsw(&["stack", "ls", "--format", "{{.Name}} {{.Services}}"]).ok(), "shop 1\n");
    assert_eq!(node.wsw(&["stack", "ps", "-q", "shop", "--filter", "desired-state=running"]).ok().lines().count(), 2);
    // From standard input, as `-c -`.
    let mut child = Command::new(WSW);
    let typed = child.args(["-H", &node.host(), "stack", "deploy", "--resolve-image", "never", "-c", "-", "piped"]);
    let mut child = typed.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("services: {{one: {{image: '{image}'}}}}").as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    node.wait_running("piped_one", 1);
    let removed = node.wsw(&["stack", "rm", "--detach=false", "shop", "piped", "nosuch"]);
    assert_eq!(removed.code, 0, "{removed}");
    assert!(removed.err.contains("Nothing found in stack: nosuch"), "{removed}");
    until("all to be gone", || match (node.json("/networks"), node.json("/services")) {
        (networks, services) if networks == json!([]) && services == json!([]) => Ok(()),
        (networks, services) => Err(format!("{networks} {services}")),
    });
}

/// A fault in one service, and what the daemon does not have, change nothing.
#[test]
fn a_bad_file_deploys_nothing() {
    let docker = newest_docker();
    let node = Node::swarm();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    let path = folder.path().join("f.yml");
    let file = path.to_string_lossy().into_owned();
    for (text, named) in [
        ("services: {w: {image: a}, v: {command: b}}", "invalid image reference for service v: no image specified"),
        ("services: {w: {image: 'A B'}}", "invalid image reference for service w: invalid reference format"),
        ("services: {w: {image: a, mem_limit: 5m}}", "compose file contains unsupported options:\n\nmem_limit: Set resource limits using deploy.resources\n"),
        ("services: {w: {image: a, networks: [x]}}\nnetworks: {x: {external: true}}", "network \"x\" is declared as external, but could not be found"),
        ("services: {w: {image: a, deploy: {mode: x}}}", "unknown mode: x"),
        ("services: {w: {image: a, networks: [nosuch]}}", "undefined network \"nosuch\""),
        ("services: {w: {image: a, volumes: ['nosuch:/a']}}", "undefined volume \"nosuch\""),
        ("services: {w: {image: a, secrets: [nosuch]}}", "undefined secret \"nosuch\""),
        ("services: {w: {image: a, deploy: {resources: {limits: {cpus: x}}}}}", "failed to parse x as a rational number"),
        ("services: {w: {image: a, restart: sometimes}}", "unknown restart policy: sometimes"),
        ("services: {w: {image: a, healthcheck: {disable: true, test: x}}}", "test and disable can't be set at the same time"),
        ("services: {w: {image: a, volumes: [{type: tmpfs, source: x, target: /t}]}}", "invalid tmpfs source, source must be empty"),
        ("services: {w: {image: a, volumes: [{type: odd, target: /t}]}}", "volume type must be volume, bind, tmpfs, npipe, or cluster"),
        ("services: {w: {image: a, deploy: {mode: global, replicas: 2}}}", "replicas can only be used with replicated or replicated-job mode"),
        ("services: {w: {image: a, secrets: [s]}}\nsecrets: {s: {file: ./nosuch}}", "nosuch: no such file or directory"),
        ("services: {w: {image: a, secrets: [s]}}\nsecrets: {s: {file: ./secret}}", "secrets"),
    ] {
        std::fs::write(&path, text).unwrap();
        let words = ["stack", "deploy", "--detach=true", "--resolve-image", "never", "-c", &file, "bad"];
        let ours = node.wsw(&words);
        assert_eq!(ours.code, 1, "{text}: {ours}");
        assert!(ours.err.contains(named), "{named}: {ours}");
        assert_eq!(node.json("/services"), json!([]), "{text}");
        let theirs = run(&mut node.client(&docker, &words));
        // Newer clients begin their errors in small letters.
        assert_eq!((theirs.code, theirs.err.replace("docker", "wsw").to_lowercase()), (ours.code, ours.err.to_lowercase()), "{text}");
        node.wsw(&["stack", "rm", "bad"]).ok();
    }
    let outside = Node::start();
    std::fs::write(&path, "services: {w: {image: a}}").unwrap();
    assert!(outside.wsw(&["stack", "deploy", "-c", &file, "x"]).failed().contains("this node is not a swarm manager"));
}
