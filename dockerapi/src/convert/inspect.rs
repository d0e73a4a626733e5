//! One container in whole: `docker inspect`.
//!
//! Owns: its configuration as it really is (placeholders replaced, the image's words where its service has none), what confines it, where it is in the
//! node's network. Never: a secret or a credential.

use super::container::Container;
use super::{some_list, time};
use crate::model::task::Ulimit;
use crate::model::{Empty, container as api};
use std::collections::{BTreeMap, BTreeSet};
use wsw_api::confine::Seccomp;
use wsw_api::network::Sandbox;
use wsw_api::{Time, labels, shim};

/// How the runtime tells that the kernel ended a task for its memory.
const OUT_OF_MEMORY: &str = "out of memory: ";
/// Digits of a container's id that are its host name when its service gives none.
const HOSTNAME: usize = 12;
/// What `docker network ls` calls the node's own network of containers.
const BRIDGE: &str = "bridge";
/// Bytes of `/dev/shm` (Docker's).
const SHM_SIZE: u64 = 64 << 20;

impl api::EndpointSettings {
    /// On a network, without an address.
    pub fn nowhere() -> Self {
        Self {
            aliases: Some(Vec::new()),
            network_id: Some(String::new()),
            endpoint_id: Some(""),
            gateway: Some(String::new()),
            ip: Some(String::new()),
            prefix: Some(0),
            mac: Some(String::new()),
        }
    }

    fn of(sandbox: &Sandbox) -> Self {
        Self {
            gateway: Some(sandbox.gateway.to_string()),
            ip: Some(sandbox.address.to_string()),
            prefix: Some(sandbox.prefix.into()),
            mac: Some(mac(sandbox)),
            ..Self::nowhere()
        }
    }
}

