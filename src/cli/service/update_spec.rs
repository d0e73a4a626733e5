//! The flags of `service update` applied to a service's spec: pure, what is not named stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{capabilities, mounts, options, ports};
use crate::cli::{args::Matches, errors::Error, task::text};

/// Applies all flags but those that need names resolved (networks, secrets, configs, image).
pub fn change(spec: &mut Value, matches: &Matches) -> Result<(), Error> {
    if !spec["TaskTemplate"]["ContainerSpec"].is_object() {
        return Err(Error::plain("the service runs no container: it cannot be updated"));
    }
    map(spec, &["Labels"], matches, "label");
    container(&mut spec["TaskTemplate"]["ContainerSpec"], matches)?;
    task(&mut spec["TaskTemplate"], matches)?;
    if let Some(replicas) = matches.uint("replicas") {
        if !spec["Mode"]["Replicated"].is_object() {
            return Err(Error::plain("replicas can only be used with replicated mode"));
        }
        spec["Mode"]["Replicated"]["Replicas"] = json!(replicas);
    }
    for (which, key, flags) in [("update", "UpdateConfig", &options::UPDATE_FLAGS), ("rollback", "RollbackConfig", &options::ROLLBACK_FLAGS)] {
        if matches.any_changed(flags) {
            if !spec[key].is_object() {
                spec[key] = options::default_update_config();
            }
            options::change_update_config(&mut spec[key], matches, which);
        }
    }
    if let Some(mode) = matches.text("endpoint-mode") {
        spec["EndpointSpec"]["Mode"] = json!(mode);
    }
    if matches.any_changed(&["publish-add", "publish-rm"]) {
        let ports = published(&spec["EndpointSpec"]["Ports"], matches)?;
        spec["EndpointSpec"]["Ports"] = json!(ports);
    }
    let task = &mut spec["TaskTemplate"];
    prune(&mut task["ContainerSpec"]);
    for part in ["Limits", "Reservations"] {
        if let Some(part) = task.get_mut("Resources").and_then(|resources| resources.get_mut(part)) {
            prune(part);
        }
    }
    Ok(())
}

/// Takes away what is empty, so that a change undone leaves no trace. Pointers of docker's type stay whatever they hold.
fn prune(value: &mut Value) {
    const POINTERS: [&str; 4] = ["Init", "DNSConfig", "StopGracePeriod", "Privileges"];
    let Some(map) = value.as_object_mut() else { return };
    map.retain(|key, value| {
        let empty = match value {
            Value::Null => true,
            Value::Bool(on) => !*on,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
        };
        !empty || (POINTERS.contains(&key.as_str()) && !value.is_null())
    });
}

fn at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Value {
    path.iter().fold(value, |value, key| &mut value[*key])
}

/// `--X-add key=value` and `--X-rm key` of a map of texts.
fn map(value: &mut Value, path: &[&str], matches: &Matches, name: &str) {
    let (added, removed) = (matches.list(&format!("{name}-add")), matches.list(&format!("{name}-rm")));
    if added.is_empty() && removed.is_empty() {
        return;
    }
    let slot = at(value, path);
    if !slot.is_object() {
        *slot = json!({});
    }
    let Some(slot) = slot.as_object_mut() else { return };
    for key in removed {
        slot.remove(key.split('=').next().unwrap_or_default());
    }
    if let Value::Object(added) = options::pairs(added) {
        slot.extend(added);
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|item| text(item).to_owned()).collect()
}

/// `--X-add` and `--X-rm` of a list of texts that is kept sorted.
fn sorted(value: &mut Value, path: &[&str], matches: &Matches, name: &str, unique: bool) {
    let (add, remove) = (format!("{name}-add"), format!("{name}-rm"));
    if !matches.any_changed(&[&add, &remove]) {
        return;
    }
    let slot = at(value, path);
    let mut list = strings(slot);
    list.extend_from_slice(matches.list(&add));
    list.retain(|item| !matches.list(&remove).contains(item));
    list.sort();
    if unique {
        list.dedup();
    }
    *slot = json!(list);
}

fn container(container: &mut Value, matches: &Matches) -> Result<(), Error> {
    map(container, &["Labels"], matches, "container-label");
    map(container, &["Sysctls"], matches, "sysctl");
    for (flag, key) in [("workdir", "Dir"), ("user", "User"), ("hostname", "Hostname"), ("isolation", "Isolation"), ("stop-signal", "StopSignal")] {
        if let Some(given) = matches.text(flag) {
            container[key] = json!(given);
        }
    }
    for (flag, key) in [("args", "Args"), ("entrypoint", "Command")] {
        if let Some(words) = matches.words(flag) {
            container[key] = json!(words);
        }
    }
    for (flag, key) in [("init", "Init"), ("tty", "TTY"), ("read-only", "ReadOnly")] {
        if matches.changed(flag) {
            container[key] = json!(matches.on(flag));
        }
    }
    if let Some(nanos) = matches.nanos("stop-grace-period") {
        container["StopGracePeriod"] = json!(nanos);
    }
    if let Some(score) = matches.int("oom-score-adj") {
        container["OomScoreAdj"] = json!(score);
    }
    environment(container, matches);
    mount_list(container, matches)?;
    ulimits(container, matches);
    sorted(container, &["Groups"], matches, "group", false);
    for (name, key) in [("dns", "Nameservers"), ("dns-search", "Search"), ("dns-option", "Options")] {
        sorted(container, &["DNSConfig", key], matches, name, true);
    }
    hosts(container, matches);
    health(container, matches)?;
    if matches.any_changed(&["cap-add", "cap-drop"]) {
        let (add, drop) = (strings(&container["CapabilityAdd"]), strings(&container["CapabilityDrop"]));
        let (add, drop) = capabilities::updated(&add, &drop, matches.list("cap-add"), matches.list("cap-drop"));
        (container["CapabilityAdd"], container["CapabilityDrop"]) = (json!(add), json!(drop));
    }
    Ok(())
}

