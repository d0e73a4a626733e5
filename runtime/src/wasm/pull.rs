//! The image of a task: the one that is here, or the registry's (SwarmKit's `Prepare`).
//!
//! Owns: when a registry is asked. An image that is named by digest is never asked for twice; one named by tag alone is looked up each time, but a
//! registry that does not answer stops no task whose image is here. Images that were loaded, not pulled, are used as they are.

use crate::error::{Error, Result};
use crate::executor::TaskRequest;
use crate::images::{Image, Images, PullRequest};

pub(crate) async fn image(images: &Images, request: &TaskRequest) -> Result<Image> {
    let name = &request.spec.container.image;
    let found = images.find(name);
    let settled = found.as_ref().is_ok_and(|image| name.contains('@') || image.repo_digests.is_empty());
    if settled {
        return found;
    }
    let image = {
        let pulled = images.ensure(PullRequest { reference: name.clone(), platform: None, auth: request.auth.clone() }).await;
        match (pulled, found) {
            (Ok(pulled), _) => images.find(&pulled.image)?,
            (Err(error), Ok(image)) => {
                tracing::warn!(image = %name, %error, "pulling failed; the image that is here is used");
                image
            }
            (Err(error @ (Error::Invalid(_) | Error::Unsupported(_))), Err(_)) => return Err(error),
            // Not worth a try of its own: the pull was tried several times, and the task's restart policy says when the next one comes.
            (Err(error), Err(_)) => return Err(Error::NotThere(format!("No such image: {name} ({error})"))),
        }
    };
    Ok(image)
}
