//! Services and their specs (`swarm.Service`, `swarm.ServiceSpec`).

use super::task::TaskSpec;
use super::{Empty, Map, Version, answers, model};
use serde::{Deserialize, Serialize, Serializer};

/// A fraction; a whole one is written without a point, as Go does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Ratio(pub f64);

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 { s.serialize_i64(self.0 as i64) } else { s.serialize_f64(self.0) }
    }
}

model! {
    /// A service as its user described it.
    ServiceSpec {
        name: String = "Name",
        labels: Map = "Labels",
        task: TaskSpec = "TaskTemplate",
        mode: Mode = "Mode",
        update: UpdateConfig = "UpdateConfig",
        rollback: UpdateConfig = "RollbackConfig",
        networks: Vec<super::network::Attachment> = "Networks",
        endpoint: EndpointSpec = "EndpointSpec",
    }
    /// How many tasks, and where; one of these.
    Mode {
        replicated: Replicated = "Replicated",
        global: Empty = "Global",
        replicated_job: ReplicatedJob = "ReplicatedJob",
        global_job: Empty = "GlobalJob",
    }
    /// A number of replicas.
    Replicated { replicas: u64 = "Replicas" }
    /// A number of completions.
    ReplicatedJob { max_concurrent: u64 = "MaxConcurrent", total_completions: u64 = "TotalCompletions" }
    /// How an update proceeds.
    UpdateConfig {
        parallelism: u64 = "Parallelism",
        delay: i64 = "Delay",
        failure_action: String = "FailureAction",
        monitor: i64 = "Monitor",
        max_failure_ratio: Ratio = "MaxFailureRatio",
        order: String = "Order",
    }
    /// The service's face to its clients.
    EndpointSpec { mode: String = "Mode", ports: Vec<Port> = "Ports" }
    /// One published port.
    Port {
        name: String = "Name",
        protocol: String = "Protocol",
        target: u32 = "TargetPort",
        published: u32 = "PublishedPort",
        mode: String = "PublishMode",
    }
}

answers! {
    /// A service.
    Service {
        id: String = "ID",
        version: Version = "Version",
        created_at: String = "CreatedAt",
        updated_at: String = "UpdatedAt",
        spec: ServiceSpec = "Spec",
        previous_spec: ServiceSpec = "PreviousSpec",
        endpoint: Endpoint = "Endpoint",
        update_status: UpdateStatus = "UpdateStatus",
        service_status: ServiceStatus = "ServiceStatus",
        job_status: JobStatus = "JobStatus",
    }
    /// Spec and ports as they were allocated.
    Endpoint { spec: EndpointSpec = "Spec", ports: Vec<Port> = "Ports" }
    /// How an update goes.
    UpdateStatus {
        state: &'static str = "State",
        started_at: String = "StartedAt",
        completed_at: String = "CompletedAt",
        message: String = "Message",
    }
    /// Counts for `service ls`.
    ServiceStatus { running: u64 = "RunningTasks", desired: u64 = "DesiredTasks", completed: u64 = "CompletedTasks" }
    /// Which run of a job is current.
    JobStatus { iteration: Version = "JobIteration", last_execution: String = "LastExecution" }
}
