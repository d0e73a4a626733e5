//! Logs of tasks: kept within their files whatever a guest writes, whole when a shim is killed, and followed by readers that are slow or go away.
//! What docker's client shows of them is compared in `logs_diff`.

use crate::harness::{self, Node, guest, until, wat};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn flood(node: &Node, name: &str, flags: &[&str], arguments: &[&str]) {
    let wasm = guest("flood");
    let wasm = wasm.to_string_lossy();
    let mut words = vec!["service", "create", "-d", "--name", name];
    words.extend(flags);
    words.push(&wasm);
    words.extend(arguments);
    node.wsw(&words).ok();
}

fn id(task: &serde_json::Value) -> String {
    task["ID"].as_str().expect("a task has an id").to_owned()
}

/// The guest's number in each of these lines, each of which must be whole.
#[track_caller]
fn numbers(text: &str) -> Vec<u64> {
    let number = |line: &str| {
        let (number, rest) = line.strip_prefix("line ")?.split_once(' ')?;
        rest.bytes().all(|byte| byte == b'.').then_some(())?;
        number.parse().ok()
    };
    text.lines().map(|line| number(line).unwrap_or_else(|| panic!("not a whole line: {line:?}"))).collect()
}

#[track_caller]
fn without_gap(numbers: &[u64]) {
    if let Some(pair) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        panic!("{} comes after {}", pair[1], pair[0]);
    }
}

/// The files of a task's log, the current one first.
fn files(node: &Node, task: &str) -> Vec<PathBuf> {
    let all = log_files(node);
    let number = |path: &Path| path.extension().and_then(|end| end.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let mut files: Vec<PathBuf> = all.into_iter().filter(|(owner, _)| owner == task).map(|(_, path)| path).collect();
    files.sort_by_key(|path| number(path));
    files
}

/// All log files with the tasks that they are of.
fn log_files(node: &Node) -> Vec<(String, PathBuf)> {
    let folders = std::fs::read_dir(node.data_root().join("logs")).expect("the data root has logs").flatten();
    let paths = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten().map(|entry| entry.path()));
    let owner = |path: &Path| path.file_name().and_then(|name| Some(name.to_str()?.split_once('.')?.0.to_owned()));
    paths.filter_map(|path| Some((owner(&path)?, path))).collect()
}

#[test]
fn as_many_files_as_asked_for_are_kept_and_read() {
    let node = Node::swarm();
    // Records of 100 bytes: 40 to a file.
    let options = ["--restart-condition", "none", "--log-driver", "json-file", "--log-opt", "max-size=4k", "--log-opt", "max-file=5"];
    flood(&node, "some", &options, &["1000", "0", "60"]);
    let task = id(&node.wait_task("some", "complete"));
    let (files, logs) = (files(&node, &task), |words: &[&str]| node.wsw(&[&["service", "logs", "--raw"], words].concat()).ok());
    let sizes: Vec<u64> = files.iter().map(|path| path.metadata().expect("it is there").len()).collect();
    assert!(sizes.len() == 5 && sizes.iter().all(|size| *size <= 4_000) && sizes[1..].iter().all(|size| *size > 3_800), "{sizes:?}");
    let all = numbers(&logs(&["some"]));
    without_gap(&all);
    assert!(all.last() == Some(&1_000) && (161..=200).contains(&all.len()), "{} lines up to {:?}", all.len(), all.last());
    assert_eq!(numbers(&logs(&["--tail", "150", "some"])), (851..=1_000).collect::<Vec<_>>());
    assert_eq!(numbers(&logs(&["-f", &task])), all, "by task; it has ended, and so does its follower");
    // Since the first line of the second file from the end.
    let text = std::fs::read_to_string(&files[1]).expect("it is text");
    let since = text.split(' ').next().expect("a record begins with its time");
    let later = numbers(&logs(&["--since", since, "some"]));
    assert_eq!(later, all[all.len() - later.len()..]);
    assert_eq!(later.len(), text.lines().count() + std::fs::read_to_string(&files[0]).expect("it is text").lines().count());
    let until_then = node.wsw(&["logs", "--until", since, &format!("some.1.{task}")]).ok();
    assert_eq!(numbers(&until_then), all[..=all.len() - later.len()], "that moment is in it");
    // A task that is gone takes all of its files with it.
    node.wsw(&["service", "rm", "some"]).ok();
    until("its files to go", || match log_files(&node).len() {
        0 => Ok(()),
        left => Err(format!("{left} files")),
    });
}

