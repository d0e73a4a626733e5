//! What a connection that failed says, as docker's daemon (Go's `net/http` and `crypto/x509`) words it, so that what users search for is found.
//!
//! Owns: the texts. Invariant: none holds an address; the caller tells it, without its query.

use rustls::CertificateError as Wrong;
use std::error::Error as StdError;

/// The innermost reason of an error, and the outermost kind.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    if let Some(text) = certificate(error) {
        return text;
    }
    if error.is_timeout() {
        return if error.is_connect() { "cannot connect in time".into() } else { "no data came for too long".into() };
    }
    let mut inner: &dyn StdError = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    // Without a source the library's own text names the whole address.
    if std::ptr::addr_eq(inner, error) { "the request failed".into() } else { text }
}

/// Why the other side cannot be spoken to in TLS; none when that is not what failed. Trying again does not help.
pub(crate) fn certificate(error: &reqwest::Error) -> Option<String> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        // What an I/O error wraps is not its source: its source is the source of that.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let found = wrapped.and_then(|error| error.downcast_ref()).or_else(|| error.downcast_ref());
        match found {
            Some(rustls::Error::InvalidCertificate(wrong)) => return Some(format!("tls: failed to verify certificate: x509: {}", words(wrong))),
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                return Some("http: server gave HTTP response to HTTPS client".into());
            }
            _ => {}
        }
        next = error.source();
    }
    None
}

fn words(wrong: &Wrong) -> String {
    match wrong {
        Wrong::UnknownIssuer => "certificate signed by unknown authority".into(),
        Wrong::Expired | Wrong::ExpiredContext { .. } | Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".into()
        }
        Wrong::NotValidForNameContext { expected, presented } => {
            let presented = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect::<Vec<_>>().join(", ");
            match presented.as_str() {
                "" => format!("certificate is not valid for any names, but wanted to match {}", expected.to_str()),
                names => format!("certificate is valid for {names}, not {}", expected.to_str()),
            }
        }
        Wrong::Revoked => "certificate is revoked".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_refused_in_docker_s_words() {
        assert_eq!(words(&Wrong::UnknownIssuer), "certificate signed by unknown authority");
        let expected = rustls::pki_types::ServerName::try_from("reg.example").unwrap();
        let wrong = Wrong::NotValidForNameContext { expected, presented: vec!["DnsName(\"other.example\")".into()] };
        assert_eq!(words(&wrong), "certificate is valid for other.example, not reg.example");
    }
}
