//! TLS of outgoing requests: rustls with ring, the machine's own certificates.
//!
//! Owns: the trust. The machine's store is used rather than one that is built in, because it is what its operator keeps (private
//! authorities, withdrawn ones), and is read once, before the sandbox closes files to the process: a changed store counts for new shims.
//! Never: lets a guest switch verification off.

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use std::{io, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use wasmtime_wasi_http::Error;

/// What we speak, by preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The settings of all connections; none when they cannot be made.
pub struct Tls(Option<Arc<ClientConfig>>);

impl Tls {
    /// For a shim that reaches nothing.
    pub const fn none() -> Self {
        Self(None)
    }

    /// With the machine's certificates.
    pub fn load() -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(added, ignored, errors = found.errors.len(), "certificates of the machine");
        Self::with_roots(roots)
    }

    pub fn with_roots(roots: RootCertStore) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
        let config = builder.map(|builder| {
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
            Arc::new(config)
        });
        Self(config.inspect_err(|error| tracing::error!("TLS: {error}")).ok())
    }

    /// A connection to `host` over `stream`; true when HTTP/2 was agreed on.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<(TlsStream<TcpStream>, bool), Error> {
        let config = self.0.clone().ok_or(Error::ConfigurationError)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| failed(&error))?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(PROTOCOLS[0]);
        Ok((stream, is_h2))
    }
}

fn failed(error: &io::Error) -> Error {
    tracing::debug!("TLS: {error}");
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: None },
        _ => Error::TlsProtocolError,
    }
}
