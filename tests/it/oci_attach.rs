//! `docker attach` with input, with every client: services that keep their containers' input open, terminals with their size and the keys that leave them, signals, and a daemon that
//! starts again.

use crate::harness::containers::infinite;
use crate::harness::{self, BOUND, Follow, Node, clients, is_root, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A node with the image.
fn node() -> Node {
    let node = Node::swarm();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node
}

/// A service of one container that runs this script; what more its container's specification says.
fn serve(node: &Node, name: &str, script: &str, more: &Value) -> String {
    let mut container = json!({"Image": "eon01/infinite", "Command": ["busybox", "sh", "-c", script]});
    for (key, value) in more.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    let body = json!({"Name": name, "TaskTemplate": {"ContainerSpec": container, "RestartPolicy": {"Condition": "none"}}});
    let answer = harness::over_unix(&node.socket(), "POST", "/services/create", body.to_string().as_bytes()).expect("the daemon answers");
    assert_eq!(answer.status, 201, "{answer:?}");
    container_of(node, name)
}

fn container_of(node: &Node, name: &str) -> String {
    until("the container", || match node.wsw(&["ps", "-q", "--no-trunc", "--filter", &format!("name={name}.")]).ok().trim() {
        "" => Err("none yet".to_owned()),
        id => Ok(id.to_owned()),
    })
}

/// A client that is attached, its input and output in our hands. Killed when dropped.
struct Attached {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    seen: Vec<u8>,
    name: String,
}

impl Attached {
    fn start(node: &Node, client: &Path, words: &[&str]) -> Self {
        let mut command = hung_up_on(&node.client(client, &[&["attach"], words].concat()));
        Self::of(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// The same on a terminal of its own, of 33 rows and 99 columns.
    fn on_a_terminal(node: &Node, client: &Path, words: &[&str]) -> Self {
        let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let line = format!("stty rows 33 cols 99; exec '{}' -H '{}' attach {words}", client.display(), node.host());
        let mut command = Command::new("timeout");
        command.args([&BOUND.as_secs().to_string(), "script", "-q", "-e", "-c", &line, "/dev/null"]);
        Self::of(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
    }

    fn of(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command.spawn().expect("the client starts");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        Self { child, stdin, stdout, seen: Vec::new(), name }
    }

    fn types(&mut self, text: &[u8]) {
        let stdin = self.stdin.as_mut().expect("it is open");
        stdin.write_all(text).and_then(|()| stdin.flush()).expect("it reads");
    }

    fn shows(&mut self, mark: &str) {
        let mut byte = [0];
        while !String::from_utf8_lossy(&self.seen).contains(mark) {
            let read = self.stdout.read(&mut byte).expect("it is a pipe");
            if read == 0 {
                let mut said = String::new();
                if let Some(stderr) = &mut self.child.stderr {
                    let _ = stderr.read_to_string(&mut said);
                }
                let (code, seen) = (self.child.wait(), String::from_utf8_lossy(&self.seen));
                panic!("the client ({}) ended before {mark:?}: {code:?} {seen:?} {said:?}", self.name);
            }
            self.seen.push(byte[0]);
        }
    }

    /// Its own end.
    fn ends(mut self) -> (String, i32) {
        self.stdout.read_to_end(&mut self.seen).expect("it is a pipe");
        let code = ended(&mut self.child);
        (String::from_utf8_lossy(&self.seen).into_owned(), code)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same command, for which SIGHUP is what it usually is: who runs tests with `nohup` has it ignored by all their processes.
fn hung_up_on(command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg("--default-signal=HUP").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => env.env(name, value),
            None => env.env_remove(name),
        };
    }
    env
}

fn ended(child: &mut Child) -> i32 {
    until("the client to end", || child.try_wait().expect("it is ours").ok_or_else(|| "it runs".to_owned())).code().unwrap_or(-1)
}

/// Waits until a client is attached: until its event came.
fn attach(events: &Follow, start: impl FnOnce() -> Attached) -> Attached {
    let attached = start();
    events.line("the client to be attached", |line| line == "attach");
    attached
}

fn events(node: &Node) -> Follow {
    let words = ["events", "--since", "1h", "--filter", "type=container", "--format", "{{.Action}}"];
    Follow::start(&mut node.client(Path::new(env!("CARGO_BIN_EXE_wsw")), &words))
}

const ECHO: &str = "while read -r line; do echo \"got $line\"; done; echo over";

#[test]
fn what_is_typed_reaches_the_container_and_goes_on_after_a_daemon() {
    if !is_root() {
        return;
    }
    let mut node = node();
    let id = serve(&node, "echo", ECHO, &json!({"OpenStdin": true}));
    let told = events(&node);
    for (number, client) in clients().iter().enumerate() {
        let mut first = attach(&told, || Attached::start(&node, client, &[&id]));
        first.types(format!("one {number}\n").as_bytes());
        first.shows(&format!("got one {number}\n"));
        // A second one sees the same, and either may go.
        let mut second = attach(&told, || Attached::start(&node, client, &[&id[..12]]));
        second.types(b"two\n");
        second.shows("got two\n");
        first.shows("got two\n");
        drop(first);
        second.types(b"three\n");
        second.shows("got three\n");
        // An input that ends is not the container's.
        drop(second.stdin.take());
        drop(second);
        // Without input, and with another's.
        let mut looks = attach(&told, || Attached::start(&node, client, &["--no-stdin", &id]));
        let mut types = attach(&told, || Attached::start(&node, client, &[&id]));
        types.types(b"four\n");
        looks.shows("got four\n");
    }
    assert!(node.wsw(&["logs", &id]).ok().contains("got four"), "the log has it, too");
    node.kill();
    node.restart();
    until("the container to be known", || {
        let found = harness::over_unix(&node.socket(), "GET", &format!("/containers/{id}/json"), b"");
        found.ok().filter(|found| found.status == 200 && found.json()["State"]["Running"] == true).map(drop).ok_or_else(|| "not yet".to_owned())
    });
    let told = events(&node);
    for client in &clients() {
        let mut later = attach(&told, || Attached::start(&node, client, &[&id]));
        later.types(b"after all\n");
        later.shows("got after all\n");
    }
    assert_eq!(container_of(&node, "echo"), id, "it never read an end");
}

#[test]
fn terminals_are_typed_on_sized_and_left() {
    if !is_root() {
        return;
    }
    let node = node();
    for (number, client) in clients().iter().enumerate() {
        let name = format!("term{number}");
        let id = serve(&node, &name, "while :; do read -r line; eval \"$line\"; done", &json!({"OpenStdin": true, "TTY": true}));
        for (words, keys) in [(vec![id.as_str()], &b"\x10\x11"[..]), (vec!["--detach-keys", "ctrl-x,x", &id], b"\x18x")] {
            let mut attached = Attached::on_a_terminal(&node, client, &words);
            attached.types(b"echo $((6*7)) $TERM\n");
            attached.shows("42 xterm");
            attached.types(b"until test \"$(busybox stty size)\" = \"33 99\"; do sleep 1; done; echo sized\n");
            attached.shows("\nsized");
            attached.types(keys);
            let (shown, code) = attached.ends();
            assert!(code == 1 && (shown.contains("read escape sequence") || !shown.contains("rror")), "{code}: {shown}");
        }
        let (status, _) = post(&node, &format!("/containers/{id}/resize?h=7&w=8"));
        assert_eq!(status, 200);
        let mut last = Attached::on_a_terminal(&node, client, &[&id]);
        last.types(b"echo here; exit 5\n");
        last.shows("here");
        let (shown, code) = last.ends();
        assert_eq!(code, 5, "{shown}");
    }
}

fn post(node: &Node, path: &str) -> (u16, String) {
    let answer = harness::over_unix(&node.socket(), "POST", path, b"").expect("the daemon answers");
    (answer.status, answer.body)
}

#[test]
fn signals_go_to_the_container_and_what_asks_for_no_input_gets_none() {
    if !is_root() {
        return;
    }
    let node = node();
    let id = serve(&node, "box", "trap 'echo hup' HUP; read -r line && echo \"got $line\"; echo ready; while :; do sleep 1; done", &json!({}));
    // A signal before its own program runs would end it.
    until("it to be ready", || Some(node.wsw(&["logs", &id]).out).filter(|log| log.contains("ready")).map(drop).ok_or_else(|| "not yet".to_owned()));
    let told = events(&node);
    for (number, client) in clients().iter().enumerate() {
        let mut attached = attach(&told, || Attached::start(&node, client, &[&id]));
        let pid = attached.child.id() as i32;
        harness::kill(pid, rustix::process::Signal::HUP);
        attached.shows("hup\n");
        let mut deaf = attach(&told, || Attached::start(&node, client, &["--sig-proxy=false", &id]));
        harness::kill(deaf.child.id() as i32, rustix::process::Signal::HUP);
        ended(&mut deaf.child);
        assert_eq!(node.wsw(&["logs", &id]).ok().matches("hup").count(), number + 1, "it is the client that ends");
    }
    // A client of its own that sends input all the same.
    let mut stream = UnixStream::connect(node.socket()).expect("the daemon listens");
    let head = format!("POST /containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the daemon reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the daemon answers");
        answer.push(byte[0]);
    }
    stream.write_all(b"ignored\n").expect("the daemon reads");
    node.wsw(&["kill", "-s", "HUP", &id]).ok();
    let mut frame = [0; 12];
    stream.read_exact(&mut frame).expect("a frame");
    assert_eq!(&frame, b"\x01\0\0\0\0\0\0\x04hup\n");
    let log = node.wsw(&["logs", &id]).ok();
    assert!(log.contains("ready") && !log.contains("got"), "{log}");
    for (path, status, said) in [
        ("/containers/nosuch/attach?stream=1".to_owned(), 404, "No such container: nosuch"),
        (format!("/containers/{id}/attach?stream=1&detachKeys=ctrl-1"), 400, "Invalid escape keys (ctrl-1) provided"),
        (format!("/containers/{id}/resize?h=x&w=1"), 400, "invalid value for"),
        ("/containers/nosuch/resize?h=1&w=1".into(), 404, "No such container: nosuch"),
    ] {
        let (found, body) = post(&node, &path);
        assert!(found == status && body.contains(said), "{path}: {found} {body}");
    }
    node.wsw(&["stop", "-t", "0", &id]).ok();
    for path in [format!("/containers/{id}/resize?h=1&w=1"), format!("/containers/{id}/attach?stream=1")] {
        let (found, body) = post(&node, &path);
        assert!(found == 409 && body.contains("is not running"), "{path}: {found} {body}");
    }
}
