//! A root of a test's own, which a cluster is given: so a test can make any certificate, also one that no manager would.
//!
//! Nothing in the product makes certificates expire sooner for tests.

use super::node::Node;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;
use time::{Duration, OffsetDateTime};

/// The root.
pub struct Forge {
    issuer: Issuer<'static, KeyPair>,
    /// PEM of its certificate and key.
    pub pem: String,
    pub key: String,
}

/// What a certificate says.
#[derive(Clone)]
pub struct Claim {
    pub node: String,
    pub cluster: String,
    /// `swarm-manager`, `swarm-worker`.
    pub role: &'static str,
    /// From and until when it is valid, from now on.
    pub from: Duration,
    pub until: Duration,
}

impl Forge {
    /// Valid for so many days.
    pub fn new(days: i64) -> Self {
        let key = KeyPair::generate().expect("there is chance");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no name is a bad one");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "A company");
        params.distinguished_name.push(DnType::CommonName, "its own root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        let (pem, text) = (params.self_signed(&key).expect("it can sign").pem(), key.serialize_pem());
        Self { issuer: Issuer::new(params, key), pem, key: text }
    }

    /// A certificate for a key (PEM).
    pub fn certify(&self, claim: &Claim, key: &str) -> String {
        let key = KeyPair::from_pem(key).expect("it is a key");
        let mut params = CertificateParams::new(vec![claim.node.clone(), claim.role.to_owned()]).expect("they are names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, claim.cluster.clone());
        params.distinguished_name.push(DnType::OrganizationalUnitName, claim.role);
        params.distinguished_name.push(DnType::CommonName, claim.node.clone());
        params.not_before = OffsetDateTime::now_utc() + claim.from;
        params.not_after = OffsetDateTime::now_utc() + claim.until;
        params.signed_by(&key, &self.issuer).expect("it can sign").pem()
    }

    /// Its files, for `--ca-cert` and `--ca-key`.
    pub fn files(&self, node: &Node) -> (String, String) {
        let path = |name: &str| node.folder().join(name).display().to_string();
        std::fs::write(path("given.crt"), &self.pem).expect("the folder is ours");
        std::fs::write(path("given.key"), &self.key).expect("the folder is ours");
        (path("given.crt"), path("given.key"))
    }

    /// Makes it a cluster's root; answers when every node believes it.
    #[track_caller]
    pub fn give(&self, node: &Node) {
        let (cert, key) = self.files(node);
        let printed = node.wsw(&["swarm", "ca", "--rotate", "-q", "--ca-cert", &cert, "--ca-key", &key]).ok();
        assert_eq!(printed.trim(), self.pem.trim());
    }
}

impl Claim {
    /// What a node's own certificate says, valid for an hour.
    pub fn of(node: &Node, role: &'static str) -> Self {
        let info = node.json("/info");
        let text = |value: &serde_json::Value| value.as_str().expect("it is in a swarm").to_owned();
        let identity = std::fs::read(node.data_root().join("identity/identity.json")).expect("it has an identity");
        let identity: serde_json::Value = serde_json::from_slice(&identity).expect("it is JSON");
        assert_eq!(identity["node"], info["Swarm"]["NodeID"]);
        Self { node: text(&identity["node"]), cluster: text(&identity["cluster"]), role, from: -Duration::hours(1), until: Duration::hours(1) }
    }
}

/// A file of a node's identity.
pub fn identity_file(node: &Node, name: &str) -> PathBuf {
    node.data_root().join("identity").join(name)
}

/// What stands there.
pub fn identity_text(node: &Node, name: &str) -> String {
    std::fs::read_to_string(identity_file(node, name)).expect("it is there")
}

/// From and until when a node's certificate is valid.
pub fn validity(node: &Node) -> (OffsetDateTime, OffsetDateTime) {
    let (_, pem) = x509_parser::pem::parse_x509_pem(identity_text(node, "node.crt").as_bytes()).expect("it is PEM");
    let parsed = pem.parse_x509().expect("it is a certificate");
    (parsed.validity().not_before.to_datetime(), parsed.validity().not_after.to_datetime())
}
