//! `service update`.

use serde_json::{Value, json};

use super::{create, mounts, options, progress, scale, update_spec};
use crate::cli::{Session, args::Matches, client::escape, errors::Error, output, pack, registry, task::text};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let name = &matches.args[0];
    let mut service = session.client.get(&format!("/services/{}", escape(name)), &[]).await?;
    let mut extra = vec![("registryAuthFrom", "spec".to_owned())];
    if matches.on("rollback") {
        if matches.changed_flags().any(|flag| !["rollback", "detach", "quiet"].contains(&flag)) {
            return Err(Error::plain("other flags may not be combined with --rollback"));
        }
        extra.push(("rollback", "previous".to_owned()));
    }
    let mut warning = None;
    // A digest that is pinned anew needs the credentials of its own registry.
    let image = matches.text("image").unwrap_or_else(|| text(&service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])).to_owned();
    let headers = registry::registry_auth(&matches, &image);
    if !matches.on("rollback") {
        update_spec::change(&mut service["Spec"], &matches)?;
        networks(&session, &mut service["Spec"], &matches).await?;
        references(&session, &mut service["Spec"]["TaskTemplate"]["ContainerSpec"], &matches).await?;
        if let Some(image) = matches.text("image") {
            let image = if pack::is_path(image) { pack::load(&session, image).await? } else { registry::with_tag(image) };
            service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = json!(image);
            if !matches.on("no-resolve-image") {
                warning = registry::pin_image(&session, &mut service["Spec"]["TaskTemplate"], &headers).await?;
            }
        }
    }
    if !headers.is_empty() {
        extra.retain(|(name, _)| *name != "registryAuthFrom");
    }
    scale::send_with(&session, &service, &extra, &headers).await?;
    registry::warn(warning);
    output::line(name)?;
    if matches.on("detach") {
        return Ok(());
    }
    progress::wait(&session.client, name, matches.on("quiet"), create::patience(&matches)).await
}

/// `--network-add` and `--network-rm`.
async fn networks(session: &Session, spec: &mut Value, matches: &Matches) -> Result<(), Error> {
    if !matches.any_changed(&["network-add", "network-rm"]) {
        return Ok(());
    }
    let current = [&spec["TaskTemplate"]["Networks"], &spec["Networks"]].into_iter().find_map(|list| list.as_array().filter(|list| !list.is_empty()));
    let mut list = current.cloned().unwrap_or_default();
    if let Some(spec) = spec.as_object_mut() {
        // The old place of a service's networks.
        spec.remove("Networks");
    }
    for name in matches.list("network-rm") {
        let id = registry::network_id(session, name).await?;
        list.retain(|network| text(&network["Target"]) != id);
    }
    for added in options::parsed(matches.list("network-add"), mounts::network)? {
        let name = text(&added["Target"]).to_owned();
        let id = registry::network_id(session, &name).await?;
        if list.iter().any(|network| text(&network["Target"]) == id) {
            return Err(Error::Plain(format!("service is already attached to network {name}")));
        }
        let mut added = added;
        added["Target"] = json!(id);
        list.push(added);
    }
    list.sort_by(|a, b| text(&a["Target"]).cmp(text(&b["Target"])));
    match (list.is_empty(), spec["TaskTemplate"].as_object_mut()) {
        (true, Some(task)) => {
            task.remove("Networks");
        }
        _ => spec["TaskTemplate"]["Networks"] = json!(list),
    }
    Ok(())
}

/// Secrets, configs and the credential spec, which names a config.
async fn references(session: &Session, container: &mut Value, matches: &Matches) -> Result<(), Error> {
    let credential = options::credentials(matches);
    let wanted = credential.as_ref().map(|spec| text(&spec["CredentialSpec"]["Config"]).to_owned()).unwrap_or_default();
    let in_use = match matches.changed("credential-spec") {
        true => String::new(),
        false => text(&container["Privileges"]["CredentialSpec"]["Config"]).to_owned(),
    };
    for kind in ["Secret", "Config"] {
        let lower = kind.to_lowercase();
        let (list, name, id) = (format!("{kind}s"), format!("{kind}Name"), format!("{kind}ID"));
        let removed = matches.list(&format!("{lower}-rm"));
        let mut kept: Vec<Value> = container[&list].as_array().cloned().unwrap_or_default();
        kept.retain(|reference| {
            if reference["Runtime"].is_object() {
                return text(&reference[&name]) == wanted || text(&reference[&id]) == in_use;
            }
            !removed.iter().any(|removed| removed == text(&reference[&name]))
        });
        let parse: fn(&str) -> Result<Value, String> =
            if kind == "Secret" { |text| mounts::file_reference(text, "Secret") } else { |text| mounts::file_reference(text, "Config") };
        let mut added = options::parsed(matches.list(&format!("{lower}-add")), parse)?;
        let has_wanted = kept.iter().any(|reference| reference["Runtime"].is_object());
        if kind == "Config" && !wanted.is_empty() && !has_wanted {
            added.push(json!({"Runtime": {}, "ConfigID": "", "ConfigName": wanted}));
        }
        kept.extend(registry::resolve_references(session, kind, added).await?);
        match (kept.is_empty(), container.as_object_mut()) {
            (true, Some(container)) => {
                container.remove(&list);
            }
            _ => container[&list] = json!(kept),
        }
    }
    set_credential(container, credential, &wanted, matches.changed("credential-spec"));
    Ok(())
}

fn set_credential(container: &mut Value, credential: Option<Value>, config: &str, changed: bool) {
    if !changed {
        return;
    }
    let Some(mut credential) = credential else {
        if container["Privileges"].is_object() {
            container["Privileges"]["CredentialSpec"] = Value::Null;
        }
        return;
    };
    let id = container["Configs"].as_array().into_iter().flatten().find(|reference| !config.is_empty() && text(&reference["ConfigName"]) == config);
    if let Some(id) = id.map(|reference| reference["ConfigID"].clone()) {
        credential["CredentialSpec"]["Config"] = id;
    }
    if container["Privileges"].is_object() {
        container["Privileges"]["CredentialSpec"] = credential["CredentialSpec"].take();
    } else {
        container["Privileges"] = credential;
    }
}
