//! The order in which the keys of each part of a configuration are shown: docker's. What is not in a list is shown behind it, by name.

/// A part of a configuration and the order of its keys; `children` says which keys lead to which part.
pub struct Part {
    pub keys: &'static [&'static str],
    children: &'static [(&'static str, &'static Part)],
    /// What any other key leads to.
    any: Option<&'static Part>,
}

impl Part {
    pub fn child(&self, key: &str) -> Option<&'static Part> {
        self.children.iter().find(|(name, _)| *name == key).map(|(_, part)| *part).or(self.any)
    }
}

const fn keys(keys: &'static [&'static str]) -> Part {
    Part { keys, children: &[], any: None }
}

const fn map_of(any: &'static Part) -> Part {
    Part { keys: &[], children: &[], any: Some(any) }
}

pub const CONFIG: Part = Part {
    keys: &["version", "services", "networks", "volumes", "secrets", "configs"],
    children: &[
        ("services", &map_of(&SERVICE)),
        ("networks", &map_of(&NETWORK)),
        ("volumes", &map_of(&VOLUME)),
        ("secrets", &map_of(&FILE_OBJECT)),
        ("configs", &map_of(&FILE_OBJECT)),
    ],
    any: None,
};

const SERVICE: Part = Part {
    keys: &[
        "build",
        "cap_add",
        "cap_drop",
        "cgroupns_mode",
        "cgroup_parent",
        "command",
        "configs",
        "container_name",
        "credential_spec",
        "depends_on",
        "deploy",
        "devices",
        "dns",
        "dns_search",
        "domainname",
        "entrypoint",
        "environment",
        "env_file",
        "expose",
        "external_links",
        "extra_hosts",
        "hostname",
        "healthcheck",
        "image",
        "init",
        "ipc",
        "isolation",
        "labels",
        "links",
        "logging",
        "mac_address",
        "network_mode",
        "networks",
        "pid",
        "ports",
        "privileged",
        "read_only",
        "restart",
        "secrets",
        "security_opt",
        "shm_size",
        "stdin_open",
        "stop_grace_period",
        "stop_signal",
        "sysctls",
        "tmpfs",
        "tty",
        "ulimits",
        "user",
        "userns_mode",
        "volumes",
        "working_dir",
    ],
    children: &[
        ("build", &keys(&["context", "dockerfile", "args", "labels", "cache_from", "extra_hosts", "network", "target"])),
        ("configs", &FILE_REFERENCE),
        ("secrets", &FILE_REFERENCE),
        ("credential_spec", &keys(&["config", "file", "registry"])),
        ("deploy", &DEPLOY),
        ("healthcheck", &keys(&["test", "timeout", "interval", "retries", "start_period", "start_interval", "disable"])),
        ("logging", &keys(&["driver", "options"])),
        ("networks", &map_of(&keys(&["aliases", "driver_opts", "ipv4_address", "ipv6_address"]))),
        ("ports", &keys(&["mode", "target", "published", "protocol"])),
        ("ulimits", &map_of(&keys(&["soft", "hard"]))),
        ("volumes", &keys(&["type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs"])),
    ],
    any: None,
};

const FILE_REFERENCE: Part = keys(&["source", "target", "uid", "gid", "mode"]);
const UPDATE: Part = keys(&["parallelism", "delay", "failure_action", "monitor", "max_failure_ratio", "order"]);
const RESOURCE: Part =
    Part { keys: &["cpus", "memory", "pids", "generic_resources"], children: &[("generic_resources", &map_of(&keys(&["kind", "value"])))], any: None };

const DEPLOY: Part = Part {
    keys: &["mode", "replicas", "labels", "update_config", "rollback_config", "resources", "restart_policy", "placement", "endpoint_mode"],
    children: &[
        ("update_config", &UPDATE),
        ("rollback_config", &UPDATE),
        ("resources", &Part { keys: &["limits", "reservations"], children: &[], any: Some(&RESOURCE) }),
        ("restart_policy", &keys(&["condition", "delay", "max_attempts", "window"])),
        ("placement", &keys(&["constraints", "preferences", "max_replicas_per_node"])),
    ],
    any: None,
};

const NETWORK: Part = Part {
    keys: &["name", "driver", "driver_opts", "ipam", "external", "internal", "attachable", "labels"],
    children: &[("ipam", &keys(&["driver", "config"]))],
    any: None,
};
const VOLUME: Part = keys(&["name", "driver", "driver_opts", "external", "labels"]);
const FILE_OBJECT: Part = keys(&["name", "file", "external", "labels", "driver", "driver_opts", "template_driver"]);
