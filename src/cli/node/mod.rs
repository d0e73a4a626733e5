//! `wsw node`.

mod inspect;
mod ls;
mod ps;
mod rm;
mod update;

pub use inspect::{get as inspect_one, run as inspect};
pub use ls::run as ls;
pub use ps::run as ps;
pub use rm::run as rm;
pub use update::{demote, promote, run as update};

use super::{client::Client, errors::Error, task::text};

/// The node's name or id; `self` is the daemon's own node.
pub async fn reference(client: &Client, node: &str) -> Result<String, Error> {
    if node != "self" {
        return Ok(node.to_owned());
    }
    let info = client.get("/info", &[]).await?;
    let id = text(&info["Swarm"]["NodeID"]);
    if !id.is_empty() {
        return Ok(id.to_owned());
    }
    // Not a manager, it seems: a swarm request says so in better words.
    client.get("/nodes", &[]).await?;
    Err(Error::plain("node ID not found in /info"))
}
