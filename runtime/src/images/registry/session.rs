//! One repository of one registry: the way to it, who we are there, its manifests and blobs.
//!
//! Owns: choosing plain HTTP or TLS, login by token or by name, the bound on manifests. A session is short: one pull, one look, one push.

use super::certs::Trust;
use super::credentials::Credentials;
use super::failure::Failure;
use super::http::{Ask, Transport, read_up_to};
use super::token;
use crate::error::{Error, Result};
use crate::images::blobs::digest_of;
use crate::images::reference::Reference;
use oci_distribution::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use std::sync::{Arc, PoisonError, RwLock};

/// Where images without a registry in their name are.
const DOCKER_IO: &str = "docker.io";
/// Docker Hub answers at a name of its own below it.
const DOCKER_IO_NODE: &str = "registry-1";
/// Largest manifest; the specification asks registries for no more than 4 MiB.
pub(crate) const MAX_MANIFEST: usize = 4 << 20;
/// `pull --all-tags`: more is a mirror's work.
const MAX_TAGS: usize = 1_000;
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What may be done with the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    Pull,
    Push,
}

/// A manifest as it came; its digest is computed, not believed.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub digest: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

pub(crate) struct Session {
    transport: Arc<Transport>,
    /// `https://host/v2/`
    base: Url,
    pub insecure: bool,
    /// Path of the repository: `library/app`.
    repository: String,
    rights: Rights,
    credentials: Credentials,
    authorization: RwLock<Option<HeaderValue>>,
}

/// `docker.io/library/app` in two.
pub(crate) fn registry_and_path(reference: &Reference) -> (&str, &str) {
    reference.name.split_once('/').unwrap_or((DOCKER_IO, &reference.name))
}

impl Session {
    pub(crate) async fn open(
        transport: Arc<Transport>,
        trust: &Trust,
        reference: &Reference,
        rights: Rights,
        credentials: Credentials,
    ) -> Result<Self, Failure> {
        let (registry, path) = registry_and_path(reference);
        Self::at(transport, trust, registry, path, rights, credentials).await
    }

