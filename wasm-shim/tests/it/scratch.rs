//! scratch
use crate::harness::*;
use std::net::TcpListener;
use std::time::Instant;
use wsw_api::shim::{CONTRACT, Handover};

fn rss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}
fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}
fn maps(pid: u32) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().count()
}

fn guest(shim: &Shim, name: &str) -> (std::path::PathBuf, wsw_api::shim::Kind) {
    let bytes = std::fs::read(format!("{}/../guest-examples/target/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let start = Instant::now();
    let compiled = compile(&bytes, MEMORY);
    eprintln!("{name}: {:?} {} bytes in {:?}", compiled.report, compiled.artefact.len(), start.elapsed());
    let wsw_api::shim::CompileReport::Ok { kind } = compiled.report else { panic!() };
    let path = shim.folder.path().join(name.replace('/', "_"));
    std::fs::write(&path, compiled.artefact).unwrap();
    (path, kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_tasks() {
    let Ok(n) = std::env::var("BENCH_TASKS") else { return };
    let n: usize = n.parse().unwrap();
    let shim = Shim::start(5000).await;
    let pid = shim.child.id();
    eprintln!("empty shim: rss {} KiB, {} threads, {} maps", rss(pid), threads(pid), maps(pid));
    let tick = guest(&shim, "wasm32-wasip2/release/tick.wasm");
    shim.run("one", &tick, |_| ()).await;
    shim.instantiated("one").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let base = rss(pid);
    eprintln!("one task: rss {base} KiB, log {:?}", shim.log("one"));
    let shim = std::sync::Arc::new(shim);
    let cpu = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().split(' ').skip(13).take(2).map(|t| t.parse::<u64>().unwrap()).sum::<u64>();
    let c0 = cpu();
    let start = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    let sem = std::sync::Arc::new(tokio::sync::Semaphore::new(64));
    for i in 0..n {
        let (shim, tick, sem) = (shim.clone(), tick.clone(), sem.clone());
        set.spawn(async move {
            let _p = sem.acquire().await;
            shim.run(&format!("t{i}"), &tick, |_| ()).await;
        });
    }
    while let Some(r) = set.join_next().await {
        r.unwrap();
    }
    let took = start.elapsed();
    eprintln!("{n} created+started in {took:?}, shim cpu {} ticks", cpu() - c0);
    shim.instantiated(&format!("t{}", n - 1)).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let now = rss(pid);
    eprintln!("rss {now} KiB, growth per task {:.1} KiB, maps {}", (now - base) as f64 / n as f64, maps(pid));
    if let Ok(s) = std::env::var("BENCH_HOLD") {
        eprintln!("pid {pid}");
        tokio::time::sleep(std::time::Duration::from_secs(s.parse().unwrap())).await;
    }
    let a = cpu();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    eprintln!("cpu ticks in 5 s: {}", cpu() - a);
    let start = Instant::now();
    for i in 0..n {
        shim.kill(&format!("t{i}"), 15).await.unwrap();
    }
    for i in 0..n {
        assert_eq!(shim.wait(&format!("t{i}")).await.code, 143);
    }
    for i in 0..n {
        shim.delete(&format!("t{i}")).await.unwrap();
    }
    eprintln!("cpu for kill {}", cpu() - a);
    eprintln!("killed, waited, deleted in {:?}; rss {}", start.elapsed(), rss(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_http() {
    let Ok(port) = std::env::var("BENCH_HTTP") else { return };
    let shim = Shim::start(5000).await;
    let pid = shim.child.id();
    let hello = guest(&shim, "wasm32-wasip2/release/hello_http.wasm");
    for i in 0..std::env::var("BENCH_REPLICAS").map_or(1, |v| v.parse().unwrap()) {
        shim.run(&format!("hello.{i}"), &hello, |_| ()).await;
    }
    eprintln!("http shim rss {} KiB pid {pid} dir {}", rss(pid), shim.folder.path().display());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    eprintln!("ready");
    let mut seq = 0;
    loop {
        let (conn, client) = listener.accept().unwrap();
        seq += 1;
        let header = Handover { contract: CONTRACT, seq, service: service(), port: 80, client };
        send(&shim.handover, &rmp_serde::to_vec_named(&header).unwrap(), &[&conn]);
        assert_eq!(answer(&shim.handover).unwrap().outcome, wsw_api::shim::HandoverOutcome::Taken);
    }
}

mod baseline {
    //! what `wasmtime serve` does: ProxyHandler, one request per instance, pool.
    use std::pin::Pin;
    use std::task::*;
    use std::time::Instant;
    use wasmtime::component::ResourceTable;
    use wasmtime::*;
    use wasmtime_wasi::*;
    use wasmtime_wasi_http::handler::{Instance, *};
    use wasmtime_wasi_http::*;
    struct H;
    impl WasiHttpHooks for H {
        fn send_request(
            &mut self,
            _: http::Request<WasiBody>,
            _: Option<RequestOptions>,
            _: Box<dyn Future<Output = std::result::Result<(), wasmtime_wasi_http::Error>> + Send>,
        ) -> Box<
            dyn Future<
                    Output = std::result::Result<
                        (http::Response<WasiBody>, Box<dyn Future<Output = std::result::Result<(), wasmtime_wasi_http::Error>> + Send>),
                        wasmtime_wasi_http::Error,
                    >,
                > + Send,
        > {
            Box::new(async { Err(wasmtime_wasi_http::Error::HttpRequestDenied) })
        }
    }
    pub struct S {
        wasi: WasiCtx,
        http: WasiHttpCtx,
        h: H,
        table: ResourceTable,
        lim: StoreLimits,
    }
    impl WasiView for S {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
        }
    }
    impl WasiHttpView for S {
        fn http(&mut self) -> WasiHttpCtxView<'_> {
            WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.h }
        }
    }
    struct Exp;
    impl WorkerExpiration for Exp {
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>, s: WorkerStatus, _: Instant) -> Poll<()> {
            if s == WorkerStatus::Idle { Poll::Ready(()) } else { Poll::Pending }
        }
    }
    struct W;
    impl WorkerState for W {
        type StoreData = S;
        type RequestData = ();
        fn should_accept_request(&self, _: usize, total: usize) -> ShouldAccept {
            if total == 0 { ShouldAccept::Yes } else { ShouldAccept::Never }
        }
        fn on_request_start(&self, _: StoreContextMut<'_, S>, _: (), _: wasmtime::component::GuestTaskId) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
            Box::pin(std::future::pending())
        }
        fn drop(&self, s: Store<S>, r: std::result::Result<(), wasmtime::Error>) {
            if let Err(e) = r {
                eprintln!("{e:?}");
            }
            std::mem::drop(s)
        }
    }
    struct St {
        pre: ProxyPre<S>,
    }
    impl HandlerState for St {
        type StoreData = S;
        type WorkerExpiration = Exp;
        type WorkerState = W;
        async fn instantiate(&self) -> Result<Instance<S, Exp, W>> {
            let ProxyPre::P2(p) = &self.pre;
            let mut store = Store::new(
                p.engine(),
                S {
                    wasi: WasiCtx::builder().env("WSW_TASK_NAME", "x").inherit_stdout().build(),
                    http: WasiHttpCtx::new(),
                    h: H,
                    table: ResourceTable::new(),
                    lim: StoreLimits::default(),
                },
            );
            store.limiter(|s| &mut s.lim);
            let proxy = self.pre.instantiate_async(&mut store).await?;
            Ok(Instance { store, proxy, view: S::http, expiration: Exp, state: W })
        }
    }
    #[test]
    fn bench_base() {
        let Ok(port) = std::env::var("BENCH_BASE") else { return };
        let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        rt.block_on(async {
            let mut c = Config::new();
            c.allocation_strategy(InstanceAllocationStrategy::pooling());
            let engine = Engine::new(&c).unwrap();
            let comp = wasmtime::component::Component::from_file(
                &engine,
                format!("{}/../guest-examples/target/wasm32-wasip2/release/hello_http.wasm", env!("CARGO_MANIFEST_DIR")),
            )
            .unwrap();
            let mut l = wasmtime::component::Linker::new(&engine);
            wasmtime_wasi::p2::add_to_linker_async(&mut l).unwrap();
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut l).unwrap();
            let pre = ProxyPre::P2(wasmtime_wasi_http::p2::bindings::ProxyPre::new(l.instantiate_pre(&comp).unwrap()).unwrap());
            let handler = ProxyHandler::new(St { pre });
            let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
            eprintln!("ready");
            loop {
                let (s, _) = listener.accept().await.unwrap();
                let _ = s.set_nodelay(true);
                let handler = handler.clone();
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .keep_alive(true)
                        .serve_connection(
                            hyper_util::rt::TokioIo::new(s),
                            hyper::service::service_fn(move |r: hyper::Request<hyper::body::Incoming>| {
                                let handler = handler.clone();
                                async move {
                                    use http_body_util::BodyExt;
                                    handler
                                        .handle((), r.map(|b| b.map_err(wasmtime_wasi_http::Error::from).boxed_unsync()))
                                        .await
                                        .map_err(|e| std::io::Error::other(e.to_string()))
                                }
                            }),
                        )
                        .await;
                });
            }
        });
    }
}

