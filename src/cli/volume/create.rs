//! `volume create`.

use super::flags::CLUSTER;
use crate::cli::{Session, args::Matches, errors::Error, output, task::text};
use serde_json::{Map, Value, json};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let name = matches.args.first().map(String::as_str).unwrap_or_default();
    let pairs = |list: &[String]| -> Map<String, Value> {
        list.iter().map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(key, value)| (key.to_owned(), json!(value))).collect()
    };
    let mut body =
        json!({"Driver": matches.text_or("driver", "local"), "DriverOpts": pairs(matches.list("opt")), "Labels": pairs(matches.list("label")), "Name": name});
    if matches.any_changed(CLUSTER) {
        body["ClusterVolumeSpec"] = json!({});
    }
    let made = session.client.post("/volumes/create", &[], Some(&body)).await?;
    output::line(text(&made["Name"]))
}
