//! Arguments of the two hidden subcommands.
//!
//! Owns: their spelling. Both are started by the daemon only, so there is no help text and no abbreviation.

use std::path::PathBuf;
use wsw_api::shim::{DEFAULT_CAPACITY, Network};

/// Largest capacity that is taken: ids and pool sizes are 32 bits, and more than this would never fit `vm.max_map_count`.
const MAX_CAPACITY: u32 = 1_000_000;

/// `wsw wasm-shim …`.
#[derive(Debug, PartialEq, Eq)]
pub struct ShimArgs {
    /// Where the Task API is served; the hand-over socket lies beside it.
    pub socket: PathBuf,
    /// All that its tasks may touch is in this folder or mounted below it.
    pub tasks: PathBuf,
    /// Folder of its tasks' logs.
    pub logs: PathBuf,
    /// Folder of compiled code, which it only reads.
    pub code: PathBuf,
    /// Folders elsewhere that its task has, and whether it writes there: without root nothing can be mounted below `tasks`.
    pub folders: Vec<(PathBuf, bool)>,
    /// Sockets that it can make once guests run.
    pub network: Network,
    /// Tasks that may live at once.
    pub capacity: u32,
    pub log_level: tracing::level_filters::LevelFilter,
    /// Enter the sandbox, say what it is, end.
    pub check: bool,
    /// File with attempts to make instead of serving, and whether they are made in the sandbox (`sandbox::probe`).
    #[cfg(debug_assertions)]
    pub probe: Option<PathBuf>,
    #[cfg(debug_assertions)]
    pub bare: bool,
}

/// `wsw wasm-compile …`.
#[derive(Debug, PartialEq, Eq)]
pub struct CompileArgs {
    /// Bytes of memory that compiling may take.
    pub memory: u64,
}

/// Why the arguments were refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}: unknown argument")]
    Unknown(String),
    #[error("{0}: needs a value")]
    NoValue(String),
    #[error("{0}: {1:?} is not valid")]
    Value(String, String),
    #[error("{0} is required")]
    Missing(&'static str),
}

/// Reads the arguments of `wasm-shim`.
pub fn shim(args: &[String]) -> Result<ShimArgs, Error> {
    let (mut socket, mut tasks, mut logs, mut code) = (None, None, None, None);
    let (mut network, mut capacity, mut log_level) = (Network::None, DEFAULT_CAPACITY, tracing::level_filters::LevelFilter::INFO);
    let mut folders = Vec::new();
    let mut check = false;
    #[cfg(debug_assertions)]
    let (mut probe, mut bare) = (None, false);
    let absolute = |value: &str| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    each(args, |name, value| {
        match name {
            "--socket" => socket = Some(absolute(value)?),
            "--tasks" => tasks = Some(absolute(value)?),
            "--logs" => logs = Some(absolute(value)?),
            "--code" => code = Some(absolute(value)?),
            "--read" => folders.push((absolute(value)?, false)),
            "--write" => folders.push((absolute(value)?, true)),
            "--check" => check = value.parse().ok()?,
            #[cfg(debug_assertions)]
            "--probe" => probe = Some(absolute(value)?),
            #[cfg(debug_assertions)]
            "--bare" => bare = value.parse().ok()?,
            "--network" => network = Network::parse(value)?,
            "--capacity" => capacity = value.parse().ok().filter(|n| (1..=MAX_CAPACITY).contains(n))?,
            "--log-level" => log_level = value.parse().ok()?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    let socket = socket.ok_or(Error::Missing("--socket (an absolute path)"))?;
    let tasks = tasks.ok_or(Error::Missing("--tasks (a folder)"))?;
    let logs = logs.ok_or(Error::Missing("--logs (a folder)"))?;
    let code = code.ok_or(Error::Missing("--code (a folder)"))?;
    Ok(ShimArgs {
        socket,
        tasks,
        logs,
        code,
        folders,
        network,
        capacity,
        log_level,
        check,
        #[cfg(debug_assertions)]
        probe,
        #[cfg(debug_assertions)]
        bare,
    })
}

/// Reads the arguments of `wasm-compile`.
pub fn compile(args: &[String]) -> Result<CompileArgs, Error> {
    let mut memory = None;
    each(args, |name, value| {
        match name {
            "--memory" => memory = Some(value.parse().ok().filter(|n| *n > 0)?),
            _ => return Some(false),
        }
        Some(true)
    })?;
    Ok(CompileArgs { memory: memory.ok_or(Error::Missing("--memory"))? })
}

/// Walks `--name value` pairs; `take` answers none for a bad value, false for an unknown name.
fn each(args: &[String], mut take: impl FnMut(&str, &str) -> Option<bool>) -> Result<(), Error> {
    let mut rest = args.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().ok_or_else(|| Error::NoValue(name.clone()))?;
        match take(name, value) {
            Some(true) => {}
            Some(false) => return Err(Error::Unknown(name.clone())),
            None => return Err(Error::Value(name.clone(), value.clone())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read() {
        let needed = "--socket /run/s/1.sock --tasks /x/1 --logs /l/1 --code /c";
        let args = shim(&words(&format!("{needed} --network inet --capacity 7 --log-level debug"))).unwrap();
        assert_eq!((args.socket.to_str(), args.capacity, args.network), (Some("/run/s/1.sock"), 7, Network::Inet));
        let args = shim(&words(&format!("{needed} --read /a --write /b"))).unwrap();
        assert_eq!(args.folders, [("/a".into(), false), ("/b".into(), true)]);
        let args = shim(&words(needed)).unwrap();
        assert_eq!((args.capacity, args.network), (DEFAULT_CAPACITY, Network::None));
        assert_eq!(compile(&words("--memory 5")).unwrap(), CompileArgs { memory: 5 });
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (text, name) in [
            ("--capacity 0 --socket /s", "--capacity"),
            ("--socket s", "--socket"),
            ("--nope 1", "--nope"),
            ("--network all", "--network"),
            ("--write x", "--write"),
            ("--socket", "--socket"),
            ("", "--socket"),
            ("--socket /s", "--tasks"),
            ("--socket /s --tasks /x --logs /l", "--code"),
        ] {
            let error = shim(&words(text)).unwrap_err().to_string();
            assert!(error.contains(name), "{text}: {error}");
        }
        assert!(compile(&words("--memory x")).unwrap_err().to_string().contains("--memory"));
    }
}
