//! A new root for a cluster: one that is made, or one that the user gives.
//!
//! Owns: what a given root must be like, in SwarmKit's words. Invariant: nothing is begun that nodes of the old and of the new root would not
//! both believe: a certificate of the new one is made and held against both first. Never: changes the state.

use super::ca::{self, Root};
use super::token;
use crate::raft::crypto::random;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::{Duration, OffsetDateTime};
use wsw_api::id::NodeId;
use wsw_api::object::{Cluster, JoinTokens};
use wsw_api::trust::{RootChange, RootRotation};
use wsw_api::{Error, Result};
use wsw_net::Credentials;

/// SwarmKit's: a new root is valid for a year more at least.
const MIN_LEFT: Duration = Duration::days(365);
/// Characters of a PEM text: a certificate with an RSA key of 4,096 bits has 2,000; each node's certificate comes with one.
const MAX_PEM: usize = 6 << 10;
/// Whom the first certificate of a new root is made for: like every node's id a name of a host, which one of digits alone is not.
const SAMPLE: NodeId = NodeId::from_bytes([0x5a; 16]);
/// `AlgorithmIdentifier`s of RSA and of ECDSA on P-256 and P-384.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";

/// A root as the user gives it: PEM, empty where nothing is given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Given {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

/// What becomes of the root: `forced` asks for one that is made.
pub fn change(cluster: &Cluster, given: &Given, forced: bool) -> Result<RootChange> {
    if given.certificate.is_empty() && !given.key.is_empty() {
        return Err(invalid("if a signing CA key is provided, the signing CA cert must also be provided"));
    }
    if given.certificate.is_empty() {
        return if forced { begin(cluster, Root::generate().map_err(|error| Error::internal(error.to_string()))?) } else { Ok(RootChange::Keep) };
    }
    let new = read(given)?;
    if same(new.certificate(), &cluster.root_ca) {
        return Ok(RootChange::Abort);
    }
    let is_current = Root::from_pem(&cluster.root_ca, &cluster.root_key).is_ok_and(|old| old.public_key() == new.public_key());
    if is_current {
        return Err(invalid("Cannot update to a cert with an identical key"));
    }
    match &cluster.rotation {
        Some(rotation) if same(new.certificate(), &rotation.root_ca) => Ok(RootChange::Keep),
        _ => begin(cluster, new),
    }
}

fn begin(cluster: &Cluster, new: Root) -> Result<RootChange> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "no cross-signed certificate could be made");
        Error::internal("rpc error: code = Internal desc = unable to generate a cross-signed certificate for root rotation")
    };
    // By the root that nodes believe, also when another rotation is under way.
    let old = Root::from_pem(&cluster.root_ca, &cluster.root_key).map_err(|error| failed(&error))?;
    let cross_signed = old.cross_sign(&new).map_err(|error| failed(&error))?;
    let (root_ca, root_key, issuer) = (new.certificate().to_owned(), new.key(), new.issuer().map_err(|error| failed(&error))?);
    let new = new.crossed(&cross_signed).map_err(|error| failed(&error))?;
    let sample =
        new.issue(SAMPLE, cluster.id, ca::NODE_LIFE).map_err(|error| invalid(format!("the desired CA certificate cannot issue certificates: {}", error.0)))?;
    for root in [&cluster.root_ca, &root_ca] {
        let believed = Credentials::from_pem(root, &sample.certificate, &sample.key).and_then(|credentials| credentials.check().map(|()| credentials));
        let believed = believed.map_err(|error| invalid(format!("nodes would not accept certificates of the desired CA certificate: {error}")))?;
        if *believed.issuer() != issuer {
            return Err(invalid("the subject of the desired CA certificate is written in a way that is not supported; use plain text attributes"));
        }
    }
    let secret = || random().map_err(|error| Error::internal(error.to_string()));
    let join_tokens = JoinTokens { worker: token::make(&root_ca, secret()?), manager: token::make(&root_ca, secret()?) };
    Ok(RootChange::Begin(Box::new(RootRotation { root_ca, root_key, cross_signed, issuer, join_tokens })))
}

