//! `/nodes`.

use crate::call::{self, Call};
use crate::convert::node;
use crate::error::Answer;
use crate::filters::Filters;
use crate::model::node::NodeSpec;
use crate::resolve;
use wsw_api::Node;
use wsw_api::control::Write;

const FILTERS: &[&str] = &["id", "label", "membership", "name", "node.label", "role"];

/// `GET /nodes`.
pub async fn list(call: Call) -> Answer {
    let filters = call.query.filters(FILTERS)?;
    for (key, words) in [("role", ["worker", "manager"]), ("membership", ["accepted", "pending"])] {
        if let Some(value) = filters.get(key).find(|value| !words.contains(value)) {
            return Err(filters.bad(key, value));
        }
    }
    let store = call.backend.view().await?;
    let (leader, silent) = (call.backend.leader().await, call.backend.unreachable().await);
    let nodes: Vec<_> = store.nodes().filter(|found| matches(found, &filters)).map(|found| node::object(found, leader, &silent)).collect();
    call::ok(&nodes)
}

/// Engine labels are `label`, the operator's are `node.label`; every node has been accepted.
fn matches(found: &Node, filters: &Filters) -> bool {
    filters.prefix("id", &found.id.to_string())
        && filters.prefix("name", &found.description.hostname)
        && filters.exact("role", node::role(found.role()))
        && filters.exact("membership", "accepted")
        && filters.labels("label", &found.description.engine_labels)
        && filters.labels("node.label", &found.spec.annotations.labels)
}

/// `GET /nodes/{id}`.
pub async fn inspect(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let found = resolve::node(&store, &*call.backend, &call.name)?;
    call::ok(&node::object(&found, call.backend.leader().await, &call.backend.unreachable().await))
}

/// `POST /nodes/{id}/update`.
pub async fn update(mut call: Call) -> Answer {
    let version = call.query.version("node")?;
    let spec = node::read(call.json::<NodeSpec>().await?)?;
    let store = call.backend.view().await?;
    let id = resolve::node(&store, &*call.backend, &call.name)?.id;
    call.backend.write(Write::UpdateNode { id, version, spec: Box::new(spec) }).await?;
    call::empty()
}

/// `DELETE /nodes/{id}`.
pub async fn remove(call: Call) -> Answer {
    let store = call.backend.view().await?;
    let id = resolve::node(&store, &*call.backend, &call.name)?.id;
    call.backend.write(Write::RemoveNode { id, force: call.query.flag("force") }).await?;
    call::empty()
}