#[test]
fn what_a_driver_keeps() {
    let node = Node::swarm();
    flood(&node, "none", &["--log-driver", "none"], &["10", "0", "60", "wait"]);
    let local = ["--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=3", "--log-opt", "compress=true"];
    flood(&node, "local", &local, &["10", "0", "60", "wait"]);
    until("its lines", || match node.wsw(&["service", "logs", "--raw", "local"]) {
        run if numbers(&run.out).len() == 10 && run.err == "done\n" => Ok(()),
        run => Err(run.to_string()),
    });
    let task = id(&node.wait_task("none", "running"));
    assert_eq!(node.wsw(&["service", "logs", "none"]).ok(), "");
    let said = node.wsw(&["logs", &format!("none.1.{task}")]).failed();
    assert!(said.contains("configured logging driver does not support reading"), "{said}");
    assert!(files(&node, &task).is_empty());
    for (flags, said) in [
        (&["--log-driver", "syslog"][..], "TaskTemplate.LogDriver.Name: log driver \"syslog\" is not supported; use json-file, local or none"),
        (&["--log-driver", "json-file", "--log-opt", "max-file=0"], "max-file: \"0\" is not valid; use a number from 1 to 100"),
        (&["--log-driver", "json-file", "--log-opt", "max-size=many"], "max-size: \"many\" is not valid"),
        (&["--log-driver", "json-file", "--log-opt", "mode=non-blocking"], "mode: \"non-blocking\" is not valid"),
        (&["--log-driver", "json-file", "--log-opt", "colour=red"], "unknown log opt 'colour' for json-file log driver; use max-size"),
        (&["--log-driver", "local", "--log-opt", "labels=a"], "unknown log opt 'labels' for local log driver"),
    ] {
        let wasm = guest("flood").to_string_lossy().into_owned();
        let refused = node.wsw(&[&["service", "create", "--name", "refused"], flags, &[wasm.as_str()]].concat()).failed();
        assert!(refused.contains(said), "{flags:?}: {refused}");
    }
    assert_eq!(node.json("/services").as_array().map(Vec::len), Some(2), "nothing was made");
}

/// Whichever way a task ends, what it had written is in its log when its end is known, the line that it had begun too.
#[test]
fn the_last_line_is_in_the_log_however_the_task_ended() {
    let node = Node::swarm();
    let half = wat(node.folder(), "half").to_string_lossy().into_owned();
    let create = |name: &str, arguments: &[&str]| {
        let words = ["service", "create", "-d", "--name", name, "--restart-condition", "none", &half];
        node.wsw(&[&words, arguments].concat()).ok();
    };
    create("trapped", &[]);
    node.wait_task("trapped", "failed");
    create("stopped", &["more"]);
    create("killed", &["more"]);
    for (name, how) in [("stopped", "stop"), ("killed", "kill")] {
        let task = node.wait_running(name, 1).into_keys().next().expect("one runs");
        until("it to have begun", || match node.wsw(&["service", "logs", "--raw", name]) {
            run if run.out == "begun\n" => Ok(()),
            run => Err(run.to_string()),
        });
        node.wsw(&[how, &format!("{name}.1.{task}")]).ok();
        node.wait_task(name, "failed");
    }
    for name in ["trapped", "stopped", "killed"] {
        assert_eq!(node.wsw(&["service", "logs", "--raw", name]).ok(), "begun\nhalf a line\n", "{name}");
    }
}

/// The most memory that a process had, in bytes.
fn peak(pid: i64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux has it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

fn shims(node: &Node) -> Vec<i64> {
    let command = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let below = harness::processes_below(node.folder()).into_iter();
    below.filter(|pid| command(pid).windows(9).any(|part| part == b"wasm-shim")).map(i64::from).collect()
}

/// 300 MB from two guests that write as fast as they can.
#[test]
fn a_guest_that_writes_without_end_stays_within_its_files_and_what_it_loses_is_told() {
    const KEPT: u64 = 1_000_000;
    let node = Node::swarm();
    flood(&node, "before", &[], &["1", "1", "60", "wait"]);
    let shim = *node.wait_running("before", 1).values().next().expect("one runs");
    let before = peak(shim);
    let once = ["--restart-condition", "none", "--log-driver", "json-file", "--log-opt"];
    flood(&node, "kept", &[&once[..], &["max-size=200m"]].concat(), &[&KEPT.to_string(), "0", "100"]);
    flood(&node, "bounded", &[&once[..], &["max-size=1m", "--log-opt", "max-file=3"]].concat(), &["2000000", "0", "100"]);
    let [kept, bounded] = ["kept", "bounded"].map(|name| id(&node.wait_task(name, "complete")));
    let grown = peak(shim) - before;
    assert!(grown < 64 << 20, "the shim grew by {grown} bytes");
    assert_eq!(shims(&node), [shim], "it had all of them");
    let sizes: Vec<u64> = files(&node, &bounded).iter().map(|path| path.metadata().expect("it is there").len()).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 1_000_000), "{sizes:?}");
    // Each line is in a file, or counted.
    let (mut there, mut dropped, mut last) = (0_u64, 0_u64, 0_u64);
    for path in files(&node, &kept).iter().rev() {
        let text = std::fs::read_to_string(path).expect("it is text");
        for line in text.lines() {
            if let Some((_, text)) = line.split_once(" stdout F line ") {
                let number = text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
                assert!(number > last, "{line}");
                (there, last) = (there + 1, number);
            } else if let Some((_, text)) = line.split_once(" stderr F wsw: ") {
                let (number, rest) = text.split_once(' ').expect("it has words");
                assert!(rest.ends_with(" dropped (log rate)"), "{line}");
                dropped += number.parse::<u64>().expect("a number");
            }
        }
    }
    assert_eq!(there + dropped, KEPT, "{there} lines are there, {dropped} were told");
}

