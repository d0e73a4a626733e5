//! A manager on the network: joins with right and wrong tokens, sessions that are what their certificates say.

use super::*;
use std::sync::Arc;
use wsw_api::Class;
use wsw_api::id::{NodeId, SessionId};
use wsw_api::join::{JoinAnswer, JoinRequest, Joined, MAX_JOIN_FRAME};
use wsw_api::session::{MAX_MANAGER_FRAME, MAX_WORKER_FRAME, ManagerFrame, WorkerFrame};
use wsw_api::spec::NodeRole;
use wsw_manager::identity::{Identity, ca, token::Token};
use wsw_manager::raft::wire::{Hello, MAX_ASK, MAX_REPLY};
use wsw_net::{Connection, Credentials, Endpoint, Error, FrameReceiver, FrameSender, Protocol, Whom, dial_unknown};

struct Served {
    manager: Manager,
    endpoint: Endpoint,
    at: SocketAddr,
    identity: Identity,
}

async fn serve(root: &Path) -> Served {
    let manager = init(root).await;
    let identity = Identity::load(root, None).unwrap().unwrap();
    let credentials = Credentials::from_pem(&identity.root, &identity.certificate, &identity.key.0).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = Endpoint::listen(any, credentials, manager.handlers(), Arc::new(manager.clone())).unwrap();
    Served { at: endpoint.addr().unwrap(), manager, endpoint, identity }
}

impl Served {
    fn tokens(&self) -> wsw_api::object::JoinTokens {
        self.manager.store().cluster().unwrap().join_tokens.clone()
    }

    async fn ask(&self, token: &str, csr: &str) -> JoinAnswer {
        let pin = Token::parse(&self.tokens().worker).unwrap();
        let (connection, _) = dial_unknown(self.at, Arc::new(move |found: &[u8; 32]| pin.names(found))).await.unwrap();
        let (send, receive) = connection.open().await.unwrap();
        let request =
            JoinRequest { token: token.into(), csr: csr.into(), hostname: "there".into(), addr: "127.0.0.1:9".into(), availability: Availability::Drain };
        // Held to the end: a sender that is dropped before breaks its stream off.
        let mut sender = FrameSender::new(send, MAX_JOIN_FRAME);
        sender.send(&request).await.unwrap();
        FrameReceiver::<JoinAnswer>::new(receive, MAX_JOIN_FRAME).only().await.unwrap()
    }

    async fn join(&self) -> (Joined, Endpoint) {
        let (csr, key) = ca::request().unwrap();
        let joined = self.ask(&self.tokens().worker, &csr).await.unwrap();
        let credentials = Credentials::from_pem(&self.identity.root, &joined.certificate, &key).unwrap();
        (joined, Endpoint::dialler(SocketAddr::from(([127, 0, 0, 1], 0)), credentials).unwrap())
    }
}

