//! TLS as nodes speak it: version 1.3, ring, both sides with certificates, nothing resumed.
//!
//! Invariant: no session tickets and no 0-RTT: a resumed handshake would take a certificate's chain on trust, and early data can be
//! replayed. So each connection stands on a certificate that was verified for it.

use crate::credentials::Credentials;
use crate::error::Error;
use crate::protocol::Protocol;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use std::sync::Arc;

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Credentials(error.to_string())
}

/// For accepted connections. A peer without a certificate gets through the handshake; the router lets it join and nothing else.
pub(crate) fn server(credentials: &Credentials) -> Result<QuicServerConfig, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(credentials.roots(), provider()).allow_unauthenticated().build().map_err(wrong)?;
    let builder = rustls::ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(wrong)?;
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(credentials.chain_with_root(), credentials.key()).map_err(wrong)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.alpn_protocols = Protocol::ALL.iter().map(|protocol| protocol.name().as_bytes().to_vec()).collect();
    QuicServerConfig::try_from(config).map_err(wrong)
}

/// For a connection to a member of the cluster.
pub(crate) fn client(credentials: &Credentials, protocol: Protocol) -> Result<QuicClientConfig, Error> {
    let builder = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(wrong)?;
    let config = builder.with_root_certificates(credentials.roots()).with_client_auth_cert(credentials.chain(), credentials.key()).map_err(wrong)?;
    finish(config, protocol)
}

/// For a connection without a certificate of our own, to whom `verifier` accepts.
pub(crate) fn anonymous(verifier: Arc<dyn ServerCertVerifier>, protocol: Protocol) -> Result<QuicClientConfig, Error> {
    let builder = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(wrong)?;
    finish(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(), protocol)
}

fn finish(mut config: rustls::ClientConfig, protocol: Protocol) -> Result<QuicClientConfig, Error> {
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![protocol.name().as_bytes().to_vec()];
    QuicClientConfig::try_from(config).map_err(wrong)
}
