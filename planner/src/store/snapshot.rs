//! The store as one value for a snapshot file: tables only, the indexes are rebuilt.
//!
//! Owns: the format and its version. A newer format is refused with a clear error.

use super::{Failures, Store, TemplateRow, Touched};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wsw_api::entry::Outcome;
use wsw_api::error::{Error, Result};
use wsw_api::id::{NodeId, RequestId, ServiceId, SessionId};
use wsw_api::network::Network;
use wsw_api::object::{Cluster, Node, Service, Template};
use wsw_api::registry::ServiceAuth;
use wsw_api::task::Task;
use wsw_api::time::Time;

/// Version of the format that this build writes, and the highest that it reads.
pub const SNAPSHOT_VERSION: u32 = 1;

/// All tables, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub index: u64,
    pub time: Time,
    pub cluster: Option<Arc<Cluster>>,
    pub nodes: Vec<Arc<Node>>,
    pub sessions: Vec<(NodeId, SessionId)>,
    pub services: Vec<Arc<Service>>,
    pub templates: Vec<Arc<Template>>,
    pub tasks: Vec<Arc<Task>>,
    /// The oldest first.
    pub requests: Vec<(RequestId, Arc<Outcome>)>,
    #[serde(default)]
    pub networks: Vec<Arc<Network>>,
    /// Not in the first snapshots of this format.
    #[serde(default)]
    pub auths: Vec<(ServiceId, Arc<ServiceAuth>)>,
    #[serde(default)]
    pub failures: Vec<(ServiceId, Failures)>,
}

impl Store {
    /// The tables as one serialisable value.
    pub fn to_snapshot(&self) -> Snapshot {
        Snapshot {
            version: SNAPSHOT_VERSION,
            index: self.index,
            time: self.time,
            cluster: self.cluster.clone(),
            nodes: self.nodes.values().cloned().collect(),
            sessions: self.sessions.iter().map(|(node, session)| (*node, *session)).collect(),
            services: self.services.values().cloned().collect(),
            templates: self.templates.values().map(|row| row.template.clone()).collect(),
            tasks: self.tasks.values().cloned().collect(),
            requests: self.request_order.iter().filter_map(|id| Some((*id, self.outcomes.get(id)?.clone()))).collect(),
            networks: self.networks.values().cloned().collect(),
            auths: self.auths.iter().map(|(service, auth)| (*service, auth.clone())).collect(),
            failures: self.failures.iter().map(|(service, record)| (*service, record.clone())).collect(),
        }
    }

    /// The store of a snapshot; refuses one of a newer format.
    pub fn from_snapshot(snapshot: Snapshot) -> Result<Self> {
        if snapshot.version > SNAPSHOT_VERSION {
            let newer = snapshot.version;
            return Err(Error::internal(format!("snapshot has format {newer}, this build reads up to {SNAPSHOT_VERSION}; use a newer build")));
        }
        let mut store = Self { index: snapshot.index, time: snapshot.time, cluster: snapshot.cluster, ..Self::default() };
        let mut touched = Touched::default();
        store.nodes = snapshot.nodes.into_iter().map(|node| (node.id, node)).collect();
        store.sessions = snapshot.sessions.into_iter().collect();
        store.networks = snapshot.networks.into_iter().map(|network| (network.id, network)).collect();
        store.auths = snapshot.auths.into_iter().collect();
        store.failures = snapshot.failures.into_iter().collect();
        for template in snapshot.templates {
            store.templates.insert((template.service, template.version), TemplateRow { template, tasks: 0 });
        }
        for service in snapshot.services {
            store.index_service(&service);
            store.services.insert(service.id, service);
        }
        for task in snapshot.tasks {
            let mut task = Arc::unwrap_or_clone(task);
            task.status = store.texts.share_status(&task.status);
            store.insert_task(task, &mut touched);
        }
        for (id, outcome) in snapshot.requests {
            store.request_order.push_back(id);
            store.outcomes.insert(id, outcome);
        }
        Ok(store)
    }
}
