//! `login`, `logout` and what comes after, beside docker's client: the same words, the same file, the same helpers. Each client has a folder of its
//! own (`DOCKER_CONFIG`) and helpers on its path; what they keep is compared after each line.

use crate::harness::{self, Node, Registry, Run, guest, run};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Keeps one file for each server, in the folder that `KEPT` names; the server's name goes through `tr`.
const HELPER: &str = r#"#!/bin/sh
name() { printf %s "$1" | tr '/:' '__'; }
case $1 in
  get) read -r server; [ -f "$KEPT/$(name "$server")" ] || { echo 'credentials not found in native keychain'; exit 1; }; cat "$KEPT/$(name "$server")" ;;
  store) text=$(cat); server=$(printf %s "$text" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf %s "$text" >"$KEPT/$(name "$server")" ;;
  erase) read -r server; rm -f "$KEPT/$(name "$server")" ;;
  list) echo '{}' ;;
esac
"#;
const BROKEN: &str = "#!/bin/sh\necho 'the keychain is locked'\nexit 3\n";

/// One client with its folder.
struct Client {
    program: PathBuf,
    folder: PathBuf,
    helpers: PathBuf,
}

impl Client {
    fn new(node: &Node, program: PathBuf, name: &str, helpers: &Path) -> Self {
        let folder = node.folder().join(name);
        std::fs::create_dir_all(folder.join("kept")).expect("the folder is ours");
        Self { program, folder, helpers: helpers.to_owned() }
    }

    /// Through a shell, for what comes from standard input.
    fn run(&self, node: &Node, stdin: &str, words: &[&str]) -> Run {
        let path = format!("{}:{}", self.helpers.display(), std::env::var("PATH").unwrap_or_default());
        let mut command: Command = node.client(Path::new("sh"), &["-c", "printf %s \"$INPUT\" | \"$@\"", "sh"]);
        command.arg(&self.program).args(words).env("DOCKER_CONFIG", &self.folder).env("KEPT", self.folder.join("kept")).env("INPUT", stdin).env("PATH", path);
        let mut done = run(&mut command);
        let folder = self.folder.display().to_string();
        // The hint names the program.
        (done.out, done.err) = (done.out.replace(&folder, "FOLDER"), done.err.replace(&folder, "FOLDER").replace("'docker log", "'wsw log"));
        done
    }

    fn set(&self, config: &Value) {
        std::fs::write(self.folder.join("config.json"), config.to_string()).expect("the folder is ours");
    }

    /// The file, and what the helper keeps.
    fn kept(&self) -> (Value, Vec<(String, Value)>) {
        let read = |path: &Path| std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null);
        let kept = std::fs::read_dir(self.folder.join("kept")).expect("the folder is ours").flatten();
        let mut kept: Vec<_> = kept.map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(&entry.path()))).collect();
        kept.sort_by(|a, b| a.0.cmp(&b.0));
        (read(&self.folder.join("config.json")), kept)
    }
}

