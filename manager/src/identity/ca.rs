//! The certificate authority: the cluster's root and the certificates of its nodes.
//!
//! Owns: what is in a certificate (SwarmKit's: CN node id, OU role, O cluster id; ECDSA P-256). Invariant: a certificate is never valid
//! for longer than its root. Never: says what a role may do (the role in the state does).

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use wsw_api::id::{ClusterId, NodeId};
use wsw_api::spec::NodeRole;

/// SwarmKit's: 20 years.
const ROOT_LIFE: Duration = Duration::days(20 * 365);
/// SwarmKit's default: 90 days.
pub const NODE_LIFE: Duration = Duration::days(90);
/// A node whose clock is behind by less than this still accepts a new certificate.
const BACKDATE: Duration = Duration::hours(1);
const ROOT_NAME: &str = "swarm-ca";
/// The roles in certificates.
const MANAGER: &str = "swarm-manager";
const WORKER: &str = "swarm-worker";

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("certificate authority")]
pub struct Error(#[from] rcgen::Error);

/// The cluster's root with its private key.
pub struct Root {
    certificate: String,
    key: KeyPair,
}

/// A node's new certificate and key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Root {
    /// A new root.
    pub fn generate() -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = root_params(OffsetDateTime::now_utc())?.self_signed(&key)?.pem();
        Ok(Self { certificate, key })
    }

    /// The root of a cluster, from its state.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        Ok(Self { certificate: certificate.to_owned(), key: KeyPair::from_pem(key)? })
    }

    /// PEM of the certificate.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// PEM of the private key.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// A certificate for a manager, with a new key.
    pub fn issue(&self, node: NodeId, cluster: ClusterId, life: Duration) -> Result<Issued, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = self.certify(&key, node, cluster, NodeRole::Manager, life)?;
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// A certificate for the key of a request.
    pub fn sign(&self, request: &Request, node: NodeId, cluster: ClusterId, role: NodeRole, life: Duration) -> Result<String, Error> {
        self.certify(&request.0, node, cluster, role, life)
    }

    fn certify(&self, key: &impl PublicKeyData, node: NodeId, cluster: ClusterId, role: NodeRole, life: Duration) -> Result<String, Error> {
        let now = OffsetDateTime::now_utc();
        let role = match role {
            NodeRole::Manager => MANAGER,
            NodeRole::Worker => WORKER,
        };
        let mut params = CertificateParams::new([node.to_string(), role.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, cluster.to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, role);
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.not_before = now - BACKDATE;
        params.not_after = now + life.min(ROOT_LIFE);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        // Only the name and the key identifier of the issuer go into the certificate; both are the same as in the root's own.
        let issuer = root_params(now)?;
        Ok(params.signed_by(key, &Issuer::from_params(&issuer, &self.key))?.pem())
    }
}

/// What a node that joins asks for: its signature shows that its sender has the key. Nothing else of it counts.
pub struct Request(PublicKey);

impl Request {
    /// Reads and checks it.
    pub fn read(pem: &str) -> Result<Self, Error> {
        let key = CertificateSigningRequestParams::from_pem(pem)?.public_key;
        // The only kind that we make; a peer's handshake must not depend on what a stranger chose.
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 { Err(Error(rcgen::Error::UnsupportedSignatureAlgorithm)) } else { Ok(Self(key)) }
    }

    /// The id of the node with this key: whoever asks twice (the first answer was lost) is one node.
    pub fn node(&self) -> NodeId {
        let digest: [u8; 32] = Sha256::digest(self.0.der_bytes()).into();
        NodeId::from_bytes(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// A request for a new key, both as PEM.
pub fn request() -> Result<(String, String), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok((CertificateParams::default().serialize_request(&key)?.pem()?, key.serialize_pem()))
}

/// A request for a key that a node has already.
pub fn request_again(key: &str) -> Result<String, Error> {
    Ok(CertificateParams::default().serialize_request(&KeyPair::from_pem(key)?)?.pem()?)
}

fn root_params(now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, ROOT_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATE;
    params.not_after = now + ROOT_LIFE;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_from_its_pem_issues_the_same_kind_of_certificate() {
        let made = Root::generate().unwrap();
        let read = Root::from_pem(made.certificate(), &made.key()).unwrap();
        assert_eq!(read.certificate(), made.certificate());
        for root in [made, read] {
            let issued = root.issue(NodeId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]), NODE_LIFE).unwrap();
            assert!(issued.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
            assert!(issued.key.contains("PRIVATE KEY"));
        }
        assert!(Root::from_pem("", "not a key").is_err());
    }

    #[test]
    fn a_request_is_signed_once_its_sender_shows_that_it_has_the_key() {
        let root = Root::generate().unwrap();
        let (csr, _) = request().unwrap();
        let read = Request::read(&csr).unwrap();
        assert_eq!(read.node(), Request::read(&csr).unwrap().node());
        assert_ne!(read.node(), Request::read(&request().unwrap().0).unwrap().node());
        let certificate = root.sign(&read, read.node(), ClusterId::from_bytes([2; 16]), NodeRole::Worker, NODE_LIFE).unwrap();
        assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        // Its last characters are the signature's.
        let spoilt = csr.replace("=\n-----END", "A\n-----END");
        for wrong in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", &spoilt[..spoilt.len() / 2]] {
            assert!(Request::read(wrong).is_err());
        }
        let other = CertificateParams::default().serialize_request(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()).unwrap();
        assert!(Request::read(&other.pem().unwrap()).is_err());
    }
}