/// Checks what the user gave.
fn read(given: &Given) -> Result<Root> {
    if given.key.is_empty() {
        // Without its key it could only be an external authority's.
        return Err(invalid("there must be at least one valid, reachable external CA corresponding to the desired CA certificate"));
    }
    let unreadable = || invalid("could not parse the desired CA certificate");
    if given.certificate.len() > MAX_PEM || given.key.len() > MAX_PEM {
        return Err(invalid(format!("the desired CA certificate and its key have at most {MAX_PEM} characters each")));
    }
    if given.certificate.matches("-----BEGIN CERTIFICATE-----").count() > 1 {
        return Err(invalid("the desired CA certificate cannot contain multiple certificates"));
    }
    let der = ca::der(&given.certificate).map_err(|_| unreadable())?;
    let parsed = ca::parsed(&der).map_err(|_| unreadable())?;
    if !parsed.is_ca() {
        return Err(invalid("the desired CA certificate is not the certificate of a certificate authority"));
    }
    ca::name(&parsed).map_err(|_| unreadable())?;
    let key =
        pkcs8(&given.key).ok_or_else(|| invalid("could not parse the desired CA key: use an unencrypted RSA or ECDSA (P-256, P-384) key in PEM format"))?;
    let root = Root::from_pem(&pem("CERTIFICATE", &der), &key);
    let root = root.map_err(|_| invalid("could not parse the desired CA key: use an unencrypted RSA or ECDSA (P-256, P-384) key in PEM format"))?;
    if root.public_key() != parsed.public_key().raw {
        return Err(invalid("certificate key mismatch"));
    }
    if parsed.validity().not_before.to_datetime() > OffsetDateTime::now_utc() {
        return Err(invalid("CA certificate is not valid yet"));
    }
    if root.until() < OffsetDateTime::now_utc() + MIN_LEFT {
        return Err(invalid("CA certificate expires too soon"));
    }
    Ok(root)
}

/// A private key as PKCS#8, whichever of the three usual forms it has.
fn pkcs8(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("-----BEGIN ").filter(|_| !text.contains("ENCRYPTED"))?;
    // `openssl ecparam` writes the curve's name in a block of its own before the key.
    let rest = if rest.starts_with("EC PARAMETERS-----") { rest.split_once("-----BEGIN ")?.1 } else { rest };
    let (kind, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END")?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    let wrap = |algorithm: &[u8]| {
        let content = [b"\x02\x01\x00", algorithm, &tagged(0x04, &der)].concat();
        pem("PRIVATE KEY", &tagged(0x30, &content))
    };
    match kind {
        "PRIVATE KEY" => Some(pem("PRIVATE KEY", &der)),
        "RSA PRIVATE KEY" => Some(wrap(RSA)),
        // After the version comes the number: 32 bytes on the one curve, 48 on the other.
        "EC PRIVATE KEY" if der.windows(3).position(|at| at == b"\x02\x01\x01").and_then(|at| der.get(at + 4)) == Some(&48) => Some(wrap(P384)),
        "EC PRIVATE KEY" => Some(wrap(P256)),
        _ => None,
    }
}

/// One DER value.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.iter().copied().skip_while(|digit| *digit == 0).collect();
    let mut whole = vec![tag];
    match digits.as_slice() {
        [] => whole.push(0),
        [short] if *short < 0x80 => whole.push(*short),
        digits => {
            whole.push(0x80 | digits.len() as u8);
            whole.extend(digits);
        }
    }
    whole.extend(content);
    whole
}

