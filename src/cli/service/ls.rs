//! `service ls`.

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    format::{self, natural, reference, table},
    output,
    task::text,
    template::Val,
};

const COLUMNS: table::Columns = table::Columns {
    default: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
    titles: &[("ID", "ID"), ("Name", "NAME"), ("Mode", "MODE"), ("Replicas", "REPLICAS"), ("Image", "IMAGE"), ("Ports", "PORTS")],
    raw: "id: {{.ID}}\nname: {{.Name}}\nmode: {{.Mode}}\nreplicas: {{.Replicas}}\nimage: {{.Image}}\nports: {{.Ports}}\n",
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let quiet = matches.on("quiet");
    let mut query = filter_query(&given_filters(matches.list("filter")));
    if !quiet {
        query.push(("status", "true".into()));
    }
    let answer = session.client.get("/services", &query).await?;
    print(answer.as_array().map_or(&[], Vec::as_slice), &matches)
}

/// Services as a list, by the `--format` and `--quiet` of `matches`.
pub fn print(services: &[Value], matches: &Matches) -> Result<(), Error> {
    let mut services: Vec<&Value> = services.iter().collect();
    services.sort_by(|a, b| natural::compare(text(&a["Spec"]["Name"]), text(&b["Spec"]["Name"])));
    let rows: Vec<Val> = services.into_iter().map(row).collect();
    let format = table::choose(crate::cli::format::config::format(matches, "servicesFormat").as_deref(), matches.on("quiet"), &COLUMNS);
    output::print(&table::render(&format, &COLUMNS, &rows)?)
}

fn row(service: &Value) -> Val {
    let mode = &service["Spec"]["Mode"];
    let word = [("Global", "global"), ("Replicated", "replicated"), ("ReplicatedJob", "replicated job"), ("GlobalJob", "global job")];
    let word = word.iter().find(|(key, _)| mode.get(key).is_some_and(|mode| !mode.is_null())).map_or("", |(_, word)| word);
    Val::row(
        "*service.serviceContext",
        [
            ("ID", Val::from(format::short_id(text(&service["ID"])))),
            ("Name", Val::from(text(&service["Spec"]["Name"]))),
            ("Mode", Val::from(word)),
            ("Replicas", Val::from(replicas(service, word))),
            ("Image", Val::from(reference::without_digest(text(&service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])))),
            ("Ports", Val::from(ports(&service["Endpoint"]["Ports"]))),
        ],
    )
}

fn replicas(service: &Value, mode: &str) -> String {
    let status = &service["ServiceStatus"];
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    let (running, desired, completed) = (count("RunningTasks"), count("DesiredTasks"), count("CompletedTasks"));
    match mode {
        "replicated job" => {
            let total = service["Spec"]["Mode"]["ReplicatedJob"]["TotalCompletions"].as_u64().unwrap_or(0);
            format!("{running}/{desired} ({completed}/{total} completed)")
        }
        "global job" => format!("{running}/{desired} ({completed}/{} completed)", desired + completed),
        _ => match service["Spec"]["TaskTemplate"]["Placement"]["MaxReplicas"].as_u64() {
            Some(most) if most > 0 && mode == "replicated" => format!("{running}/{desired} (max {most} per node)"),
            _ => format!("{running}/{desired}"),
        },
    }
}

/// A run of ports published in a row.
#[derive(Default)]
struct Run<'a> {
    published: (u64, u64),
    target: (u64, u64),
    protocol: &'a str,
}

impl Run<'_> {
    fn text(&self) -> String {
        let range = |(first, last): (u64, u64)| if last > first { format!("{first}-{last}") } else { first.to_string() };
        format!("*:{}->{}/{}", range(self.published), range(self.target), self.protocol)
    }
}

/// Ingress ports, neighbours as one range: `*:80-81->80-81/tcp`.
fn ports(ports: &Value) -> String {
    let number = |port: &Value, name: &str| port[name].as_u64().unwrap_or(0);
    let mut ports: Vec<&Value> = ports.as_array().into_iter().flatten().collect();
    ports.sort_by_key(|port| (text(&port["Protocol"]), number(port, "PublishedPort")));
    let mut runs: Vec<Run<'_>> = Vec::new();
    for port in ports.into_iter().filter(|port| text(&port["PublishMode"]) == "ingress") {
        let (published, target, protocol) = (number(port, "PublishedPort"), number(port, "TargetPort"), text(&port["Protocol"]));
        let follows = runs.last().is_some_and(|run| {
            let is_range = run.target.1 != run.target.0;
            run.protocol == protocol
                && published.wrapping_sub(run.published.1) <= 1
                && target.wrapping_sub(run.target.1) <= 1
                && !(is_range && target <= run.target.1)
        });
        match runs.last_mut() {
            Some(run) if follows => (run.published.1, run.target.1) = (published, target),
            _ => runs.push(Run { published: (published, published), target: (target, target), protocol }),
        }
    }
    runs.iter().map(Run::text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod unit {
    use serde_json::json;

    use super::*;

    #[test]
    fn neighbouring_ports_become_a_range() {
        let port = |published: u64, target: u64, mode: &str| json!({"Protocol": "tcp", "PublishedPort": published, "TargetPort": target, "PublishMode": mode});
        assert_eq!(ports(&json!([port(8080, 80, "ingress")])), "*:8080->80/tcp");
        assert_eq!(ports(&json!([port(81, 81, "ingress"), port(80, 80, "ingress"), port(90, 90, "host")])), "*:80-81->80-81/tcp");
        assert_eq!(ports(&json!([port(80, 80, "ingress"), port(81, 80, "ingress"), port(85, 80, "ingress")])), "*:80-81->80/tcp, *:85->80/tcp");
        assert_eq!(ports(&Value::Null), "");
    }
}
