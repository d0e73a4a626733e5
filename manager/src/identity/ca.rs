//! The certificate authority: the cluster's root and the certificates of its nodes.
//!
//! Owns: what is in a certificate (SwarmKit's: CN node id, OU role, O cluster id; ECDSA P-256). Invariant: a certificate is never valid
//! for longer than its root. Never: says what a role may do (the role in the state does).

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};
use wsw_api::id::{ClusterId, NodeId};

/// SwarmKit's: 20 years.
const ROOT_LIFE: Duration = Duration::days(20 * 365);
/// SwarmKit's default: 90 days.
pub const NODE_LIFE: Duration = Duration::days(90);
/// A node whose clock is behind by less than this still accepts a new certificate.
const BACKDATE: Duration = Duration::hours(1);
const ROOT_NAME: &str = "swarm-ca";
/// Role of a manager in its certificate.
pub const MANAGER: &str = "swarm-manager";

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
        let now = OffsetDateTime::now_utc();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new([node.to_string(), MANAGER.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, cluster.to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, MANAGER);
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.not_before = now - BACKDATE;
        params.not_after = now + life;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        // Only the name and the key identifier of the issuer go into the certificate; both are the same as in the root's own.
        let issuer = root_params(now)?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer, &self.key))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
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
}
