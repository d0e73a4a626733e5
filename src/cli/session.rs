//! What every command is given: the client and where it points.

use std::{env, rc::Rc};

use super::{args::Matches, client::Client, errors::Error, up};

#[derive(Clone)]
pub struct Session {
    pub client: Rc<Client>,
    /// The daemon's address as it was given or found.
    pub host: String,
}

impl Session {
    /// `-H` wins over `WSW_HOST`, that over `DOCKER_HOST`, that over the default socket.
    pub fn new(root: &Matches) -> Result<Session, Error> {
        if root.list("host").len() > 1 {
            return Err(Error::plain("specify only one -H"));
        }
        let from_env = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let given = root.text("host").map(str::to_owned).or_else(|| from_env("WSW_HOST")).or_else(|| from_env("DOCKER_HOST"));
        let host = match given {
            Some(host) => host,
            None => format!("unix://{}", up::default_socket()?.display()),
        };
        let host = if host.contains("://") {
            host
        } else if host.starts_with('/') {
            format!("unix://{host}")
        } else {
            format!("tcp://{host}")
        };
        Ok(Session { client: Rc::new(Client::new(host.clone())?), host })
    }
}
