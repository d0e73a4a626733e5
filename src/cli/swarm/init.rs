//! `swarm init`.

use serde_json::{Value, json};

use super::{flags, token, unlock};
use crate::cli::{
    Session,
    args::{Matches, values},
    errors::Error,
    output,
    task::text,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let request = request(&matches)?;
    let node = create(&session, &request).await?;
    output::print(&format!("Swarm initialized: current node ({node}) is now a manager.\n\n"))?;
    token::print_join_command(&session, &node, true, false).await?;
    output::line("To add a manager to this swarm, run 'wsw swarm join-token manager' and follow the instructions.")?;
    if request["AutoLockManagers"] == Value::Bool(true) {
        unlock::print_command(&unlock::fetch_key(&session).await?)?;
    }
    Ok(())
}

/// Makes the swarm; the answer is the node's id.
pub async fn create(session: &Session, request: &Value) -> Result<String, Error> {
    let answer = session.client.post("/swarm/init", &[], Some(request)).await;
    let answer = answer.map_err(|error| {
        let said = error.to_string();
        if said.contains("could not choose an IP address to advertise") || said.contains("could not find the system's IP address") {
            return Error::Plain(format!("{said} - specify one with --advertise-addr"));
        }
        error
    })?;
    Ok(text(&answer).to_owned())
}

pub fn request(matches: &Matches) -> Result<Value, Error> {
    let mut spec = json!({
        "Labels": null,
        "Orchestration": {},
        "Raft": {"ElectionTick": 0, "HeartbeatTick": 0},
        "Dispatcher": {},
        "CAConfig": {},
        "TaskDefaults": {},
        "EncryptionConfig": {"AutoLockManagers": false},
    });
    flags::change_spec(&mut spec, matches, None)?;
    let mut pools = Vec::new();
    for list in matches.list("default-addr-pool") {
        pools.extend(values::parse_cidrs(list).map_err(Error::Plain)?);
    }
    Ok(json!({
        "ListenAddr": flags::node_addr(matches.text_or("listen-addr", flags::DEFAULT_LISTEN)).map_err(Error::Plain)?,
        "AdvertiseAddr": matches.text_or("advertise-addr", ""),
        "DataPathAddr": matches.text_or("data-path-addr", ""),
        "DataPathPort": matches.uint("data-path-port").unwrap_or(0),
        "ForceNewCluster": matches.on("force-new-cluster"),
        "Spec": spec,
        "AutoLockManagers": matches.on("autolock"),
        "Availability": flags::availability(matches)?,
        "DefaultAddrPool": pools,
        "SubnetSize": matches.uint("default-addr-pool-mask-length").unwrap_or(24),
    }))
}
