//! The compiler process: one module from stdin, its artefact to stdout, a [`CompileReport`] as the last line of stderr.
//!
//! Owns: what is refused before and after compiling, and the words for it. Invariants: the artefact that leaves has been loaded and linked
//! with the shim's own linker; the report comes after the last byte of the artefact; bad input ends in a report, never in a panic.
//! Never: reads or writes a file, opens a socket (`compile_sandbox`).

use crate::{args, compile_sandbox, engine::engine_config, linker, sandbox};
use std::{
    io::{self, Read, Write},
    panic::AssertUnwindSafe,
    process::ExitCode,
};
use wasmtime::{Engine, Module, component::Component};
use wsw_api::shim::{CompileReport, Kind};

/// Largest file that is read: several times what Python and JavaScript guests come to.
const MAX_MODULE: u64 = 256 << 20;

const MAGIC: &[u8] = b"\0asm";
const CORE_VERSION: &[u8] = &[1, 0, 0, 0];
const COMPONENT_VERSION: &[u8] = &[13, 0, 1, 0];

/// A module with one function that does nothing.
const SMALLEST: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";

/// Why a file is not compiled. The texts are shown to the user after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("wasm-compile: {0}")]
    Args(#[from] args::Error),
    #[error("reading the module: {0}")]
    Read(io::Error),
    #[error("writing the artefact: {0}")]
    Write(io::Error),
    #[error("the compiler could not give up its rights: {0}")]
    Sandbox(sandbox::Error),
    #[error("the file is empty")]
    Empty,
    #[error("the file is larger than {MAX_MODULE} bytes")]
    TooLarge,
    #[error("not a WebAssembly file (it starts with {0})")]
    NotWasm(String),
    #[error("this is WebAssembly text; translate it first (`wasm-tools parse`)")]
    Text,
    #[error("a precompiled artefact is never accepted; give the .wasm file that it was made from")]
    Precompiled,
    #[error("this is a WebAssembly file of an unknown version ({0})")]
    Version(String),
    #[error("not valid: {0}")]
    Invalid(String),
    #[error("the compiler failed on it: it ran out of memory, or has a fault")]
    Panicked,
    #[error(transparent)]
    Link(#[from] linker::Error),
}

/// Runs `wsw wasm-compile`; `args` come after the subcommand's name.
pub fn compile_main(args: Vec<String>) -> ExitCode {
    let (report, code) = match run(&args) {
        Ok(kind) => (CompileReport::Ok { kind }, ExitCode::SUCCESS),
        Err(error) => (CompileReport::Err { message: error.to_string() }, ExitCode::FAILURE),
    };
    match serde_json::to_string(&report) {
        Ok(line) => eprintln!("{line}"),
        Err(error) => eprintln!("{error}"),
    }
    code
}

fn run(args: &[String]) -> Result<Kind, Error> {
    let args = args::compile(args)?;
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_MODULE + 1).read_to_end(&mut bytes).map_err(Error::Read)?;
    // Before the compiler's threads: they are in it then.
    sandbox::close_files().map_err(Error::Sandbox)?;
    let config = engine_config(None).map_err(|error| Error::Invalid(format!("{error:#}")))?;
    let engine = Engine::new(&config).map_err(|error| Error::Invalid(format!("{error:#}")))?;
    // The compiler's threads start with their first work, and their stacks must not be what the limit hits.
    engine.precompile_module(SMALLEST).map_err(|error| Error::Invalid(format!("{error:#}")))?;
    // From here on the file's content decides what runs.
    compile_sandbox::enter(args.memory).map_err(Error::Sandbox)?;
    let (kind, artefact) = std::panic::catch_unwind(AssertUnwindSafe(|| compile(&engine, &bytes))).unwrap_or(Err(Error::Panicked))?;
    let mut out = io::stdout().lock();
    out.write_all(&artefact).and_then(|()| out.flush()).map_err(Error::Write)?;
    Ok(kind)
}

/// Compiles one file for the engine's target.
pub fn compile(engine: &Engine, bytes: &[u8]) -> Result<(Kind, Vec<u8>), Error> {
    let invalid = |error: wasmtime::Error| Error::Invalid(first_line(&format!("{error:#}")));
    match form(bytes)? {
        Form::Module => {
            let artefact = engine.precompile_module(bytes).map_err(invalid)?;
            // SAFETY: the bytes come from the compiler, one line above.
            #[allow(unsafe_code)]
            let module = unsafe { Module::deserialize(engine, &artefact) }.map_err(invalid)?;
            Ok((linker::module(&module)?.kind(), artefact))
        }
        Form::Component => {
            let artefact = engine.precompile_component(bytes).map_err(invalid)?;
            // SAFETY: the same.
            #[allow(unsafe_code)]
            let component = unsafe { Component::deserialize(engine, &artefact) }.map_err(invalid)?;
            Ok((linker::component(&component)?.kind(), artefact))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Form {
    Module,
    Component,
}

/// What the file is by its first bytes.
fn form(bytes: &[u8]) -> Result<Form, Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_MODULE {
        return Err(Error::TooLarge);
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(Error::Precompiled);
    }
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).unwrap_or((bytes, &[]));
    if magic != MAGIC {
        let text = bytes.trim_ascii_start();
        let is_text = text.starts_with(b"(module") || text.starts_with(b"(component");
        return Err(if is_text { Error::Text } else { Error::NotWasm(start(bytes)) });
    }
    match rest.get(..CORE_VERSION.len()) {
        Some(CORE_VERSION) => Ok(Form::Module),
        Some(COMPONENT_VERSION) => Ok(Form::Component),
        version => Err(Error::Version(hex::encode(version.unwrap_or(rest)))),
    }
}

/// The first bytes for a message: what file tools show of them.
fn start(bytes: &[u8]) -> String {
    let head = bytes.get(..4).unwrap_or(bytes);
    match head {
        b"\x7fELF" => "the ELF mark of a native program".to_owned(),
        [0x1f, 0x8b, ..] => "the mark of a gzip file".to_owned(),
        _ if head.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => format!("{:?}", String::from_utf8_lossy(head)),
        _ => format!("bytes {}", hex::encode(head)),
    }
}

fn first_line(text: &str) -> String {
    text.split('\n').map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown error").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        let engine = Engine::new(&engine_config(None).unwrap()).unwrap();
        compile(&engine, bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_wasm_is_named() {
        let engine = Engine::new(&engine_config(None).unwrap()).unwrap();
        let precompiled = engine.precompile_module(b"(module)").unwrap();
        let cases: [(&[u8], &str); 9] = [
            (b"", "empty"),
            (b"#!/bin/sh\n", "\"#!/b\""),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0", "native program"),
            (&precompiled, "precompiled"),
            (b" (module)", "text"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\0asm", "unknown version"),
            (b"\0asm\x02\0\0\0", "02000000"),
            (b"\0asm\x01\0\0\0\xff\xff", "not valid"),
        ];
        for (bytes, want) in cases {
            let message = refused(bytes);
            assert!(message.contains(want), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_good_module_gives_an_artefact_of_its_kind() {
        let engine = Engine::new(&engine_config(None).unwrap()).unwrap();
        // (module (func (export "_start")))
        let wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";
        let (kind, artefact) = compile(&engine, wasm).unwrap();
        assert_eq!(kind, Kind::Module);
        assert!(Engine::detect_precompiled(&artefact).is_some());
    }
}
