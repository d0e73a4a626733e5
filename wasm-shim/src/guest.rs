//! What a store holds for its guest: the WASI contexts and the limiter.
//!
//! Owns: the sandbox by default. A guest gets its arguments, its environment, two output streams and the folders that are mounted for
//! it; no other files; of the network what its task has (`net`). Never: inherits anything of this process.

use crate::{
    files::{self, TaskFiles},
    limits::Limiter,
    net::{self, TaskNet},
    preopens::Preopens,
    task::Task,
};
use http::Request;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p1::WasiP1Ctx};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, p2::bindings::http::types::ErrorCode};
use wsw_api::log::Stream;

/// Resources (streams, headers, bodies, …) that the host holds for one instance, six for each socket that a task may have: more is a leak or
/// an attack, and ends the guest.
pub const MAX_RESOURCES: usize = 4_096;
/// Largest answer of `wasi:random` in one call: the host allocates it.
const MAX_RANDOM: u64 = 1 << 20;

/// Pieces of a response's body that wait to be sent, and the size of one: what the host holds for a slow client. With more than one
/// piece most guests have written their whole answer, and are gone, before the first byte is sent.
const BODY_PIECES: usize = 8;
const BODY_PIECE: usize = 64 << 10;
/// What waits in one body at most: beside the pieces one that is on its way.
pub const MAX_QUEUED: usize = (BODY_PIECES + 1) * BODY_PIECE;
/// Bodies of one instance that have as much, counted as the task's memory; what it makes beyond them has one small piece.
const LARGE_BODIES: usize = 4;
const SMALL_PIECE: usize = 4 << 10;
/// Names and values of one set of headers that a guest makes, in bytes: what is taken from clients, too.
const MAX_FIELDS: usize = 64 << 10;

/// Arguments and environment of a task, the same for all its instances.
#[derive(Debug, Default)]
pub struct Identity {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: Option<String>,
    pub folders: Preopens,
}

fn context(task: &Task) -> wasmtime_wasi::WasiCtxBuilder {
    let (identity, stdout, stderr) = (&task.spec.identity, task.sink.stream(Stream::Stdout), task.sink.stream(Stream::Stderr));
    let mut builder = WasiCtx::builder();
    builder.args(&identity.args).envs(&identity.env).stdout(stdout).stderr(stderr).max_random_size(MAX_RANDOM);
    if let Some(cwd) = &identity.cwd {
        builder.initial_cwd(cwd);
    }
    builder
}

/// The store data of a wasip1 module.
pub struct ModuleGuest {
    pub wasi: WasiP1Ctx,
    pub limiter: Limiter,
    pub files: Arc<TaskFiles>,
    pub open: files::module::OpenFiles,
}

impl ModuleGuest {
    pub fn new(task: &Task) -> Self {
        let mut wasi = context(task).build_p1();
        task.spec.identity.folders.give_module(&mut wasi);
        wasi.ctx().table.set_max_capacity(MAX_RESOURCES);
        Self { wasi, limiter: Limiter::new(task.memory.clone()), files: task.files.clone(), open: files::module::OpenFiles::default() }
    }
}

/// The store data of a component.
pub struct ComponentGuest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    pub net: Arc<TaskNet>,
    /// Its sockets.
    pub open: net::sockets::Sockets,
    pub task_files: Arc<TaskFiles>,
    pub open_files: files::component::OpenFiles,
    table: ResourceTable,
    pub limiter: Limiter,
}

impl ComponentGuest {
    pub fn new(task: &Task) -> Self {
        let (net, limiter) = (task.net.clone(), Limiter::new(task.memory.clone()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut context = context(task);
        net.permit(&mut context);
        let hooks = Hooks { net: net.clone(), memory: limiter.another(), large: LARGE_BODIES, piece: BODY_PIECE };
        let mut wasi = context.build();
        task.spec.identity.folders.give(&mut wasi);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        let (open, open_files) = (net::sockets::Sockets::default(), files::component::OpenFiles::default());
        Self { wasi, http, hooks, net, open, task_files: task.files.clone(), open_files, table, limiter }
    }
}

impl WasiView for ComponentGuest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for ComponentGuest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

type Sent = Box<dyn Future<Output = Result<(http::Response<WasiBody>, net::http::Io), Error>> + Send>;

/// Outgoing HTTP goes through our own client; bodies are counted.
struct Hooks {
    net: Arc<TaskNet>,
    memory: Limiter,
    /// Large bodies that may yet be made.
    large: usize,
    /// Of the body that is being made.
    piece: usize,
}

impl WasiHttpHooks for Hooks {
    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _: net::http::Io) -> Sent {
        Box::new(net::http::send(self.net.clone(), request, options))
    }

    /// Asked first for each body.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        let large = self.large > 0 && self.memory.host(MAX_QUEUED).is_ok();
        self.large -= usize::from(large);
        self.piece = if large { BODY_PIECE } else { SMALL_PIECE };
        if large { BODY_PIECES } else { 1 }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.piece
    }

    /// A client that goes away in the middle of its request is no news.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        tracing::debug!("request body: {error}");
        ErrorCode::ConnectionTerminated
    }
}
