//! Prints the sum of its arguments and ends; an argument that is no number ends it with code 1.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut sum = 0_i64;
    for text in std::env::args().skip(1) {
        match text.parse::<i64>() {
            Ok(number) => sum = sum.saturating_add(number),
            Err(error) => {
                eprintln!("{text:?} is not a number: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{sum}");
    ExitCode::SUCCESS
}
