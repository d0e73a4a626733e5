//! `service create`: an image by name, or a Wasm file by path.

use serde_json::{Value, json};

use super::{
    mounts, options,
    progress::{self, Patience},
    scale,
};
use crate::cli::{Session, args::Matches, errors::Error, output, pack, registry};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let (first, args) = matches.args.split_first().ok_or_else(|| Error::plain("an image is required"))?;
    let mut spec = build(&session, &matches, first, args).await?;
    let headers = registry::registry_auth(&matches, first);
    let warning = if matches.on("no-resolve-image") { None } else { registry::pin_image(&session, &mut spec["TaskTemplate"], &headers).await? };
    let answer = session.client.post_with("/services/create", &[], &spec, &headers).await?;
    scale::warn(&answer);
    registry::warn(warning);
    let id = answer["ID"].as_str().unwrap_or_default();
    output::line(id)?;
    if matches.on("detach") {
        return Ok(());
    }
    progress::wait(&session.client, id, matches.on("quiet"), patience(&matches)).await
}

/// docker's verification is for those who name a monitor period.
pub fn patience(matches: &Matches) -> Patience {
    if matches.changed("update-monitor") { Patience::UntilStable } else { Patience::UntilRunning }
}

async fn build(session: &Session, matches: &Matches, image: &str, args: &[String]) -> Result<Value, Error> {
    // The flags are looked at before a file is read or loaded.
    let mut spec = options::spec(matches, image, args)?;
    if spec["TaskTemplate"]["Networks"].is_array() {
        registry::resolve_networks(session, &mut spec["TaskTemplate"]["Networks"]).await?;
    }
    let secrets = options::parsed(matches.list("secret"), |text| mounts::file_reference(text, "Secret"))?;
    let secrets = registry::resolve_references(session, "Secret", secrets).await?;
    let mut configs = options::parsed(matches.list("config"), |text| mounts::file_reference(text, "Config"))?;
    let credential = spec["TaskTemplate"]["ContainerSpec"]["Privileges"]["CredentialSpec"]["Config"].as_str().unwrap_or_default().to_owned();
    if !credential.is_empty() {
        configs.push(json!({"Runtime": {}, "ConfigID": "", "ConfigName": credential}));
    }
    let configs = registry::resolve_references(session, "Config", configs).await?;
    let container = &mut spec["TaskTemplate"]["ContainerSpec"];
    if let Some(config) = configs.iter().find(|config| !credential.is_empty() && config["ConfigName"] == json!(credential)) {
        container["Privileges"]["CredentialSpec"]["Config"] = config["ConfigID"].clone();
    }
    if !secrets.is_empty() {
        container["Secrets"] = json!(secrets);
    }
    if !configs.is_empty() {
        container["Configs"] = json!(configs);
    }
    let image = if pack::is_path(image) { pack::load(session, image).await? } else { registry::with_tag(image) };
    spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!(image);
    Ok(spec)
}