fn helpers(node: &Node) -> PathBuf {
    let folder = node.folder().join("helpers");
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    for (name, text) in [("good", HELPER), ("broken", BROKEN)] {
        let file = folder.join(format!("docker-credential-{name}"));
        std::fs::write(&file, text).expect("the folder is ours");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    folder
}

/// What the file holds before, what is typed, what comes from standard input.
type Line<'a> = (Option<Value>, Vec<&'a str>, &'static str);

fn lines<'a>(host: &'a str, image: &'a str) -> Vec<Line<'a>> {
    let (login, logout, pull) = (["login", host], ["logout", host], ["pull", "-q", image]);
    let at = |rest: &[&'static str]| [&["login"][..], rest, &[host]].concat();
    let config = Some;
    vec![
        (config(json!({})), pull.to_vec(), ""),
        (None, at(&["-u", "wendy", "-p", "wrong"]), ""),
        (None, at(&["-u", "wendy", "-p", "s3cret-pass"]), ""),
        (None, pull.to_vec(), ""),
        (None, login.to_vec(), ""),
        (None, logout.to_vec(), ""),
        (None, logout.to_vec(), ""),
        (None, pull.to_vec(), ""),
        (None, login.to_vec(), ""),
        (None, at(&["-u", "wendy", "--password-stdin"]), "s3cret-pass\n"),
        (None, at(&["-u", "wendy", "--password-stdin"]), "s3cret-pass\r\n"),
        (None, at(&["-u", "wendy", "--password-stdin"]), "wrong\n"),
        (None, at(&["-u", "wendy", "--password-stdin"]), ""),
        (None, at(&["--password-stdin"]), "s3cret-pass"),
        (None, at(&["-u", "wendy", "-p", "x", "--password-stdin"]), "s3cret-pass"),
        (None, at(&["-p", "x"]), ""),
        (None, vec!["logout", "nobody.example"], ""),
        (config(json!({"auths": {host: {"auth": "d2VuZHk6d3Jvbmc="}}})), login.to_vec(), ""),
        (None, at(&["-u", "wendy"]), ""),
        (None, pull.to_vec(), ""),
        (config(json!({"auths": {host: {"auth": "dTpw"}, format!("http://{host}"): {"auth": "dTpw"}}})), logout.to_vec(), ""),
        // Everything in a helper.
        (config(json!({"credsStore": "good"})), at(&["-u", "wendy", "--password-stdin"]), "s3cret-pass"),
        (None, pull.to_vec(), ""),
        (None, login.to_vec(), ""),
        (None, logout.to_vec(), ""),
        (None, pull.to_vec(), ""),
        // One registry in a helper, another's word in the file.
        (config(json!({"credHelpers": {host: "good"}, "auths": {"other.example": {"auth": "dTpw"}}})), at(&["-u", "wendy", "--password-stdin"]), "s3cret-pass"),
        (None, pull.to_vec(), ""),
        (None, logout.to_vec(), ""),
        // Helpers that do not help.
        (config(json!({"credsStore": "broken"})), at(&["-u", "wendy", "--password-stdin"]), "s3cret-pass"),
        (None, pull.to_vec(), ""),
        (None, logout.to_vec(), ""),
        (config(json!({"credsStore": "missing"})), at(&["-u", "wendy", "--password-stdin"]), "s3cret-pass"),
        (None, pull.to_vec(), ""),
        (None, logout.to_vec(), ""),
        // What is in the file and was never typed.
        (config(json!({"auths": {format!("http://{host}/v2/"): {"auth": "d2VuZHk6czNjcmV0LXBhc3M="}}})), pull.to_vec(), ""),
    ]
}

#[test]
fn every_line_does_what_docker_does() {
    let (node, registry) = (Node::swarm(), Registry::with_login());
    registry.artifact("private/sum", "1", &guest("sum"));
    let (host, helpers) = (registry.host(), helpers(&node));
    let image = format!("{host}/private/sum:1");
    let docker = Client::new(&node, harness::docker_clients().remove(0), "theirs", &helpers);
    let ours = Client::new(&node, env!("CARGO_BIN_EXE_wsw").into(), "ours", &helpers);
    let lines = lines(&host, &image);
    let mut wrong = Vec::new();
    for (config, words, stdin) in lines {
        if let Some(config) = &config {
            docker.set(config);
            ours.set(config);
        }
        let (theirs, mine) = (docker.run(&node, stdin, &words), ours.run(&node, stdin, &words));
        let shown = format!("{} < {stdin:?}", words.join(" ").replace(&host, "HOST"));
        if (theirs.code, &theirs.out, &theirs.err) != (mine.code, &mine.out, &mine.err) {
            wrong.push(format!("=== {shown}\n--- docker\n{theirs}--- wsw\n{mine}"));
        }
        if docker.kept() != ours.kept() {
            wrong.push(format!("=== {shown}: kept\n--- docker\n{:?}\n--- wsw\n{:?}", docker.kept(), ours.kept()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!node.log().contains("s3cret"), "a password is told");
}

#[test]
fn a_service_brings_what_a_helper_keeps() {
    let (node, registry) = (Node::swarm(), Registry::with_login());
    registry.artifact("private/sum", "1", &guest("sum"));
    let helpers = helpers(&node);
    let (client, host) = (Client::new(&node, env!("CARGO_BIN_EXE_wsw").into(), "ours", &helpers), registry.host());
    let image = format!("{host}/private/sum:1");
    client.set(&json!({"credHelpers": {&host: "good"}}));
    client.run(&node, "s3cret-pass", &["login", "-u", "wendy", "--password-stdin", &host]).ok();
    let create = |name: &str, flags: &[&str]| {
        let words = [&["service", "create", "-d", "--name", name, "--restart-condition", "none"][..], flags, &[&image, "1", "41"]].concat();
        client.run(&node, "", &words)
    };
    let warned = create("without", &[]);
    assert!(warned.err.contains("could not be accessed on a registry"), "{warned}");
    let task = node.wait_task("without", "rejected");
    assert!(task["Status"]["Err"].as_str().is_some_and(|reason| reason.contains("No such image")), "{task:#}");
    create("with", &["--with-registry-auth"]).ok();
    node.wait_task("with", "complete");
    let spec = node.wsw(&["service", "inspect", "with"]).ok();
    assert!(spec.contains("@sha256:") && !spec.contains("wendy"), "{spec}");
    // The helper knows nothing more: neither does the registry then.
    client.run(&node, "", &["logout", &host]).ok();
    let gone = create("later", &["--with-registry-auth"]);
    assert!(gone.err.contains("could not be accessed on a registry"), "{gone}");
}
