//! `service create`'s flags as the spec that is sent: what docker sends for the same flags, field by field.
//!
//! Pure but for environment files and `--env NAME`, which read the caller's environment. Names of networks, secrets and configs are
//! resolved by `registry`.

use serde_json::{Map, Value, json};

use super::{capabilities, mounts, ports};
use crate::cli::{
    args::{Matches, values},
    compose::fields::put,
    errors::Error,
};

pub const UPDATE_FLAGS: [&str; 6] =
    ["update-parallelism", "update-delay", "update-monitor", "update-failure-action", "update-max-failure-ratio", "update-order"];
pub const ROLLBACK_FLAGS: [&str; 6] =
    ["rollback-parallelism", "rollback-delay", "rollback-monitor", "rollback-failure-action", "rollback-max-failure-ratio", "rollback-order"];
pub const RESTART_FLAGS: [&str; 4] = ["restart-delay", "restart-max-attempts", "restart-window", "restart-condition"];
pub const HEALTH_FLAGS: [&str; 6] = ["health-cmd", "health-interval", "health-timeout", "health-retries", "health-start-period", "health-start-interval"];

const DEFAULT_DELAY: i64 = 5_000_000_000;

/// The spec of a new service; networks, secrets and configs still carry names.
pub fn spec(matches: &Matches, image: &str, args: &[String]) -> Result<Value, Error> {
    let env = environment(matches)?;
    let health = health(matches)?;
    let mode = mode(matches)?;
    let update = update_config(matches, "update", &UPDATE_FLAGS);
    let rollback = update_config(matches, "rollback", &ROLLBACK_FLAGS);
    let is_job = mode.get("ReplicatedJob").is_some() || mode.get("GlobalJob").is_some();
    if is_job && (update.is_some() || rollback.is_some()) {
        return Err(Error::plain("update and rollback configuration is not supported for jobs"));
    }
    let mut task = Map::new();
    task.insert("ContainerSpec".into(), container(matches, image, args, env, health));
    task.insert("ForceUpdate".into(), json!(0));
    put(&mut task, "Networks", parsed(matches.list("network"), mounts::network)?.into());
    task.insert("Resources".into(), resources(matches)?);
    put(&mut task, "RestartPolicy", restart_policy(matches).unwrap_or_default());
    task.insert("Placement".into(), placement(matches));
    put(&mut task, "LogDriver", log_driver(matches).unwrap_or_default());
    let mut spec = Map::new();
    put(&mut spec, "Name", json!(matches.text_or("name", "")));
    spec.insert("Labels".into(), pairs(matches.list("label")));
    spec.insert("TaskTemplate".into(), Value::Object(task));
    spec.insert("Mode".into(), mode);
    put(&mut spec, "UpdateConfig", update.unwrap_or_default());
    put(&mut spec, "RollbackConfig", rollback.unwrap_or_default());
    let mut endpoint = Map::new();
    put(&mut endpoint, "Mode", json!(matches.text_or("endpoint-mode", "vip").to_lowercase()));
    put(&mut endpoint, "Ports", published(matches.list("publish"))?.into());
    spec.insert("EndpointSpec".into(), Value::Object(endpoint));
    Ok(Value::Object(spec))
}

/// Parses each value; the flags' checks have accepted them, so an error here is a table without its check.
pub fn parsed(list: &[String], parse: fn(&str) -> Result<Value, String>) -> Result<Vec<Value>, Error> {
    list.iter().map(|text| parse(text).map_err(Error::Plain)).collect()
}

pub fn published(list: &[String]) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    for text in list {
        all.extend(ports::parse(text).map_err(Error::Plain)?);
    }
    Ok(all)
}

/// `key=value` words as a map; a word without a value has an empty one.
pub fn pairs(list: &[String]) -> Value {
    let map = list.iter().map(|text| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), json!(value))
    });
    Value::Object(map.collect())
}

