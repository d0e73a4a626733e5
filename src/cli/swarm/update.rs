//! `swarm update`, and writing a swarm's spec back.

use serde_json::Value;

use super::{flags, unlock};
use crate::cli::{Session, args::Matches, errors::Error, output, task::text};

/// Which secrets an update makes anew.
#[derive(Default)]
pub struct Rotate {
    pub worker: bool,
    pub manager: bool,
    pub unlock_key: bool,
}

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    if matches.changed_flags().next().is_none() {
        return output::print(&crate::cli::commands::help_of(&["swarm", "update"]));
    }
    let mut swarm = session.client.get("/swarm", &[]).await?;
    let locks = |swarm: &Value| swarm["Spec"]["EncryptionConfig"]["AutoLockManagers"] == Value::Bool(true);
    let locked_before = locks(&swarm);
    let root = text(&swarm["TLSInfo"]["TrustRoot"]).to_owned();
    flags::change_spec(&mut swarm["Spec"], &matches, Some(&root))?;
    send(&session, &swarm, Rotate::default()).await?;
    output::line("Swarm updated.")?;
    if locks(&swarm) && !locked_before {
        unlock::print_command(&unlock::fetch_key(&session).await?)?;
    }
    Ok(())
}

/// Writes the spec back under the version that was read.
pub async fn send(session: &Session, swarm: &Value, rotate: Rotate) -> Result<(), Error> {
    let query = [
        ("version", swarm["Version"]["Index"].as_u64().unwrap_or(0).to_string()),
        ("rotateWorkerToken", rotate.worker.to_string()),
        ("rotateManagerToken", rotate.manager.to_string()),
        ("rotateManagerUnlockKey", rotate.unlock_key.to_string()),
    ];
    session.client.post("/swarm/update", &query, Some(&swarm["Spec"])).await.map(drop)
}
