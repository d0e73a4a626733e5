//! `swarm join-token`, and the join commands that `init` prints too.

use super::update;
use crate::cli::{Session, args::Matches, client::escape, errors::Error, output, task::text};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let role = matches.args[0].as_str();
    let (worker, manager) = (role == "worker", role == "manager");
    if !worker && !manager {
        return Err(Error::Plain(format!("unknown role {role}")));
    }
    let quiet = matches.on("quiet");
    if matches.on("rotate") {
        let swarm = session.client.get("/swarm", &[]).await?;
        update::send(&session, &swarm, update::Rotate { worker, manager, unlock_key: false }).await?;
        if !quiet {
            output::print(&format!("Successfully rotated {role} join token.\n\n"))?;
        }
    }
    // Read after the rotation: it made a new token.
    let swarm = session.client.get("/swarm", &[]).await?;
    if quiet {
        return output::line(text(&swarm["JoinTokens"][if worker { "Worker" } else { "Manager" }]));
    }
    let info = session.client.get("/info", &[]).await?;
    print_join_command(&session, text(&info["Swarm"]["NodeID"]), worker, manager).await
}

pub async fn print_join_command(session: &Session, node: &str, worker: bool, manager: bool) -> Result<(), Error> {
    let node = session.client.get(&format!("/nodes/{}", escape(node)), &[]).await?;
    let swarm = session.client.get("/swarm", &[]).await?;
    if !node["ManagerStatus"].is_object() {
        return Ok(());
    }
    let address = text(&node["ManagerStatus"]["Addr"]);
    for (wanted, role, key) in [(worker, "worker", "Worker"), (manager, "manager", "Manager")] {
        if wanted {
            let token = text(&swarm["JoinTokens"][key]);
            output::print(&format!("To add a {role} to this swarm, run the following command:\n\n    wsw swarm join --token {token} {address}\n\n"))?;
        }
    }
    Ok(())
}
