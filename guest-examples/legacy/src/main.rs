//! A wasip1 module: prints its arguments and its environment, one a line, to stdout and a goodbye to stderr.
//! `EXIT_CODE` (or `exit=N` among the arguments) is its exit code; `SLEEP_MS` makes it stay for a while first.

use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    for (index, argument) in arguments.iter().enumerate() {
        println!("arg {index}: {argument}");
    }
    for (name, value) in std::env::vars() {
        println!("env {name}={value}");
    }
    if let Some(milliseconds) = number("SLEEP_MS") {
        std::thread::sleep(Duration::from_millis(milliseconds as u64));
    }
    let code = arguments.iter().find_map(|argument| argument.strip_prefix("exit=")?.parse().ok()).or_else(|| number("EXIT_CODE")).unwrap_or(0);
    eprintln!("leaving with {code}");
    std::process::exit(code);
}

fn number(name: &str) -> Option<i32> {
    std::env::var(name).ok()?.parse().ok()
}
