//! A service for people: `service inspect --pretty`, with docker's words, tabs and spaces.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::{
    format::{time, units},
    task::text,
};

const NANO: f64 = 1e9;

/// Describes one service; `networks` names the networks that could be resolved.
pub fn describe(service: &Value, networks: &BTreeMap<String, String>) -> String {
    let spec = &service["Spec"];
    let task = &spec["TaskTemplate"];
    let container = &task["ContainerSpec"];
    let mut out = format!("\nID:\t\t{}\nName:\t\t{}", text(&service["ID"]), text(&spec["Name"]));
    pairs(&mut out, "\nLabels:", &spec["Labels"], "\n ", "=");
    mode(&mut out, &spec["Mode"]);
    update_status(&mut out, &service["UpdateStatus"]);
    placement(&mut out, &task["Placement"]);
    config(&mut out, "UpdateConfig:", "Update order:      ", &spec["UpdateConfig"]);
    config(&mut out, "RollbackConfig:", "Rollback order:    ", &spec["RollbackConfig"]);
    container_spec(&mut out, container);
    mounts(&mut out, container);
    files(&mut out, container, "Config");
    files(&mut out, container, "Secret");
    log_driver(&mut out, &task["LogDriver"]);
    resources(&mut out, &task["Resources"]);
    attachments(&mut out, &task["Networks"], networks);
    out += &format!("\nEndpoint Mode:\t{}", text(&spec["EndpointSpec"]["Mode"]));
    ports(&mut out, &service["Endpoint"]["Ports"]);
    health(&mut out, &container["Healthcheck"]);
    out + "\n"
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> Vec<&str> {
    items(value).iter().map(text).collect()
}

/// A title and sorted `key=value` lines, when there are any.
fn pairs(out: &mut String, title: &str, map: &Value, lead: &str, between: &str) {
    let Some(map) = map.as_object().filter(|map| !map.is_empty()) else { return };
    *out += title;
    for (key, value) in map.iter().collect::<BTreeMap<_, _>>() {
        *out += lead;
        *out += key;
        if !text(value).is_empty() {
            *out += &format!("{between}{}", text(value));
        }
    }
}

fn mode(out: &mut String, mode: &Value) {
    *out += "\nService Mode:";
    if mode["Global"].is_object() {
        *out += "\tGlobal";
    } else if mode["Replicated"].is_object() {
        *out += "\tReplicated";
        if let Some(replicas) = mode["Replicated"]["Replicas"].as_u64() {
            *out += &format!("\n Replicas:\t{replicas}");
        }
    }
}

fn update_status(out: &mut String, status: &Value) {
    let state = text(&status["State"]);
    if state.is_empty() {
        return;
    }
    *out += &format!("\nUpdateStatus:\n State:\t\t{state}");
    let ago = |key: &str| units::human_duration(time::since(text(&status[key])));
    if status["StartedAt"].is_string() {
        *out += &format!("\n Started:\t{} ago", ago("StartedAt"));
    }
    if state == "completed" && status["CompletedAt"].is_string() {
        *out += &format!("\n Completed:\t{} ago", ago("CompletedAt"));
    }
    *out += &format!("\n Message:\t{}", text(&status["Message"]));
}

fn placement(out: &mut String, placement: &Value) {
    *out += "\nPlacement:";
    let constraints = words(&placement["Constraints"]);
    if !constraints.is_empty() {
        *out += &format!("\n Constraints:\t[{}]", constraints.join(" "));
    }
    let spreads: Vec<_> =
        items(&placement["Preferences"]).iter().map(|preference| format!("spread={}", text(&preference["Spread"]["SpreadDescriptor"]))).collect();
    if !spreads.is_empty() {
        *out += &format!("\n Preferences:   [{}]", spreads.join(" "));
    }
    if let Some(most) = placement["MaxReplicas"].as_u64().filter(|most| *most > 0) {
        *out += &format!("\n Max Replicas Per Node:   {most}");
    }
}

fn config(out: &mut String, title: &str, order: &str, config: &Value) {
    if !config.is_object() {
        return;
    }
    let nanos = |key: &str| config[key].as_i64().filter(|nanos| *nanos > 0).map(units::duration);
    *out += &format!("\n{title}\n Parallelism:\t{}", config["Parallelism"].as_u64().unwrap_or(0));
    if let Some(delay) = nanos("Delay") {
        *out += &format!("\n Delay:\t\t{delay}");
    }
    *out += &format!("\n On failure:\t{}", text(&config["FailureAction"]));
    if let Some(monitor) = nanos("Monitor") {
        *out += &format!("\n Monitoring Period: {monitor}");
    }
    let ratio = units::shortest(config["MaxFailureRatio"].as_f64().unwrap_or(0.0));
    *out += &format!("\n Max failure ratio: {ratio}\n {order}{}", text(&config["Order"]));
}

fn container_spec(out: &mut String, container: &Value) {
    *out += &format!("\nContainerSpec:\n Image:\t\t{}", text(&container["Image"]));
    for (title, key) in [("Args", "Args"), ("Env", "Env")] {
        let list: String = words(&container[key]).iter().map(|word| format!("{word} ")).collect();
        if !list.is_empty() {
            *out += &format!("\n {title}:\t\t{list}");
        }
    }
    let folder = text(&container["Dir"]);
    if !folder.is_empty() {
        *out += &format!("\n Dir:\t\t{folder}");
    }
    if let Some(init) = container["Init"].as_bool() {
        *out += &format!("\n Init:\t\t{init}");
    }
    let user = text(&container["User"]);
    if !user.is_empty() {
        *out += &format!("\n User: {user}");
    }
    let (add, drop) = (words(&container["CapabilityAdd"]), words(&container["CapabilityDrop"]));
    if !add.is_empty() || !drop.is_empty() {
        *out += "\nCapabilities:";
    }
    for (title, names) in [("Add", add), ("Drop", drop)] {
        if !names.is_empty() {
            *out += &format!("\n {title}: {}", names.join(", "));
        }
    }
    pairs(out, "\nSysCtls:", &container["Sysctls"], "\n ", ": ");
    let ulimits: BTreeMap<&str, &Value> = items(&container["Ulimits"]).iter().map(|ulimit| (text(&ulimit["Name"]), ulimit)).collect();
    if !ulimits.is_empty() {
        *out += "\nUlimits:";
    }
    for (name, ulimit) in ulimits {
        *out += &format!("\n {name}: {}:{}", ulimit["Soft"].as_i64().unwrap_or(0), ulimit["Hard"].as_i64().unwrap_or(0));
    }
}

fn mounts(out: &mut String, container: &Value) {
    let mounts = items(&container["Mounts"]);
    if !mounts.is_empty() {
        *out += "\nMounts:";
    }
    for mount in mounts {
        let read_only = mount["ReadOnly"].as_bool().unwrap_or(false);
        *out += &format!(
            "\n Target:\t{}\n  Source:\t{}\n  ReadOnly:\t{read_only}\n  Type:\t\t{}",
            text(&mount["Target"]),
            text(&mount["Source"]),
            text(&mount["Type"])
        );
    }
}

/// Configs or secrets.
fn files(out: &mut String, container: &Value, kind: &str) {
    let files = items(&container[format!("{kind}s")]);
    if !files.is_empty() {
        *out += &format!("\n{kind}s:");
    }
    for file in files {
        *out += &format!("\n Target:\t{}\n  Source:\t{}", text(&file["File"]["Name"]), text(&file[format!("{kind}Name")]));
    }
}

fn log_driver(out: &mut String, driver: &Value) {
    if !driver.is_object() {
        return;
    }
    *out += "\nLog Driver:";
    let name = text(&driver["Name"]);
    if !name.is_empty() {
        *out += &format!("\n Name:\t\t{name}");
    }
    pairs(out, "\n LogOpts:", &driver["Options"], "\n  ", ":       ");
    *out += "\n";
}

fn resources(out: &mut String, resources: &Value) {
    let number = |part: &Value, key: &str| part[key].as_f64().unwrap_or(0.0);
    let limits = &resources["Limits"];
    if resources.is_object() {
        *out += "\nResources:";
        for (title, part, more) in [("Reservations", &resources["Reservations"], false), ("Limits", limits, true)] {
            let (cpus, memory) = (number(part, "NanoCPUs"), number(part, "MemoryBytes"));
            if cpus <= 0.0 && memory <= 0.0 && !(more && number(part, "Pids") > 0.0) {
                continue;
            }
            *out += &format!("\n {title}:");
            if cpus > 0.0 {
                *out += &format!("\n  CPU:\t\t{}", units::shortest(cpus / NANO));
            }
            if memory > 0.0 {
                *out += &format!("\n  Memory:\t{}", units::bytes_size(memory));
            }
        }
    }
    if number(limits, "Pids") > 0.0 {
        *out += &format!("\n  PIDs:\t\t{}", number(limits, "Pids"));
    }
}

fn attachments(out: &mut String, attachments: &Value, names: &BTreeMap<String, String>) {
    let attachments = items(attachments);
    if attachments.is_empty() {
        return;
    }
    *out += "\nNetworks:";
    for attachment in attachments {
        let id = text(&attachment["Target"]);
        *out += &format!(" {}", names.get(id).map_or(id, String::as_str));
    }
    *out += " ";
}

fn ports(out: &mut String, ports: &Value) {
    let ports = items(ports);
    if ports.is_empty() {
        return;
    }
    *out += "\nPorts:";
    for port in ports {
        let number = |key: &str| port[key].as_u64().unwrap_or(0);
        *out += &format!(
            "\n PublishedPort = {}\n  Protocol = {}\n  TargetPort = {}\n  PublishMode = {}",
            number("PublishedPort"),
            text(&port["Protocol"]),
            number("TargetPort"),
            text(&port["PublishMode"])
        );
    }
    *out += " ";
}

fn health(out: &mut String, health: &Value) {
    if !health.is_object() {
        return;
    }
    let nanos = |key: &str| units::duration(health[key].as_i64().unwrap_or(0));
    *out += &format!(
        "\n Healthcheck:\n  Interval = {}\n  Retries = {}\n  StartPeriod =\t{}\n  Timeout =\t{}",
        nanos("Interval"),
        health["Retries"].as_i64().unwrap_or(0),
        nanos("StartPeriod"),
        nanos("Timeout")
    );
    let tests = words(&health["Test"]);
    if !tests.is_empty() {
        *out += "\n  Tests:";
        for test in tests {
            *out += &format!("\n\t Test = {test}");
        }
        *out += " ";
    }
}
