//! A push: blobs that the registry lacks, then the manifest. The transfer itself is oci-client's.
//!
//! Owns: what is sent and docker's progress lines. A push that breaks off leaves blobs at the registry, which it sweeps itself.

use super::pull::shown;
use super::session::registry_and_path;
use super::{Credentials, Failure, Rights, Session};
use crate::error::{Error, Result};
use crate::images::progress::{Sink, short};
use crate::images::reference::{Reference, familiar};
use crate::images::store::Images;
use futures_util::TryStreamExt;
use oci_distribution::client::{Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::{Reference as Address, RegistryOperation};
use oci_spec::image::ImageManifest;
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use tokio_util::io::ReaderStream;
use wsw_api::registry::RegistryAuth;

/// To connect, and without a byte in either direction.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const STALL: Duration = Duration::from_secs(60);
/// Tries of one blob.
const TRIES: u32 = 4;
/// Before the second try; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(500);
/// Read from a blob's file at a time.
const CHUNK: usize = 128 * 1024;

impl Images {
    /// Sends the image of a name to the registry in it; of a name without a tag, the images of all its tags.
    pub async fn push(&self, text: &str, auth: Option<&RegistryAuth>, sink: &Sink) -> wsw_api::Result<()> {
        let reference = Reference::parse(text)?;
        if reference.digest.is_some() {
            return Err(wsw_api::Error::invalid("cannot push a digest reference"));
        }
        let named = self.snapshot().names_of(&reference);
        if named.is_empty() {
            return Err(Error::NotThere(format!("An image does not exist locally with the tag: {}", familiar(&reference.name))).into());
        }
        sink.say("", format!("The push refers to repository [{}]", reference.name)).await;
        for (name, digest) in named {
            let reference = Reference::parse(&name)?;
            let bytes = self.blob(&digest).await?;
            self.send(&reference, auth, &bytes, sink).await?;
            let tag = reference.tag.as_deref().unwrap_or("latest");
            sink.say("", format!("{tag}: digest: {digest} size: {}", bytes.len())).await;
        }
        Ok(())
    }

    async fn send(&self, reference: &Reference, auth: Option<&RegistryAuth>, bytes: &[u8], sink: &Sink) -> Result<()> {
        let named = |failure: Failure| match failure.of_pull(familiar(&reference.name), &shown(reference)) {
            // docker's words of a push differ in this one.
            Error::NotThere(text) if text.starts_with("pull access denied") => {
                Error::NotThere("push access denied, ".to_owned() + text.trim_start_matches("pull access denied for "))
            }
            other => other,
        };
        let credentials = Credentials::read(auth)?;
        let session = Session::open(self.transport.clone(), &self.trust, reference, Rights::Push, credentials).await.map_err(named)?;
        let client = client(&session)?;
        let (registry, path) = registry_and_path(reference);
        let address = Address::with_tag(registry.to_owned(), path.to_owned(), reference.tag.clone().unwrap_or_else(|| "latest".into()));
        client.auth(&address, &session.registry_auth(), RegistryOperation::Push).await.map_err(refused)?;
        client.auth(&address, &session.registry_auth(), RegistryOperation::Pull).await.map_err(refused)?;
        let manifest: ImageManifest = crate::images::layout::parse(bytes, "manifest")?;
        let mut wanted = manifest.layers().iter().chain([manifest.config()]).map(|blob| (blob.digest().to_string(), blob.size())).collect::<Vec<_>>();
        wanted.sort();
        wanted.dedup();
        for (digest, _) in &wanted {
            sink.layer(&short(digest), "Preparing").await;
        }
        for (digest, size) in &wanted {
            self.send_blob(&client, &address, digest, *size, sink).await?;
        }
        let media = manifest.media_type().as_ref().map_or(crate::images::layout::OCI_MANIFEST, |media| media.as_ref()).to_owned();
        let media = media.parse().map_err(|_| Error::Invalid(format!("manifest type {media:?} is no media type")))?;
        client.push_manifest_raw(&address, bytes.to_vec(), media).await.map_err(refused)?;
        Ok(())
    }

    async fn send_blob(&self, client: &Client, address: &Address, digest: &str, size: u64, sink: &Sink) -> Result<()> {
        let id = short(digest);
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            let done = async {
                if client.blob_exists(address, digest).await? {
                    return Ok("Layer already exists");
                }
                sink.figures(&id, "Pushing", 0, size);
                let file = tokio::fs::File::open(self.blobs().path(digest)).await?;
                let stream = ReaderStream::with_capacity(file, CHUNK).map_err(OciDistributionError::from);
                client.push_blob_stream(address, stream, digest, Some(size)).await.map(|_| "Pushed")
            };
            match done.await {
                Ok(word) => {
                    sink.layer(&id, word).await;
                    return Ok(());
                }
                Err(error) if attempt < TRIES && may_pass(&error) => {
                    sink.layer(&id, "Retrying").await;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(())
    }
}

fn client(session: &Session) -> Result<Client> {
    let config = ClientConfig {
        protocol: if session.is_plain() { ClientProtocol::Http } else { ClientProtocol::Https },
        accept_invalid_certificates: session.insecure,
        extra_root_certificates: session.transport().authorities().iter().map(authority).collect(),
        use_monolithic_push: true,
        read_timeout: Some(STALL),
        connect_timeout: Some(CONNECT_LIMIT),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|error| Error::Temporary(format!("cannot speak to the registry: {error}")))
}

fn authority(der: &CertificateDer<'static>) -> Certificate {
    Certificate { encoding: CertificateEncoding::Der, data: der.to_vec() }
}

fn may_pass(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429,
        _ => false,
    }
}

/// The library's errors name whole addresses, and an upload's may hold a signature: only the registry's own words are passed on.
fn refused(error: OciDistributionError) -> Error {
    match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            let first = envelope.errors.into_iter().next();
            let code = first.as_ref().and_then(|first| serde_json::to_value(&first.code).ok()?.as_str().map(str::to_lowercase)).unwrap_or_default();
            Error::NotThere(format!("{}: {}", code.replace('_', " "), first.map(|first| first.message).unwrap_or_default()))
        }
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            Error::NotThere("unauthorized: authentication required".into())
        }
        OciDistributionError::ServerError { code, .. } => Error::Temporary(format!("the registry answered with status {code}")),
        OciDistributionError::RequestError(error) => Error::Temporary(format!("cannot send to the registry: {}", super::words::chain(&error))),
        OciDistributionError::IoError(error) => Error::io("read a blob", &error),
        _ => Error::Temporary("the registry did not take the image".into()),
    }
}
