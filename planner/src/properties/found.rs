//! Histories that were planned wrongly once, as they were found and shrunk. Each is a story of a few steps; the checks are those of all histories.

use super::*;

fn create(mode: Kind, condition: RestartCondition, attempts: u64, window: u64, constrained: bool) -> Step {
    let host_port = None;
    Step::Create(Sketch { replicas: 0, mode, condition, attempts, window, delay: 0, reserve: 0, max_per_node: 0, constrained, host_port, spread: 0, gpus: 0 })
}

/// A plan forgot the attempt that its own successor pushed out of the record one plan late.
#[test]
fn a_successor_counts_in_the_record_at_once() {
    let failed = |at| Step::End(at, TaskState::Failed);
    plays(&[
        create(Kind::Global, RestartCondition::Any, 2, 30, true),
        Step::Zone(0, true),
        failed(0),
        Step::Update(0, 1),
        create(Kind::Replicated, RestartCondition::Any, 0, 0, false),
        Step::Update(20, 0),
        failed(32),
        failed(233),
    ]);
}

/// The last task of a slot, given no successor, was forgotten while earlier ones were still stopping: the slot looked free and was filled again.
#[test]
fn the_last_task_stays_while_others_are_stopping() {
    plays(&[
        Step::AddNode,
        create(Kind::Global, RestartCondition::None, 1, 0, false),
        Step::Update(0, 1),
        Step::Rollback(0),
        Step::End(128, TaskState::Failed),
    ]);
}
