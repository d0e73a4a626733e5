//! This node's tasks as containers: `docker ps`.
//!
//! Owns: what a container is called, its labels, state words and ports. All of it is known on the node itself, on a worker too, but the names
//! of networks, which are the cluster's. The whole of one container: [`super::inspect`].

use super::{task::container_id, time};
use crate::backend::{Image, LocalTask};
use crate::filters::Filters;
use crate::model::{Map, container as api};
use crate::volume_store::{Volume, VolumeStore};
use std::collections::BTreeMap;
use std::time::Duration;
use wsw_api::health::State;
use wsw_api::network::NetworkAttachment;
use wsw_api::placeholders::Fields;
use wsw_api::spec::{Annotations, ContainerSpec, Mount, MountKind, PublishMode};
use wsw_api::time::SECOND;
use wsw_api::{NodeId, ServiceId, TaskId, TaskState, Template, Time};
use wsw_planner::Store;

/// Everything known of one container.
pub struct Container<'a> {
    pub(super) local: &'a LocalTask,
    pub(super) image: Option<&'a Image>,
    node: Option<NodeId>,
    hostname: &'a str,
    now: Time,
    store: Option<&'a Store>,
    volumes: &'a [Volume],
    own_volumes: &'a dyn VolumeStore,
}

/// Where containers are looked up.
pub struct Surroundings<'a> {
    pub store: Option<&'a Store>,
    pub images: &'a [Image],
    pub node: Option<NodeId>,
    /// The node's.
    pub hostname: &'a str,
    pub now: Time,
    /// By name.
    pub volumes: &'a [Volume],
    /// Knows the names of volumes that nobody named.
    pub own_volumes: &'a dyn VolumeStore,
}

impl<'a> Surroundings<'a> {
    /// The container of a task.
    pub fn container(&self, local: &'a LocalTask) -> Container<'a>
    where
        Self: 'a,
    {
        let image = local.template.as_ref().and_then(|template| find_image(self.images, &template.spec.container.image));
        let (volumes, own_volumes) = (self.volumes, self.own_volumes);
        Container { local, image, node: self.node, hostname: self.hostname, now: self.now, store: self.store, volumes, own_volumes }
    }
}

/// By the pinned digest, else by name.
fn find_image<'a>(images: &'a [Image], reference: &str) -> Option<&'a Image> {
    let (name, digest) = reference.split_once('@').unwrap_or((reference, ""));
    let name = super::image::with_tag(name);
    images.iter().find(|image| image.digest == digest).or_else(|| images.iter().find(|image| image.tags.contains(&name)))
}

/// The labels by which Docker's tools find a task's container.
pub fn swarm_labels(task: TaskId, service: ServiceId, node: Option<NodeId>, service_name: &str, name: &str) -> [(String, String); 6] {
    [
        ("node.id", node.map(|node| node.to_string()).unwrap_or_default()),
        ("service.id", service.to_string()),
        ("service.name", service_name.to_owned()),
        ("task", String::new()),
        ("task.id", task.to_string()),
        ("task.name", name.to_owned()),
    ]
    .map(|(key, value)| (format!("com.docker.swarm.{key}"), value))
}

impl api::MountPoint {
    /// moby's: by its name (a bind by its source), or by where it is.
    fn is_called(&self, name: &str) -> bool {
        [self.name.as_ref().or(self.source.as_ref()), self.target.as_ref()].into_iter().flatten().any(|text| text == name)
    }
}

