//! Events to the API: kinds, actions, scope, and how the filters of `docker events` match.

use super::{container::swarm_labels, task::container_id};
use crate::filters::Filters;
use crate::model::system as api;
use std::collections::BTreeMap;
use wsw_api::Time;
use wsw_api::event::{Action, CopyStep, Event, ExecStep, Kind, TaskEvent, What};
use wsw_api::mount::LOCAL_DRIVER;
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
        Kind::Volume => "volume",
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
        Action::Pull => "pull",
        Action::Push => "push",
        Action::Tag => "tag",
        Action::Untag => "untag",
        Action::Import => "import",
        Action::Save => "save",
        Action::Kill => "kill",
        Action::Stop => "stop",
        Action::Destroy => "destroy",
        Action::Mount => "mount",
        Action::Unmount => "unmount",
        Action::Prune => "prune",
        Action::ExecCreate => "exec_create",
        Action::ExecStart => "exec_start",
        Action::ExecDie => "exec_die",
        Action::ExecDetach => "exec_detach",
        Action::HealthStatus => "health_status",
        Action::ArchivePath => "archive-path",
        Action::ExtractToDir => "extract-to-dir",
        Action::Attach => "attach",
        Action::Detach => "detach",
    }
}

const fn is_local(kind: Kind) -> bool {
    matches!(kind, Kind::Image | Kind::Container | Kind::Volume)
}

const fn scope(kind: Kind) -> &'static str {
    if is_local(kind) { "local" } else { "swarm" }
}

/// What happened to a task, as Docker says it of its container: with the container's labels as attributes.
pub fn of_task(event: &TaskEvent) -> Event {
    let (action, detail) = match &event.what {
        What::Created => (Action::Create, None),
        What::Started => (Action::Start, None),
        What::Signalled(signal) => (Action::Kill, Some(("signal", signal.to_string()))),
        What::Ended { code, .. } => (Action::Die, Some(("exitCode", code.to_string()))),
        What::Stopped => (Action::Stop, None),
        What::Exec { step, .. } => match step {
            ExecStep::Created => (Action::ExecCreate, None),
            ExecStep::Started => (Action::ExecStart, None),
            ExecStep::Detached => (Action::ExecDetach, None),
            ExecStep::Ended { code } => (Action::ExecDie, Some(("exitCode", code.to_string()))),
        },
        What::Attached => (Action::Attach, None),
        What::Detached => (Action::Detach, None),
        What::Copied(CopyStep::Out) => (Action::ArchivePath, None),
        What::Copied(CopyStep::In) => (Action::ExtractToDir, None),
        What::Health(_) => (Action::HealthStatus, None),
        What::Destroyed => (Action::Destroy, None),
    };
    let service = event.template.as_ref().map_or("", |template| &template.annotations.name);
    let slot = if event.slot == 0 { event.node.to_string() } else { event.slot.to_string() };
    let name = if service.is_empty() { event.task.to_string() } else { format!("{service}.{slot}.{}", event.task) };
    let spec = event.template.as_ref().map(|template| &template.spec.container);
    let mut attributes = spec.map(|spec| spec.labels.clone()).unwrap_or_default();
    attributes.extend(swarm_labels(event.task, event.service, Some(event.node), service, &name));
    attributes.insert("image".into(), spec.map(|spec| spec.image.clone()).unwrap_or_default());
    attributes.insert("name".into(), name);
    if let What::Ended { ran_for, .. } = &event.what {
        attributes.insert("execDuration".into(), (ran_for / SECOND).to_string());
    }
    attributes.extend(detail.map(|(key, value)| (key.to_owned(), value)));
    if let What::Exec { id, .. } = &event.what {
        attributes.insert("execID".into(), id.clone());
    }
    let words = match &event.what {
        What::Exec { line, step: ExecStep::Created | ExecStep::Started, .. } => line.clone(),
        What::Health(state) => (*state).to_owned(),
        _ => String::new(),
    };
    Event { time: event.at, kind: Kind::Container, action, id: container_id(event.task), detail: words, attributes }
}