/// What the manager says first to a hello in the name of `node`.
async fn hello(connection: &Connection, node: NodeId) -> Result<Option<ManagerFrame>, Error> {
    let (send, receive) = connection.open().await?;
    let mut send = FrameSender::<WorkerFrame>::new(send, MAX_WORKER_FRAME);
    send.send(&WorkerFrame::Incarnation { manager: None, heard: 0 }).await?;
    send.send(&WorkerFrame::Hello { node, boot: SessionId::from_bytes([1; 16]), description: Arc::new(description()) }).await?;
    FrameReceiver::<ManagerFrame>::new(receive, MAX_MANAGER_FRAME).next().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_with_the_workers_token_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let served = serve(root.path()).await;
    let (csr, _) = ca::request().unwrap();
    let tokens = served.tokens();
    let other_end = if tokens.worker.ends_with('0') { '1' } else { '0' };
    for wrong in ["", "SWMTKN-1-x", &tokens.worker[1..], &format!("{}{other_end}", &tokens.worker[..tokens.worker.len() - 1])] {
        let refused = served.ask(wrong, &csr).await.unwrap_err();
        assert!(refused.message.ends_with("A valid join token is necessary to join this cluster"), "{wrong}: {refused}");
    }
    assert_eq!(served.ask(&tokens.worker, "no request").await.unwrap_err().class, Class::InvalidArgument);
    assert_eq!(served.manager.store().nodes().count(), 1, "none of these made a node");
    let first = served.ask(&tokens.worker, &csr).await.unwrap();
    let again = served.ask(&tokens.worker, &csr).await.unwrap();
    assert_eq!((first.node, first.role, first.cluster), (again.node, NodeRole::Worker, served.manager.cluster_id()));
    assert_eq!(first.managers, ["127.0.0.1:2377"]);
    let store = served.manager.store();
    let node = store.node(&first.node).unwrap();
    assert_eq!(store.nodes().count(), 2, "asked twice, one node");
    assert_eq!((node.spec.availability, node.description.hostname.as_str(), node.status.addr.as_str()), (Availability::Drain, "there", "127.0.0.1"));
    served.manager.rotate_tokens(true, false).await.unwrap();
    assert!(served.ask(&tokens.worker, &csr).await.is_err(), "a token that was rotated is worth nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_certificates_and_ends_with_its_node() {
    let root = tempfile::tempdir().unwrap();
    let served = serve(root.path()).await;
    let (joined, worker) = served.join().await;
    let dial = async || worker.dial(served.at, Whom::Manager, Protocol::Session).await.unwrap();
    // In another's name: the manager's own node, a node that does not exist.
    for other in [served.manager.node_id(), NodeId::from_bytes([9; 16])] {
        let answer = hello(&dial().await, other).await.unwrap();
        assert_eq!(answer, Some(ManagerFrame::Refused { reason: format!("this certificate is not node {other}'s") }));
    }
    let connection = dial().await;
    assert!(matches!(hello(&connection, joined.node).await.unwrap(), Some(ManagerFrame::Welcome { .. })));
    served.manager.write(Write::RemoveNode { id: joined.node, force: true }).await.unwrap();
    served.endpoint.recheck();
    connection.closed().await;
    let ended = dial().await.closed().await;
    assert_eq!(ended, Error::Refused("the node was removed from the cluster".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_and_is_not_heard_of_goes_down() {
    let root = tempfile::tempdir().unwrap();
    let served = serve(root.path()).await;
    let (joined, _) = served.join().await;
    let mut applied = served.manager.applied();
    while served.manager.store().node(&joined.node).unwrap().status.state != wsw_api::object::NodeState::Down {
        applied.changed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_incarnation_is_refused_by_both_and_a_managers_word_for_a_later_one_counts() {
    let root = tempfile::tempdir().unwrap();
    let served = serve(root.path()).await;
    let credentials = Credentials::from_pem(&served.identity.root, &served.identity.certificate, &served.identity.key.0).unwrap();
    let manager = Endpoint::dialler(SocketAddr::from(([127, 0, 0, 1], 0)), credentials).unwrap();
    let greet = async |incarnation: Option<u64>| {
        let connection = manager.dial(served.at, Whom::Manager, Protocol::Raft).await.unwrap();
        let (send, receive) = connection.open().await.unwrap();
        let mut send = FrameSender::<Hello>::new(send, MAX_ASK);
        send.send(&Hello { incarnation, to: None }).await.unwrap();
        (connection, FrameReceiver::<Hello>::new(receive, MAX_REPLY).only().await.unwrap())
    };
    for same in [None, Some(0)] {
        assert_eq!(greet(same).await.1.incarnation, Some(0));
    }
    // A worker's word closes its own connection and nothing else.
    let (joined, worker) = served.join().await;
    for (beside, heard) in [(None, 3), (Some(3), 0)] {
        let connection = worker.dial(served.at, Whom::Manager, Protocol::Session).await.unwrap();
        let (send, _receive) = connection.open().await.unwrap();
        let mut send = FrameSender::<WorkerFrame>::new(send, MAX_WORKER_FRAME);
        send.send(&WorkerFrame::Incarnation { manager: beside, heard }).await.unwrap();
        if beside.is_none() {
            let ended = connection.closed().await;
            assert_eq!(ended, Error::Refused("the manager that was asked is of incarnation 0 of the swarm, which is at 3 by now".into()));
        }
    }
    assert!(matches!(
        hello(&worker.dial(served.at, Whom::Manager, Protocol::Session).await.unwrap(), joined.node).await,
        Ok(Some(ManagerFrame::Welcome { .. }))
    ));
    let superseded = served.manager.superseded();
    let (connection, answer) = greet(Some(2)).await;
    assert_eq!(answer.incarnation, Some(0));
    let want = "this swarm was made anew without this manager (incarnation 2, not 0): leave it with \"swarm leave --force\" and join it again";
    assert_eq!(connection.closed().await, Error::Refused(want.into()));
    assert_eq!(superseded.await, Some(2));
}
