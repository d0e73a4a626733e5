//! `wsw stack`: a Compose file as a set of services, networks, secrets and configs that carry the stack's label.

pub mod commands;
mod deploy;
mod flags;
mod list;
mod objects;
mod remove;

use serde_json::Value;

pub use deploy::{config, run as deploy};
pub use list::{ls, ps, services};
pub use remove::run as rm;

use super::{
    client::{Client, filters},
    compose::convert::NAMESPACE,
    errors::Error,
};

/// A name that is more than blanks and quotes.
fn check_name(name: &str) -> Result<(), Error> {
    if name.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'').is_empty() {
        return Err(Error::Plain(format!("invalid stack name: {name:?}")));
    }
    Ok(())
}

/// The objects of one kind (`/services`, `/networks`…) that belong to a stack.
async fn of_stack(client: &Client, path: &str, stack: &str) -> Result<Vec<Value>, Error> {
    let label = format!("{NAMESPACE}={stack}");
    match client.get(path, &[("filters", filters([("label", label.as_str())]))]).await? {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// The same, where a daemon that does not have this kind of object has none of them.
async fn of_stack_if_known(client: &Client, path: &str, stack: &str) -> Result<Vec<Value>, Error> {
    match of_stack(client, path, stack).await {
        Err(Error::Daemon { status: 501, .. }) => Ok(Vec::new()),
        listed => listed,
    }
}