fn environment(container: &mut Value, matches: &Matches) {
    if !matches.any_changed(&["env-add", "env-rm"]) {
        return;
    }
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut list = strings(&container["Env"]);
    list.retain(|entry| !matches.list("env-rm").contains(&key(entry)));
    for added in matches.list("env-add").iter().map(|entry| options::with_caller_value(entry)) {
        match list.iter_mut().find(|entry| key(entry) == key(&added)) {
            Some(entry) => *entry = added,
            None => list.push(added),
        }
    }
    container["Env"] = json!(list);
}

fn mount_list(container: &mut Value, matches: &Matches) -> Result<(), Error> {
    if !matches.any_changed(&["mount-add", "mount-rm"]) {
        return Ok(());
    }
    let mut by_target: BTreeMap<String, Value> = BTreeMap::new();
    for mount in options::parsed(matches.list("mount-add"), mounts::parse)? {
        if by_target.insert(text(&mount["Target"]).to_owned(), mount).is_some() {
            return Err(Error::plain("duplicate mount target"));
        }
    }
    for mount in container["Mounts"].as_array().into_iter().flatten() {
        by_target.entry(text(&mount["Target"]).to_owned()).or_insert_with(|| mount.clone());
    }
    let mut list: Vec<Value> = by_target.into_iter().filter(|(target, _)| !matches.list("mount-rm").contains(target)).map(|(_, mount)| mount).collect();
    list.sort_by(|a, b| (text(&a["Source"]), text(&a["Target"])).cmp(&(text(&b["Source"]), text(&b["Target"]))));
    container["Mounts"] = json!(list);
    Ok(())
}

fn ulimits(container: &mut Value, matches: &Matches) {
    if !matches.any_changed(&["ulimit-add", "ulimit-rm"]) {
        return;
    }
    let current = container["Ulimits"].as_array().cloned().unwrap_or_default();
    let added = matches.list("ulimit-add").iter().filter_map(|limit| mounts::ulimit(limit).ok());
    let removed: BTreeSet<&str> = matches.list("ulimit-rm").iter().map(|name| name.split('=').next().unwrap_or_default()).collect();
    let kept = current.into_iter().filter(|limit| !removed.contains(text(&limit["Name"])));
    let by_name: BTreeMap<String, Value> = kept.chain(added).map(|limit| (text(&limit["Name"]).to_owned(), limit)).collect();
    container["Ulimits"] = by_name.into_values().collect();
}

/// Hosts keep their order: the first entry of a name counts.
fn hosts(container: &mut Value, matches: &Matches) {
    if !matches.any_changed(&["host-add", "host-rm"]) {
        return;
    }
    let mut list: Vec<String> = Vec::new();
    for entry in strings(&container["Hosts"]) {
        let mut words = entry.split_whitespace();
        let Some(address) = words.next() else { continue };
        let gone = |name: &str| {
            matches.list("host-rm").iter().any(|removed| {
                let (host, only_address) = removed.split_once(':').unwrap_or((removed, ""));
                host == name && (only_address.is_empty() || only_address == address)
            })
        };
        let names: Vec<&str> = words.filter(|name| !gone(name)).collect();
        if !names.is_empty() {
            list.push(format!("{address} {}", names.join(" ")));
        }
    }
    list.extend(options::hosts(matches.list("host-add")));
    let mut seen = BTreeSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
    container["Hosts"] = json!(list);
}

fn health(container: &mut Value, matches: &Matches) -> Result<(), Error> {
    let any = matches.any_changed(&options::HEALTH_FLAGS);
    if matches.on("no-healthcheck") {
        if any {
            return Err(Error::plain("--no-healthcheck conflicts with --health-* options"));
        }
        container["Healthcheck"] = json!({"Test": ["NONE"]});
        return Ok(());
    }
    if !any {
        return Ok(());
    }
    let check = &mut container["Healthcheck"];
    if !check.is_object() {
        *check = json!({});
    }
    if check["Test"][0] == json!("NONE") {
        check["Test"] = Value::Null;
    }
    for (flag, key) in
        [("health-interval", "Interval"), ("health-timeout", "Timeout"), ("health-start-period", "StartPeriod"), ("health-start-interval", "StartInterval")]
    {
        if let Some(nanos) = matches.nanos(flag) {
            check[key] = json!(nanos);
        }
    }
    if let Some(retries) = matches.int("health-retries") {
        check["Retries"] = json!(retries);
    }
    if let Some(command) = matches.text("health-cmd") {
        check["Test"] = if command.is_empty() { Value::Null } else { json!(["CMD-SHELL", command]) };
    }
    Ok(())
}

