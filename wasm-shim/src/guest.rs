//! What a store holds for its guest: the WASI contexts and the limiter.
//!
//! Owns: the sandbox by default. A guest gets its arguments, its environment, two output streams and the folders that are mounted for
//! it; no other files; of the network what its task has (`net`). Never: inherits anything of this process.

use crate::{
    limits::Limiter,
    net::{self, TaskNet},
    preopens::Preopens,
    stdio::TaskStream,
};
use http::Request;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p1::WasiP1Ctx};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, p2::bindings::http::types::ErrorCode};

/// Resources (streams, headers, bodies, …) that the host holds for one instance: more is a leak or an attack.
const MAX_RESOURCES: usize = 10_000;
/// Largest answer of `wasi:random` in one call: the host allocates it.
const MAX_RANDOM: u64 = 1 << 20;

/// Pieces of a response's body that wait to be sent, and the size of one: what the host holds for a slow client. With more than one
/// piece most guests have written their whole answer, and are gone, before the first byte is sent.
const BODY_PIECES: usize = 8;
const BODY_PIECE: usize = 64 << 10;

/// Arguments and environment of a task, the same for all its instances.
#[derive(Debug, Default)]
pub struct Identity {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: Option<String>,
    pub folders: Preopens,
}

fn context(identity: &Identity, stdout: TaskStream, stderr: TaskStream) -> wasmtime_wasi::WasiCtxBuilder {
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
}

impl ModuleGuest {
    pub fn new(identity: &Identity, stdout: TaskStream, stderr: TaskStream, limiter: Limiter) -> Self {
        let mut wasi = context(identity, stdout, stderr).build_p1();
        identity.folders.give_module(&mut wasi);
        Self { wasi, limiter }
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
    table: ResourceTable,
    pub limiter: Limiter,
}

impl ComponentGuest {
    pub fn new(identity: &Identity, stdout: TaskStream, stderr: TaskStream, limiter: Limiter, net: Arc<TaskNet>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut context = context(identity, stdout, stderr);
        net.permit(&mut context);
        let (mut wasi, hooks) = (context.build(), Hooks(net.clone()));
        identity.folders.give(&mut wasi);
        Self { wasi, http: WasiHttpCtx::new(), hooks, net, open: net::sockets::Sockets::default(), table, limiter }
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

/// Outgoing HTTP goes through our own client.
struct Hooks(Arc<TaskNet>);

impl WasiHttpHooks for Hooks {
    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _: net::http::Io) -> Sent {
        Box::new(net::http::send(self.0.clone(), request, options))
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_PIECES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE
    }

    /// A client that goes away in the middle of its request is no news.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        tracing::debug!("request body: {error}");
        ErrorCode::ConnectionTerminated
    }
}
