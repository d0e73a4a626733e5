//! Linking: what a guest may import, and what a Wasm file is by its exports.
//!
//! Owns: the one set of imports that compiler and shim serve, so that a module that compiles here also starts here.
//! The exports decide the kind, never a label or a media type.

use crate::guest::{ComponentGuest, ModuleGuest};
use wasmtime::{Engine, ExternType, InstancePre, Module, UnknownImportError, component::Component};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wsw_api::shim::Kind;

const HTTP_EXPORT: &str = "wasi:http/incoming-handler@0.2.";
const COMMAND_EXPORT: &str = "wasi:cli/run@0.2.";
/// Exports of the next WASI: told apart from files that export nothing we know.
const WASI_3_EXPORTS: [&str; 2] = ["wasi:http/handler@0.3.", "wasi:cli/run@0.3."];
/// What a wasip1 command exports.
const START: &str = "_start";
/// What a wasip1 reactor exports instead.
const INITIALIZE: &str = "_initialize";

/// Why a file does not run here. The texts are shown to the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it imports `{0}`, which is not served here")]
    Import(String),
    #[error("it imports something that is not served here: {0}")]
    Imports(String),
    #[error("the module exports no `_start`, so there is nothing to run{0}")]
    NoStart(&'static str),
    #[error("the component exports neither wasi:http/incoming-handler (a server) nor wasi:cli/run (a command); it exports {0}")]
    NoExport(String),
    #[error("the component is of WASI 0.3 ({0}); this version runs WASI 0.2: build it for wasm32-wasip2")]
    Wasi3(String),
    #[error("{0}")]
    Engine(String),
}

/// A program with its imports resolved: instances are made from it without further look-ups.
pub enum Linked {
    Http(ProxyPre<ComponentGuest>),
    Command(CommandPre<ComponentGuest>),
    Module(InstancePre<ModuleGuest>),
}

impl Linked {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Http(_) => Kind::Http,
            Self::Command(_) => Kind::Command,
            Self::Module(_) => Kind::Module,
        }
    }
}

/// Links a component by what it exports.
pub fn component(component: &Component) -> Result<Linked, Error> {
    let engine = component.engine();
    let mut linker = wasmtime::component::Linker::<ComponentGuest>::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(engine_error)?;
    crate::net::sockets::add_to_linker(&mut linker).map_err(engine_error)?;
    crate::files::component::add_to_linker(&mut linker).map_err(engine_error)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(engine_error)?;
    let kind = component_kind(engine, component)?;
    let pre = linker.instantiate_pre(component).map_err(|error| component_import(&error))?;
    match kind {
        Kind::Http => ProxyPre::new(pre).map(Linked::Http),
        _ => CommandPre::new(pre).map(Linked::Command),
    }
    .map_err(engine_error)
}

/// Links a core module.
pub fn module(module: &Module) -> Result<Linked, Error> {
    let runs = matches!(module.get_export(START), Some(ExternType::Func(start)) if start.params().len() == 0 && start.results().len() == 0);
    if !runs {
        let reactor = module.get_export(INITIALIZE).is_some();
        return Err(Error::NoStart(if reactor { " (it is a library: build it as a command)" } else { " (build it for wasm32-wasip1 as a command)" }));
    }
    let mut linker = wasmtime::Linker::<ModuleGuest>::new(module.engine());
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |guest| &mut guest.wasi).map_err(engine_error)?;
    crate::files::module::add_to_linker(&mut linker).map_err(engine_error)?;
    linker.instantiate_pre(module).map(Linked::Module).map_err(|error| match error.downcast_ref::<UnknownImportError>() {
        Some(import) => Error::Import(format!("{}::{}", import.module(), import.name())),
        None => Error::Imports(format!("{error:#}")),
    })
}

fn engine_error(error: wasmtime::Error) -> Error {
    Error::Engine(format!("{error:#}"))
}

fn component_kind(engine: &Engine, component: &Component) -> Result<Kind, Error> {
    let ty = component.component_type();
    let names: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let exports = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    if exports(HTTP_EXPORT) {
        return Ok(Kind::Http);
    }
    if exports(COMMAND_EXPORT) {
        return Ok(Kind::Command);
    }
    if let Some(name) = names.iter().find(|name| WASI_3_EXPORTS.iter().any(|prefix| name.starts_with(prefix))) {
        return Err(Error::Wasi3((*name).to_owned()));
    }
    Err(Error::NoExport(if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }))
}

/// wasmtime names a missing import in its text only: "component imports instance `a:b/c`, but a matching implementation was not found".
fn component_import(error: &wasmtime::Error) -> Error {
    let text = format!("{error:#}");
    match text.split('`').nth(1).filter(|_| text.contains("was not found")) {
        Some(name) => Error::Import(name.to_owned()),
        None => Error::Imports(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::engine_config;

    fn engine() -> Engine {
        Engine::new(&engine_config(None).unwrap()).unwrap()
    }

    fn link_module(wat: &str) -> Result<Kind, String> {
        module(&Module::new(&engine(), wat).unwrap()).map(|linked| linked.kind()).map_err(|error| error.to_string())
    }

    fn link_component(wat: &str) -> Result<Kind, String> {
        component(&Component::new(&engine(), wat).unwrap()).map(|linked| linked.kind()).map_err(|error| error.to_string())
    }

    #[test]
    fn modules_need_start_and_known_imports() {
        assert_eq!(link_module(r#"(module (func (export "_start")))"#), Ok(Kind::Module));
        let clock = r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))) (func (export "_start")))"#;
        assert_eq!(link_module(clock), Ok(Kind::Module));
        assert!(link_module("(module)").unwrap_err().contains("_start"));
        assert!(link_module(r#"(module (func (export "_start") (param i32)))"#).unwrap_err().contains("_start"));
        assert!(link_module(r#"(module (func (export "_initialize")))"#).unwrap_err().contains("library"));
        let foreign = link_module(r#"(module (import "env" "launch" (func)) (func (export "_start")))"#).unwrap_err();
        assert!(foreign.contains("`env::launch`"), "{foreign}");
        let wrong = link_module(r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func)) (func (export "_start")))"#).unwrap_err();
        assert!(wrong.contains("sched_yield"), "{wrong}");
    }

    const RUN: &str = r#"
        (core module $m (func (export "run") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $inst (export "run" (func $run)))"#;

    #[test]
    fn components_are_told_apart_by_their_exports() {
        assert_eq!(link_component(&format!(r#"(component {RUN} (export "wasi:cli/run@0.2.3" (instance $inst)))"#)), Ok(Kind::Command));
        let nothing = link_component("(component)").unwrap_err();
        assert!(nothing.contains("exports nothing"), "{nothing}");
        let other = link_component(&format!(r#"(component {RUN} (export "acme:tools/run@1.0.0" (instance $inst)))"#)).unwrap_err();
        assert!(other.contains("acme:tools/run@1.0.0"), "{other}");
        let next = link_component(&format!(r#"(component {RUN} (export "wasi:cli/run@0.3.0" (instance $inst)))"#)).unwrap_err();
        assert!(next.contains("WASI 0.3"), "{next}");
    }

    #[test]
    fn imports_of_components_that_are_not_served_are_named() {
        let wat = format!(
            r#"(component (import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func)))) {RUN} (export "wasi:cli/run@0.2.3" (instance $inst)))"#
        );
        let error = link_component(&wat).unwrap_err();
        assert!(error.contains("`wasi:keyvalue/store@0.2.0`"), "{error}");
    }
}
