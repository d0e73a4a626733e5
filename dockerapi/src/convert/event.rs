//! Events to the API: kinds, actions, scope, and how the filters of `docker events` match.

use crate::filters::Filters;
use crate::model::system as api;
use wsw_api::event::{Action, Event, Kind};
use wsw_api::time::SECOND;

/// Keys of `docker events --filter`.
pub const FILTERS: &[&str] =
    &["config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume"];

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "service",
        Kind::Node => "node",
        Kind::Network => "network",
        Kind::Secret => "secret",
        Kind::Config => "config",
        Kind::Image => "image",
        Kind::Container => "container",
    }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Remove => "remove",
        Action::Load => "load",
        Action::Delete => "delete",
        Action::Start => "start",
        Action::Die => "die",
    }
}

const fn is_local(kind: Kind) -> bool {
    matches!(kind, Kind::Image | Kind::Container)
}

const fn scope(kind: Kind) -> &'static str {
    if is_local(kind) { "local" } else { "swarm" }
}

/// One line.
pub fn write(event: &Event) -> api::Event {
    let local = is_local(event.kind);
    api::Event {
        status: local.then_some(action(event.action)),
        id: local.then(|| event.id.clone()),
        kind: Some(kind(event.kind)),
        action: Some(action(event.action)),
        actor: Some(api::Actor { id: Some(event.id.clone()), attributes: Some(event.attributes.clone()) }),
        scope: Some(scope(event.kind)),
        time: Some(event.time.0 / SECOND),
        time_nanos: Some(event.time.0),
    }
}

/// Whether the client wants it: an object's key (`service=web`) matches that kind by id or name, or the beginning of either.
pub fn wanted(event: &Event, filters: &Filters) -> bool {
    let this = kind(event.kind);
    let name = event.attributes.get("name").map(String::as_str).unwrap_or_default();
    let objects = ["config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume"];
    let about = objects
        .into_iter()
        .filter(|key| filters.has(key))
        .all(|key| key == this && filters.any(key, |value| event.id.starts_with(value) || name.starts_with(value)));
    about
        && filters.exact("type", this)
        && filters.exact("scope", scope(event.kind))
        && filters.any("event", |value| value == action(event.action))
        && filters.labels("label", &event.attributes)
}
