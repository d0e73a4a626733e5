//! Who is at the other end, as its certificate says: CN node id, OU role, O cluster id.
//!
//! Never: says what it may do. The role in a certificate is an upper bound; the state's is what counts (the [`crate::Gate`] knows it).

use crate::error::Error;
use rustls::pki_types::CertificateDer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wsw_api::spec::NodeRole;
use wsw_api::{ClusterId, NodeId};
use x509_parser::prelude::{FromDer, X509Certificate};

/// SwarmKit's names of the roles in certificates.
const MANAGER: &str = "swarm-manager";
const WORKER: &str = "swarm-worker";

/// A node, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub role: NodeRole,
    /// When its certificate begins.
    pub from: SystemTime,
    /// When its certificate ends.
    pub expires: SystemTime,
}

impl Peer {
    /// Reads a certificate whose chain was verified.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|error| fault(format!("the certificate cannot be read: {error}")))?;
        if !rest.is_empty() {
            return Err(fault("there is more than a certificate"));
        }
        let subject = parsed.subject();
        let text = |what: &str, found: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            found.and_then(|value| value.as_str().ok()).map(str::to_owned).ok_or_else(|| fault(format!("the certificate names no {what}")))
        };
        let node = text("node (CN)", subject.iter_common_name().next())?;
        let cluster = text("cluster (O)", subject.iter_organization().next())?;
        let role = text("role (OU)", subject.iter_organizational_unit().next())?;
        let role = match role.as_str() {
            MANAGER => NodeRole::Manager,
            WORKER => NodeRole::Worker,
            other => return Err(fault(format!("the certificate's role is {other:?}; {MANAGER} and {WORKER} are known"))),
        };
        let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(Self {
            node: node.parse().map_err(|error| fault(format!("the certificate's CN: {error}")))?,
            cluster: cluster.parse().map_err(|error| fault(format!("the certificate's O: {error}")))?,
            role,
            from: at(parsed.validity().not_before.timestamp()),
            expires: at(parsed.validity().not_after.timestamp()),
        })
    }
}

fn fault(text: impl Into<String>) -> Error {
    Error::Credentials(text.into())
}
