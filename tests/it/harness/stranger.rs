//! Somebody on the network with a certificate, who says what no node says.

use super::node::Node;
use std::net::{IpAddr, SocketAddr};
use wsw_net::{Close, Connection, Credentials, Endpoint, Error, FrameReceiver, FrameSender, Protocol, Whom};

/// Somebody with a certificate.
pub struct Stranger {
    endpoint: Endpoint,
    runtime: tokio::runtime::Runtime,
}

/// What is said to who asks for one kind of connection.
pub type Said = Result<(), Error>;

impl Stranger {
    /// One that shows this certificate, from this address.
    pub fn new(root: &str, certificate: &str, key: &str, from: IpAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("there are threads");
        let credentials = Credentials::from_pem(root, certificate, key).expect("they are well formed");
        let endpoint = runtime.block_on(async { Endpoint::dialler(SocketAddr::new(from, 0), credentials) }).expect("there is a port");
        Self { endpoint, runtime }
    }

    /// Lets something be done on its runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A connection of this kind to a node.
    pub async fn dial(&self, at: &Node, protocol: Protocol) -> Result<Connection, Error> {
        let whom = Whom::Node(at.id().parse().expect("it is in a swarm"));
        self.endpoint.dial(at.remote().parse().expect("it is an address"), whom, protocol).await
    }

    /// Asks a node for a connection of this kind and says something on it.
    pub fn ask(&self, at: &Node, protocol: Protocol) -> Said {
        self.runtime.block_on(async {
            let asked = async {
                let connection = self.dial(at, protocol).await?;
                let (send, receive) = connection.open().await?;
                let mut send = FrameSender::<Vec<u8>>::new(send, 1 << 10);
                send.send(&b"let me in".to_vec()).await?;
                let answer = FrameReceiver::<Vec<u8>>::new(receive, 1 << 20).next().await;
                // Why it was closed says more than that the stream is over.
                match (answer, connection.is_closed()) {
                    (Err(error @ (Error::Refused(_) | Error::Busy(_))), _) => Err(error),
                    (_, true) => Err(connection.closed().await),
                    (_, false) => {
                        connection.close(Close::Done, "");
                        Ok(())
                    }
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(20), asked).await.unwrap_or_else(|_| Err(Error::Lost("nothing was said".into())))
        })
    }
}
