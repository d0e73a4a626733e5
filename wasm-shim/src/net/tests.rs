//! What a task may reach, with scripted names, and outgoing HTTP against real servers on loopback.

use super::{http, resolver::Resolver, tls::Tls, *};
use crate::{
    logs::Logs,
    quota::{Descriptors, MAX_SOCKETS},
};
use ::http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// A task with this list; the folder holds its log.
fn task(list: &str, tls: Tls, look: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> (Arc<TaskNet>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (logs, _) = Logs::start().unwrap();
    let sink = Sink::new(logs.clone(), logs.open(folder.path().join("log"), wsw_api::log::Bounds::default()));
    let shared = Shared { resolver: Resolver::new(look), own: own::Own::new(), tls, listeners: Arc::default(), ipv6: true };
    let spec = NetSpec { outbound: Outbound::parse(list).unwrap(), ..NetSpec::default() };
    (TaskNet::new(spec, Arc::new(shared), sink, TaskQuota::new(&Descriptors::new(1_000))), folder)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_name_that_answers_with_a_guarded_address_does_not_open_it() {
    let (net, _folder) = task("*.example:80", Tls::none(), |name| {
        Ok(vec![match name {
            "good.example" => [198, 51, 100, 7].into(),
            "loop.example" => [127, 0, 0, 1].into(),
            "meta.example" => [169, 254, 169, 254].into(),
            _ => return Err(io::Error::other("no such name")),
        }])
    });
    for name in ["good.example", "loop.example", "meta.example"] {
        assert_eq!(net.lookup(name).await.unwrap().len(), 1);
    }
    let reached = |target: &str| net.may_reach(address(target));
    assert!(reached("198.51.100.7:80"), "the address that was answered");
    assert!(!reached("198.51.100.7:81"), "another port");
    assert!(!reached("198.51.100.8:80"), "never answered");
    assert!(!reached("127.0.0.1:80") && !reached("169.254.169.254:80"), "guarded");
    assert_eq!(net.lookup("good.other").await, Err(LookupError::Denied));
    assert_eq!(net.lookup("a b").await, Err(LookupError::Invalid));
    assert!(matches!(net.lookup("nobody.example").await, Err(LookupError::Failed(_))));
    // A client of HTTP is judged by the same rules, whatever the name says.
    let request = Request::get("http://loop.example/").body(nothing()).unwrap();
    assert!(matches!(http::send(net.clone(), request, None).await, Err(Error::HttpRequestDenied)));
}

#[tokio::test]
async fn only_our_own_ends_get_in() {
    let (net, _folder) = task("", Tls::none(), |_| Ok(vec![]));
    let (ours, other) = (address("127.0.0.1:1000"), address("127.0.0.1:1001"));
    lock(&net.relays).insert(ours);
    assert!(net.check(ours, SocketAddrUse::TcpAccept) && !net.check(other, SocketAddrUse::TcpAccept));
    net.add_flow(address("[::ffff:127.0.0.1]:1000"));
    for purpose in [SocketAddrUse::UdpReceive, SocketAddrUse::UdpSend] {
        assert!(net.check(ours, purpose) && !net.check(other, purpose));
    }
    assert!(!net.check(ours, SocketAddrUse::TcpConnect), "a flow opens no way out");
    for n in 0..u16::MAX {
        net.add_flow(SocketAddr::new([127, 0, 0, 1].into(), n));
    }
    assert_eq!(lock(&net.flows).len(), MAX_FLOWS);
}

fn nothing() -> WasiBody {
    Full::new(bytes::Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

/// A TLS server on loopback for `localhost`, and the certificate that a client has to trust.
async fn server() -> (SocketAddr, RootCertStore) {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(config)));
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                    let body = format!("{:?} {}", request.version(), request.uri().path());
                    Ok::<_, std::convert::Infallible>(::http::Response::new(Full::new(bytes::Bytes::from(body))))
                });
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (address, roots)
}

fn localhost(_: &str) -> io::Result<Vec<IpAddr>> {
    Ok(vec![[127, 0, 0, 1].into()])
}

#[tokio::test]
async fn https_needs_a_certificate_that_the_machine_trusts() {
    let (address, roots) = server().await;
    let get = |path: &str| Request::get(format!("https://localhost:{}{path}", address.port())).body(nothing()).unwrap();
    let (net, _folder) = task("localhost", Tls::with_roots(roots), localhost);
    let (answer, io) = http::send(net.clone(), get("/page"), None).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    let driving = tokio::spawn(Box::into_pin(io));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "HTTP/2.0 /page");
    driving.await.unwrap().unwrap();
    let all: Vec<_> = (0..MAX_SOCKETS).filter_map(|_| net.socket()).collect();
    assert_eq!(all.len(), MAX_SOCKETS as usize, "its place is free again");
    let (stranger, _folder) = task("localhost", Tls::with_roots(RootCertStore::empty()), localhost);
    assert!(matches!(http::send(stranger, get("/"), None).await, Err(Error::TlsCertificateError)));
}

#[tokio::test]
async fn nothing_waits_longer_than_its_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (net, _folder) = task("localhost", Tls::none(), localhost);
    let request = || Request::get(format!("http://localhost:{port}/")).body(nothing()).unwrap();
    let short = Some(Duration::from_millis(50));
    let options = RequestOptions { first_byte_timeout: short, between_bytes_timeout: short, ..RequestOptions::default() };
    assert!(matches!(http::send(net.clone(), request(), Some(options)).await, Err(Error::HttpResponseTimeout)));
    drop(listener.accept().await.unwrap());
    let half = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1_024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        stream
    };
    let patient = RequestOptions { between_bytes_timeout: short, ..RequestOptions::default() };
    let (sent, _stream) = tokio::join!(http::send(net.clone(), request(), Some(patient)), half);
    let (answer, io) = sent.unwrap();
    tokio::spawn(Box::into_pin(io));
    assert!(matches!(answer.into_body().collect().await, Err(Error::ConnectionReadTimeout)));
    drop(listener);
    assert!(matches!(http::send(net, request(), None).await, Err(Error::ConnectionRefused)));
}