/// What happened to a volume of this node; `details` are moby's beside the driver.
pub fn of_volume(at: Time, action: Action, name: &str, details: &[(&str, String)]) -> Event {
    let mut attributes = BTreeMap::from([("driver".to_owned(), LOCAL_DRIVER.to_owned())]);
    attributes.extend(details.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    Event { time: at, kind: Kind::Volume, action, id: name.to_owned(), detail: String::new(), attributes }
}

/// The end of a prune.
pub fn of_prune(at: Time, kind: Kind, reclaimed: u64) -> Event {
    let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
    Event { time: at, kind, action: Action::Prune, id: String::new(), detail: String::new(), attributes }
}

/// `exec_start: sh -c true`.
fn words(event: &Event) -> String {
    let action = action(event.action);
    if event.detail.is_empty() { action.to_owned() } else { format!("{action}: {}", event.detail) }
}

/// One line.
pub fn write(event: &Event) -> api::Event {
    let local = is_local(event.kind);
    api::Event {
        status: local.then(|| words(event)),
        id: local.then(|| event.id.clone()),
        from: if event.kind == Kind::Container { event.attributes.get("image").cloned() } else { None },
        kind: Some(kind(event.kind)),
        action: Some(words(event)),
        actor: Some(api::Actor { id: Some(event.id.clone()), attributes: Some(event.attributes.clone()) }),
        scope: Some(scope(event.kind)),
        time: Some(event.time.0 / SECOND),
        time_nanos: Some(event.time.0),
    }
}

/// Keys that name an object: moby compares them with an event's id and name, whatever its kind.
const NAMED: [&str; 9] = ["config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"];

/// Whether the client wants it.
pub fn wanted(event: &Event, filters: &Filters) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str).unwrap_or_default();
    let name = attribute("name");
    let named = |key: &&str| filters.any(key, |value| event.id.starts_with(value) || name.starts_with(value));
    // An image by id or name, with or without its tag; a container by its image.
    let image = if event.kind == Kind::Image { name } else { attribute("image") };
    let of_image = |value: &str| [event.id.as_str(), image].into_iter().any(|text| value == text || value == without_tag(text));
    NAMED.iter().all(named)
        && filters.any("image", of_image)
        && filters.exact("type", kind(event.kind))
        && filters.exact("scope", scope(event.kind))
        && filters.any("event", |value| value == action(event.action) || value == words(event))
        && filters.labels("label", &event.attributes)
}

/// `reg:5000/app:v1@sha256:…` as `reg:5000/app`.
fn without_tag(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsw_api::{NodeId, ServiceId, TaskId};

    fn died() -> Event {
        let what = What::Ended { code: 137, ran_for: 3 * SECOND };
        let (task, service, node) = (TaskId::from_bytes([1; 16]), ServiceId::from_bytes([2; 16]), NodeId::from_bytes([3; 16]));
        let mut event = of_task(&TaskEvent { at: Time(5 * SECOND), task, service, slot: 2, node, template: None, what });
        event.attributes.insert("image".into(), "reg:5000/app:v1@sha256:aa".into());
        event.attributes.insert("name".into(), "web.2.x".into());
        event
    }

    #[test]
    fn a_task_s_end_is_a_container_s_death() {
        let line = serde_json::to_value(write(&died())).unwrap();
        assert_eq!((&line["Type"], &line["Action"], &line["scope"]), (&"container".into(), &"die".into(), &"local".into()));
        let attributes = &line["Actor"]["Attributes"];
        assert_eq!((&attributes["exitCode"], &attributes["execDuration"]), (&"137".into(), &"3".into()));
        assert!(attributes["com.docker.swarm.service.id"].is_string() && line["from"] == "reg:5000/app:v1@sha256:aa");
    }

    #[test]
    fn filters_are_moby_s() {
        let wants = |json: &str| wanted(&died(), &Filters::parse(Some(json), FILTERS).unwrap());
        for yes in [
            "{}",
            r#"{"type":["container"],"event":["die","start"]}"#,
            r#"{"container":["web.2"]}"#,
            r#"{"service":["web"]}"#,
            r#"{"image":["reg:5000/app"]}"#,
            r#"{"label":["exitCode=137"],"scope":["local"]}"#,
        ] {
            assert!(wants(yes), "{yes}");
        }
        for no in [r#"{"type":["image"]}"#, r#"{"event":["di"]}"#, r#"{"container":["eb"]}"#, r#"{"image":["reg:5000/ap"]}"#, r#"{"scope":["swarm"]}"#] {
            assert!(!wants(no), "{no}");
        }
        let image = Event {
            time: Time(0),
            kind: Kind::Image,
            action: Action::Pull,
            id: "app:v1".into(),
            detail: String::new(),
            attributes: BTreeMap::from([("name".into(), "app".into())]),
        };
        assert!(wanted(&image, &Filters::parse(Some(r#"{"image":["app"]}"#), FILTERS).unwrap()));
    }
}
