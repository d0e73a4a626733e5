//! `info`.

use serde_json::{Value, json};

use super::version::client_facts;
use crate::cli::{
    Session,
    args::Matches,
    errors::Error,
    format::{shape, units},
    output,
    task::text,
    template::{Template, Val},
};

const BAD_TEMPLATE: u8 = 64;

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let format = match matches.text_or("format", "") {
        "json" => "{{json .}}",
        other => other,
    };
    if format.is_empty() {
        return print(&session).await;
    }
    let template = Template::parse("", format).map_err(|why| Error::Status { code: BAD_TEMPLATE, text: format!("template parsing error: {why}") })?;
    let mut client = client_facts(None);
    client["Plugins"] = json!([]);
    let (mut info, errors) = match session.client.get("/info", &[]).await {
        Ok(info) => (info, Vec::new()),
        Err(error @ Error::Connect(_)) => return Err(error),
        Err(error) => {
            output::warn(&error.to_string());
            (json!({}), vec![error.to_string()])
        }
    };
    info["ServerErrors"] = json!(errors);
    info["ClientInfo"] = client;
    let value: Val = serde_json::from_str(&info.to_string()).map_err(|error| Error::Plain(error.to_string()))?;
    let rendered = template.render(&shape::typed("system.dockerInfo", &value));
    // docker ends the line before it says what was wrong with the template.
    output::line(rendered.as_deref().unwrap_or_default())?;
    rendered.map(drop).map_err(Error::Plain)
}

async fn print(session: &Session) -> Result<(), Error> {
    let mut lines = Lines::default();
    lines.add("Client:");
    lines.add(&format!(" Version:    {}", env!("CARGO_PKG_VERSION")));
    lines.add(" Context:    default");
    lines.add(" Debug Mode: false");
    lines.add("\nServer:");
    let info = match session.client.get("/info", &[]).await {
        Ok(info) => info,
        Err(error @ Error::Connect(_)) => {
            output::print(&lines.0)?;
            return Err(error);
        }
        Err(error) => {
            output::print(&lines.0)?;
            output::warn(&format!("ERROR: {error}"));
            return Err(Error::plain("errors pretty printing info"));
        }
    };
    server(&mut lines, &info);
    output::print(&lines.0)?;
    for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::warn(warning);
    }
    Ok(())
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, line: &str) {
        self.0 += line;
        self.0.push('\n');
    }

    /// `title: value`, whatever the value.
    fn fact(&mut self, title: &str, value: &Value) {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        self.add(&format!("{title}: {shown}"));
    }

    fn number(&mut self, title: &str, value: &Value) {
        self.add(&format!("{title}: {}", value.as_i64().unwrap_or(0)));
    }

    fn flag(&mut self, title: &str, value: &Value) {
        self.add(&format!("{title}: {}", value.as_bool().unwrap_or(false)));
    }

    /// The fact, unless it is empty.
    fn known(&mut self, title: &str, value: &Value) {
        if !text(value).is_empty() {
            self.fact(title, value);
        }
    }
}

fn words(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(" ")
}

