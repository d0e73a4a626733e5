//! One service of a configuration as a service spec.

use serde_json::{Map, Value, json};

use super::{
    super::{
        fields::{self, put},
        scalar,
    },
    DEFAULT_NETWORK, IMAGE, Namespace, attached, mounts,
};
use crate::cli::{args::values, service::capabilities};

/// Secrets and configs of a service, before their ids are known.
pub struct References {
    pub secrets: Vec<Value>,
    pub configs: Vec<Value>,
}

/// The spec of the service `key`; what it refers to still carries names.
pub fn spec(namespace: Namespace<'_>, key: &str, service: &Value, config: &Value) -> Result<(Value, References), String> {
    let references = References { secrets: files(namespace, service, config, "Secret")?, configs: files(namespace, service, config, "Config")? };
    let deploy = &service["deploy"];
    let mode = mode(deploy)?;
    let mut task = Map::new();
    task.insert("ContainerSpec".into(), container(namespace, service, config)?);
    if let Some(logging) = service["logging"].as_object() {
        let mut driver = Map::new();
        put(&mut driver, "Name", logging.get("driver").cloned().unwrap_or_default());
        put(&mut driver, "Options", logging.get("options").cloned().unwrap_or_default());
        task.insert("LogDriver".into(), driver.into());
    }
    task.insert("Resources".into(), resources(&deploy["resources"])?);
    if let Some(policy) = restart(service)? {
        task.insert("RestartPolicy".into(), policy);
    }
    task.insert("Placement".into(), placement(&deploy["placement"]));
    task.insert("Networks".into(), networks(namespace, key, service, config)?);
    task.insert("ForceUpdate".into(), json!(0));
    let mut labels = namespace.labels(&deploy["labels"]);
    labels[IMAGE] = service["image"].clone();
    let mut spec = Map::new();
    spec.insert("Name".into(), namespace.scope(key).into());
    spec.insert("Labels".into(), labels);
    spec.insert("TaskTemplate".into(), task.into());
    spec.insert("Mode".into(), mode);
    for (field, name) in [("UpdateConfig", "update_config"), ("RollbackConfig", "rollback_config")] {
        if deploy[name].is_object() {
            spec.insert(field.into(), update(&deploy[name]));
        }
    }
    spec.insert("EndpointSpec".into(), endpoint(service));
    Ok((spec.into(), references))
}

