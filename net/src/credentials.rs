//! What this node shows and whom it trusts: its certificate, its key, the cluster's root.
//!
//! Owns: parsing. Invariant: the key is not printed.

use crate::error::Error;
use crate::peer::Peer;
use ring::hkdf;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// A node's identity, ready for handshakes. Clones share it.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    roots: Arc<RootCertStore>,
    root: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    own: Peer,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials").field(&self.0.own).finish()
    }
}

impl Credentials {
    /// From PEM texts.
    pub fn from_pem(root: &str, certificate: &str, key: &str) -> Result<Self, Error> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| Error::Credentials(format!("{what}: {error}"));
        let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| wrong("root certificate", &error))?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|error| wrong("node certificate", &error))?;
        // Its Display names the field only; what stood there is not repeated.
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Error::Credentials("node key: it is not a private key".into()))?;
        let own = Peer::of(&certificate)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).map_err(|error| wrong("root certificate", &error))?;
        Ok(Self(Arc::new(Inner { roots: Arc::new(roots), root, certificate, key, own })))
    }

    /// Who this node is.
    pub fn own(&self) -> &Peer {
        &self.0.own
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.0.roots.clone()
    }

    /// The root goes along, so that a node which joins can hold it against its token.
    pub(crate) fn chain_with_root(&self) -> Vec<CertificateDer<'static>> {
        vec![self.0.certificate.clone(), self.0.root.clone()]
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.0.certificate.clone()]
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
