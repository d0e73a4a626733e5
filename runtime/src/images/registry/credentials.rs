//! Credentials for a registry, out of `X-Registry-Auth`.
//!
//! Owns: Docker's JSON for them. Invariant: no text of ours says what is in them, in errors and debug prints neither.

use crate::error::{Error, Result};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::fmt;
use wsw_api::registry::{MAX_REGISTRY_AUTH, RegistryAuth};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// What a client gave us; empty for nobody in particular.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// `user:password` in base64, where the two are not given apart.
    pub auth: String,
    /// An OAuth refresh token: it is traded for tokens, never shown to the registry itself.
    #[serde(rename = "identitytoken")]
    pub identity_token: String,
    /// A bearer token as it is.
    #[serde(rename = "registrytoken")]
    pub registry_token: String,
    #[serde(rename = "serveraddress")]
    pub server_address: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Credentials(none)" } else { "Credentials(hidden)" })
    }
}

impl Credentials {
    /// Reads the header's text; what cannot be read is refused without showing it.
    pub fn read(auth: Option<&RegistryAuth>) -> Result<Self> {
        let Some(text) = auth.map(RegistryAuth::reveal).filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let wrong = |why: &str| Error::Invalid(format!("invalid X-Registry-Auth header: {why}"));
        if text.len() > MAX_REGISTRY_AUTH {
            return Err(wrong("it is too long"));
        }
        let bytes = URL_SAFE.decode(text.trim()).or_else(|_| STANDARD.decode(text.trim())).map_err(|_| wrong("it is not base64"))?;
        let mut read: Self = serde_json::from_slice(&bytes).map_err(|_| wrong("it does not hold JSON of credentials"))?;
        if read.username.is_empty() && !read.auth.is_empty() {
            let pair = STANDARD.decode(read.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = pair.ok_or_else(|| wrong("its auth member is not base64 of user:password"))?;
            let (user, password) = pair.split_once(':').ok_or_else(|| wrong("its auth member is not base64 of user:password"))?;
            (read.username, read.password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
        }
        Ok(read)
    }

    /// Nothing that could be shown to anyone.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }

    /// `Basic …`, when there is a name.
    pub(crate) fn basic(&self) -> Option<String> {
        (!self.username.is_empty()).then(|| format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Credentials> {
        Credentials::read(Some(&RegistryAuth::new(&URL_SAFE.encode(json))))
    }

    #[test]
    fn the_forms_that_clients_send() {
        assert!(read("{}").unwrap().is_empty() && Credentials::read(None).unwrap().is_empty());
        let both = read(r#"{"username":"u","password":"p?>","serveraddress":"x"}"#).unwrap();
        assert_eq!((both.username.as_str(), both.password.as_str()), ("u", "p?>"));
        assert_eq!(both.basic().as_deref(), Some("Basic dTpwPz4="));
        assert_eq!(read(r#"{"auth":"dTpwOng="}"#).unwrap().password, "p:x");
        assert_eq!(read(r#"{"identitytoken":"t"}"#).unwrap().identity_token, "t");
    }

    #[test]
    fn what_cannot_be_read_is_told_without_showing_it() {
        for text in ["***", "c2VjcmV0", "eyJhdXRoIjoic2VjcmV0In0="] {
            let error = Credentials::read(Some(&RegistryAuth::new(text))).unwrap_err().to_string();
            assert!(error.contains("X-Registry-Auth") && !error.contains("secret") && !error.contains(text), "{error}");
        }
        assert_eq!(format!("{:?}", read(r#"{"username":"u","password":"secret"}"#).unwrap()), "Credentials(hidden)");
    }
}