fn container(namespace: Namespace<'_>, service: &Value, config: &Value) -> Result<Value, String> {
    let mut map = Map::new();
    for (field, key) in [
        ("Image", "image"),
        ("Command", "entrypoint"),
        ("Args", "command"),
        ("Hostname", "hostname"),
        ("Dir", "working_dir"),
        ("User", "user"),
        ("StopSignal", "stop_signal"),
        ("TTY", "tty"),
        ("OpenStdin", "stdin_open"),
        ("ReadOnly", "read_only"),
        ("Isolation", "isolation"),
        ("Sysctls", "sysctls"),
    ] {
        put(&mut map, field, service[key].clone());
    }
    map.insert("Labels".into(), namespace.labels(&service["labels"]));
    put(&mut map, "Env", environment(&service["environment"]));
    let hosts = service["extra_hosts"].as_array().into_iter().flatten().filter_map(|host| host.as_str()?.split_once(':'));
    put(&mut map, "Hosts", hosts.map(|(host, address)| Value::from(format!("{address} {host}"))).collect());
    let mut dns = Map::new();
    put(&mut dns, "Nameservers", service["dns"].clone());
    put(&mut dns, "Search", service["dns_search"].clone());
    put(&mut map, "DNSConfig", dns.into());
    if let Some(health) = health(&service["healthcheck"])? {
        map.insert("Healthcheck".into(), health);
    }
    put(&mut map, "Mounts", mounts::all(&service["volumes"], &config["volumes"], namespace)?.into());
    if service["stop_grace_period"].is_string() {
        map.insert("StopGracePeriod".into(), fields::nanos(&service["stop_grace_period"]).into());
    }
    map.insert("Privileges".into(), privileges(&service["credential_spec"])?);
    if service["init"].is_boolean() {
        map.insert("Init".into(), service["init"].clone());
    }
    let words = |key: &str| service[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let (add, drop) = capabilities::effective(&words("cap_add"), &words("cap_drop"));
    put(&mut map, "CapabilityAdd", add.into());
    put(&mut map, "CapabilityDrop", drop.into());
    put(&mut map, "Ulimits", ulimits(&service["ulimits"]));
    Ok(map.into())
}

fn environment(variables: &Value) -> Value {
    let mut shown: Vec<String> = Vec::new();
    for (name, value) in variables.as_object().into_iter().flatten() {
        shown.push(value.as_str().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
    }
    shown.sort();
    shown.into()
}

fn health(health: &Value) -> Result<Option<Value>, String> {
    if !health.is_object() {
        return Ok(None);
    }
    if health["disable"] == Value::Bool(true) {
        if health.get("test").is_some() {
            return Err("test and disable can't be set at the same time".into());
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    let mut map = Map::new();
    put(&mut map, "Test", health["test"].clone());
    for (field, key) in [("Timeout", "timeout"), ("Interval", "interval"), ("StartPeriod", "start_period"), ("StartInterval", "start_interval")] {
        put(&mut map, field, fields::nanos(&health[key]).into());
    }
    put(&mut map, "Retries", health["retries"].clone());
    Ok(Some(map.into()))
}

fn privileges(credential: &Value) -> Result<Value, String> {
    let given: Vec<&str> = [("config", "\"Config\""), ("file", "\"File\""), ("registry", "\"Registry\"")]
        .iter()
        .filter(|(key, _)| credential.get(key).is_some())
        .map(|(_, name)| *name)
        .collect();
    let spec = match given.as_slice() {
        [] => Value::Null,
        [_] => {
            let of = |key: &str| credential[key].as_str().unwrap_or_default().to_owned();
            json!({"Config": of("config"), "File": of("file"), "Registry": of("registry")})
        }
        [first, second] => return Err(format!("invalid credential spec: cannot specify both {first} and {second}")),
        [first @ .., last] => return Err(format!("invalid credential spec: cannot specify both {}, and {last}", first.join(", "))),
    };
    Ok(json!({"CredentialSpec": spec, "SELinuxContext": null, "NoNewPrivileges": false}))
}

fn ulimits(limits: &Value) -> Value {
    let one = |(name, limit): (&String, &Value)| {
        let value = |key: &str| if limit.is_number() { limit.clone() } else { limit.get(key).cloned().unwrap_or_else(|| json!(0)) };
        json!({"Name": name, "Soft": value("soft"), "Hard": value("hard")})
    };
    limits.as_object().into_iter().flatten().map(one).collect()
}

fn resources(resources: &Value) -> Result<Value, String> {
    let mut all = Map::new();
    for (field, key) in [("Limits", "limits"), ("Reservations", "reservations")] {
        let Some(part) = resources.get(key) else { continue };
        let mut map = Map::new();
        if let Some(cpus) = part["cpus"].as_str() {
            put(&mut map, "NanoCPUs", values::parse_cpus(cpus)?.into());
        }
        put(&mut map, "MemoryBytes", part["memory"].as_str().and_then(|bytes| bytes.parse::<i64>().ok()).unwrap_or(0).into());
        put(&mut map, "Pids", part["pids"].clone());
        let generic = part["generic_resources"].as_array().into_iter().flatten().map(|resource| {
            let spec = &resource["discrete_resource_spec"];
            json!({"DiscreteResourceSpec": {"Kind": spec["kind"], "Value": spec["value"]}})
        });
        put(&mut map, "GenericResources", generic.collect());
        all.insert(field.into(), map.into());
    }
    Ok(all.into())
}

/// `deploy.restart_policy`, else what `restart` says.
fn restart(service: &Value) -> Result<Option<Value>, String> {
    let policy = &service["deploy"]["restart_policy"];
    if policy.is_object() {
        let mut map = Map::new();
        put(&mut map, "Condition", policy["condition"].clone());
        for (field, key) in [("Delay", "delay"), ("Window", "window")] {
            if policy[key].is_string() {
                map.insert(field.into(), fields::nanos(&policy[key]).into());
            }
        }
        if policy["max_attempts"].is_number() {
            map.insert("MaxAttempts".into(), policy["max_attempts"].clone());
        }
        return Ok(Some(map.into()));
    }
    let text = service["restart"].as_str().unwrap_or_default();
    let (name, most) = text.split_once(':').map_or((text, None), |(name, most)| (name, Some(most)));
    let most = match most {
        None => 0,
        Some(_) if name.is_empty() => return Err("invalid restart policy format: no policy provided before colon".into()),
        Some(most) => most.parse::<i64>().map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?,
    };
    if most < 0 {
        return Err("invalid restart policy: maximum retry count cannot be negative".into());
    }
    let condition = match name {
        "" | "no" => return Ok(None),
        "always" | "unless-stopped" => "any",
        "on-failure" => "on-failure",
        other => return Err(format!("unknown restart policy: {other}")),
    };
    let mut map = Map::new();
    map.insert("Condition".into(), condition.into());
    put(&mut map, "MaxAttempts", most.into());
    Ok(Some(map.into()))
}

fn placement(placement: &Value) -> Value {
    let mut map = Map::new();
    put(&mut map, "Constraints", placement["constraints"].clone());
    let spreads = placement["preferences"].as_array().into_iter().flatten();
    put(&mut map, "Preferences", spreads.map(|over| json!({"Spread": {"SpreadDescriptor": over["spread"].as_str().unwrap_or_default()}})).collect());
    put(&mut map, "MaxReplicas", placement["max_replicas_per_node"].clone());
    map.into()
}

fn networks(namespace: Namespace<'_>, key: &str, service: &Value, config: &Value) -> Result<Value, String> {
    let mut all = Vec::new();
    for name in attached(service) {
        let network = config["networks"].get(name);
        if network.is_none() && name != DEFAULT_NETWORK {
            return Err(format!("undefined network {name:?}"));
        }
        let target = namespace.object(name, network.unwrap_or(&Value::Null));
        let attachment = &service["networks"][name];
        let mut aliases: Vec<Value> = attachment["aliases"].as_array().cloned().unwrap_or_default();
        // The engine's own networks know no names.
        let is_builtin = ["default", "bridge", "host", "none"].contains(&target.as_str()) || target.starts_with("container:");
        if !is_builtin {
            aliases.push(key.into());
        }
        let mut map = Map::new();
        map.insert("Target".into(), target.into());
        put(&mut map, "Aliases", aliases.into());
        put(&mut map, "DriverOpts", attachment["driver_opts"].clone());
        all.push(Value::Object(map));
    }
    all.sort_by(|a, b| a["Target"].as_str().cmp(&b["Target"].as_str()));
    Ok(all.into())
}

fn mode(deploy: &Value) -> Result<Value, String> {
    let replicas = deploy.get("replicas");
    let counted = |keys: &[&str]| Value::Object(replicas.into_iter().flat_map(|count| keys.iter().map(|key| ((*key).to_owned(), count.clone()))).collect());
    match deploy["mode"].as_str().unwrap_or_default() {
        "global" | "global-job" if replicas.is_some() => Err("replicas can only be used with replicated or replicated-job mode".into()),
        "global" => Ok(json!({"Global": {}})),
        "global-job" => Ok(json!({"GlobalJob": {}})),
        "replicated-job" => Ok(json!({"ReplicatedJob": counted(&["MaxConcurrent", "TotalCompletions"])})),
        "replicated" | "" => Ok(json!({"Replicated": counted(&["Replicas"])})),
        other => Err(format!("unknown mode: {other}")),
    }
}

fn update(config: &Value) -> Value {
    let mut map = Map::new();
    map.insert("Parallelism".into(), config.get("parallelism").cloned().unwrap_or_else(|| json!(1)));
    for (field, key) in [("Delay", "delay"), ("Monitor", "monitor")] {
        put(&mut map, field, fields::nanos(&config[key]).into());
    }
    put(&mut map, "FailureAction", config["failure_action"].clone());
    // A 32-bit float with its own digits, as docker sends it.
    let ratio = config["max_failure_ratio"].as_f64().unwrap_or(0.0) as f32;
    map.insert("MaxFailureRatio".into(), serde_json::from_str(&ratio.to_string()).unwrap_or_default());
    map.insert("Order".into(), config["order"].as_str().unwrap_or_default().into());
    map.into()
}

fn endpoint(service: &Value) -> Value {
    let port = |port: &Value| {
        let mut map = Map::new();
        for (field, key) in [("Protocol", "protocol"), ("TargetPort", "target"), ("PublishedPort", "published"), ("PublishMode", "mode")] {
            put(&mut map, field, port[key].clone());
        }
        Value::Object(map)
    };
    let mut ports: Vec<Value> = service["ports"].as_array().into_iter().flatten().map(port).collect();
    let number = |port: &Value, key: &str| port[key].as_u64().unwrap_or(0);
    ports.sort_by_key(|port| (number(port, "TargetPort"), number(port, "PublishedPort"), scalar::text(&port["Protocol"]), scalar::text(&port["PublishMode"])));
    let mut map = Map::new();
    put(&mut map, "Mode", service["deploy"]["endpoint_mode"].as_str().unwrap_or_default().to_lowercase().into());
    put(&mut map, "Ports", ports.into());
    map.into()
}

/// The secrets or configs that a service wants, as references with names.
fn files(namespace: Namespace<'_>, service: &Value, config: &Value, kind: &str) -> Result<Vec<Value>, String> {
    let lower = kind.to_lowercase();
    let section = format!("{lower}s");
    let defined = |key: &str| config[&section].get(key).ok_or_else(|| format!("undefined {lower} {key:?}"));
    let mut references = Vec::new();
    for file in service[&section].as_array().into_iter().flatten() {
        let source = file["source"].as_str().unwrap_or_default();
        let object = defined(source)?;
        let text = |key: &str, default: &str| file[key].as_str().unwrap_or(default).to_owned();
        let target = json!({"Name": text("target", source), "UID": text("uid", "0"), "GID": text("gid", "0"), "Mode": file["mode"].as_u64().unwrap_or(0o444)});
        references.push(json!({"File": target, format!("{kind}ID"): "", format!("{kind}Name"): namespace.object(source, object)}));
    }
    if let Some(key) = service["credential_spec"]["config"].as_str().filter(|_| kind == "Config") {
        references.push(json!({"Runtime": {}, "ConfigID": "", "ConfigName": namespace.object(key, defined(key)?)}));
    }
    Ok(references)
}
