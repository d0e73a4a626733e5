//! The client's address in a request's headers.
//!
//! Owns: `X-Forwarded-For` and `Forwarded` (RFC 7239). Invariant: what the client sent in them never reaches the guest.

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use std::net::IpAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The headers' values for one client, made once per connection.
#[derive(Clone)]
pub struct Client {
    plain: Option<HeaderValue>,
    forwarded: Option<HeaderValue>,
}

impl Client {
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let forwarded = match address {
            IpAddr::V4(v4) => format!("for={v4};proto=http"),
            IpAddr::V6(v6) => format!("for=\"[{v6}]\";proto=http"),
        };
        Self { plain: HeaderValue::try_from(address.to_string()).ok(), forwarded: HeaderValue::try_from(forwarded).ok() }
    }

    /// Overwrites whatever the client said.
    pub fn overwrite(&self, headers: &mut HeaderMap) {
        for (name, value) in [(X_FORWARDED_FOR, &self.plain), (FORWARDED, &self.forwarded)] {
            match value {
                Some(value) => drop(headers.insert(name, value.clone())),
                None => drop(headers.remove(name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_claims_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("2.2.2.2"));
        Client::new("::ffff:10.0.0.7".parse().unwrap()).overwrite(&mut headers);
        assert_eq!(headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>(), ["10.0.0.7"]);
        assert_eq!(headers[FORWARDED], "for=10.0.0.7;proto=http");
        Client::new("2001:db8::1".parse().unwrap()).overwrite(&mut headers);
        assert_eq!(headers[FORWARDED], "for=\"[2001:db8::1]\";proto=http");
    }
}
