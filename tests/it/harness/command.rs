//! Running a client program: to its end with a bound, or following its output line by line.

use super::wait::BOUND;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What a finished program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub shown: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Standard output of a program that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "{self}");
        self.out
    }

    /// Both outputs of a program that must have failed without a panic.
    #[track_caller]
    pub fn failed(self) -> String {
        assert!(self.code != 0, "this should have failed:\n{self}");
        assert!(!self.err.contains("panicked at"), "{self}");
        format!("{}{}", self.err, self.out)
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\nexit code {}\n--- stdout\n{}--- stderr\n{}", self.shown, self.code, self.out, self.err)
    }
}

/// Runs a program to its end; kills it and panics when that takes longer than [`BOUND`].
#[track_caller]
pub fn run(command: &mut Command) -> Run {
    let shown = shown(command);
    let mut child = spawn(command, &shown);
    let out = drain(child.stdout.take());
    let err = drain(child.stderr.take());
    let status = wait(&mut child, BOUND);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let run = Run { shown, code: status.map_or(-1, code), out: out.join().expect("the reader ends"), err: err.join().expect("the reader ends") };
    assert!(status.is_some(), "did not end within {BOUND:?}:\n{run}");
    run
}

/// Runs a program with input, which ends; what it wrote, and its code.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> (Vec<u8>, i32) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client starts");
    let (mut stdin, input) = (child.stdin.take().expect("it is piped"), input.to_vec());
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut out = Vec::new();
    child.stdout.take().expect("it is piped").read_to_end(&mut out).expect("it is a pipe");
    writer.join().expect("the writer ends");
    (out, child.wait().expect("it is ours").code().unwrap_or(-1))
}

fn spawn(command: &mut Command, shown: &str) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{shown}: {error}"))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Waits for a child's end, no longer than `bound`.
pub fn wait(child: &mut Child, bound: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < bound {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn drain(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A program that goes on printing (`logs -f`, `events`): killed when dropped.
pub struct Follow {
    child: Child,
    lines: Receiver<String>,
}

impl Follow {
    /// Starts it; standard output and standard error come as one sequence of lines.
    pub fn start(command: &mut Command) -> Self {
        let shown = shown(command);
        let mut child = spawn(command, &shown);
        let (send, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] = [Box::new(child.stdout.take().expect("it is piped")), Box::new(child.stderr.take().expect("it is piped"))];
        for stream in streams {
            let send = send.clone();
            std::thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        }
        Self { child, lines }
    }

    /// The next line that `wanted` accepts; panics when none comes within [`BOUND`].
    #[track_caller]
    pub fn line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(BOUND.saturating_sub(start.elapsed())) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("waited {BOUND:?} for {what}; lines: {seen:#?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the program ended before {what}; lines: {seen:#?}"),
            }
        }
    }
}

impl Follow {
    /// Waits for the program's own end; its exit code.
    #[track_caller]
    pub fn end(mut self) -> i32 {
        wait(&mut self.child, BOUND).map(code).unwrap_or_else(|| panic!("did not end within {BOUND:?}"))
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