#[tokio::test]
async fn heap() {
    if std::env::var("BENCH_HEAP").is_err() {
        return;
    }
    use wasmtime::component::ResourceTable;
    use wasmtime::*;
    use wasmtime_wasi::*;
    struct S {
        wasi: WasiCtx,
        table: ResourceTable,
    }
    impl WasiView for S {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
        }
    }
    fn used() -> usize {
        #[allow(unsafe_code)]
        unsafe {
            libc::mallinfo2().uordblks
        }
    }
    let mut c = Config::new();
    c.epoch_interruption(true).async_stack_size(1 << 20);
    if std::env::var("NOCONC").is_ok() {
        c.concurrency_support(false);
    }
    let engine = Engine::new(&c).unwrap();
    let comp =
        wasmtime::component::Component::from_file(&engine, format!("{}/../guest-examples/target/wasm32-wasip2/release/tick.wasm", env!("CARGO_MANIFEST_DIR")))
            .unwrap();
    let mut l = wasmtime::component::Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut l).unwrap();
    let pre = wasmtime_wasi::p2::bindings::CommandPre::new(l.instantiate_pre(&comp).unwrap()).unwrap();
    const N: usize = 1000;
    let a = used();
    let mut stores: Vec<_> = (0..N)
        .map(|_| {
            let mut s = Store::new(&engine, S { wasi: WasiCtx::builder().args(&["a"]).env("A", "b").build(), table: ResourceTable::new() });
            s.set_epoch_deadline(1 << 40);
            s
        })
        .collect();
    let b = used();
    eprintln!("wasi {} store {}", size_of::<WasiCtx>(), (b - a) / N);
    let mut inst = vec![];
    for s in &mut stores {
        inst.push(pre.instantiate_async(s).await.unwrap());
    }
    let c2 = used();
    eprintln!("instance {}", (c2 - b) / N);
    let mut futs = vec![];
    for (mut s, i) in stores.into_iter().zip(inst) {
        let mut f = Box::pin(async move {
            let r = i.wasi_cli_run().call_run(&mut s).await;
            let _ = r;
        });
        if futs.is_empty() {
            eprintln!("future {}", size_of_val(&*f));
        }
        assert!(futures_util::poll!(f.as_mut()).is_pending());
        futs.push(f);
    }
    let d = used();
    eprintln!("running {}", (d - c2) / N);
}
