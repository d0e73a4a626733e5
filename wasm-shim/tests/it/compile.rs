//! The compiler process: what it gives, what it refuses, what it may not do.

use crate::{
    guests,
    harness::{MEMORY, compile},
};
use wsw_api::shim::{CompileReport, Kind};

fn message(bytes: &[u8], memory: u64) -> String {
    let compiled = compile(bytes, memory);
    assert!(!compiled.success);
    assert!(compiled.artefact.is_empty());
    match compiled.report {
        CompileReport::Err { message } => message,
        CompileReport::Ok { kind } => panic!("compiled as {kind:?}"),
    }
}

#[test]
fn each_kind_compiles() {
    for (wat, kind) in [(guests::NOTHING, Kind::Module), (&guests::command(0), Kind::Command), (guests::SERVER, Kind::Http)] {
        let compiled = compile(&wat::parse_str(wat).unwrap(), MEMORY);
        assert_eq!(compiled.report, CompileReport::Ok { kind });
        assert!(compiled.success);
        assert!(compiled.artefact.starts_with(b"\x7fELF"));
    }
}

#[test]
fn bad_files_are_refused_with_a_reason() {
    let wasm = |wat: &str| wat::parse_str(wat).unwrap();
    let foreign = r#"(module (import "env" "launch" (func)) (func (export "_start")))"#;
    let unknown = r#"(component (import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func)))))"#;
    for (bytes, want) in [
        (b"hello".to_vec(), "not a WebAssembly file"),
        (compile(&wasm(guests::NOTHING), MEMORY).artefact, "precompiled"),
        (wasm("(module)"), "_start"),
        (wasm(foreign), "`env::launch`"),
        (wasm(unknown), "exports nothing"),
        (wasm(guests::NOTHING)[..20].to_vec(), "not valid"),
    ] {
        let message = message(&bytes, MEMORY);
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn a_module_that_needs_too_much_memory_is_refused_with_a_reason() {
    // One function of many steps: cheap to write, dear to compile.
    let steps = "(i32.store (local.get 0) (local.get 1))".repeat(60_000);
    let wat = format!(r#"(module (memory 1) (func (export "_start")) (func (param i32 i32) {steps}))"#);
    let message = message(&wat::parse_str(&wat).unwrap(), 32 << 20);
    assert!(message.contains("memory"), "{message}");
}
