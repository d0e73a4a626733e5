//! The rules of the house that a compiler does not know: sizes, openings, purity, words that do not belong into a repository.

use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 70;
/// Crates that decide: no clock, no chance, no input or output of their own (DESIGN section 2).
const PURE: [&str; 2] = ["api", "planner"];
/// Each crate with the crates that it may use: dependencies point downwards only.
const BELOW: [(&str, &[&str]); 8] = [
    ("api", &[]),
    ("net", &["api"]),
    ("planner", &["api"]),
    ("wasm-shim", &["api"]),
    ("runtime", &["api"]),
    ("manager", &["api", "net", "planner"]),
    ("worker", &["api", "net", "runtime"]),
    ("dockerapi", &["api", "planner"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of the repository (not what is built), with names relative to its root.
fn files(keep: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> = vec![root().to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the checkout is readable").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if keep(&name)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                found.push((path.strip_prefix(root()).expect("it is below").display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<(String, String)> {
    files(|name| name.ends_with(".rs"))
}

#[track_caller]
fn none(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n{}", offences.join("\n"));
}

#[test]
fn files_are_short_and_introduce_themselves() {
    let mut offences = Vec::new();
    for (name, text) in rust_files() {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            offences.push(format!("{name}: {lines} lines, at most {LONGEST_FILE}: split by subject"));
        }
        if !text.starts_with("//!") {
            offences.push(format!("{name}: opens without a //! paragraph"));
        }
    }
    none("files", &offences);
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for (name, text) in rust_files() {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            let is_function = !trimmed.starts_with("//") && (trimmed.starts_with("fn ") || trimmed.contains(" fn ")) && trimmed.contains('(');
            if !is_function || line.ends_with(';') || line.ends_with("}") {
                continue;
            }
            // The formatter puts the closing brace into the column of the opening line.
            let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
            let length = lines[index..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
            if length > LONGEST_FUNCTION {
                long.push(format!("{name}:{}: {length} lines", index + 1));
            }
        }
    }
    none("functions that should be several", &long);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["#[ig", "nore"].concat(), ["FIX", "ME"].concat(), ["dbg", "!("].concat()];
    none("stubs and switched-off tests", &lines_with(&rust_files(), &words));
}

#[test]
fn no_machine_is_named() {
    let checked = |name: &str| [".rs", ".toml", ".md", ".wat", ".service", ".sysusers", ".sh"].iter().any(|end| name.ends_with(end)) || !name.contains('.');
    let words = [
        ["/ro", "ot/"].concat(),
        ["/wo", "rk/"].concat(),
        ["/ho", "me/"].concat(),
        ["deb.deb", "ian.org"].concat(),
        ["crates", ".io"].concat(),
        ["static.rust", "-lang"].concat(),
        ["registry-1.do", "cker"].concat(),
    ];
    let files = files(checked);
    assert!(files.iter().any(|(name, _)| name == "scripts/setup"), "scripts are checked too");
    none("machine paths and registries", &lines_with(&files, &words));
}

fn lines_with(files: &[(String, String)], words: &[String]) -> Vec<String> {
    let mut offences = Vec::new();
    for (name, text) in files {
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                offences.push(format!("{name}:{}: {word}", index + 1));
            }
        }
    }
    offences
}

/// Names of a manifest's direct dependencies, those of its tests left out.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim();
        } else if matches!(section, "[dependencies]" | "[build-dependencies]")
            && let Some((name, _)) = line.split_once(['.', '=', ' '])
            && !name.starts_with('#')
        {
            names.push(name.to_owned());
        }
    }
    names
}

fn manifest(folder: &str) -> String {
    std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap_or_else(|error| panic!("{folder}: {error}"))
}

#[test]
fn deciding_crates_are_pure() {
    let banned =
        ["tokio", "tokio-util", "quinn", "rand", "getrandom", "hyper", "axum", "rustix", "libc", "openraft", "wasmtime", "ttrpc", "socket2", "tracing"];
    let words = ["std::fs", "std::net::Tcp", "std::thread", "std::process", "Instant::now", "SystemTime", "HashMap", "HashSet", "std::env", "println!"];
    let mut offences = Vec::new();
    for folder in PURE {
        for name in dependencies(&manifest(folder)).iter().filter(|name| banned.contains(&name.as_str())) {
            offences.push(format!("{folder}/Cargo.toml: {name}"));
        }
        for (name, text) in rust_files().iter().filter(|(name, _)| name.starts_with(&format!("{folder}/src/")) && !name.contains("test")) {
            // What follows the tests' marker is theirs.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (index, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                offences.extend(words.iter().filter(|word| line.contains(*word)).map(|word| format!("{name}:{}: {word}", index + 1)));
            }
        }
    }
    none("impure", &offences);
}

#[test]
fn dependencies_point_downwards() {
    let mut offences = Vec::new();
    for (folder, below) in BELOW {
        for name in dependencies(&manifest(folder)) {
            if name == "wasmtime" && folder != "wasm-shim" {
                offences.push(format!("{folder} uses wasmtime: only wasm-shim knows it"));
            }
            if let Some(used) = name.strip_prefix("wsw-")
                && !below.contains(&used)
            {
                offences.push(format!("{folder} uses {used}"));
            }
        }
    }
    none("dependencies", &offences);
}

#[test]
fn scripts_are_runnable_and_strict() {
    use std::os::unix::fs::PermissionsExt;
    let mut offences = Vec::new();
    for entry in std::fs::read_dir(root().join("scripts")).expect("it is there").flatten().map(|entry| entry.path()).chain([root().join(".ci/run")]) {
        let text = std::fs::read_to_string(&entry).expect("it is text");
        let runnable = std::fs::metadata(&entry).expect("it is there").permissions().mode() & 0o111 != 0;
        if entry.extension().is_none() && !(runnable && text.starts_with("#!/usr/bin/env bash\n") && text.contains("\nset -euo pipefail\n")) {
            offences.push(entry.display().to_string());
        }
    }
    none("scripts: executable, bash, `set -euo pipefail`", &offences);
}
