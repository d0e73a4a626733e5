//! `inspect`: any object by name or id.

use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    container,
    errors::Error,
    format::inspect::{Inspected, Inspector},
    image, node, output,
};

/// What `--type` may be.
const TYPES: [&str; 10] = ["config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"];
/// The order in which an unnamed type is tried, and whether it takes a manager to ask.
const TRIED: [(&str, bool); 10] = [
    ("container", false),
    ("image", false),
    ("network", false),
    ("volume", false),
    ("service", true),
    ("task", true),
    ("node", true),
    ("plugin", false),
    ("secret", true),
    ("config", true),
];

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let wanted = matches.text_or("type", "");
    let listed = TYPES.join("\", \"");
    if matches.changed("type") && wanted.is_empty() {
        return Err(Error::Plain(format!("type is empty: must be one of \"{listed}\"")));
    }
    if !wanted.is_empty() && !TYPES.contains(&wanted) {
        return Err(Error::Plain(format!("unknown type: {wanted:?}: must be one of \"{listed}\"")));
    }
    let mut inspector = Inspector::new(matches.text("format"))?;
    for object in &matches.args {
        inspector.add(find(&session, object, wanted, matches.on("size")).await);
    }
    inspector.finish()
}

async fn find(session: &Session, name: &str, wanted: &str, size: bool) -> Result<Inspected, Error> {
    let mut is_manager = None;
    for (kind, needs_manager) in TRIED {
        if !wanted.is_empty() && kind != wanted {
            continue;
        }
        if wanted.is_empty() && needs_manager {
            if is_manager.is_none() {
                is_manager = Some(asks_manager(session).await);
            }
            if is_manager == Some(false) {
                continue;
            }
        }
        match get(session, kind, name, size).await {
            Err(error) if wanted.is_empty() && is_skippable(&error) => {}
            found => {
                if found.is_ok() && size && kind != "container" {
                    output::warn(&format!("WARNING: --size ignored for {kind}"));
                }
                return found;
            }
        }
    }
    Err(Error::Plain(format!("Error: No such object: {name}")))
}

async fn asks_manager(session: &Session) -> bool {
    match session.client.get("/info", &[]).await {
        Ok(info) => info["Swarm"]["ControlAvailable"].as_bool().unwrap_or(false),
        Err(error) => {
            output::warn(&error.to_string());
            false
        }
    }
}

/// Not there, or a kind of object that this daemon does not serve: try the next.
fn is_skippable(error: &Error) -> bool {
    let text = error.to_string();
    error.is_not_found() || matches!(error, Error::Daemon { status: 501, .. }) || text.contains("not supported") || text.contains("invalid reference format")
}

async fn get(session: &Session, kind: &str, name: &str, size: bool) -> Result<Inspected, Error> {
    let path = escape(name);
    let raw = async |path: String, query: &[(&str, String)]| session.client.get_text(&path, query).await.map(Inspected::Raw);
    match kind {
        "container" => container::inspect_one(session, name, size).await,
        "image" => image::inspect_one(session, name).await,
        "node" => node::inspect_one(session, name).await,
        "service" => raw(format!("/services/{path}"), &[("insertDefaults", "true".into())]).await,
        "plugin" => raw(format!("/plugins/{path}/json"), &[]).await,
        kind => raw(format!("/{kind}s/{path}"), &[]).await,
    }
}
