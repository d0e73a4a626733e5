//! `docker exec` in containers, with every client: codes, streams, users, terminals, many at once, and what becomes of a command when its client, its container or the daemon goes.

use crate::harness::containers::{contained, infinite};
use crate::harness::{self, BOUND, Follow, Node, Run, clients, is_root, run, run_with_input, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// A node with one container of the article's image, and its id.
fn node_with(arguments: &[&str]) -> (Node, String) {
    let node = Node::swarm();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node.wsw(&[&["service", "create", "--name", "box", "--restart-delay", "0s"], arguments, &["eon01/infinite"]].concat()).ok();
    let id = container(&node);
    (node, id)
}

fn container(node: &Node) -> String {
    node.wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned()
}

fn exec(node: &Node, client: &Path, words: &[&str]) -> Run {
    run(&mut node.client(client, &[&["exec"], words].concat()))
}

/// The same with input, which ends.
fn exec_with_input(node: &Node, client: &Path, words: &[&str], input: Vec<u8>) -> (Vec<u8>, i32) {
    run_with_input(&mut node.client(client, &[&["exec"], words].concat()), &input)
}

#[test]
fn codes_streams_users_and_folders() {
    if !is_root() {
        return;
    }
    let (node, id) = node_with(&["--env", "WHO=service", "--user", "web", "--workdir", "/www"]);
    let name = node.wsw(&["ps", "--format", "{{.Names}}"]).ok().trim().to_owned();
    for client in &clients() {
        let exec = |words: &[&str]| exec(&node, client, words);
        assert_eq!((exec(&[&id, "true"]).code, exec(&[&id[..12], "sh", "-c", "exit 7"]).code), (0, 7));
        assert_eq!(exec(&[&id, "sh", "-c", "kill -9 $$"]).code, 137);
        for (words, code, said) in [
            (
                &["nosuch"][..],
                127,
                // runc says "exec failed: " before it.
                "unable to start container process: exec: \"nosuch\": executable file not found in $PATH: unknown",
            ),
            (&["/etc/passwd"], 126, "exec: \"/etc/passwd\": permission denied: unknown"),
        ] {
            let ended = exec(&[&[id.as_str()], words].concat());
            assert!(ended.code == code && format!("{}{}", ended.out, ended.err).contains(said), "{ended}");
        }
        let both = exec(&[&name, "sh", "-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!((both.code, both.out.as_str(), both.err.as_str()), (3, "out\n", "err\n"));
        // The container's own user, folder and environment, and others.
        assert_eq!(exec(&[&id, "sh", "-c", "id -u; echo $PWD $WHO $HOME"]).ok(), "33\n/www service /www\n");
        let other = exec(&["-u", "root:logs", "-w", "/tmp", "-e", "WHO=me", "-e", "B=1", &id, "sh", "-c", "id -u; id -g; echo $PWD $WHO $B"]).ok();
        assert_eq!(other, "0\n50\n/tmp me 1\n");
        let file = node.folder().join("env");
        std::fs::write(&file, "# no\nFROM=file\nWHO=file\n").expect("the folder is ours");
        assert_eq!(exec(&["--env-file", &file.to_string_lossy(), "-e", "WHO=flag", &id, "sh", "-c", "echo $FROM $WHO"]).ok(), "file flag\n");
        // What the container may not do its commands may not do, but privileged ones.
        let caps = |words: &[&str]| {
            let shown = exec(&[words, &[&id, "sh", "-c", "while read a b; do test $a = CapEff: && echo $b; done < /proc/self/status; true"]].concat()).ok();
            u64::from_str_radix(shown.trim(), 16).expect("a number").count_ones()
        };
        assert_eq!((caps(&[]), caps(&["-u", "root"])), (0, 14));
        assert!(caps(&["-u", "root", "--privileged"]) > 30);
        // Input is read to its end, whatever it is.
        let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        let (out, code) = exec_with_input(&node, client, &["-i", &id, "cat"], input.clone());
        assert!(out == input && code == 0, "{} of {} bytes, code {code}", out.len(), input.len());
        let (out, code) = exec_with_input(&node, client, &["-i", &id, "sh", "-c", "read a; echo got $a"], b"one\ntwo\n".to_vec());
        assert_eq!((String::from_utf8_lossy(&out).as_ref(), code), ("got one\n", 0));
        assert_eq!(exec(&[&id, "cat"]).ok(), "", "without -i there is no input");
        for (words, code, said) in [
            (&["nosuch", "true"][..], 1, "No such container: nosuch"),
            (&["-u", "nobody9", &id, "true"], 126, "unable to find user nobody9: no matching entries in passwd file"),
            (&["-w", "/nope", &id, "true"], 127, "/nope"),
            (&["--detach-keys", "ctrl-1", &id, "true"], 1, "Invalid escape keys (ctrl-1) provided"),
            (&["-it", &id, "true"], 1, "TTY"),
        ] {
            let refused = exec(words);
            assert!(refused.code == code && format!("{}{}", refused.out, refused.err).contains(said), "{words:?}: {refused}");
        }
    }
}

/// What a client shows on a terminal of its own; `typed` is what its user types once it shows `mark`.
fn on_a_terminal(node: &Node, client: &Path, words: &[&str], mark: &str, typed: &[u8]) -> (String, i32) {
    let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let line = format!("stty rows 33 cols 99; exec '{}' -H '{}' {words}", client.display(), node.host());
    let mut command = Command::new("timeout");
    command.args([&BOUND.as_secs().to_string(), "script", "-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("script is installed");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("it is piped"), child.stdout.take().expect("it is piped"));
    let (mut out, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&out).contains(mark) {
        assert!(stdout.read(&mut byte).expect("it is a pipe") > 0, "the client ended before {mark:?}: {}", String::from_utf8_lossy(&out));
        out.push(byte[0]);
    }
    stdin.write_all(typed).expect("it reads");
    stdout.read_to_end(&mut out).expect("it is a pipe");
    drop(stdin);
    (String::from_utf8_lossy(&out).into_owned(), child.wait().expect("it is ours").code().unwrap_or(-1))
}

#[test]
fn terminals_have_a_size_and_keys_to_leave_them() {
    if !is_root() {
        return;
    }
    let (node, id) = node_with(&[]);
    for client in &clients() {
        let script = "tty; read a; until test \"$(busybox stty size)\" = \"33 99\"; do sleep 1; done; echo sized $TERM; exit 5";
        let (shown, code) = on_a_terminal(&node, client, &["exec", "-it", &id, "sh", "-c", script], "/dev/pts/", b"\n");
        assert!(shown.contains("sized xterm") && code == 5, "{code}: {shown}");
        let script = "echo mark; sleep 7777";
        for (flags, keys) in [(&["exec", "-it"][..], &b"\x10\x11"[..]), (&["exec", "--detach-keys", "ctrl-x,x", "-it"], b"\x18x")] {
            let (shown, code) = on_a_terminal(&node, client, &[flags, &[&id, "sh", "-c", script]].concat(), "mark", keys);
            assert!(code == 1 && (shown.contains("read escape sequence") || !shown.contains("rror")), "{code}: {shown}");
        }
        let left = node.wsw(&["exec", &id, "ps"]).ok();
        assert!(left.matches("sleep 7777").count() >= 2, "who left ended nothing: {left}");
        node.wsw(&["exec", &id, "busybox", "killall", "sleep"]).ok();
    }
}

#[test]
fn many_at_once_and_without_waiting() {
    if !is_root() {
        return;
    }
    let (node, id) = node_with(&[]);
    let node = &node;
    for client in &clients() {
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..12)
                .map(|n| {
                    let id = &id;
                    scope.spawn(move || (n, exec(node, client, &[id, "sh", "-c", &format!("echo {n}; exit {n}")])))
                })
                .collect();
            for (n, ended) in runs.into_iter().map(|run| run.join().expect("it ends")) {
                assert_eq!((ended.code, ended.out), (n, format!("{n}\n")));
            }
        });
        assert_eq!(exec(node, client, &["-d", &id, "sh", "-c", "echo x >> /tmp/file"]).ok(), "");
    }
    let lines = || node.wsw(&["exec", &id, "cat", "/tmp/file"]).out.lines().count();
    until("what runs in the background to be done", || if lines() == clients().len() { Ok(()) } else { Err(lines().to_string()) });
    until("nothing but the container to be left", || match contained(node.data_root()).len() {
        1 => Ok(()),
        other => Err(format!("{other} processes")),
    });
}

/// Asks the daemon; the answer.
fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let answer = harness::over_unix(&node.socket(), "POST", path, body.to_string().as_bytes()).expect("the daemon answers");
    (answer.status, if answer.body.trim().is_empty() { Value::Null } else { answer.json() })
}

fn create(node: &Node, id: &str, body: &Value) -> String {
    let (status, answer) = post(node, &format!("/containers/{id}/exec"), body);
    assert_eq!(status, 201, "{answer}");
    answer["Id"].as_str().expect("an id").to_owned()
}

/// Starts a command on a connection of its own.
fn start(node: &Node, exec: &str) -> UnixStream {
    let mut stream = UnixStream::connect(node.socket()).expect("the daemon listens");
    let body = json!({"Detach": false, "Tty": false}).to_string();
    let head = format!(
        "POST /exec/{exec}/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the daemon reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the daemon answers");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// What is asked wrongly, or of what is not there.
fn refuses(node: &Node, id: &str) {
    for (path, body, status) in [
        (format!("/containers/{id}/exec"), json!({}), 400),
        (format!("/containers/{id}/exec"), json!({"Cmd": "true"}), 400),
        ("/containers/nosuch/exec".into(), json!({"Cmd": ["true"]}), 404),
        ("/exec/nosuch/start".into(), json!({}), 404),
        ("/exec/nosuch/resize?h=1&w=1".into(), json!({}), 404),
        ("/exec/nosuch/resize?h=x&w=1".into(), json!({}), 400),
    ] {
        let (found, answer) = post(node, &path, &body);
        assert!(found == status && answer["message"].as_str().is_some_and(|text| !text.is_empty()), "{path}: {found} {answer}");
    }
}

#[test]
fn a_command_is_seen_to_its_end_whoever_goes_first() {
    if !is_root() {
        return;
    }
    let (mut node, id) = node_with(&["--container-label", "team=a"]);
    let events = Follow::start(&mut node.client(
        Path::new(env!("CARGO_BIN_EXE_wsw")),
        &["events", "--since", "1h", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}"],
    ));
    let body = |script: &str| json!({"AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Cmd": ["sh", "-c", script]});
    // The client goes away: the command reads an end of its input and goes on.
    let left = create(&node, &id, &body("echo here; cat; echo gone > /tmp/gone; exit 4"));
    let shown = node.json(&format!("/exec/{left}/json"));
    assert_eq!((&shown["Running"], &shown["ExitCode"], &shown["ProcessConfig"]["entrypoint"]), (&json!(false), &Value::Null, &json!("sh")));
    let mut stream = start(&node, &left);
    let mut frame = [0; 13];
    stream.read_exact(&mut frame).expect("a frame");
    assert_eq!(&frame, b"\x01\0\0\0\0\0\0\x05here\n");
    let shown = node.json(&format!("/exec/{left}/json"));
    assert!(shown["Running"] == true && shown["Pid"].as_u64() > Some(0) && shown["ContainerID"] == id.as_str(), "{shown}");
    assert_eq!(post(&node, &format!("/exec/{left}/start"), &json!({"Detach": true})).0, 409, "it runs already");
    assert_eq!(node.json(&format!("/containers/{id}/json"))["ExecIDs"], json!([left]));
    drop(stream);
    let ended = |node: &Node, exec: &str| {
        until("the command to end", || match &node.json(&format!("/exec/{exec}/json")) {
            shown if shown["Running"] == false && !shown["ExitCode"].is_null() => Ok(shown["ExitCode"].as_i64()),
            shown => Err(shown.to_string()),
        })
    };
    assert_eq!(ended(&node, &left), Some(4));
    assert_eq!(node.wsw(&["exec", &id, "cat", "/tmp/gone"]).ok(), "gone\n");
    assert_eq!(post(&node, &format!("/exec/{left}/start"), &json!({"Detach": true})).0, 409, "it has already run");
    events.line("the creation", |line| line.starts_with("exec_create: sh -c echo here"));
    events.line("the start", |line| line.starts_with("exec_start: sh -c echo here"));
    events.line("the end", |line| line == "exec_die 4");
    // The daemon dies: the command goes on, and its end is known.
    let kept = create(&node, &id, &body("cat > /tmp/in; while ! test -e /tmp/end; do sleep 1; done; exit 6"));
    let mut stream = start(&node, &kept);
    stream.write_all(b"typed").expect("the daemon reads");
    until("what was typed to arrive", || match node.wsw(&["exec", &id, "cat", "/tmp/in"]).out.as_str() {
        "typed" => Ok(()),
        other => Err(other.to_owned()),
    });
    node.kill();
    node.restart();
    until("the command to be known", || match harness::over_unix(&node.socket(), "GET", &format!("/exec/{kept}/json"), b"") {
        Ok(answer) if answer.status == 200 && answer.json()["Running"] == true => Ok(()),
        other => Err(format!("{other:?}")),
    });
    node.wsw(&["exec", &id, "sh", "-c", "echo > /tmp/end"]).ok();
    assert_eq!(ended(&node, &kept), Some(6));
    // The container ends: so do its commands.
    let last = create(&node, &id, &body("sleep 7777"));
    let mut stream = start(&node, &last);
    node.wsw(&["kill", &id]).ok();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it ends");
    until("the replacement", || if container(&node) != id && !container(&node).is_empty() { Ok(()) } else { Err("none yet".into()) });
    let said = node.wsw(&["exec", &id, "true"]).failed();
    assert!(said.contains("is not running") || said.contains("No such container"), "{said}");
    refuses(&node, &container(&node));
}

#[test]
fn top_shows_the_processes_of_a_container() {
    if !is_root() {
        return;
    }
    let (node, id) = node_with(&[]);
    node.wsw(&["exec", "-d", &id, "sleep", "7777"]).ok();
    for client in &clients() {
        let top = |words: &[&str]| run(&mut node.client(client, &[&["top", &id], words].concat()));
        let plain = until("both processes", || {
            let shown = top(&[]).ok();
            if shown.lines().count() == 3 { Ok(shown) } else { Err(shown) }
        });
        assert!(plain.starts_with("UID") && plain.contains("tail -f /dev/null") && plain.contains("sleep 7777"), "{plain}");
        let chosen = top(&["-eo", "pid,comm"]).ok();
        assert!(chosen.starts_with("PID") && chosen.contains("COMMAND") && chosen.lines().count() == 3, "{chosen}");
        assert!(top(&["-eo", "comm"]).failed().contains("couldn't find PID field in ps output"));
        assert!(top(&["-eo", "comm=PID,pid"]).failed().contains("is not allowed"));
    }
}