    pub(crate) async fn at(
        transport: Arc<Transport>,
        trust: &Trust,
        registry: &str,
        path: &str,
        rights: Rights,
        credentials: Credentials,
    ) -> Result<Self, Failure> {
        let host = if registry == DOCKER_IO { format!("{DOCKER_IO_NODE}.{DOCKER_IO}") } else { registry.to_owned() };
        let insecure = trust.insecure.covers(&host).await;
        let certs = trust.certs(registry, insecure).await?;
        let transport = if certs.is_empty() { transport } else { Arc::new(transport.with(certs)) };
        let address = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|error| Failure::Own(Error::Invalid(format!("registry {registry:?}: {error}"))))
        };
        let mut this = Self {
            transport,
            base: address(if insecure { "http" } else { "https" })?,
            insecure,
            repository: path.to_owned(),
            rights,
            credentials,
            authorization: RwLock::new(None),
        };
        let first = if insecure { this.first_word(address("https")?).await } else { None };
        let greeting = match first {
            Some(answer) => answer,
            None => this.transport.send(&Ask::get(this.base.clone(), insecure)).await,
        };
        match greeting {
            Ok(_) => Ok(this),
            // Registries hide what they have behind either.
            Err(Failure::Status { status: StatusCode::UNAUTHORIZED, headers, .. }) => {
                this.log_in(&headers).await.map_err(|failure| failure.asked_at(&this.base))?;
                Ok(this)
            }
            Err(Failure::Status { status: StatusCode::NOT_FOUND | StatusCode::FORBIDDEN, .. }) => Ok(this),
            Err(failure) => Err(failure),
        }
    }

    /// An insecure registry's answer. Plain HTTP is asked first: those on loopback speak it. One that complains about it, or says nothing, is asked
    /// in TLS; none when it speaks neither, or may answer in a moment: then it is asked again, and the plain one's failure is told.
    async fn first_word(&mut self, encrypted: Url) -> Option<Result<Response, Failure>> {
        let plain = self.transport.once(&Ask::get(self.base.clone(), true)).await;
        let answer = match plain {
            Err(Failure::Status { status: StatusCode::BAD_REQUEST, .. } | Failure::Network(_)) => {
                let answer = self.transport.once(&Ask::get(encrypted.clone(), true)).await;
                if !matches!(answer, Err(Failure::Network(_) | Failure::Own(_))) {
                    self.base = encrypted;
                }
                answer
            }
            other => other,
        };
        Some(answer).filter(|answer| !answer.as_ref().is_err_and(Failure::may_pass))
    }

    /// Takes up what a 401 asks for.
    async fn log_in(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let scope = match (self.repository.is_empty(), self.rights) {
            (true, _) => None,
            (false, Rights::Pull) => Some(format!("repository:{}:pull", self.repository)),
            (false, Rights::Push) => Some(format!("repository:{}:pull,push", self.repository)),
        };
        let value = token::answer(&self.transport, headers, &self.credentials, scope.as_deref(), self.base.scheme() == "http").await?;
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(())
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True when the registry took what we showed it.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.send(Method::GET, self.base.clone(), HeaderMap::new()).await.map(drop)
    }

    /// An address of the repository.
    pub(crate) fn url(&self, rest: &str) -> Result<Url, Failure> {
        self.base.join(&format!("{}/{rest}", self.repository)).map_err(|error| Failure::Own(Error::Invalid(format!("{rest:?}: {error}"))))
    }

    /// Sends as who we are; once more after a login when that has run out.
    pub(crate) async fn send(&self, method: Method, url: Url, headers: HeaderMap) -> Result<Response, Failure> {
        let mut asked_again = false;
        loop {
            let authorization = self.authorization();
            let ask = Ask {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                authorization: authorization.as_ref(),
                body: None,
                insecure: self.insecure,
            };
            match self.transport.send(&ask).await {
                Err(Failure::Status { status: StatusCode::UNAUTHORIZED, headers, body, retry_after, asked }) => {
                    if asked_again {
                        return Err(Failure::Status { status: StatusCode::UNAUTHORIZED, headers, body, retry_after, asked });
                    }
                    asked_again = true;
                    self.log_in(&headers).await?;
                }
                other => return other,
            }
        }
    }

    /// A manifest by tag or digest.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Fetched, Failure> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFESTS))]);
        let url = self.url(&format!("manifests/{reference}"))?;
        let mut attempt = 0;
        let (answer_type, told, bytes) = loop {
            attempt += 1;
            let answer = self.send(Method::GET, url.clone(), headers.clone()).await?;
            let head = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let (kind, told) = (head(CONTENT_TYPE.as_str()).unwrap_or_default(), head("docker-content-digest"));
            match read_up_to(answer, MAX_MANIFEST).await {
                Ok((bytes, true)) => break (kind, told, bytes),
                Ok((_, false)) => return Err(Error::Invalid(format!("manifest {reference}: larger than {} MiB", MAX_MANIFEST >> 20)).into()),
                Err(failure) => {
                    let Some(pause) = self.transport.patience.before(attempt, None) else { return Err(failure) };
                    tokio::time::sleep(pause).await;
                }
            }
        };
        let digest = digest_of(&bytes);
        let wanted = Some(reference).filter(|text| text.starts_with("sha256:")).map(str::to_owned).or(told);
        if let Some(wanted) = wanted.filter(|wanted| wanted.starts_with("sha256:") && *wanted != digest) {
            return Err(Error::Invalid(format!("manifest {reference}: the registry sent other content: wanted {wanted}, got {digest}")).into());
        }
        let media_type = answer_type.split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Fetched { digest, media_type, bytes })
    }

    /// All tags of the repository.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, Failure> {
        #[derive(serde::Deserialize)]
        struct Answer {
            tags: Option<Vec<String>>,
        }
        let answer = self.send(Method::GET, self.url("tags/list")?, HeaderMap::new()).await?;
        let (bytes, whole) = read_up_to(answer, MAX_MANIFEST).await?;
        let read: Option<Answer> = if whole { serde_json::from_slice(&bytes).ok() } else { None };
        let tags = read.and_then(|answer| answer.tags).unwrap_or_default();
        match tags.len() {
            0 => Err(Error::NotThere(format!("repository {}: it has no tags", self.repository)).into()),
            1..=MAX_TAGS => Ok(tags),
            n => Err(Error::Invalid(format!("repository {} has {n} tags; at most {MAX_TAGS} are pulled at a time", self.repository)).into()),
        }
    }

    /// Begins to send a blob, from a byte on.
    pub(crate) async fn blob(&self, digest: &str, from: u64) -> Result<Response, Failure> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={from}-")).map_err(|error| Failure::Network(error.to_string()))?);
        }
        let url = self.url(&format!("blobs/{digest}"))?;
        let authorization = self.authorization();
        let ask =
            Ask { method: Method::GET, url: url.clone(), headers: headers.clone(), authorization: authorization.as_ref(), body: None, insecure: self.insecure };
        // Without tries of its own: the caller counts those together with broken bodies.
        match self.transport.once(&ask).await {
            Err(Failure::Status { status: StatusCode::UNAUTHORIZED, .. }) => self.send(Method::GET, url, headers).await,
            other => other,
        }
    }

    /// `https://host/v2/`
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// True when it is spoken to without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// Who we are there, for oci-client.
    pub(crate) fn registry_auth(&self) -> RegistryAuth {
        let value = self.authorization();
        let text = value.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        match text.strip_prefix("Bearer ") {
            Some(token) => RegistryAuth::Bearer(token.to_owned()),
            None if self.credentials.username.is_empty() || text.is_empty() => RegistryAuth::Anonymous,
            None => RegistryAuth::Basic(self.credentials.username.clone(), self.credentials.password.clone()),
        }
    }
}
