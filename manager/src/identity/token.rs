//! Join tokens, Swarm's: `SWMTKN-1-<50 base36: sha256 of the root certificate>-<25 base36: 16 secret bytes>`.
//!
//! Owns: the format. A token lets a node check the cluster's root before it trusts it, and the cluster check the node. A worker's and a
//! manager's token differ in the secret only and are rotated on their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Characters of the digest: 36^50 is just above 2^256.
const DIGEST_LENGTH: usize = 50;
/// Characters of the secret: 36^25 is just above 2^128.
const SECRET_LENGTH: usize = 25;
const PREFIX: &str = "SWMTKN-1-";

/// A token for the cluster with this root certificate (PEM).
pub fn make(root_pem: &str, secret: [u8; 16]) -> String {
    format!("{PREFIX}{}-{}", base36(&digest(root_pem), DIGEST_LENGTH), base36(&secret, SECRET_LENGTH))
}

/// A token as a node got it from its user.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    digest: String,
}

impl Token {
    /// Checks its form; whether it is right, the cluster says.
    pub fn parse(text: &str) -> Option<Self> {
        let (digest, secret) = text.strip_prefix(PREFIX)?.split_once('-')?;
        let base36 = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        (base36(digest, DIGEST_LENGTH) && base36(secret, SECRET_LENGTH)).then(|| Self { digest: digest.to_owned() })
    }

    /// Whether this is the root certificate that the token names, by the sha256 of its DER form.
    pub fn names(&self, sha256: &[u8; 32]) -> bool {
        base36(sha256, DIGEST_LENGTH) == self.digest
    }

    /// The digest that it expects, as the token spells it.
    pub fn expected(&self) -> &str {
        &self.digest
    }
}

/// Compares two tokens; the time it takes says nothing about where they differ.
pub fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// sha256 of the certificate's DER form.
fn digest(root_pem: &str) -> [u8; 32] {
    let body: String = root_pem.lines().filter(|line| !line.starts_with("-----")).collect();
    // What is not PEM cannot come from our own state; its text is digested so that the token still fits nothing else.
    let der = STANDARD.decode(body).unwrap_or_else(|_| root_pem.as_bytes().to_vec());
    Sha256::digest(der).into()
}

/// Big-endian bytes in base 36, padded with zeros.
fn base36(bytes: &[u8], length: usize) -> String {
    let mut digits = vec![0_u32; length];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in digits.iter_mut().rev() {
            let value = *digit * 256 + carry;
            *digit = value % 36;
            carry = value / 36;
        }
    }
    digits.into_iter().filter_map(|digit| char::from_digit(digit, 36)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ca::Root;

    #[test]
    fn a_token_names_the_root_and_keeps_its_length() {
        let root = Root::generate().unwrap();
        let token = make(root.certificate(), [0xff; 16]);
        let parts: Vec<&str> = token.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[2].len(), parts[3].len()), ("SWMTKN", "1", 50, 25));
        assert!(make(root.certificate(), [0; 16]).ends_with(&"0".repeat(25)));
        assert!(!make(Root::generate().unwrap().certificate(), [0xff; 16]).contains(parts[2]));
    }

    #[test]
    fn a_token_knows_its_root_and_nothing_else_is_one() {
        let root = Root::generate().unwrap();
        let text = make(root.certificate(), [7; 16]);
        let token = Token::parse(&text).unwrap();
        assert!(token.names(&digest(root.certificate())) && !token.names(&digest(Root::generate().unwrap().certificate())));
        assert!(same(&text, &text.clone()) && !same(&text, &make(root.certificate(), [8; 16])));
        for wrong in ["", "SWMTKN-1-x-y", "SWMTKN-2-0-x-y", &text[..text.len() - 1], &format!("{text}0"), &text.to_uppercase(), &text.replace("-1-", "-3-")] {
            assert!(Token::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn base36_is_swarms() {
        // An id's text is the same 16 bytes in base 36.
        let id = wsw_api::id::TaskId::from_bytes([0xab; 16]);
        assert_eq!(base36(id.as_bytes(), 25), id.to_string());
    }
}