fn container(matches: &Matches, image: &str, args: &[String], env: Vec<String>, health: Option<Value>) -> Value {
    let (add, drop) = capabilities::effective(matches.list("cap-add"), matches.list("cap-drop"));
    let text = |flag: &str| json!(matches.text_or(flag, ""));
    let mut dns = Map::new();
    put(&mut dns, "Nameservers", json!(matches.list("dns").iter().map(|address| address.trim()).collect::<Vec<_>>()));
    put(&mut dns, "Search", json!(matches.list("dns-search")));
    put(&mut dns, "Options", json!(matches.list("dns-option")));
    let mut spec = Map::new();
    for (key, value) in [
        ("Image", json!(image)),
        ("Args", json!(args)),
        ("Command", json!(matches.words("entrypoint").unwrap_or_default())),
        ("Env", json!(env)),
        ("Hostname", text("hostname")),
        ("Labels", pairs(matches.list("container-label"))),
        ("Dir", text("workdir")),
        ("User", text("user")),
        ("Groups", json!(matches.list("group"))),
        ("StopSignal", text("stop-signal")),
        ("TTY", json!(matches.on("tty"))),
        ("ReadOnly", json!(matches.on("read-only"))),
        ("Mounts", json!(matches.list("mount").iter().filter_map(|mount| mounts::parse(mount).ok()).collect::<Vec<_>>())),
        ("Hosts", json!(hosts(matches.list("host")))),
        ("Healthcheck", health.unwrap_or_default()),
        ("Isolation", text("isolation")),
        ("Sysctls", pairs(matches.list("sysctl"))),
        ("CapabilityAdd", json!(add)),
        ("CapabilityDrop", json!(drop)),
        ("Ulimits", ulimits(matches.list("ulimit"))),
        ("OomScoreAdj", json!(matches.int("oom-score-adj"))),
        ("Privileges", credentials(matches).unwrap_or_default()),
    ] {
        put(&mut spec, key, value);
    }
    // These are pointers in docker's type: present whatever their value.
    spec.insert("Init".into(), json!(matches.on("init")));
    spec.insert("DNSConfig".into(), Value::Object(dns));
    if let Some(nanos) = matches.nanos("stop-grace-period") {
        spec.insert("StopGracePeriod".into(), json!(nanos));
    }
    Value::Object(spec)
}

/// `host:ip` as swarm's `ip host`.
pub fn hosts(list: &[String]) -> Vec<String> {
    list.iter().filter_map(|text| values::extra_host(text).ok()).filter_map(|text| text.split_once(':').map(|(host, ip)| format!("{ip} {host}"))).collect()
}

fn ulimits(list: &[String]) -> Value {
    let by_name: std::collections::BTreeMap<String, Value> =
        list.iter().filter_map(|text| mounts::ulimit(text).ok()).map(|ulimit| (ulimit["Name"].as_str().unwrap_or_default().to_owned(), ulimit)).collect();
    by_name.into_values().collect()
}

pub fn credentials(matches: &Matches) -> Option<Value> {
    let (kind, value) = matches.text("credential-spec")?.split_once("://")?;
    let of = |wanted: &str| if kind == wanted { value } else { "" };
    let spec = json!({"Config": of("config"), "File": of("file"), "Registry": of("registry")});
    Some(json!({"CredentialSpec": spec, "SELinuxContext": null, "NoNewPrivileges": false}))
}

pub fn environment(matches: &Matches) -> Result<Vec<String>, Error> {
    let mut given = Vec::new();
    for path in matches.list("env-file") {
        given.extend(env_file(path)?);
    }
    given.extend(matches.list("env").iter().map(|text| with_caller_value(text)));
    let mut env: Vec<String> = Vec::new();
    for entry in given {
        let key = format!("{}=", entry.split('=').next().unwrap_or_default());
        env.retain(|known| *known == entry || !known.starts_with(&key));
        env.push(entry);
    }
    Ok(env)
}

/// `NAME` alone takes the caller's value, where there is one.
pub fn with_caller_value(text: &str) -> String {
    if text.contains('=') {
        return text.to_owned();
    }
    std::env::var(text).map_or_else(|_| text.to_owned(), |value| format!("{text}={value}"))
}

