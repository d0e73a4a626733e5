//! `TLSInfo`: the root certificate, with its subject and public key taken out for `docker node inspect`.
//!
//! Owns: the walk to two fields of a certificate. Never: verifies anything; a text that is no certificate gives no fields.

use super::some_text;
use crate::model::node::TlsInfo;
use base64::{Engine, engine::general_purpose::STANDARD};
use wsw_api::object::{Cluster, NodeDescription};
use wsw_api::trust::Issuer;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// `[0]`: the certificate's version, left out in version 1.
const VERSION: u8 = 0xa0;

/// The root as PEM, and its subject and key in base64 of DER.
pub fn info(pem: &str) -> TlsInfo {
    let fields = decode(pem).and_then(|der| subject_and_key(&der).map(|(subject, key)| (STANDARD.encode(subject), STANDARD.encode(key))));
    let (issuer_subject, issuer_public_key) = fields.unzip();
    TlsInfo { trust_root: some_text(pem), issuer_subject, issuer_public_key }
}

/// The root that nodes believe, and the issuer that they should have: another one while a root is replaced.
pub fn cluster(cluster: &Cluster) -> TlsInfo {
    let issuing = cluster.rotation.as_ref().map_or(&cluster.root_ca, |rotation| &rotation.root_ca);
    TlsInfo { trust_root: some_text(&cluster.root_ca), ..info(issuing) }
}

/// The root that a node believes, and who issued its certificate.
pub fn node(said: &NodeDescription) -> TlsInfo {
    let Issuer { subject, public_key } = &said.issuer;
    let own = TlsInfo { trust_root: some_text(&said.trust_root), issuer_subject: some_text(subject), issuer_public_key: some_text(public_key) };
    if *subject == String::new() { info(&said.trust_root) } else { own }
}

/// The first block of a PEM text.
fn decode(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END")?;
    let base64: String = body.split_whitespace().collect();
    STANDARD.decode(base64).ok()
}

/// One DER value: its tag, its content, the whole of it, and what follows.
struct Value<'a> {
    content: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

fn value(bytes: &[u8], tag: u8) -> Option<Value<'_>> {
    let (&found, after_tag) = bytes.split_first()?;
    let (&first, after_length) = after_tag.split_first()?;
    // the high bit says how many bytes the length has; four are enough for any certificate
    let (length, header) = if first < 0x80 {
        (usize::from(first), 2)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = after_length.get(..count).filter(|digits| digits.len() <= 4)?;
        (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), 2 + count)
    };
    let end = header.checked_add(length)?;
    let (whole, rest) = bytes.split_at_checked(end)?;
    (found == tag).then_some(Value { content: whole.get(header..)?, whole, rest })
}

/// `Certificate { tbs { version?, serial, algorithm, issuer, validity, subject, key, … }, … }`.
fn subject_and_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = value(value(der, SEQUENCE)?.content, SEQUENCE)?.content;
    if let Some(version) = value(rest, VERSION) {
        rest = version.rest;
    }
    rest = value(rest, INTEGER)?.rest;
    for _skipped in ["algorithm", "issuer", "validity"] {
        rest = value(rest, SEQUENCE)?.rest;
    }
    let subject = value(rest, SEQUENCE)?;
    Some((subject.whole, value(subject.rest, SEQUENCE)?.whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_and_key_are_those_of_the_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "swarm-ca");
        let found = info(&params.self_signed(&key).unwrap().pem());
        let public_key = STANDARD.decode(found.issuer_public_key.unwrap()).unwrap();
        assert_eq!(public_key, rcgen::PublicKeyData::subject_public_key_info(&key));
        let subject = STANDARD.decode(found.issuer_subject.unwrap()).unwrap();
        assert!(String::from_utf8_lossy(&subject).contains("swarm-ca"));
    }

    #[test]
    fn what_is_no_certificate_gives_nothing() {
        for pem in ["", "PEM", "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMIT/////\n-----END"] {
            assert!(info(pem).issuer_subject.is_none(), "{pem}");
        }
    }
}
