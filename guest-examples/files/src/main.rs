//! Does with files what its arguments say, one step an argument, and prints what came of it. For tests: also what must not work.
//!
//! `write:PATH:TEXT` `read:PATH` `list:PATH` `mkdir:PATH` `rm:PATH` `fill:PATH` (writes until it cannot) `link:FROM:TO` (hard)
//! `symlink:TARGET:PATH` `rename:FROM:TO` `append:PATH:TEXT` `wait` (for ever) `sleep:MS`

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::Duration;

/// What one step of filling writes.
const PIECE: usize = 64 << 10;

fn main() {
    for step in std::env::args().skip(1) {
        let said = match run(&step) {
            Ok(text) => format!("{step} = {text}"),
            Err(error) => format!("{step} ! {error}"),
        };
        println!("{said}");
    }
}

fn run(step: &str) -> std::io::Result<String> {
    let mut parts = step.splitn(3, ':');
    let (what, path, more) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let done = |()| "done".to_owned();
    match what {
        "write" => fs::write(path, more).map(done),
        "append" => OpenOptions::new().append(true).create(true).open(path)?.write_all(more.as_bytes()).map(done),
        "read" => fs::read_to_string(path),
        "list" => {
            let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names.join(" "))
        }
        "mkdir" => fs::create_dir(path).map(done),
        "rm" => fs::remove_file(path).map(done),
        "fill" => fill(path),
        "link" => fs::hard_link(path, more).map(done),
        "symlink" => symlink(path, more).map(done),
        "rename" => fs::rename(path, more).map(done),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(path.parse().unwrap_or(0)));
            Ok("done".to_owned())
        }
        "wait" => loop {
            std::thread::sleep(Duration::from_secs(3_600));
        },
        _ => Err(std::io::Error::other("unknown step")),
    }
}

/// Writes until an error; the error is the answer.
fn fill(path: &str) -> std::io::Result<String> {
    let mut file = File::create(path)?;
    let piece = vec![b'x'; PIECE];
    let mut written = 0_u64;
    loop {
        match file.write(&piece) {
            Ok(n) => written += n as u64,
            Err(error) => return Ok(format!("{written} then {}", error)),
        }
    }
}

/// The standard library has no links for wasi; the interface has.
#[cfg(target_env = "p2")]
fn symlink(target: &str, path: &str) -> std::io::Result<()> {
    let folders = wasip2::filesystem::preopens::get_directories();
    let inside = |root: &str| path.strip_prefix(root).map(|rest| rest.trim_start_matches('/').to_owned());
    let found = folders.iter().filter_map(|(folder, root)| Some((folder, root.len(), inside(root)?))).max_by_key(|(_, length, _)| *length);
    let (folder, _, rest) = found.ok_or_else(|| std::io::Error::other("no such folder"))?;
    folder.symlink_at(target, &rest).map_err(|code| std::io::Error::other(format!("{code:?}")))
}

#[cfg(not(target_env = "p2"))]
fn symlink(_: &str, _: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