/// The variables of an environment file, one a line.
pub fn env_file(path: &str) -> Result<Vec<String>, Error> {
    let content = std::fs::read_to_string(path).map_err(|error| Error::Plain(format!("open {path}: {}", os_text(&error))))?;
    let mut lines = Vec::new();
    for line in content.trim_start_matches('\u{feff}').lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        if name.contains([' ', '\t']) {
            return Err(Error::Plain(format!("invalid env file ({path}): variable '{}' contains whitespaces", name.trim_end())));
        }
        if name.is_empty() {
            return Err(Error::Plain(format!("invalid env file ({path}): no variable name on line '{line}'")));
        }
        match value {
            Some(value) => lines.push(format!("{name}={value}")),
            None => lines.extend(std::env::var(name).ok().map(|value| format!("{name}={value}"))),
        }
    }
    Ok(lines)
}

/// An I/O error as Go words it.
pub fn os_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "is a directory".into(),
        _ => error.to_string(),
    }
}

fn health(matches: &Matches) -> Result<Option<Value>, Error> {
    let nanos = |flag: &str| json!(matches.nanos(flag).unwrap_or(0));
    let command = matches.text_or("health-cmd", "");
    let durations = ["health-interval", "health-timeout", "health-start-period", "health-start-interval"];
    let given = !command.is_empty() || matches.any_changed(&durations) || matches.int("health-retries").unwrap_or(0) != 0;
    if matches.on("no-healthcheck") {
        if given {
            return Err(Error::plain("--no-healthcheck conflicts with --health-* options"));
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    if !given {
        return Ok(None);
    }
    let mut health = Map::new();
    if !command.is_empty() {
        health.insert("Test".into(), json!(["CMD-SHELL", command]));
    }
    put(&mut health, "Interval", nanos("health-interval"));
    put(&mut health, "Timeout", nanos("health-timeout"));
    put(&mut health, "StartPeriod", nanos("health-start-period"));
    put(&mut health, "StartInterval", nanos("health-start-interval"));
    put(&mut health, "Retries", json!(matches.int("health-retries").unwrap_or(0)));
    Ok(Some(Value::Object(health)))
}

fn mode(matches: &Matches) -> Result<Value, Error> {
    let (replicas, concurrent) = (matches.uint("replicas"), matches.uint("max-concurrent"));
    let per_node = matches.uint("replicas-max-per-node").unwrap_or(0);
    let name = matches.text_or("mode", "replicated");
    let only_replicated = |what: &str| Err(Error::Plain(format!("{what} can only be used with replicated or replicated-job mode")));
    if name.starts_with("global") {
        if replicas.is_some() {
            return only_replicated("replicas");
        }
        if per_node > 0 {
            return only_replicated("replicas-max-per-node");
        }
    }
    if concurrent.is_some() && ["global", "replicated", "global-job"].contains(&name) {
        return Err(Error::plain("max-concurrent can only be used with replicated-job mode"));
    }
    match name {
        "global" => Ok(json!({"Global": {}})),
        "global-job" => Ok(json!({"GlobalJob": {}})),
        "replicated" => Ok(json!({"Replicated": replicas.map_or(json!({}), |count| json!({"Replicas": count}))})),
        "replicated-job" => {
            let mut job = Map::new();
            if let Some(concurrent) = concurrent.or(replicas) {
                job.insert("MaxConcurrent".into(), json!(concurrent));
            }
            if let Some(replicas) = replicas {
                job.insert("TotalCompletions".into(), json!(replicas));
            }
            Ok(json!({"ReplicatedJob": job}))
        }
        other => Err(Error::Plain(format!("Unknown mode: {other}, only replicated and global supported"))),
    }
}

/// The update or rollback settings, over docker's defaults; none when no flag asks for them.
fn update_config(matches: &Matches, which: &str, flags: &[&str]) -> Option<Value> {
    matches.any_changed(flags).then(|| {
        let mut config = default_update_config();
        change_update_config(&mut config, matches, which);
        config
    })
}

pub fn default_update_config() -> Value {
    json!({"Parallelism": 1, "FailureAction": "pause", "Monitor": DEFAULT_DELAY, "MaxFailureRatio": 0, "Order": "stop-first"})
}

/// Applies the flags that begin with `which`.
pub fn change_update_config(config: &mut Value, matches: &Matches, which: &str) {
    let flag = |name: &str| format!("{which}-{name}");
    let Value::Object(map) = config else { return };
    let mut zero_is_absent = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.remove(key);
            put(map, key, value);
        }
    };
    zero_is_absent("Delay", matches.nanos(&flag("delay")).map(Value::from));
    zero_is_absent("Monitor", matches.nanos(&flag("monitor")).map(Value::from));
    zero_is_absent("FailureAction", matches.text(&flag("failure-action")).map(Value::from));
    for (key, value) in [
        ("Parallelism", matches.uint(&flag("parallelism")).map(Value::from)),
        ("MaxFailureRatio", matches.float(&flag("max-failure-ratio")).map(ratio)),
        ("Order", matches.text(&flag("order")).map(Value::from)),
    ] {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    }
}

