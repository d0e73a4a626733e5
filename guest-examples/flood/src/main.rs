//! Prints numbered lines: `flood LINES RATE [LENGTH [wait]]`. RATE is lines a second, 0 for as fast as they are taken; LINES 0 goes on for ever.
//! Lines that are due are written together, a hundred times a second at most. With `wait` it stays when it is done.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between writes of a guest that keeps to a rate.
const TURN: Duration = Duration::from_millis(10);
/// Lines of one write of one that does not.
const BATCH: u64 = 500;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| match args.get(at) {
        None => default,
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number")),
    };
    let (lines, rate, length) = (number(0, 0), number(1, 1), number(2, 60) as usize);
    let lines = if lines == 0 { u64::MAX } else { lines };
    let begun = Instant::now();
    let mut done = 0;
    let mut text = Vec::new();
    while done < lines {
        let due = match rate {
            0 => done + BATCH,
            rate => (begun.elapsed().as_millis() as u64 * rate / 1_000).max(1),
        };
        let due = due.min(lines);
        text.clear();
        for count in done + 1..=due {
            let start = text.len();
            write!(text, "line {count} ").expect("memory takes it");
            text.resize((start + length.saturating_sub(1)).max(text.len()), b'.');
            text.push(b'\n');
        }
        std::io::stdout().write_all(&text).expect("stdout takes it");
        std::io::stdout().flush().expect("stdout takes it");
        done = due.max(done);
        if rate != 0 && done < lines {
            sleep(TURN);
        }
    }
    if args.get(3).is_some_and(|word| word == "wait") {
        eprintln!("done");
        sleep(Duration::from_secs(u64::from(u32::MAX)));
    }
}
