//! `swarm join`.

use serde_json::{Value, json};

use super::flags;
use crate::cli::{Session, args::Matches, errors::Error, output};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let request = json!({
        "ListenAddr": flags::node_addr(matches.text_or("listen-addr", flags::DEFAULT_LISTEN)).map_err(Error::Plain)?,
        "AdvertiseAddr": matches.text_or("advertise-addr", ""),
        "DataPathAddr": matches.text_or("data-path-addr", ""),
        "RemoteAddrs": matches.args,
        "JoinToken": matches.text_or("token", ""),
        "Availability": flags::availability(&matches)?,
    });
    session.client.post("/swarm/join", &[], Some(&request)).await?;
    let info = session.client.get("/info", &[]).await?;
    let role = if info["Swarm"]["ControlAvailable"] == Value::Bool(true) { "manager" } else { "worker" };
    output::line(&format!("This node joined a swarm as a {role}."))
}
