//! `version`.

use std::collections::BTreeMap;

use ::time::macros::format_description;
use serde_json::{Value, json};

use crate::cli::{
    Session,
    args::Matches,
    client::{API_VERSION, at_least},
    errors::Error,
    format::{shape, table, time},
    output,
    task::text,
    template::{Template, Val},
};

const BAD_TEMPLATE: u8 = 64;
/// This table's cells are at least twenty wide, one of it space.
const WIDTH: usize = 20;

/// What this client is; `api` is the version that both sides speak.
pub fn client_facts(api: Option<&str>) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut facts = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "DefaultAPIVersion": API_VERSION,
        "Os": std::env::consts::OS,
        "Arch": architecture,
        "Context": "default",
    });
    if let Some(api) = api {
        facts["ApiVersion"] = json!(api);
    }
    facts
}

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let template = match matches.text_or("format", "") {
        "" => None,
        "json" => Some(Template::parse("version", "{{json .}}")),
        given => Some(Template::parse("version", given)),
    };
    let template = template.transpose().map_err(|why| Error::Status { code: BAD_TEMPLATE, text: format!("template parsing error: {why}") })?;
    let api = session.client.version().await.unwrap_or(API_VERSION).to_owned();
    let client = client_facts(Some(&api));
    let answer = session.client.get("/version", &[]).await;
    let (server, failed) = match answer {
        Ok(server) => (with_engine(server), None),
        Err(error) => (Value::Null, Some(error)),
    };
    let shown = match template {
        None => format!("{}\n", describe(&client, &server)),
        Some(template) => {
            let both =
                serde_json::from_str::<Val>(&json!({"Client": client, "Server": server}).to_string()).map_err(|error| Error::Plain(error.to_string()))?;
            format!("{}\n", template.render(&shape::typed("system.versionInfo", &both)).map_err(Error::Plain)?)
        }
    };
    output::print(&table::align(&shown, WIDTH - 1, 1))?;
    failed.map_or(Ok(()), Err)
}

/// Daemons that name no components have one: the engine.
fn with_engine(mut server: Value) -> Value {
    for component in server["Components"].as_array_mut().into_iter().flatten().filter(|component| component["Name"] == "Engine") {
        if let Some(built) = component["Details"].get_mut("BuildTime") {
            *built = json!(ansi_c(text(built)));
        }
    }
    let named = server["Components"].as_array().is_some_and(|components| components.iter().any(|component| text(&component["Name"]) == "Engine"));
    if !named {
        let details: serde_json::Map<String, Value> = ["ApiVersion", "MinAPIVersion", "GitCommit", "GoVersion", "Os", "Arch", "BuildTime"]
            .iter()
            .map(|key| ((*key).to_owned(), json!(text(&server[*key]))))
            .chain([("Experimental".to_owned(), json!(server["Experimental"].as_bool().unwrap_or(false).to_string()))])
            .collect();
        let engine = json!({"Name": "Engine", "Version": server["Version"], "Details": details});
        if let Some(components) = server["Components"].as_array_mut() {
            components.push(engine);
        } else {
            server["Components"] = json!([engine]);
        }
    }
    server
}

/// "Mon Jan  2 15:04:05 2006"; what is no RFC 3339 time stays.
fn ansi_c(text: &str) -> String {
    let layout = format_description!("[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]");
    time::parse(text).and_then(|at| at.format(layout).ok()).unwrap_or_else(|| text.to_owned())
}

fn describe(client: &Value, server: &Value) -> String {
    let fact = |key: &str| text(&client[key]);
    let (api, own) = (fact("ApiVersion"), fact("DefaultAPIVersion"));
    let downgraded = if api != own && at_least(own, api) { format!(" (downgraded from {own})") } else { String::new() };
    let mut lines = vec![
        "Client:".to_owned(),
        format!(" Version:\t{}", fact("Version")),
        format!(" API version:\t{api}{downgraded}"),
        format!(" OS/Arch:\t{}/{}", fact("Os"), fact("Arch")),
        format!(" Context:\t{}", fact("Context")),
    ];
    if !server.is_object() {
        return lines.join("\n");
    }
    let platform = text(&server["Platform"]["Name"]);
    lines.push(format!("\nServer:{}{platform}", if platform.is_empty() { "" } else { " " }));
    for component in server["Components"].as_array().into_iter().flatten() {
        lines.push(format!(" {}:", text(&component["Name"])));
        lines.push(format!("  Version:\t{}", text(&component["Version"])));
        let details: BTreeMap<&str, &str> = component["Details"].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))).collect();
        let detail = |key: &str| details.get(key).copied().unwrap_or_default();
        if text(&component["Name"]) != "Engine" {
            lines.extend(details.iter().map(|(key, value)| format!("  {key}:\t{value}")));
            continue;
        }
        lines.push(format!("  API version:\t{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion")));
        for (title, key) in [("Go version", "GoVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime")] {
            lines.push(format!("  {title}:\t{}", detail(key)));
        }
        lines.push(format!("  OS/Arch:\t{}/{}", detail("Os"), detail("Arch")));
        lines.push(format!("  Experimental:\t{}", detail("Experimental")));
    }
    lines.join("\n")
}
