//! Does with files what its arguments say, one step an argument, and prints what came of it. For tests: also what must not work.
//!
//! `write:PATH:TEXT` `read:PATH` `list:PATH` `mkdir:PATH` `rm:PATH` `fill:PATH` (writes until it cannot) `link:FROM:TO` (hard)
//! `symlink:TARGET:PATH` `space:PATH` (fills and says what the interface calls the end) `rename:FROM:TO` `append:PATH:TEXT`
//! `wait` (for ever) `sleep:MS` `await:PATH` (until it is there)
//!
//! What takes more than its share: `hold:PATH:N` (opens it N times and keeps it) `sockets:N` `leak:N` (handles of the host) `eat:MIB`; these end
//! the program when they are refused.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::Duration;

/// What one step of filling writes.
const PIECE: usize = 64 << 10;

fn main() {
    for step in std::env::args().skip(1) {
        if let Some(error) = take(&step) {
            println!("{step} ! {error}");
            std::process::exit(1);
        }
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
        "space" => space(path),
        "rename" => fs::rename(path, more).map(done),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(path.parse().unwrap_or(0)));
            Ok("done".to_owned())
        }
        "await" => loop {
            if fs::exists(path)? {
                return Ok("done".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        },
        "hold" | "sockets" | "leak" | "eat" => Ok("done".to_owned()),
        "wait" => loop {
            std::thread::sleep(Duration::from_secs(3_600));
        },
        _ => Err(std::io::Error::other("unknown step")),
    }
}

/// Takes and keeps; why it could not.
fn take(step: &str) -> Option<std::io::Error> {
    let mut parts = step.splitn(3, ':');
    let (what, first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let number = |text: &str| 0..text.parse::<usize>().unwrap_or(0);
    match what {
        "hold" => number(second).find_map(|_| File::open(first).map(std::mem::forget).err()),
        "sockets" => number(first).find_map(|_| std::net::UdpSocket::bind("127.0.0.1:0").map(std::mem::forget).err()),
        "leak" => number(first).find_map(|_| leak().err()),
        "eat" => number(first).find_map(|mib| {
            std::mem::forget(std::hint::black_box(vec![mib as u8 | 1; 1 << 20]));
            None
        }),
        _ => None,
    }
}

/// One more handle that the host keeps.
#[cfg(target_env = "p2")]
fn leak() -> std::io::Result<()> {
    std::mem::forget(wasip2::clocks::monotonic_clock::subscribe_duration(1));
    Ok(())
}

#[cfg(not(target_env = "p2"))]
fn leak() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
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
    let (folder, rest) = folder_of(path)?;
    folder.symlink_at(target, &rest).map_err(|code| std::io::Error::other(format!("{code:?}")))
}

/// The folder that a path is in, and the rest of it.
#[cfg(target_env = "p2")]
fn folder_of(path: &str) -> std::io::Result<(wasip2::filesystem::types::Descriptor, String)> {
    let inside = |root: &str| path.strip_prefix(root).map(|rest| rest.trim_start_matches('/').to_owned());
    let folders = wasip2::filesystem::preopens::get_directories().into_iter();
    let found = folders.filter_map(|(folder, root)| Some((inside(&root)?, root.len(), folder))).max_by_key(|(_, length, _)| *length);
    found.map(|(rest, _, folder)| (folder, rest)).ok_or_else(|| std::io::Error::other("no such folder"))
}

/// What the C library calls an I/O error has a name of its own in the interface.
#[cfg(target_env = "p2")]
fn space(path: &str) -> std::io::Result<String> {
    use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags, filesystem_error_code};
    use wasip2::io::streams::StreamError;
    let other = |code| std::io::Error::other(format!("{code:?}"));
    let (folder, rest) = folder_of(path)?;
    let file = folder.open_at(PathFlags::empty(), &rest, OpenFlags::CREATE, DescriptorFlags::WRITE).map_err(other)?;
    let stream = file.write_via_stream(0).map_err(other)?;
    loop {
        match stream.blocking_write_and_flush(&[b'x'; 4_096]) {
            Ok(()) => {}
            Err(StreamError::LastOperationFailed(error)) => return Ok(format!("{:?}", filesystem_error_code(&error))),
            Err(StreamError::Closed) => return Err(std::io::Error::other("closed")),
        }
    }
}

#[cfg(not(target_env = "p2"))]
fn space(_: &str) -> std::io::Result<String> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_env = "p2"))]
fn symlink(_: &str, _: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