impl Container<'_> {
    /// 64 hexadecimal digits.
    pub fn id(&self) -> String {
        container_id(self.local.id)
    }

    /// `hello.1.<task id>`; the id alone until it is known what it runs.
    pub fn name(&self) -> String {
        self.fields().map_or_else(|| self.local.id.to_string(), |fields| fields.task_name())
    }

    /// What placeholders in its spec stand for.
    fn fields(&self) -> Option<Fields<'_>> {
        let (LocalTask { id: task, service, slot, .. }, Annotations { name, labels }) = (self.local, &self.template()?.annotations);
        let (service_name, service_labels, hostname) = (name.as_str(), labels, self.hostname);
        Some(Fields {
            service: *service,
            service_name,
            service_labels,
            node: self.node?,
            hostname,
            architecture: std::env::consts::ARCH,
            task: *task,
            slot: *slot,
        })
    }

    /// A text of its spec as it is for this task.
    pub(super) fn expanded(&self, text: &str) -> String {
        self.fields().and_then(|fields| fields.expand(text).ok()).unwrap_or_else(|| text.to_owned())
    }

    pub(super) fn template(&self) -> Option<&Template> {
        self.local.template.as_deref()
    }

    /// True while it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.local.status.state, TaskState::Starting | TaskState::Running)
    }

    /// True once it has ended.
    pub fn is_ended(&self) -> bool {
        self.state() == "exited"
    }

    /// The labels of `container prune`.
    pub fn is_pruned_by(&self, filters: &Filters) -> bool {
        filters.labels("label", &self.labels()) && filters.without_labels("label!", &self.labels())
    }

    pub(super) fn state(&self) -> &'static str {
        match self.local.status.state {
            TaskState::Starting | TaskState::Running => "running",
            state if state > TaskState::Running => "exited",
            _ => "created",
        }
    }

    pub(super) fn exit_code(&self) -> u32 {
        let failed = matches!(self.local.status.state, TaskState::Failed | TaskState::Rejected | TaskState::Orphaned);
        self.local.status.exit_code.unwrap_or(u32::from(failed))
    }

    /// `Up 3 seconds`.
    fn status(&self) -> String {
        let ago = |at: Option<Time>| time::human(Duration::from_nanos(self.now.since(at.unwrap_or(self.local.status.at))));
        match self.state() {
            "running" => {
                let health = match &self.local.health {
                    None => "",
                    Some(health) if health.state == State::Starting => " (health: starting)",
                    Some(health) if health.state == State::Healthy => " (healthy)",
                    Some(_) => " (unhealthy)",
                };
                format!("Up {}{health}", ago(self.local.started))
            }
            "exited" => format!("Exited ({}) {} ago", self.exit_code(), ago(self.local.finished)),
            _ => "Created".into(),
        }
    }

    pub(super) fn spec(&self) -> Option<&ContainerSpec> {
        self.template().map(|template| &template.spec.container)
    }

    pub(super) fn image_name(&self) -> String {
        self.spec().map(|spec| spec.image.clone()).unwrap_or_default()
    }

    pub(super) fn labels(&self) -> Map {
        let mut labels = self.spec().map(|spec| spec.labels.clone()).unwrap_or_default();
        let service_name = self.template().map_or("", |template| &template.annotations.name);
        labels.extend(swarm_labels(self.local.id, self.local.service, self.node, service_name, &self.name()));
        labels
    }

    /// Entrypoint and arguments: the spec's, else the image's.
    pub(super) fn command(&self) -> (Vec<String>, Vec<String>) {
        let (entrypoint, cmd) = self.image.map(|image| (image.entrypoint.as_slice(), image.cmd.as_slice())).unwrap_or_default();
        let (entrypoint, args) = self.spec().map_or((entrypoint, cmd), |spec| spec.process(entrypoint, cmd));
        (entrypoint.to_vec(), args.to_vec())
    }

    /// Entrypoint and arguments in one line.
    pub fn command_line(&self) -> String {
        let (entrypoint, args) = self.command();
        [entrypoint, args].concat().join(" ")
    }

    /// The service's word, else the image's.
    pub(super) fn or_image(&self, own: impl Fn(&ContainerSpec) -> &String, image: impl Fn(&Image) -> &String) -> String {
        let own = self.spec().map(own).filter(|word| !word.is_empty());
        own.or(self.image.map(image)).cloned().unwrap_or_default()
    }

    /// What asks it to end, as its service or its image names it; empty: Docker's own.
    pub fn stop_signal(&self) -> String {
        self.or_image(|spec| &spec.stop_signal, |image| &image.stop_signal)
    }

    pub(super) fn ports(&self) -> Vec<api::PortSummary> {
        let ports = self.template().into_iter().flat_map(|template| &template.endpoint.ports);
        let write = |port: &wsw_api::spec::PortConfig| {
            let host = port.mode == PublishMode::Host && port.published != 0;
            api::PortSummary {
                ip: host.then(|| "0.0.0.0".into()),
                private: Some(port.target),
                public: host.then_some(port.published),
                kind: Some(port.protocol.as_str()),
            }
        };
        ports.map(write).collect()
    }

    /// The networks of its service, by name; none where the cluster's state cannot be read.
    pub(super) fn networks(&self) -> BTreeMap<String, api::EndpointSettings> {
        let attachments = self.template().into_iter().flat_map(|template| &template.spec.networks);
        let named = attachments.filter_map(|attachment| Some((self.store?.network(&attachment.network)?, attachment)));
        let settings = |attachment: &NetworkAttachment| api::EndpointSettings {
            aliases: Some(attachment.aliases.clone()),
            network_id: Some(attachment.network.to_string()),
            ..api::EndpointSettings::nowhere()
        };
        named.map(|(network, attachment)| (network.name().to_owned(), settings(attachment))).collect()
    }

    pub(super) fn bindings(&self) -> BTreeMap<String, Vec<api::Binding>> {
        let mut out: BTreeMap<String, Vec<api::Binding>> = BTreeMap::new();
        for port in self.ports() {
            let key = format!("{}/{}", port.private.unwrap_or_default(), port.kind.unwrap_or_default());
            let binding = port.public.map(|public| api::Binding { ip: port.ip, port: Some(public.to_string()) });
            out.entry(key).or_default().extend(binding);
        }
        out
    }

    /// The filters of `docker ps`; those that ask about what wsw has not are refused before.
    pub fn matches(&self, filters: &Filters) -> bool {
        let image = self.image_name();
        let ancestor = |value: &str| {
            let name = super::image::with_tag(value);
            image == value || image.split('@').next() == Some(&name) || self.image.is_some_and(|image| image.digest == value)
        };
        filters.prefix("id", &self.id())
            && filters.any("name", |value| self.name().contains(value.trim_start_matches(['^', '/']).trim_end_matches('$')))
            && filters.labels("label", &self.labels())
            && filters.exact("status", self.state())
            && filters.any("ancestor", ancestor)
            && filters.any("exited", |code| self.state() == "exited" && code == self.exit_code().to_string())
            && filters.any("is-task", |value| matches!(value, "true" | "1"))
            && filters.exact("health", self.local.health.as_ref().map_or("none", |health| health.state.as_str()))
            && filters.any("network", |value| self.networks().iter().any(|(name, place)| name == value || place.network_id.as_deref() == Some(value)))
            && ["publish", "expose"].into_iter().all(|key| filters.any(key, |value| self.has_port(value, key == "publish")))
            && filters.exact("isolation", "")
            && filters.any("volume", |value| self.mounts().iter().any(|mount| mount.is_called(value)))
    }

    /// `80`, `80/tcp`, `8000-8010/udp`: of the ports that it shows, or only of those that are open on this node.
    fn has_port(&self, wanted: &str, published: bool) -> bool {
        let (range, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
        let number = |port: &api::PortSummary| if published { port.public } else { port.private };
        self.ports().iter().any(|port| port.kind == Some(protocol) && number(port).is_some_and(|number| (first..=last).contains(&number)))
    }

    /// What it sees of the node's files.
    pub(super) fn mounts(&self) -> Vec<api::MountPoint> {
        self.spec().into_iter().flat_map(|spec| &spec.mounts).map(|mount| self.mount(mount)).collect()
    }

    fn mount(&self, mount: &Mount) -> api::MountPoint {
        let volume = (mount.kind == MountKind::Volume).then(|| match mount.source.as_str() {
            "" => self.own_volumes.own_volume(self.local.id, &mount.target),
            name => self.expanded(name),
        });
        let source = match (&volume, mount.kind) {
            (Some(name), _) => {
                let found = self.volumes.binary_search_by(|one| one.name.as_str().cmp(name)).ok();
                found.and_then(|at| self.volumes.get(at)).map(|one| one.mountpoint.display().to_string()).unwrap_or_default()
            }
            (None, MountKind::Tmpfs) => String::new(),
            (None, _) => self.expanded(&mount.source),
        };
        api::MountPoint {
            kind: Some(mount.kind.as_str()),
            driver: volume.is_some().then(|| mount.driver().to_owned()),
            name: volume,
            source: Some(source),
            target: Some(self.expanded(&mount.target)),
            // moby's: a volume's label is shared, a bind has none.
            mode: Some(if mount.kind == MountKind::Volume { "z" } else { "" }),
            writable: Some(!mount.read_only),
            propagation: Some(if mount.kind == MountKind::Bind { "rprivate" } else { "" }),
        }
    }

    /// When it was made, for `before` and `since`.
    pub fn created(&self) -> Time {
        self.local.created
    }

    /// What `--size` asks for: a Wasm task writes nothing beside its volumes, and has its image whole.
    pub(super) fn sizes(&self, asked: bool) -> (Option<u64>, Option<u64>) {
        (asked.then_some(0), asked.then(|| self.image.map_or(0, |image| image.size)))
    }

    /// A line of `docker ps`.
    pub fn summary(&self, size: bool) -> api::ContainerSummary {
        let (size_rw, size_root) = self.sizes(size);
        api::ContainerSummary {
            id: Some(self.id()),
            names: Some(vec![format!("/{}", self.name())]),
            image: Some(self.image_name()),
            image_id: Some(self.image.map(|image| image.digest.clone()).unwrap_or_default()),
            command: Some(self.command_line()),
            created: Some(self.local.created.0 / SECOND),
            ports: Some(self.ports()),
            size_rw,
            size_root,
            labels: Some(self.labels()),
            state: Some(self.state()),
            status: Some(self.status()),
            host_config: Some(api::NetworkMode { mode: Some("default") }),
            network: Some(api::NetworkSettings { networks: Some(self.networks()), ..Default::default() }),
            mounts: Some(self.mounts()),
        }
    }
}
