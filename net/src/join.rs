//! Dialling a cluster that this node is not part of: no certificate of our own, and of the other side only its root's digest is known.
//!
//! Invariant: nothing is sent before the other side's chain leads to the root with that digest and its certificate is a manager's.

use crate::connection::Connection;
use crate::error::Error;
use crate::protocol::Protocol;
use crate::{tls, transport};
use quinn::{ClientConfig, EndpointConfig, TokioRuntime};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What a certificate of a manager is made out to.
const MANAGER: &str = "swarm-manager";

/// Tells the root by the sha256 of its DER form.
pub type Pinned = Arc<dyn Fn(&[u8; 32]) -> bool + Send + Sync>;

/// Opens a `join` connection to a manager of the cluster whose root `is_root` knows. Answers the root too (DER).
pub async fn dial_unknown(addr: SocketAddr, is_root: Pinned) -> Result<(Connection, Vec<u8>), Error> {
    let key = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &ring::rand::SystemRandom::new());
    let key = key.map_err(|_| Error::Credentials("no randomness".into()))?;
    let socket = transport::socket(transport::any_port(addr))?;
    let endpoint = quinn::Endpoint::new(EndpointConfig::new(Arc::new(key)), None, socket, Arc::new(TokioRuntime));
    let endpoint = endpoint.map_err(|error| Error::Bind(addr, error.to_string()))?;
    let verifier = Arc::new(Verifier { is_root, seen: Mutex::default() });
    let mut config = ClientConfig::new(Arc::new(tls::anonymous(verifier.clone(), Protocol::Join)?));
    config.transport_config(Arc::new(transport::dialling(Protocol::Join)));
    let connecting = endpoint.connect_with(config, addr, MANAGER).map_err(|error| Error::Unreachable(addr, error.to_string()))?;
    let shaken = connecting.await;
    match (shaken, verifier.seen()) {
        (Ok(connection), Some(Seen::Root(root))) => Ok((Connection::new(connection, None), root)),
        (_, Some(Seen::Stranger)) => Err(Error::Untrusted(addr, "remote CA does not match fingerprint".into())),
        (Err(ended), _) => Err(Error::of_dial(addr, &ended)),
        (Ok(_), None) => Err(Error::Untrusted(addr, "it showed no certificate".into())),
    }
}

/// What the other side showed.
#[derive(Debug, Clone)]
enum Seen {
    Root(Vec<u8>),
    /// No certificate of its chain is the root.
    Stranger,
}

struct Verifier {
    is_root: Pinned,
    seen: Mutex<Option<Seen>>,
}

impl Verifier {
    fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn saw(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates.iter().find(|certificate| (self.is_root)(&Sha256::digest(certificate).into()));
        let Some(root) = root else {
            self.saw(Seen::Stranger);
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider()).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.saw(Seen::Root(root.to_vec()));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &tls::provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &tls::provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
