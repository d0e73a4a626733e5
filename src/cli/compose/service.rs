//! A service of a Compose file in canonical form: short forms made long, environment files read, paths made absolute, nothing kept that says nothing.

use serde_json::{Map, Value, json};

use super::{
    Context, deploy, env,
    fields::{self, given, put},
    ports, scalar, volume,
};

/// How a field is brought into its form.
enum Form {
    Text,
    Flag,
    List,
    Labels,
    Hosts,
    /// Kept as it stands once it is there (`false` says something).
    Whole,
}

const FORMS: &[(&str, Form)] = &[
    ("cap_add", Form::List),
    ("cap_drop", Form::List),
    ("cgroup_parent", Form::Text),
    ("cgroupns_mode", Form::Text),
    ("container_name", Form::Text),
    ("depends_on", Form::List),
    ("devices", Form::List),
    ("dns", Form::List),
    ("dns_search", Form::List),
    ("domainname", Form::Text),
    ("env_file", Form::List),
    ("expose", Form::List),
    ("external_links", Form::List),
    ("extra_hosts", Form::Hosts),
    ("hostname", Form::Text),
    ("image", Form::Text),
    ("init", Form::Whole),
    ("ipc", Form::Text),
    ("isolation", Form::Text),
    ("labels", Form::Labels),
    ("links", Form::List),
    ("mac_address", Form::Text),
    ("network_mode", Form::Text),
    ("pid", Form::Text),
    ("privileged", Form::Flag),
    ("read_only", Form::Flag),
    ("restart", Form::Text),
    ("security_opt", Form::List),
    ("shm_size", Form::Text),
    ("stdin_open", Form::Flag),
    ("stop_signal", Form::Text),
    ("sysctls", Form::Labels),
    ("tmpfs", Form::List),
    ("tty", Form::Flag),
    ("user", Form::Text),
    ("userns_mode", Form::Text),
    ("working_dir", Form::Text),
];

pub fn canonical(service: &Value, context: &Context) -> Result<Value, String> {
    let mut map = Map::new();
    for (key, form) in FORMS {
        let Some(value) = given(service, key) else { continue };
        match form {
            Form::Text => put(&mut map, key, text(value, key)?),
            Form::Flag => put(&mut map, key, value.clone()),
            Form::List => put(&mut map, key, fields::list(value)),
            Form::Labels => put(&mut map, key, fields::mapping(value)),
            Form::Hosts => put(&mut map, key, fields::hosts(value)),
            Form::Whole => drop(map.insert((*key).to_owned(), value.clone())),
        }
    }
    for (key, path) in [("command", "Command"), ("entrypoint", "Entrypoint")] {
        if let Some(value) = given(service, key) {
            put(&mut map, key, fields::command(value, path)?);
        }
    }
    put(&mut map, "environment", env::environment(service, context)?);
    if let Some(value) = given(service, "build") {
        put(&mut map, "build", build(value));
    }
    for key in ["configs", "secrets"] {
        put(&mut map, key, service[key].as_array().into_iter().flatten().map(file_reference).collect());
    }
    if let Some(value) = given(service, "credential_spec") {
        put(&mut map, "credential_spec", value.clone());
    }
    if let Some(value) = given(service, "deploy") {
        put(&mut map, "deploy", deploy::canonical(value)?);
    }
    if let Some(value) = given(service, "healthcheck") {
        map.insert("healthcheck".into(), health(value)?);
    }
    if let Some(value) = given(service, "logging") {
        map.insert("logging".into(), logging(value));
    }
    put(&mut map, "networks", networks(&service["networks"]));
    put(&mut map, "ports", ports::all(&service["ports"], context)?);
    if let Some(value) = given(service, "stop_grace_period") {
        map.insert("stop_grace_period".into(), fields::duration(value, "stop_grace_period")?);
    }
    if let Some(Value::Object(limits)) = given(service, "ulimits") {
        let all = limits.iter().map(|(name, limit)| (name.clone(), ulimit(limit))).collect::<Map<_, _>>();
        put(&mut map, "ulimits", all.into());
    }
    put(&mut map, "volumes", volume::all(&service["volumes"], context)?);
    map.extend(service.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-")).map(|(key, value)| (key.clone(), value.clone())));
    Ok(map.into())
}

fn text(value: &Value, key: &str) -> Result<Value, String> {
    if value.is_string() {
        return Ok(value.clone());
    }
    let kind = if value.is_f64() { "float64" } else { "int" };
    let said = format!("'{key}' expected type 'string', got unconvertible type '{kind}', value: '{}'", scalar::text(value));
    Err(format!("decoding failed due to the following error(s):\n\n{said}"))
}

fn build(value: &Value) -> Value {
    let Value::Object(given_map) = value else { return json!({"context": value}) };
    let mut map = Map::new();
    for (key, value) in given_map {
        let value = match key.as_str() {
            "args" => fields::mapping_with_nothing(value),
            "labels" => fields::mapping(value),
            "cache_from" => fields::list(value),
            "extra_hosts" => fields::hosts(value),
            "context" | "dockerfile" | "network" | "target" => value.clone(),
            _ => continue,
        };
        put(&mut map, key, value);
    }
    map.into()
}

/// A config or secret of a service: its name alone, or in full.
fn file_reference(value: &Value) -> Value {
    let Value::Object(given_map) = value else { return json!({"source": value}) };
    let mut map = Map::new();
    for key in ["source", "target", "uid", "gid"] {
        put(&mut map, key, given_map.get(key).cloned().unwrap_or_default());
    }
    if let Some(mode) = given(value, "mode") {
        map.insert("mode".into(), fields::integer(mode));
    }
    map.into()
}

fn health(value: &Value) -> Result<Value, String> {
    let mut map = Map::new();
    let test = match &value["test"] {
        Value::String(line) => json!(["CMD-SHELL", line]),
        other => fields::list(other),
    };
    put(&mut map, "test", test);
    for key in ["timeout", "interval", "start_period", "start_interval"] {
        if let Some(duration) = given(value, key) {
            map.insert(key.into(), fields::duration(duration, &format!("HealthCheck.{key}"))?);
        }
    }
    if let Some(retries) = given(value, "retries") {
        map.insert("retries".into(), fields::count(retries, "HealthCheck.Retries")?);
    }
    put(&mut map, "disable", value["disable"].clone());
    Ok(map.into())
}

fn logging(value: &Value) -> Value {
    let mut map = Map::new();
    put(&mut map, "driver", value["driver"].clone());
    put(&mut map, "options", fields::mapping(&value["options"]));
    map.into()
}

fn networks(value: &Value) -> Value {
    let mut map = Map::new();
    match value {
        Value::Array(names) => map.extend(names.iter().filter_map(Value::as_str).map(|name| (name.to_owned(), Value::Null))),
        Value::Object(given_map) => {
            for (name, network) in given_map {
                map.insert(name.clone(), if network.is_null() { Value::Null } else { attachment(network) });
            }
        }
        _ => {}
    }
    map.into()
}

fn attachment(value: &Value) -> Value {
    let mut map = Map::new();
    put(&mut map, "aliases", fields::list(&value["aliases"]));
    put(&mut map, "driver_opts", fields::mapping(&value["driver_opts"]));
    for key in ["ipv4_address", "ipv6_address"] {
        put(&mut map, key, value[key].clone());
    }
    map.into()
}

fn ulimit(value: &Value) -> Value {
    let Value::Object(_) = value else { return fields::integer(value) };
    let mut map = Map::new();
    for key in ["soft", "hard"] {
        put(&mut map, key, fields::integer(&value[key]));
    }
    map.into()
}