fn server(lines: &mut Lines, info: &Value) {
    for (title, key) in [
        (" Containers", "Containers"),
        ("  Running", "ContainersRunning"),
        ("  Paused", "ContainersPaused"),
        ("  Stopped", "ContainersStopped"),
        (" Images", "Images"),
    ] {
        lines.number(title, &info[key]);
    }
    lines.known(" Server Version", &info["ServerVersion"]);
    lines.known(" Storage Driver", &info["Driver"]);
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        lines.add(&format!("  {}: {}", text(&pair[0]), text(&pair[1])));
    }
    for (title, key) in [(" Logging Driver", "LoggingDriver"), (" Cgroup Driver", "CgroupDriver"), (" Cgroup Version", "CgroupVersion")] {
        lines.known(title, &info[key]);
    }
    lines.add(" Plugins:");
    let plugins = &info["Plugins"];
    lines.add(&format!("  Volume: {}", words(&plugins["Volume"])));
    lines.add(&format!("  Network: {}", words(&plugins["Network"])));
    if plugins["Authorization"].as_array().is_some_and(|names| !names.is_empty()) {
        lines.add(&format!("  Authorization: {}", words(&plugins["Authorization"])));
    }
    lines.add(&format!("  Log: {}", words(&plugins["Log"])));
    list(lines, " CDI spec directories:", &info["CDISpecDirs"]);
    lines.fact(" Swarm", &info["Swarm"]["LocalNodeState"]);
    swarm(lines, &info["Swarm"]);
    if let Some(runtimes) = info["Runtimes"].as_object().filter(|runtimes| !runtimes.is_empty()) {
        lines.add(&format!(" Runtimes: {}", runtimes.keys().cloned().collect::<Vec<_>>().join(" ")));
        lines.fact(" Default Runtime", &info["DefaultRuntime"]);
    }
    if text(&info["OSType"]) == "linux" {
        linux(lines, info);
    }
    for (title, key) in
        [(" Kernel Version", "KernelVersion"), (" Operating System", "OperatingSystem"), (" OSType", "OSType"), (" Architecture", "Architecture")]
    {
        lines.known(title, &info[key]);
    }
    lines.number(" CPUs", &info["NCPU"]);
    lines.add(&format!(" Total Memory: {}", units::bytes_size(info["MemTotal"].as_f64().unwrap_or(0.0))));
    lines.known(" Name", &info["Name"]);
    lines.known(" ID", &info["ID"]);
    lines.fact(" Docker Root Dir", &info["DockerRootDir"]);
    lines.flag(" Debug Mode", &info["Debug"]);
    if info["Debug"] == Value::Bool(true) {
        lines.number("  File Descriptors", &info["NFd"]);
        lines.number("  Goroutines", &info["NGoroutines"]);
        lines.fact("  System Time", &info["SystemTime"]);
        lines.number("  EventsListeners", &info["NEventsListener"]);
    }
    for (title, key) in [(" HTTP Proxy", "HttpProxy"), (" HTTPS Proxy", "HttpsProxy"), (" No Proxy", "NoProxy")] {
        lines.known(title, &info[key]);
    }
    list(lines, " Labels:", &info["Labels"]);
    lines.flag(" Experimental", &info["ExperimentalBuild"]);
    registries(lines, &info["RegistryConfig"]);
    lines.flag(" Live Restore Enabled", &info["LiveRestoreEnabled"]);
    lines.known(" Product License", &info["ProductLicense"]);
    if let Some(pools) = info["DefaultAddressPools"].as_array().filter(|pools| !pools.is_empty()) {
        lines.add(" Default Address Pools:");
        for pool in pools {
            lines.add(&format!("   Base: {}, Size: {}", text(&pool["Base"]), pool["Size"].as_i64().unwrap_or(0)));
        }
    }
    lines.add("");
}

fn list(lines: &mut Lines, title: &str, values: &Value) {
    let Some(values) = values.as_array().filter(|values| !values.is_empty()) else { return };
    lines.add(title);
    for value in values {
        lines.add(&format!("  {}", text(value)));
    }
}

fn linux(lines: &mut Lines, info: &Value) {
    lines.fact(" Init Binary", &info["InitBinary"]);
    for (title, key) in [(" containerd version", "ContainerdCommit"), (" runc version", "RuncCommit"), (" init version", "InitCommit")] {
        lines.fact(title, &info[key]["ID"]);
    }
    let Some(options) = info["SecurityOptions"].as_array().filter(|options| !options.is_empty()) else { return };
    lines.add(" Security Options:");
    for option in options {
        // "name=seccomp,profile=builtin"; a word alone is a name of the old form.
        for pair in text(option).split(',') {
            match pair.split_once('=').unwrap_or(("name", pair)) {
                ("name", name) => lines.add(&format!("  {name}")),
                ("profile", profile) => lines.add(&format!("   Profile: {profile}")),
                _ => {}
            }
        }
    }
}