/// A ratio with the digits of docker's 32-bit float.
fn ratio(value: f64) -> Value {
    serde_json::from_str(&format!("{}", value as f32)).unwrap_or_default()
}

fn resources(matches: &Matches) -> Result<Value, Error> {
    let (mut limits, mut reservations) = (Map::new(), Map::new());
    put(&mut limits, "NanoCPUs", json!(matches.cpus("limit-cpu")));
    put(&mut limits, "MemoryBytes", json!(matches.bytes("limit-memory")));
    put(&mut limits, "Pids", json!(matches.int("limit-pids")));
    put(&mut reservations, "NanoCPUs", json!(matches.cpus("reserve-cpu")));
    put(&mut reservations, "MemoryBytes", json!(matches.bytes("reserve-memory")));
    put(&mut reservations, "GenericResources", generic_resources(matches.list("generic-resource"))?.into());
    Ok(json!({"Limits": limits, "Reservations": reservations}))
}

/// `kind=count` words; a named resource is refused, as docker refuses it.
pub fn generic_resources(list: &[String]) -> Result<Vec<Value>, Error> {
    list.iter()
        .map(|text| {
            let (kind, value) = text.split_once('=').unwrap_or((text, ""));
            let count: i64 = value.parse().map_err(|_| {
                Error::Plain(format!("invalid generic-resource request `{text}`, Named Generic Resources is not supported for service create or update"))
            })?;
            Ok(json!({"DiscreteResourceSpec": {"Kind": kind, "Value": count}}))
        })
        .collect()
}

fn restart_policy(matches: &Matches) -> Option<Value> {
    matches.any_changed(&RESTART_FLAGS).then(|| {
        let mut policy = default_restart_policy();
        change_restart_policy(&mut policy, matches);
        policy
    })
}

pub fn default_restart_policy() -> Value {
    json!({"Condition": "any", "Delay": DEFAULT_DELAY, "MaxAttempts": 0})
}

pub fn change_restart_policy(policy: &mut Value, matches: &Matches) {
    for (key, value) in [
        ("Condition", matches.text("restart-condition").map(Value::from)),
        ("Delay", matches.nanos("restart-delay").map(Value::from)),
        ("MaxAttempts", matches.uint("restart-max-attempts").map(Value::from)),
        ("Window", matches.nanos("restart-window").map(Value::from)),
    ] {
        if let Some(value) = value {
            policy[key] = value;
        }
    }
}

fn placement(matches: &Matches) -> Value {
    let mut placement = Map::new();
    put(&mut placement, "Constraints", json!(matches.list("constraint")));
    put(&mut placement, "Preferences", preferences(matches.list("placement-pref")).into());
    put(&mut placement, "MaxReplicas", json!(matches.uint("replicas-max-per-node")));
    Value::Object(placement)
}

pub fn preferences(list: &[String]) -> Vec<Value> {
    list.iter().filter_map(|text| text.split_once('=')).map(|(_, over)| json!({"Spread": {"SpreadDescriptor": over}})).collect()
}

pub fn log_driver(matches: &Matches) -> Option<Value> {
    let name = matches.text("log-driver").filter(|name| !name.is_empty())?;
    let mut driver = Map::new();
    driver.insert("Name".into(), json!(name));
    let options: Vec<String> = matches.list("log-opt").iter().map(|text| with_caller_value(text)).collect();
    put(&mut driver, "Options", pairs(&options));
    Some(Value::Object(driver))
}
