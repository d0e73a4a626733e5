//! The certificate authority: the cluster's root and the certificates of its nodes.
//!
//! Owns: what is in a certificate (SwarmKit's: CN node id, OU role, O cluster id; ECDSA P-256). Invariant: a certificate is never valid
//! for longer than its root. Never: says what a role may do (the role in the state does).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use wsw_api::id::{ClusterId, NodeId};
use wsw_api::object::Cluster;
use wsw_api::spec::NodeRole;
use wsw_api::time::Time;
use wsw_api::trust::BACKDATE_SECONDS;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer, X509Certificate};

/// SwarmKit's: 20 years.
const ROOT_LIFE: Duration = Duration::days(20 * 365);
/// SwarmKit's default: 90 days.
pub const NODE_LIFE: Duration = Duration::days(90);
/// A node whose clock is behind by less than this still accepts a new certificate.
const BACKDATE: Duration = Duration::seconds(BACKDATE_SECONDS as i64);
const ROOT_NAME: &str = "swarm-ca";
/// The roles in certificates.
const MANAGER: &str = "swarm-manager";
const WORKER: &str = "swarm-worker";

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("certificate authority")]
pub struct Error(#[from] pub rcgen::Error);

/// A root with its private key, as it issues certificates.
pub struct Root {
    certificate: String,
    key: KeyPair,
    until: OffsetDateTime,
    /// Its key signed by the root before it: goes with what it issues.
    cross: Option<Cross>,
}

struct Cross {
    certificate: String,
    until: OffsetDateTime,
    /// Nodes believe the old root alone: nothing may outlast it.
    needed: bool,
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
        let params = root_params(OffsetDateTime::now_utc())?;
        Ok(Self { certificate: params.self_signed(&key)?.pem(), until: params.not_after, key, cross: None })
    }

    /// A root from its certificate and key.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let until = until(certificate)?;
        Ok(Self { certificate: certificate.to_owned(), key: KeyPair::from_pem(key)?, until, cross: None })
    }

    /// What issues certificates in a cluster: the root that is to follow, where there is one.
    pub fn of(cluster: &Cluster) -> Result<Self, Error> {
        let (certificate, key, cross, needed) = match &cluster.rotation {
            Some(new) => (&new.root_ca, &new.root_key, Some(&new.cross_signed), true),
            None => (&cluster.root_ca, &cluster.root_key, cluster.cross_signed.as_ref(), false),
        };
        let cross = cross.map(|certificate| Ok::<_, Error>(Cross { certificate: certificate.clone(), until: until(certificate)?, needed })).transpose()?;
        Ok(Self { cross, ..Self::from_pem(certificate, key)? })
    }

    /// PEM of the certificate.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// PEM of the private key.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// Until when it is valid.
    pub fn until(&self) -> OffsetDateTime {
        self.until
    }

    /// The public key, as certificates spell it.
    pub fn public_key(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// Its name and key, as nodes say who issued their certificate.
    pub fn issuer(&self) -> Result<wsw_api::trust::Issuer, Error> {
        let der = der(&self.certificate)?;
        let parsed = parsed(&der)?;
        Ok(wsw_api::trust::Issuer { subject: STANDARD.encode(parsed.subject().as_raw()), public_key: STANDARD.encode(parsed.public_key().raw) })
    }

    /// Another root's name and key, signed by this one: who believes this one then accepts what the other issues.
    pub fn cross_sign(&self, other: &Self) -> Result<String, Error> {
        let mut params = root_params(OffsetDateTime::now_utc())?;
        let der = der(&other.certificate)?;
        params.distinguished_name = name(&parsed(&der)?)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        params.not_after = self.until.min(other.until);
        Ok(params.signed_by(&other.key, &Issuer::from_ca_cert_pem(&self.certificate, &self.key)?)?.pem())
    }

    /// The same with its key signed by the root before it.
    pub fn crossed(self, certificate: &str) -> Result<Self, Error> {
        Ok(Self { cross: Some(Cross { certificate: certificate.to_owned(), until: until(certificate)?, needed: true }), ..self })
    }

    /// A certificate for a manager, with a new key.
    pub fn issue(&self, node: NodeId, cluster: ClusterId, life: Duration) -> Result<Issued, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = self.certify(&key, node, cluster, NodeRole::Manager, (OffsetDateTime::UNIX_EPOCH, life))?;
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// A certificate for the key of a request, with what leads from it to the root. It is made now, or at this cluster time if that is later
    /// (clocks differ): `admission` asks whether it is of after a state.
    pub fn sign(&self, request: &Request, node: NodeId, cluster: ClusterId, role: NodeRole, (time, life): (Time, Duration)) -> Result<String, Error> {
        let time = OffsetDateTime::from_unix_timestamp_nanos(time.0.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        self.certify(&request.0, node, cluster, role, (time, life))
    }

    fn certify(
        &self,
        key: &impl PublicKeyData,
        node: NodeId,
        cluster: ClusterId,
        role: NodeRole,
        (time, life): (OffsetDateTime, Duration),
    ) -> Result<String, Error> {
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
        params.not_before = now.max(time) - BACKDATE;
        params.not_after = (now + life.min(ROOT_LIFE)).min(self.until);
        let cross = self.cross.as_ref().filter(|cross| cross.needed || cross.until >= params.not_after);
        params.not_after = cross.map_or(params.not_after, |cross| cross.until.min(params.not_after));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let mut chain = params.signed_by(key, &Issuer::from_ca_cert_pem(&self.certificate, &self.key)?)?.pem();
        chain.extend(cross.map(|cross| cross.certificate.as_str()));
        Ok(chain)
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
    // One between it and a node's: the root that follows it, while nodes change over.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATE;
    params.not_after = now + ROOT_LIFE;
    Ok(params)
}

/// The first certificate of a PEM text.
pub fn der(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error(rcgen::Error::CouldNotParseCertificate))
}

/// Its fields.
pub fn parsed<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Error(rcgen::Error::CouldNotParseCertificate))?;
    if rest.is_empty() { Ok(parsed) } else { Err(Error(rcgen::Error::CouldNotParseCertificate)) }
}

fn until(pem: &str) -> Result<OffsetDateTime, Error> {
    let der = der(pem)?;
    Ok(parsed(&der)?.validity().not_after.to_datetime())
}

/// A certificate's subject, to be written again byte for byte.
pub fn name(certificate: &X509Certificate<'_>) -> Result<DistinguishedName, Error> {
    let wrong = || Error(rcgen::Error::CouldNotParseCertificate);
    let mut name = DistinguishedName::new();
    for part in certificate.subject().iter() {
        let mut attributes = part.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else { return Err(wrong()) };
        let kind: Vec<u64> = attribute.attr_type().iter().ok_or_else(wrong)?.collect();
        let text = std::str::from_utf8(attribute.attr_value().data).map_err(|_| wrong())?;
        let value = match attribute.attr_value().header.tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(text.try_into()?),
            Tag::Ia5String => DnValue::Ia5String(text.try_into()?),
            _ => return Err(wrong()),
        };
        name.push(DnType::from_oid(&kind), value);
    }
    Ok(name)
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
        let certificate = root.sign(&read, read.node(), ClusterId::from_bytes([2; 16]), NodeRole::Worker, (Time(0), NODE_LIFE)).unwrap();
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