fn mac(sandbox: &Sandbox) -> String {
    sandbox.mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Container<'_> {
    /// The whole of it; `docker` needs `Config`, `HostConfig` and `NetworkSettings` to be there.
    pub fn inspect(&self, size: bool, sandbox: Option<&Sandbox>) -> api::ContainerInspect {
        let (size_rw, size_root) = self.sizes(size);
        let (entrypoint, args) = self.command();
        let mut words = [entrypoint, args].concat().into_iter();
        api::ContainerInspect {
            id: Some(self.id()),
            created: Some(time::rfc3339(self.local.created)),
            path: Some(words.next().unwrap_or_default()),
            args: Some(words.collect()),
            state: Some(self.inspect_state()),
            image: Some(self.image.map(|image| image.digest.clone()).unwrap_or_default()),
            name: Some(format!("/{}", self.name())),
            restart_count: Some(0),
            driver: Some("wsw"),
            platform: Some(self.image.map_or("linux", |image| image.platform.os.as_str()).to_owned()),
            exec_ids: None,
            host_config: Some(self.host_config()),
            size_rw,
            size_root,
            mounts: Some(self.mounts()),
            config: Some(self.config()),
            network: Some(self.network_settings(sandbox)),
        }
    }

    fn inspect_state(&self) -> api::ContainerState {
        let moment = |at: Option<Time>| Some(at.map_or_else(|| time::ZERO.to_owned(), time::rfc3339));
        api::ContainerState {
            status: Some(self.state()),
            running: Some(self.is_running()),
            paused: Some(false),
            restarting: Some(false),
            oom_killed: Some(self.is_ended() && self.local.status.err.contains(OUT_OF_MEMORY)),
            dead: Some(false),
            pid: Some(if self.is_running() { self.local.status.pid.unwrap_or_default() } else { 0 }),
            exit_code: Some(if self.is_ended() { self.exit_code() } else { 0 }),
            error: Some(self.local.status.err.to_string()),
            started_at: moment(self.local.started),
            finished_at: moment(self.local.finished),
            health: self.local.health.as_ref().map(super::health::found),
        }
    }

    /// The node's own network is the one with an address; those of its service have none yet.
    fn network_settings(&self, sandbox: Option<&Sandbox>) -> api::NetworkSettings {
        let mut networks = self.networks();
        let own = sandbox.map_or_else(api::EndpointSettings::nowhere, api::EndpointSettings::of);
        if sandbox.is_some() {
            networks.insert(BRIDGE.to_owned(), own.clone());
        }
        api::NetworkSettings {
            sandbox: Some(sandbox.map(|sandbox| sandbox.namespace.clone()).unwrap_or_default()),
            ports: Some(self.bindings()),
            gateway: own.gateway,
            ip: own.ip,
            prefix: own.prefix,
            mac: own.mac,
            networks: Some(networks),
        }
    }

    fn runtime(&self) -> String {
        let asked = self.spec().and_then(|spec| spec.labels.get(labels::RUNTIME)).cloned();
        asked.unwrap_or_else(|| {
            if self.image.is_some_and(|image| image.platform.os == "linux") { shim::CONTAINER_RUNTIME } else { shim::RUNTIME_NAME }.to_owned()
        })
    }

    fn host_config(&self) -> api::HostConfig {
        let limits = self.template().map(|template| template.spec.resources.limits).unwrap_or_default();
        let asked = self.spec().map(|spec| spec.confinement.clone()).unwrap_or_default();
        let driver = self.template().and_then(|template| template.spec.log_driver.clone()).unwrap_or_default();
        let kind = if driver.name.is_empty() { "json-file".to_owned() } else { driver.name };
        let security = [asked.no_new_privileges.then(|| "no-new-privileges".to_owned()), seccomp(&asked.seccomp)];
        api::HostConfig {
            log: Some(api::LogConfig { kind: Some(kind), config: Some(driver.options) }),
            mode: Some("default"),
            port_bindings: Some(self.bindings().into_iter().filter(|(_, bound)| !bound.is_empty()).collect()),
            restart: Some(api::RestartPolicy { name: Some("no"), retries: Some(0) }),
            auto_remove: Some(false),
            capability_add: Some(some_list(&asked.capability_add)),
            capability_drop: Some(some_list(&asked.capability_drop)),
            dns: Some(asked.dns.nameservers),
            dns_options: Some(asked.dns.options),
            dns_search: Some(asked.dns.search),
            hosts: Some(some_list(&asked.hosts.iter().flat_map(|line| extra_hosts(line)).collect::<Vec<_>>())),
            groups: Some(some_list(self.spec().map(|spec| spec.groups.as_slice()).unwrap_or_default())),
            ipc: Some("private"),
            oom_score_adj: Some(asked.oom_score_adj),
            pid: Some(""),
            privileged: Some(false),
            read_only: Some(self.spec().is_some_and(|spec| spec.read_only)),
            security: Some(some_list(&security.into_iter().flatten().collect::<Vec<_>>())),
            shm_size: Some(SHM_SIZE),
            sysctls: (!asked.sysctls.is_empty()).then_some(asked.sysctls),
            runtime: Some(self.runtime()),
            memory: Some(limits.memory_bytes),
            nano_cpus: Some(limits.nano_cpus),
            pids: Some(Some(limits.pids).filter(|pids| *pids > 0)),
            ulimits: Some(asked.ulimits.into_iter().map(|limit| Ulimit { name: Some(limit.name), hard: Some(limit.hard), soft: Some(limit.soft) }).collect()),
            init: self.spec().and_then(|spec| spec.init),
        }
    }

    fn hostname(&self) -> String {
        let own = self.spec().map(|spec| self.expanded(&spec.hostname)).filter(|name| !name.is_empty());
        own.unwrap_or_else(|| self.id().chars().take(HOSTNAME).collect())
    }

    /// moby's order: the service's variables, then those of the image that it does not replace.
    fn env(&self) -> Vec<String> {
        let own: Vec<String> = self.spec().map(|spec| spec.env.iter().map(|variable| self.expanded(variable)).collect()).unwrap_or_default();
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        let named: BTreeSet<String> = own.iter().map(|variable| name(variable)).collect();
        let image = self.image.map(|image| image.env.as_slice()).unwrap_or_default();
        let rest: Vec<String> = image.iter().filter(|variable| !named.contains(&name(variable))).cloned().collect();
        [own.into_iter().filter(|variable| variable.contains('=')).collect(), rest].concat()
    }

    fn config(&self) -> api::ContainerConfig {
        let (entrypoint, args) = self.command();
        let exposed: BTreeMap<String, Empty> = self.bindings().into_keys().map(|port| (port, Empty {})).collect();
        let check = self.spec().and_then(|spec| spec.healthcheck.as_ref()).or(self.image.and_then(|image| image.healthcheck.as_ref()));
        api::ContainerConfig {
            hostname: Some(self.hostname()),
            user: Some(self.or_image(|spec| &spec.user, |image| &image.user)),
            exposed: (!exposed.is_empty()).then_some(exposed),
            tty: Some(self.spec().is_some_and(|spec| spec.tty)),
            open_stdin: Some(self.spec().is_some_and(|spec| spec.open_stdin)),
            env: Some(self.env()),
            cmd: some_list(&args),
            image: Some(self.image_name()),
            working_dir: Some(self.or_image(|spec| &spec.dir, |image| &image.working_dir)),
            entrypoint: some_list(&entrypoint),
            labels: Some(self.labels()),
            stop_signal: Some(self.stop_signal()).filter(|signal| !signal.is_empty()),
            healthcheck: check.map(super::health::write),
        }
    }
}

/// A line of `/etc/hosts` as `docker run --add-host` has it.
fn extra_hosts(line: &str) -> impl Iterator<Item = String> {
    let (address, names) = line.split_once(' ').unwrap_or((line, ""));
    names.split_whitespace().map(move |name| format!("{name}:{address}"))
}

/// As `--security-opt` has it; none for what is the default.
fn seccomp(asked: &Seccomp) -> Option<String> {
    match asked {
        Seccomp::Default => None,
        Seccomp::Unconfined => Some("seccomp=unconfined".into()),
        Seccomp::Custom(profile) => Some(format!("seccomp={profile}")),
    }
}
