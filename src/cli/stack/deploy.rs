//! `stack deploy` and `stack config`.

use serde_json::Value;

use super::{check_name, list::owned_services, objects, remove};
use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    compose::{self, convert, convert::Namespace},
    credentials,
    errors::Error,
    output, registry,
    service::progress::{self, Patience},
    task::text,
};

const BACKGROUND: &str = "Since --detach=false was not specified, tasks will be created in the background.\n\
                          In a future release, --detach=false will become the default.";

/// The files of `-c`, which may hold several each.
fn files(matches: &Matches) -> Result<compose::Files, Error> {
    let names: Vec<String> = matches.list("compose-file").iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    compose::read(&names)
}

pub async fn config(_: Session, matches: Matches) -> Result<(), Error> {
    let merged = files(&matches)?.merged(!matches.on("skip-interpolation"))?;
    output::print(&compose::emit(&merged))
}

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let stack = &matches.args[0];
    check_name(stack)?;
    let config = files(&matches)?.deployable()?;
    let resolve = matches.text_or("resolve-image", "always");
    if !["always", "changed", "never"].contains(&resolve) {
        return Err(Error::Plain(format!("invalid option {resolve} for flag --resolve-image")));
    }
    let detach = !matches.changed("detach") || matches.on("detach");
    if !matches.changed("detach") {
        output::warn(BACKGROUND);
    }
    let info = session.client.get("/info", &[]).await?;
    if info["Swarm"]["ControlAvailable"] != Value::Bool(true) {
        let advice = "Use \"wsw swarm init\" or \"wsw swarm join\" to connect this node to swarm and try again";
        return Err(Error::Plain(format!("this node is not a swarm manager. {advice}")));
    }
    let namespace = Namespace(stack);
    if matches.on("prune") {
        let mut stale = owned_services(&session, stack).await?;
        stale.retain(|service| config["services"].get(namespace.descope(text(&service["Spec"]["Name"]))).is_none());
        remove::remove_services(&session, stale).await?;
    }
    objects::networks(&session, namespace, &config).await?;
    objects::files(&session, namespace, &config, "secret").await?;
    objects::files(&session, namespace, &config, "config").await?;
    let specs = specs(&session, namespace, &config).await?;
    let deployment = Deployment { session: &session, resolve, sends_credentials: matches.on("with-registry-auth") };
    let ids = deployment.services(stack, specs).await?;
    if detach {
        return Ok(());
    }
    let mut errors = Vec::new();
    for id in ids {
        if let Err(error) = progress::wait(&session.client, &id, matches.on("quiet"), Patience::UntilRunning).await {
            errors.push(Error::Plain(format!("{id}: {error}")));
        }
    }
    Error::join(errors)
}

/// Specs of all services, before the first is sent: a fault in one changes none.
async fn specs(session: &Session, namespace: Namespace<'_>, config: &Value) -> Result<Vec<Value>, Error> {
    let mut specs = Vec::new();
    for (key, service) in config["services"].as_object().into_iter().flatten() {
        let wrong = |error: String| Error::Plain(format!("service {key}: {error}"));
        let (mut spec, references) = convert::spec(namespace, key, service, config).map_err(wrong)?;
        let container = &mut spec["TaskTemplate"]["ContainerSpec"];
        for (kind, given) in [("Secret", references.secrets), ("Config", references.configs)] {
            let mut found = registry::resolve_references(session, kind, given).await.map_err(|error| wrong(error.to_string()))?;
            let name = format!("{kind}Name");
            found.sort_by(|a, b| text(&a[&name]).cmp(text(&b[&name])));
            // A credential spec names its config by id.
            if let Some(config) = found.iter().find(|reference| reference["Runtime"].is_object()) {
                container["Privileges"]["CredentialSpec"]["Config"] = config["ConfigID"].clone();
            }
            if !found.is_empty() {
                container[format!("{kind}s")] = found.into();
            }
        }
        specs.push(spec);
    }
    Ok(specs)
}

struct Deployment<'a> {
    session: &'a Session,
    resolve: &'a str,
    sends_credentials: bool,
}

impl Deployment<'_> {
    async fn services(&self, stack: &str, specs: Vec<Value>) -> Result<Vec<String>, Error> {
        let known = owned_services(self.session, stack).await?;
        let mut ids = Vec::new();
        for spec in specs {
            let image = text(&spec["TaskTemplate"]["ContainerSpec"]["Image"]).to_owned();
            let headers = if self.sends_credentials { vec![credentials::header(&image)] } else { Vec::new() };
            let name = text(&spec["Name"]).to_owned();
            let id = match known.iter().find(|service| text(&service["Spec"]["Name"]) == name) {
                Some(service) => self.update(service, spec, &headers).await,
                None => self.create(spec, &headers).await,
            };
            ids.push(id?);
        }
        Ok(ids)
    }

    async fn create(&self, mut spec: Value, headers: &[(&'static str, String)]) -> Result<String, Error> {
        let name = text(&spec["Name"]).to_owned();
        output::line(&format!("Creating service {name}"))?;
        if self.resolve != "never" {
            self.pin(&mut spec, headers).await?;
        }
        let made = self.session.client.post_with("/services/create", &[], &spec, headers).await;
        let made = made.map_err(|error| Error::Plain(format!("failed to create service {name}: {error}")))?;
        Ok(text(&made["ID"]).to_owned())
    }

    async fn update(&self, service: &Value, mut spec: Value, headers: &[(&'static str, String)]) -> Result<String, Error> {
        let (name, id) = (text(&spec["Name"]).to_owned(), text(&service["ID"]).to_owned());
        output::line(&format!("Updating service {name} (id: {id})"))?;
        let before = &service["Spec"];
        let is_same_image = spec["TaskTemplate"]["ContainerSpec"]["Image"] == before["Labels"][convert::IMAGE];
        let asks = match self.resolve {
            "always" => true,
            "changed" => !is_same_image,
            _ => false,
        };
        if !asks && is_same_image {
            // What was found at the last deployment: a digest that goes away would be a change.
            spec["TaskTemplate"]["ContainerSpec"]["Image"] = before["TaskTemplate"]["ContainerSpec"]["Image"].clone();
        }
        spec["TaskTemplate"]["ForceUpdate"] = before["TaskTemplate"]["ForceUpdate"].clone();
        let warning = if asks { self.pin(&mut spec, headers).await? } else { None };
        let path = format!("/services/{}/update", escape(&id));
        let query = [("version", service["Version"]["Index"].to_string())];
        let answer = self.session.client.post_with(&path, &query, &spec, headers).await;
        let answer = answer.map_err(|error| Error::Plain(format!("failed to update service {name}: {error}")))?;
        for warning in answer["Warnings"].as_array().into_iter().flatten().map(text).chain(warning.as_deref()) {
            output::warn(warning);
        }
        Ok(id)
    }

    async fn pin(&self, spec: &mut Value, headers: &[(&'static str, String)]) -> Result<Option<String>, Error> {
        let image = registry::with_tag(text(&spec["TaskTemplate"]["ContainerSpec"]["Image"]));
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = image.into();
        registry::pin_image(self.session, &mut spec["TaskTemplate"], headers).await
    }
}