fn pem(kind: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// Whether two texts are the same certificate.
fn same(one: &str, other: &str) -> bool {
    ca::der(one).is_ok_and(|one| ca::der(other).is_ok_and(|other| one == other))
}

fn invalid(text: impl std::fmt::Display) -> Error {
    Error::invalid(format!("rpc error: code = InvalidArgument desc = {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, KeyPair};
    use wsw_api::id::ClusterId;
    use wsw_api::spec::ClusterSpec;

    fn cluster(root: &Root) -> Cluster {
        Cluster {
            id: ClusterId::from_bytes([2; 16]),
            meta: wsw_api::object::Meta::default(),
            spec: ClusterSpec::default(),
            root_ca: root.certificate().to_owned(),
            root_key: root.key(),
            join_tokens: JoinTokens { worker: String::new(), manager: String::new() },
            incarnation: 0,
            feature_level: 1,
            unlock_key: None,
            issuer: root.issuer().unwrap(),
            cross_signed: None,
            rotation: None,
        }
    }

    fn begun(change: RootChange) -> Box<RootRotation> {
        let RootChange::Begin(rotation) = change else { panic!("{change:?}") };
        rotation
    }

    /// What a cluster issues, as a node that believes `root` shows it.
    fn shown(cluster: &Cluster, root: &str) -> Result<Credentials, wsw_net::Error> {
        let issued = Root::of(cluster).unwrap().issue(NodeId::from_bytes([7; 16]), cluster.id, ca::NODE_LIFE).unwrap();
        let shown = Credentials::from_pem(root, &issued.certificate, &issued.key).unwrap();
        shown.check().map(|()| shown)
    }

    fn given(params: &CertificateParams, key: &KeyPair) -> Given {
        Given { certificate: params.self_signed(key).unwrap().pem(), key: key.serialize_pem() }
    }

    fn authority(days: i64) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, DnValue::PrintableString("CH".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "Größe");
        params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        params
    }

    #[test]
    fn both_sides_believe_what_is_issued_while_a_root_is_replaced_and_after() {
        let mut cluster = cluster(&Root::generate().unwrap());
        let (first, stranger) = (cluster.root_ca.clone(), Root::generate().unwrap());
        assert!(shown(&cluster, &first).is_ok() && shown(&cluster, stranger.certificate()).is_err());
        assert_eq!(change(&cluster, &Given::default(), false).unwrap(), RootChange::Keep);
        let rotation = begun(change(&cluster, &Given::default(), true).unwrap());
        cluster.rotation = Some(rotation.clone());
        for root in [&first, &rotation.root_ca] {
            assert_eq!(*shown(&cluster, root).unwrap().issuer(), rotation.issuer);
        }
        // A second one before the first has ended leads from the root that is believed.
        let second = begun(change(&cluster, &Given::default(), true).unwrap());
        cluster.rotation = Some(second.clone());
        assert!(shown(&cluster, &first).is_ok() && shown(&cluster, &second.root_ca).is_ok() && shown(&cluster, &rotation.root_ca).is_err());
        // It is over; a node that was away believes the root before it still.
        cluster = Cluster { root_ca: second.root_ca, root_key: second.root_key, cross_signed: Some(second.cross_signed), rotation: None, ..cluster };
        assert!(shown(&cluster, &cluster.root_ca).is_ok() && shown(&cluster, &first).is_ok());
    }

    #[test]
    fn a_given_root_is_taken_whichever_form_its_key_has() {
        let cluster = cluster(&Root::generate().unwrap());
        for (algorithm, algorithm_id) in [(&rcgen::PKCS_ECDSA_P256_SHA256, P256), (&rcgen::PKCS_ECDSA_P384_SHA384, P384)] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let own = given(&authority(400), &key);
            let rotation = begun(change(&cluster, &own, false).unwrap());
            assert_eq!(ca::der(&rotation.root_ca).unwrap(), ca::der(&own.certificate).unwrap());
            // Without PKCS#8's wrapping it is what openssl writes by default.
            let der = STANDARD.decode(own.key.lines().filter(|line| !line.starts_with("--")).collect::<String>()).unwrap();
            let inner = der.windows(algorithm_id.len()).position(|at| at == algorithm_id).unwrap() + algorithm_id.len();
            let start = inner + if der[inner + 1] < 0x80 { 2 } else { 3 };
            let openssl = format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}", pem("EC PRIVATE KEY", &der[start..]));
            let again = begun(change(&cluster, &Given { key: openssl, ..own.clone() }, false).unwrap());
            assert_eq!(again.issuer, rotation.issuer);
        }
    }

    #[test]
    fn the_same_root_again_ends_a_rotation_or_changes_nothing() {
        let key = KeyPair::generate().unwrap();
        let own = given(&authority(400), &key);
        let mut cluster = cluster(&Root::from_pem(&own.certificate, &own.key).unwrap());
        cluster.rotation = Some(begun(change(&cluster, &Given::default(), true).unwrap()));
        let next = cluster.rotation.clone().unwrap();
        let same = Given { certificate: next.root_ca.clone(), key: next.root_key.clone() };
        assert_eq!(change(&cluster, &same, false).unwrap(), RootChange::Keep);
        assert_eq!(change(&cluster, &own, false).unwrap(), RootChange::Abort);
        let renewed = given(&authority(800), &key);
        assert!(change(&cluster, &renewed, false).unwrap_err().message.ends_with("Cannot update to a cert with an identical key"));
    }

    #[test]
    fn what_is_no_usable_root_is_refused_by_name() {
        let cluster = cluster(&Root::generate().unwrap());
        let key = KeyPair::generate().unwrap();
        let own = given(&authority(400), &key);
        let mut leaf = authority(400);
        leaf.is_ca = IsCa::ExplicitNoCa;
        let refused = |given: &Given| change(&cluster, given, false).unwrap_err().message;
        for (given, words) in [
            (Given { certificate: String::new(), ..own.clone() }, "the signing CA cert must also be provided"),
            (Given { key: String::new(), ..own.clone() }, "at least one valid, reachable external CA"),
            (Given { key: KeyPair::generate().unwrap().serialize_pem(), ..own.clone() }, "certificate key mismatch"),
            (Given { key: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem(), ..own.clone() }, "certificate key mismatch"),
            (Given { key: "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----".into(), ..own.clone() }, "unencrypted"),
            (given(&leaf, &key), "certificate of a certificate authority"),
            (given(&authority(360), &key), "CA certificate expires too soon"),
            (Given { certificate: format!("{0}{0}", own.certificate), ..own.clone() }, "multiple certificates"),
            (Given { certificate: "x".repeat(MAX_PEM + 1), ..own.clone() }, "at most 6144 characters"),
            (Given { certificate: "nothing".into(), ..own }, "could not parse the desired CA certificate"),
        ] {
            let said = refused(&given);
            assert!(said.starts_with("rpc error: code = InvalidArgument desc = ") && said.contains(words), "{words}: {said}");
        }
    }
}
