//! What this node shows and whom it trusts: its certificate, its key, the cluster's root.
//!
//! Owns: parsing, and whether the parts fit together. Invariant: the key is not printed.

use crate::error::Error;
use crate::peer::Peer;
use crate::tls;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hkdf;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wsw_api::trust::{Issuer, Validity};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A node's certificate and what leads from it to a root: one more while the root is replaced.
const MAX_CHAIN: usize = 3;

/// A node's identity, ready for handshakes. Clones share it.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    roots: Arc<RootCertStore>,
    root: CertificateDer<'static>,
    /// The node's own first.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    own: Peer,
    issuer: Issuer,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials").field(&self.0.own).finish()
    }
}

impl Credentials {
    /// From PEM texts; the certificate may bring along what leads from it to the root.
    pub fn from_pem(root: &str, certificate: &str, key: &str) -> Result<Self, Error> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| Error::Credentials(format!("{what}: {error}"));
        let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| wrong("root certificate", &error))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).take(MAX_CHAIN + 1).collect();
        let chain = chain.map_err(|error| wrong("node certificate", &error))?;
        let Some(first) = chain.first().filter(|_| chain.len() <= MAX_CHAIN) else {
            return Err(Error::Credentials(format!("node certificate: {} were found where 1 to {MAX_CHAIN} belong", chain.len())));
        };
        // Its Display names the field only; what stood there is not repeated.
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Error::Credentials("node key: it is not a private key".into()))?;
        let own = Peer::of(first)?;
        let issuer = issuer(chain.get(1).unwrap_or(&root))?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).map_err(|error| wrong("root certificate", &error))?;
        Ok(Self(Arc::new(Inner { roots: Arc::new(roots), root, chain, key, own, issuer })))
    }

    /// Who this node is.
    pub fn own(&self) -> &Peer {
        &self.0.own
    }

    /// Who issued its certificate.
    pub fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    /// From when until when its certificate is valid.
    pub fn validity(&self) -> Validity {
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Validity { from: seconds(self.0.own.from), until: seconds(self.0.own.expires) }
    }

    /// Whether its certificate leads to its root, whenever that may be: what does not is of no use to anybody.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |error: &dyn std::fmt::Display| Error::Credentials(format!("node certificate: {error}"));
        let Some((own, between)) = self.0.chain.split_first() else { return Err(wrong(&"there is none")) };
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots(), tls::provider()).build().map_err(|error| wrong(&error))?;
        let name = ServerName::try_from(self.0.own.node.to_string()).map_err(|error| wrong(&error))?;
        // In the last second of its life: what leads to the root has to last as long.
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(self.validity().until.saturating_sub(1)));
        verifier.verify_server_cert(own, between, &name, &[], moment).map(drop).map_err(|error| wrong(&error))
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.0.roots.clone()
    }

    /// The root goes along, so that a node which joins can hold it against its token.
    pub(crate) fn chain_with_root(&self) -> Vec<CertificateDer<'static>> {
        self.0.chain.iter().chain([&self.0.root]).cloned().collect()
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.chain.clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.0.key.clone_key()
    }

    /// A key for resets that a later life of this node makes too: who still sends to the old one learns at once that it is gone.
    pub(crate) fn reset_key(&self) -> ring::hmac::Key {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"wsw stateless reset").extract(self.0.key.secret_der());
        let key = secret.expand(&[b"key"], ring::hmac::HMAC_SHA256);
        key.map_or_else(|_| ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.0.key.secret_der()), ring::hmac::Key::from)
    }
}

/// A certificate as the issuer of others.
fn issuer(certificate: &CertificateDer<'_>) -> Result<Issuer, Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| Error::Credentials(format!("the issuer's certificate cannot be read: {error}")))?;
    Ok(Issuer { subject: STANDARD.encode(parsed.subject().as_raw()), public_key: STANDARD.encode(parsed.public_key().raw) })
}
