//! Names in a spec made into ids: networks, secrets, configs, and the image's digest. Asked of the daemon before a spec is sent.

use serde_json::{Value, json};

use super::{
    args::Matches,
    client::{escape, filters},
    credentials,
    errors::Error,
    format::reference,
    output,
    session::Session,
    task::text,
};

/// Gives each network attachment the network's id, and the order that docker sends.
pub async fn resolve_networks(session: &Session, networks: &mut Value) -> Result<(), Error> {
    let Some(list) = networks.as_array_mut() else { return Ok(()) };
    for network in list.iter_mut() {
        network["Target"] = json!(network_id(session, text(&network["Target"])).await?);
    }
    list.sort_by(|a, b| text(&a["Target"]).cmp(text(&b["Target"])));
    Ok(())
}

pub async fn network_id(session: &Session, name: &str) -> Result<String, Error> {
    let network = session.client.get(&format!("/networks/{}", escape(name)), &[("scope", "swarm".into())]).await?;
    Ok(text(&network["Id"]).to_owned())
}

/// Looks up the ids of secrets or configs (`kind` is "Secret" or "Config").
pub async fn resolve_references(session: &Session, kind: &str, mut references: Vec<Value>) -> Result<Vec<Value>, Error> {
    if references.is_empty() {
        return Ok(references);
    }
    let lower = kind.to_lowercase();
    let (id, name) = (format!("{kind}ID"), format!("{kind}Name"));
    let mut targets = std::collections::BTreeSet::new();
    for reference in &references {
        let target = text(&reference["File"]["Name"]);
        if !target.is_empty() && !targets.insert(target.to_owned()) {
            return Err(Error::Plain(format!("duplicate {lower} target for {} not allowed", text(&reference[&name]))));
        }
    }
    let wanted = filters(references.iter().map(|reference| ("name", text(&reference[&name]))));
    let found = session.client.get(&format!("/{lower}s"), &[("filters", wanted)]).await?;
    for reference in &mut references {
        let wanted = text(&reference[&name]).to_owned();
        let object = found.as_array().into_iter().flatten().find(|object| text(&object["Spec"]["Name"]) == wanted);
        let object = object.ok_or_else(|| Error::Plain(format!("{lower} not found: {wanted}")))?;
        reference[&id] = object["ID"].clone();
    }
    Ok(references)
}

/// `image` as docker sends it: without the words that docker.io names leave out, with a tag where it has neither tag nor digest.
pub fn with_tag(image: &str) -> String {
    let Some(reference::Reference { familiar, tag, digest }) = reference::parse(image) else { return image.to_owned() };
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
    let part = |mark: &str, text: Option<&str>| text.map(|text| format!("{mark}{text}")).unwrap_or_default();
    format!("{familiar}{}{}", part(":", tag), part("@", digest))
}

/// Pins the image to the digest that the daemon finds for it and notes its platforms. What cannot be found is only warned about.
pub async fn pin_image(session: &Session, task: &mut Value, headers: &[(&'static str, String)]) -> Result<Option<String>, Error> {
    let image = text(&task["ContainerSpec"]["Image"]).to_owned();
    let path = format!("/distribution/{}/json", escape_path(&image));
    let found = match session.client.get_with(&path, &[], headers).await {
        Ok(found) => found,
        Err(error @ (Error::Connect(_) | Error::Silent(_))) => return Err(error),
        Err(_) => return Ok(Some(not_accessible(&image))),
    };
    let digest = text(&found["Descriptor"]["digest"]);
    if !image.contains('@') && !digest.is_empty() {
        task["ContainerSpec"]["Image"] = json!(format!("{image}@{digest}"));
    }
    let platforms: Vec<Value> = found["Platforms"].as_array().into_iter().flatten().filter_map(platform).collect();
    if !platforms.is_empty() {
        task["Placement"]["Platforms"] = json!(platforms);
    }
    Ok(None)
}

fn platform(platform: &Value) -> Option<Value> {
    let (os, architecture) = (text(&platform["os"]), text(&platform["architecture"]));
    if os == "unknown" || architecture == "unknown" {
        return None;
    }
    // An arm image does not say for which arm; the node's word would never match.
    let architecture = if architecture.eq_ignore_ascii_case("arm") { "" } else { architecture };
    let mut shown = serde_json::Map::new();
    for (key, value) in [("Architecture", architecture), ("OS", os)] {
        if !value.is_empty() {
            shown.insert(key.into(), json!(value));
        }
    }
    Some(Value::Object(shown))
}

fn not_accessible(image: &str) -> String {
    format!(
        "image {image} could not be accessed on a registry to record\nits digest. Each node will access {image} independently,\n\
         possibly leading to different nodes running different\nversions of the image.\n"
    )
}

/// An image name in a path keeps its slashes.
pub fn escape_path(image: &str) -> String {
    image.split('/').map(escape).collect::<Vec<_>>().join("/").replace("%3A", ":").replace("%40", "@")
}

/// The header of `--with-registry-auth`: what docker's configuration has for the image's registry.
pub fn registry_auth(matches: &Matches, image: &str) -> Vec<(&'static str, String)> {
    if matches.on("with-registry-auth") { vec![credentials::header(image)] } else { Vec::new() }
}

/// Shows a warning of ours below those of the daemon.
pub fn warn(warning: Option<String>) {
    if let Some(text) = warning {
        output::warn(&text);
    }
}