fn registries(lines: &mut Lines, config: &Value) {
    let networks = config["InsecureRegistryCIDRs"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let indexes = config["IndexConfigs"].as_object();
    if !networks.is_empty() || indexes.is_some_and(|indexes| !indexes.is_empty()) {
        lines.add(" Insecure Registries:");
        for index in indexes.into_iter().flatten().map(|(_, index)| index).filter(|index| index["Secure"] != Value::Bool(true)) {
            lines.add(&format!("  {}", text(&index["Name"])));
        }
        for network in networks {
            lines.add(&format!("  {}", text(network)));
        }
    }
    list(lines, " Registry Mirrors:", &config["Mirrors"]);
}

fn swarm(lines: &mut Lines, swarm: &Value) {
    let state = text(&swarm["LocalNodeState"]);
    if state == "inactive" || state == "locked" {
        return;
    }
    lines.fact("  NodeID", &swarm["NodeID"]);
    lines.known("  Error", &swarm["Error"]);
    lines.flag("  Is Manager", &swarm["ControlAvailable"]);
    if swarm["Cluster"].is_object() && swarm["ControlAvailable"] == Value::Bool(true) && text(&swarm["Error"]).is_empty() && state != "error" {
        cluster(lines, swarm);
    }
    lines.fact("  Node Address", &swarm["NodeAddr"]);
    let mut managers: Vec<&str> = swarm["RemoteManagers"].as_array().into_iter().flatten().map(|peer| text(&peer["Addr"])).collect();
    if !managers.is_empty() {
        managers.sort_unstable();
        lines.add("  Manager Addresses:");
        for address in managers {
            lines.add(&format!("   {address}"));
        }
    }
}

fn cluster(lines: &mut Lines, swarm: &Value) {
    let cluster = &swarm["Cluster"];
    let spec = &cluster["Spec"];
    lines.fact("  ClusterID", &cluster["ID"]);
    lines.number("  Managers", &swarm["Managers"]);
    lines.number("  Nodes", &swarm["Nodes"]);
    if let Some(pools) = cluster["DefaultAddrPool"].as_array() {
        let pools: String = pools.iter().map(|pool| format!("{}  ", text(pool))).collect();
        lines.add(&format!("  Default Address Pool: {pools}"));
        lines.number("  SubnetSize", &cluster["SubnetSize"]);
    }
    if cluster["DataPathPort"].as_u64().unwrap_or(0) > 0 {
        lines.number("  Data Path Port", &cluster["DataPathPort"]);
    }
    lines.add("  Orchestration:");
    lines.number("   Task History Retention Limit", &spec["Orchestration"]["TaskHistoryRetentionLimit"]);
    lines.add("  Raft:");
    lines.number("   Snapshot Interval", &spec["Raft"]["SnapshotInterval"]);
    if spec["Raft"]["KeepOldSnapshots"].is_u64() {
        lines.number("   Number of Old Snapshots to Retain", &spec["Raft"]["KeepOldSnapshots"]);
    }
    lines.number("   Heartbeat Tick", &spec["Raft"]["HeartbeatTick"]);
    lines.number("   Election Tick", &spec["Raft"]["ElectionTick"]);
    let human = |value: &Value| units::human_duration(std::time::Duration::from_nanos(value.as_u64().unwrap_or(0)));
    lines.add("  Dispatcher:");
    lines.add(&format!("   Heartbeat Period: {}", human(&spec["Dispatcher"]["HeartbeatPeriod"])));
    lines.add("  CA Configuration:");
    lines.add(&format!("   Expiry Duration: {}", human(&spec["CAConfig"]["NodeCertExpiry"])));
    lines.number("   Force Rotate", &spec["CAConfig"]["ForceRotate"]);
    let certificate = text(&spec["CAConfig"]["SigningCACert"]).trim();
    if !certificate.is_empty() {
        lines.add(&format!("   Signing CA Certificate: \n{certificate}\n"));
    }
    if let Some(authorities) = spec["CAConfig"]["ExternalCAs"].as_array().filter(|authorities| !authorities.is_empty()) {
        lines.add("   External CAs:");
        for authority in authorities {
            lines.add(&format!("     {}: {}", text(&authority["Protocol"]), text(&authority["URL"])));
        }
    }
    lines.flag("  Autolock Managers", &spec["EncryptionConfig"]["AutoLockManagers"]);
    lines.flag("  Root Rotation In Progress", &cluster["RootRotationInProgress"]);
}
