//! The fixture's images: those that its state names; every archive and every pull is the same image.

use super::Fixture;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use wsw_api::registry::RegistryAuth;
use wsw_api::{Error, Result, Time};
use wsw_dockerapi::image_store::{Archive, Code, Image, ImageStore, Look, Progress, ProgressStream, Prune, Removed, Step};

#[async_trait]
impl ImageStore for Fixture {
    async fn images(&self) -> Result<Vec<Image>> {
        Ok(self.state.lock().unwrap().images.clone())
    }

    async fn image(&self, reference: &str) -> Result<Image> {
        let (name, digest) = reference.split_once('@').unwrap_or((reference, reference));
        let digest = if digest.starts_with("sha256:") { digest.to_owned() } else { format!("sha256:{digest}") };
        let images = self.images().await?;
        let wanted = |image: &&Image| {
            image.tags.iter().any(|tag| tag == name || tag == &format!("{name}:latest")) || (digest.len() > 12 && image.digest.starts_with(&digest))
        };
        images.iter().find(wanted).cloned().ok_or_else(|| Error::not_found(format!("no image {reference}")))
    }

    async fn image_load(&self, mut body: BoxStream<'static, std::io::Result<Bytes>>, _platform: Option<String>) -> Result<Vec<String>> {
        let mut size = 0;
        while let Some(piece) = body.next().await {
            size += piece.map_err(|error| Error::invalid(format!("image archive: {error}")))?.len();
        }
        self.state.lock().unwrap().loaded.push((size >> 20) as u8);
        if size < 512 { Err(Error::invalid("image archive: it is not a tar file")) } else { Ok(vec!["app:latest".into()]) }
    }

    async fn image_remove(&self, reference: &str, _force: bool) -> Result<Vec<Removed>> {
        let image = self.image(reference).await?;
        self.state.lock().unwrap().images.clear();
        Ok(vec![Removed::Untagged(image.tags[0].clone()), Removed::Deleted(image.digest)])
    }

    async fn image_pull(&self, reference: String, _platform: Option<String>, auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        if auth.is_none() {
            return Err(Error::not_found(format!("pull access denied for {reference}")));
        }
        let line = |id: &str, status: &str, figures, layer| Ok(Progress { id: id.into(), status: status.into(), figures, layer });
        let lines = [
            line("v1", "Pulling from app", None, false),
            line("abc", "Pulling fs layer", None, true),
            line("abc", "Downloading", Some((1, 2)), true),
            Err(Error::unavailable("it broke")),
        ];
        Ok(stream::iter(lines).boxed())
    }

    async fn image_push(&self, reference: String, _auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        Ok(stream::iter([Ok(Progress { id: String::new(), status: format!("pushed {reference}"), figures: None, layer: false })]).boxed())
    }

    async fn image_look(&self, reference: &str, _auth: Option<RegistryAuth>) -> Result<Look> {
        let image = self.image(reference).await.map_err(|_| Error::not_found(format!("manifest for {reference} not found: manifest unknown")))?;
        Ok(Look { media_type: image.manifest_media_type, digest: image.digest, size: image.manifest_size, platforms: vec![image.platform] })
    }

    async fn image_tag(&self, _reference: &str, name: &str) -> Result<()> {
        self.state.lock().unwrap().images[0].tags.push(name.into());
        Ok(())
    }

    async fn image_history(&self, reference: &str) -> Result<Vec<Step>> {
        let image = self.image(reference).await?;
        let step = Step { id: image.digest, created: image.created, created_by: "COPY app.wasm".into(), comment: String::new(), size: 7, tags: image.tags };
        Ok(vec![step])
    }

    async fn image_save(&self, references: Vec<String>, platform: Option<String>) -> Result<Archive> {
        let text = format!("{references:?} {platform:?}");
        Ok(stream::iter([Ok(Bytes::from(text))]).boxed())
    }

    async fn image_prune(&self, prune: Prune) -> Result<(Vec<Removed>, u64)> {
        Ok((vec![Removed::Deleted(format!("{prune:?}"))], 42))
    }

    fn image_code(&self) -> Vec<Code> {
        let code = |tasks| Code { module: format!("sha256:{tasks:064}"), size: 1_000, made: Time(0), used: Time(1), tasks };
        vec![code(0), code(2)]
    }

    async fn image_code_prune(&self, _: Option<Time>) -> Result<Vec<Code>> {
        Ok(self.image_code().into_iter().filter(|code| code.tasks == 0).collect())
    }

    async fn registry_login(&self, auth: RegistryAuth) -> Result<()> {
        if auth.reveal().is_empty() { Err(Error::forbidden("no")) } else { Ok(()) }
    }
}
