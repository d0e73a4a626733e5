//! Runs for ever: prints `tick N` every second. Its counter shows whether it is still the same run.

use std::thread::sleep;
use std::time::Duration;

fn main() {
    for count in 1_u64.. {
        println!("tick {count}");
        sleep(Duration::from_secs(1));
    }
}
