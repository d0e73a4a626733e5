//! Typed ids: 16 random bytes, written as 25 base36 characters (SwarmKit's `identity/randomid.go`).
//!
//! Owns: parsing and printing. Parsing is validation: there is no way from text to an id but `FromStr`.
//! Never: mints an id. Whoever needs one brings the 16 random bytes (the planner is handed a minting function).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// Characters of an id's text form: 36^25 is just above 2^128.
pub const TEXT_LENGTH: usize = 25;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id (25 characters 0-9a-z)")]
pub struct ParseError(pub String);

fn encode(bytes: &[u8; 16]) -> [u8; TEXT_LENGTH] {
    let mut value = u128::from_be_bytes(*bytes);
    let mut text = [b'0'; TEXT_LENGTH];
    for place in text.iter_mut().rev() {
        *place = DIGITS.get((value % 36) as usize).copied().unwrap_or(b'0');
        value /= 36;
    }
    text
}

fn decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != TEXT_LENGTH {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|d| *d == byte)? as u128;
        value = value.checked_mul(36)?.checked_add(digit)?;
    }
    Some(value.to_be_bytes())
}

/// In text formats the 25 characters, in binary ones the 16 bytes.
fn serialize<S: Serializer>(bytes: &[u8; 16], s: S) -> Result<S::Ok, S::Error> {
    if s.is_human_readable() { s.collect_str(&Text(*bytes)) } else { s.serialize_bytes(bytes) }
}

struct Text([u8; 16]);
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&encode(&self.0)).unwrap_or_default())
    }
}

struct BytesVisitor;
impl<'de> de::Visitor<'de> for BytesVisitor {
    type Value = [u8; 16];
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id: 16 bytes or 25 base36 characters")
    }
    fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<Self::Value, E> {
        v.try_into().map_err(|_| E::invalid_length(v.len(), &self))
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
        decode(v).ok_or_else(|| E::invalid_value(de::Unexpected::Str(v), &self))
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 16]);

        impl $name {
            /// An id of these 16 (random) bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self { Self(bytes) }
            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&Text(self.0), f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&Text(self.0), f) }
        }
        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                decode(text).map(Self).ok_or_else(|| ParseError(text.to_owned()))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { serialize(&self.0, s) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let bytes = if d.is_human_readable() { d.deserialize_str(BytesVisitor)? } else { d.deserialize_bytes(BytesVisitor)? };
                Ok(Self(bytes))
            }
        }
    )*};
}

// Append only: one list of all kinds of ids.
ids! {
    /// A cluster (a swarm).
    ClusterId;
    /// A node, for as long as it keeps its identity folder.
    NodeId;
    /// A service.
    ServiceId;
    /// A task: one attempt to run one slot of a service.
    TaskId;
    /// A network.
    NetworkId;
    /// One write as its first receiver named it; the same id on each retry.
    RequestId;
    /// One worker's session with the leader; also the boot nonce that tells two lives of a worker apart.
    SessionId;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_binary_round_trip(bytes: [u8; 16]) {
            let id = TaskId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
            prop_assert_eq!(id.to_string().len(), TEXT_LENGTH);
            let packed = rmp_serde::to_vec(&id).unwrap();
            prop_assert_eq!(packed.len(), 18);
            prop_assert_eq!(rmp_serde::from_slice::<TaskId>(&packed).unwrap(), id);
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<TaskId>(&json).unwrap(), id);
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "short", "zzzzzzzzzzzzzzzzzzzzzzzzz", "ABCDEFGHIJKLMNOPQRSTUVWXY", "0000000000000000000000000é"] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }
}
