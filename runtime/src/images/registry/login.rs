//! Trying credentials out: `docker login` through the daemon.

use super::session::Session;
use super::{Credentials, Failure, Rights};
use crate::images::store::Images;
use reqwest::StatusCode;
use wsw_api::registry::RegistryAuth;
use wsw_api::{Error, Result};

/// docker's name of Docker Hub in its configuration.
const DOCKER_HUB: &str = "index.docker.io";

/// A server address as docker keeps it (`https://index.docker.io/v1/`, `host:5000`) as a registry's name.
fn registry(address: &str) -> &str {
    let address = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(address);
    match address.split('/').next().unwrap_or_default() {
        "" | DOCKER_HUB => "docker.io",
        host => host,
    }
}

impl Images {
    /// Shows the credentials to the registry in them.
    pub async fn login(&self, auth: &RegistryAuth) -> Result<()> {
        let credentials = Credentials::read(Some(auth))?;
        let host = registry(&credentials.server_address).to_owned();
        let refused = |failure: &Failure| matches!(failure.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN));
        let other = |failure: Failure| Error::from(crate::error::Error::from(failure));
        let session = Session::at(self.transport.clone(), &self.trust, &host, "", Rights::Pull, credentials).await;
        // The token server said no.
        let session = session.map_err(|failure| if refused(&failure) { Error::forbidden(failure.to_string()) } else { other(failure) })?;
        // The registry itself did.
        session.check().await.map_err(|failure| match failure.status() {
            Some(status) => Error::forbidden(format!("login attempt to {} failed with status: {status}", session.base())),
            None => other(failure),
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_name_registries() {
        for (address, wanted) in
            [("", "docker.io"), ("https://index.docker.io/v1/", "docker.io"), ("localhost:5000", "localhost:5000"), ("http://reg.example/v2", "reg.example")]
        {
            assert_eq!(super::registry(address), wanted);
        }
    }
}