/// A client that follows a log and has not read anything of it yet.
fn follower(node: &Node, task: &str) -> std::process::Child {
    let mut command: Command = node.client(Path::new(env!("CARGO_BIN_EXE_wsw")), &["service", "logs", "-f", "--raw", task]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the client starts")
}

/// A follower's connection, once its answer has begun.
fn connection(node: &Node, service: &str) -> UnixStream {
    let mut stream = UnixStream::connect(node.socket()).expect("the daemon listens");
    write!(stream, "GET /services/{service}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut status = [0; 15];
    stream.read_exact(&mut status).expect("it answers");
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    stream
}

#[test]
fn a_follower_that_is_slow_or_goes_away_holds_up_nobody() {
    const LINES: u64 = 60_000;
    let node = Node::swarm();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("it runs").count();
    let options = ["--restart-condition", "none", "--log-driver", "json-file", "--log-opt", "max-size=100m"];
    // 12 MB: far more than what sockets and pipes hold.
    flood(&node, "busy", &options, &[&LINES.to_string(), "15000", "150"]);
    let task = id(&node.wait_task("busy", "running"));
    let before = descriptors();
    let mut slow = follower(&node, &task);
    let mut gone = follower(&node, &task);
    gone.stdout.as_mut().expect("it is piped").read_exact(&mut [0; 6]).expect("it has lines");
    gone.kill().expect("it is ours");
    gone.wait().expect("it is ours");
    let freed = || {
        until("the daemon to let go of what is gone", || match descriptors() {
            now if now <= before + 4 => Ok(()),
            now => Err(format!("{before} descriptors before, {now} now")),
        });
    };
    // More than may read at once, each cut off in the middle.
    for _ in 0..3 {
        drop((0..50).map(|_| connection(&node, "busy")).collect::<Vec<_>>());
        freed();
    }
    // Neither the guest nor another follower waits for the slow one.
    let all = numbers(&node.wsw(&["service", "logs", "-f", "--raw", &task]).ok());
    assert!(all.iter().copied().eq(1..=LINES), "{} lines, the last is {:?}", all.len(), all.last());
    node.wait_task("busy", "complete");
    assert!(slow.try_wait().expect("it is ours").is_none(), "it waits to be read");
    freed();
    let mut text = String::new();
    slow.stdout.take().expect("it is piped").read_to_string(&mut text).expect("it is text");
    assert!(numbers(&text) == all, "it missed nothing");
    assert!(slow.wait().expect("it is ours").success());
}

#[test]
fn a_shim_that_is_killed_leaves_whole_lines_without_a_gap() {
    let node = Node::swarm();
    // A file for each fortieth of a second: many of these kills fall into a rotation.
    let options = ["--restart-delay", "0s", "--log-driver", "json-file", "--log-opt", "max-size=10k", "--log-opt", "max-file=6"];
    flood(&node, "torn", &options, &["0", "4000", "60"]);
    let logs = |target: &str| node.wsw(&["service", "logs", "--raw", target]).ok();
    let mut ended: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..10 {
        let (task, shim) = until("the next task", || {
            let next = node.running("torn").into_iter().find(|(task, _)| !ended.contains_key(task));
            next.ok_or_else(|| "none".to_owned())
        });
        let seen = until("it to have rotated", || match numbers(&logs(&task)).last() {
            Some(last) if *last > 300 => Ok(*last),
            last => Err(format!("{last:?}")),
        });
        harness::kill(i32::try_from(shim).expect("a pid"), Signal::KILL);
        until("its end to be known", || match node.json(&format!("/tasks/{task}"))["Status"]["State"].as_str() {
            Some("failed") => Ok(()),
            state => Err(format!("{state:?}")),
        });
        let left = numbers(&logs(&task));
        without_gap(&left);
        let last = *left.last().unwrap_or_else(|| panic!("round {round}: nothing is left"));
        assert!(last >= seen && left.len() > 100, "round {round}: {seen} was there, {last} is the last of {}", left.len());
        assert_eq!(numbers(&node.wsw(&["service", "logs", "--raw", "--tail", "30", &task]).ok()), left[left.len() - 30..]);
        ended.insert(task, last);
    }
    assert!(!numbers(&logs("torn")).is_empty(), "the service's log is that of all its tasks that are remembered");
    // Files of tasks that are not are gone, whatever their writer left.
    node.wsw(&["service", "scale", "-d", "torn=0"]).ok();
    until("files of forgotten tasks to go", || {
        let known: BTreeSet<String> = node.tasks("torn").iter().map(id).collect();
        let left: BTreeSet<String> = log_files(&node).into_iter().map(|(task, _)| task).filter(|task| !known.contains(task)).collect();
        if left.is_empty() && node.running("torn").is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