fn task(task: &mut Value, matches: &Matches) -> Result<(), Error> {
    for (flag, part, key) in [("limit-cpu", "Limits", "NanoCPUs"), ("reserve-cpu", "Reservations", "NanoCPUs")] {
        if let Some(cpus) = matches.cpus(flag) {
            task["Resources"][part][key] = json!(cpus);
        }
    }
    for (flag, part) in [("limit-memory", "Limits"), ("reserve-memory", "Reservations")] {
        if let Some(bytes) = matches.bytes(flag) {
            task["Resources"][part]["MemoryBytes"] = json!(bytes);
        }
    }
    if let Some(pids) = matches.int("limit-pids") {
        task["Resources"]["Limits"]["Pids"] = json!(pids);
    }
    generic_resources(task, matches)?;
    if matches.any_changed(&options::RESTART_FLAGS) {
        if !task["RestartPolicy"].is_object() {
            task["RestartPolicy"] = options::default_restart_policy();
        }
        options::change_restart_policy(&mut task["RestartPolicy"], matches);
    }
    sorted(task, &["Placement", "Constraints"], matches, "constraint", false);
    if matches.any_changed(&["placement-pref-add", "placement-pref-rm"]) {
        let mut list = task["Placement"]["Preferences"].as_array().cloned().unwrap_or_default();
        let removed = options::preferences(matches.list("placement-pref-rm"));
        list.retain(|preference| !removed.contains(preference));
        list.extend(options::preferences(matches.list("placement-pref-add")));
        task["Placement"]["Preferences"] = json!(list);
    }
    if let Some(most) = matches.uint("replicas-max-per-node") {
        task["Placement"]["MaxReplicas"] = json!(most);
    }
    if let Some(driver) = options::log_driver(matches) {
        task["LogDriver"] = driver;
    }
    if matches.on("force") {
        task["ForceUpdate"] = json!(task["ForceUpdate"].as_u64().unwrap_or(0) + 1);
    }
    Ok(())
}

fn generic_resources(task: &mut Value, matches: &Matches) -> Result<(), Error> {
    if !matches.any_changed(&["generic-resource-add", "generic-resource-rm"]) {
        return Ok(());
    }
    let kind = |resource: &Value| text(&resource["DiscreteResourceSpec"]["Kind"]).to_owned();
    let current = task["Resources"]["Reservations"]["GenericResources"].as_array().cloned().unwrap_or_default();
    let added = options::generic_resources(matches.list("generic-resource-add"))?;
    let mut by_kind: BTreeMap<String, Value> = current.into_iter().chain(added).map(|resource| (kind(&resource), resource)).collect();
    for name in matches.list("generic-resource-rm") {
        if by_kind.remove(name).is_none() {
            return Err(Error::Plain(format!("could not find generic-resource `{name}` to remove it")));
        }
    }
    task["Resources"]["Reservations"]["GenericResources"] = by_kind.into_values().collect();
    Ok(())
}

/// The ports after `--publish-rm` (by target port) and `--publish-add`.
fn published(current: &Value, matches: &Matches) -> Result<Vec<Value>, Error> {
    let number = |port: &Value, key: &str| port[key].as_u64().unwrap_or(0);
    let spelled = |port: &Value, key: &str, default: &str| if text(&port[key]).is_empty() { default.to_owned() } else { text(&port[key]).to_owned() };
    let shown =
        |port: &Value| format!("{}:{}/{}/{}", number(port, "PublishedPort"), number(port, "TargetPort"), text(&port["Protocol"]), text(&port["PublishMode"]));
    let mut removed = Vec::new();
    for port in matches.list("publish-rm") {
        removed.extend(ports::parse(port).map_err(Error::Plain)?);
    }
    let same = |a: &Value, b: &Value| {
        number(a, "TargetPort") == number(b, "TargetPort")
            && spelled(a, "Protocol", "tcp") == spelled(b, "Protocol", "tcp")
            && spelled(a, "PublishMode", "ingress") == spelled(b, "PublishMode", "ingress")
    };
    let before: BTreeMap<String, Value> = current.as_array().into_iter().flatten().map(|port| (shown(port), port.clone())).collect();
    let mut list: Vec<Value> = before.values().filter(|port| !removed.iter().any(|removed| same(port, removed))).cloned().collect();
    list.extend(options::published(matches.list("publish-add"))?.into_iter().filter(|port| !before.contains_key(&shown(port))));
    list.sort_by_key(shown);
    Ok(list)
}
