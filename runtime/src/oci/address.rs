//! Where a shim listens, and which version of the Task API it speaks, as its `start` printed it.
//!
//! Owns: both forms of that line. Never: connects.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Where a shim listens, as its `start` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    /// Path of the socket.
    pub socket: String,
    /// Version of the Task API.
    pub api: u32,
}

/// Version 3 shims say more than where they listen.
#[derive(Deserialize)]
struct Bootstrap {
    version: u32,
    address: String,
    #[serde(default)]
    protocol: String,
}

impl Address {
    /// Reads what `start` printed: a bare address (version 2), or JSON.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let wrong = |why: &str| Error::Temporary(format!("the shim's start printed {:?}: {why}", text.chars().take(200).collect::<String>()));
        let (address, api) = match text.starts_with('{') {
            false => (text.to_owned(), 2),
            true => {
                let bootstrap: Bootstrap = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
                if !matches!(bootstrap.protocol.as_str(), "" | "ttrpc") {
                    return Err(wrong("only the protocol ttrpc is spoken here"));
                }
                (bootstrap.address, bootstrap.version)
            }
        };
        if !(2..=3).contains(&api) {
            return Err(wrong("only versions 2 and 3 of the Task API are spoken here"));
        }
        let socket = address.strip_prefix("unix://").unwrap_or(&address).to_owned();
        if socket.starts_with('/') { Ok(Self { socket, api }) } else { Err(wrong("that is no address of a Unix socket")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_are_read() {
        let bare = Address::parse("unix:///run/containerd/s/1f\n").unwrap();
        assert_eq!((bare.socket.as_str(), bare.api), ("/run/containerd/s/1f", 2));
        let json = Address::parse(r#"{"version":3,"address":"unix:///run/s","protocol":"ttrpc"}"#).unwrap();
        assert_eq!((json.socket.as_str(), json.api), ("/run/s", 3));
        for (bad, why) in [
            ("", "no address"),
            ("{", "printed"),
            (r#"{"version":4,"address":"unix:///s"}"#, "versions 2 and 3"),
            (r#"{"version":3,"address":"/s","protocol":"grpc"}"#, "ttrpc"),
        ] {
            assert!(Address::parse(bad).unwrap_err().to_string().contains(why), "{bad}");
        }
    }
}
