//! What to do next with one task: a pure table (SwarmKit's `agent/exec/controller.go`, `Do`).
//!
//! ```text
//! assigned → accepted → preparing → ready → starting → running ─┬→ complete   exit code 0
//!     │          │          │         │         │         │     ├→ failed     another exit code, or an error from starting on
//!     └──────────┴────┬─────┴─────────┘         │         │     └→ shutdown   it was told to stop
//!                     ├→ rejected  an error before starting        (SIGTERM, grace period, SIGKILL)
//!                     └→ shutdown  told to stop before it was started
//! ```
//! Invariants: states only move forward; an ended task is at rest for ever; SIGTERM goes out once, then SIGKILL.
//! Never: calls an executor, reads a clock. [`crate::driver`] carries out what is decided here.

use wsw_api::health::State;
use wsw_api::{DesiredState, TaskState};

/// How far stopping a running task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    No,
    /// SIGTERM was sent, the grace period runs.
    Asked,
    /// SIGKILL was sent.
    Killed,
}

/// What is known of a task when a step is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub state: TaskState,
    pub desired: DesiredState,
    /// The node leaves the swarm: no grace period.
    pub kill: bool,
    pub stop: Stop,
    /// What its health check says; healthy where there is none.
    pub health: State,
    /// It was started (and may not be healthy yet).
    pub up: bool,
}

impl Facts {
    /// True when the task should end.
    pub fn stopping(&self) -> bool {
        self.kill || !self.desired.wants_run()
    }

    /// True when it should end for any reason.
    fn ending(&self) -> bool {
        self.stopping() || self.health == State::Unhealthy
    }
}

/// What happened since the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing but perhaps a new desired state: look again.
    Look,
    Prepared,
    Started,
    /// The guest ended; `failed` unless it did so with exit code 0, `ran` unless it could not even be begun with.
    Exited {
        failed: bool,
        ran: bool,
    },
    /// A call of the executor failed; `again` when the same call may succeed later.
    Error {
        again: bool,
    },
    /// The grace period is over, or SIGKILL did not work in time.
    Overdue,
}

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing until the desired state changes (or, while running, the guest ends).
    Rest,
    /// Report the state with this message, then look again.
    Enter(TaskState, &'static str),
    Prepare,
    Start,
    /// SIGTERM, and the grace period begins.
    Shutdown,
    /// SIGKILL.
    Terminate,
    /// The same call again after a pause.
    Retry,
    /// The last state, with this message.
    End(TaskState, &'static str),
}

/// The table.
pub fn step(facts: &Facts, event: Event) -> Action {
    if !facts.state.is_live() {
        return Action::Rest;
    }
    match event {
        Event::Look if facts.state == TaskState::Running || facts.up => look_running(facts),
        Event::Look => look_before_running(facts),
        Event::Prepared => Action::Enter(TaskState::Ready, "prepared"),
        // SwarmKit's: a task with a health check starts until it is healthy.
        Event::Started if facts.health != State::Healthy => look_running(facts),
        Event::Started => Action::Enter(TaskState::Running, "started"),
        Event::Exited { .. } if facts.stopping() => Action::End(TaskState::Shutdown, "shutdown"),
        Event::Exited { failed: false, .. } => Action::End(TaskState::Complete, "finished"),
        Event::Exited { failed: true, ran: true } if facts.state == TaskState::Running => Action::End(TaskState::Failed, "started"),
        Event::Exited { failed: true, ran: true } => Action::End(TaskState::Failed, "starting"),
        Event::Exited { failed: true, ran: false } => Action::End(TaskState::Failed, "starting"),
        Event::Error { again } => error(facts, again),
        Event::Overdue if facts.ending() && facts.stop > Stop::No => Action::Terminate,
        Event::Overdue => Action::Rest,
    }
}

fn look_before_running(facts: &Facts) -> Action {
    if facts.stopping() {
        return Action::End(TaskState::Shutdown, "shutdown");
    }
    match facts.state {
        TaskState::New | TaskState::Pending | TaskState::Assigned => Action::Enter(TaskState::Accepted, "accepted"),
        TaskState::Accepted => Action::Enter(TaskState::Preparing, "preparing"),
        TaskState::Preparing => Action::Prepare,
        TaskState::Ready if facts.desired > DesiredState::Ready => Action::Enter(TaskState::Starting, "starting"),
        TaskState::Starting => Action::Start,
        _ => Action::Rest,
    }
}

fn look_running(facts: &Facts) -> Action {
    match facts.stop {
        _ if facts.state < TaskState::Running && facts.health == State::Healthy && !facts.stopping() => Action::Enter(TaskState::Running, "started"),
        _ if !facts.ending() => Action::Rest,
        Stop::No | Stop::Asked if facts.kill => Action::Terminate,
        Stop::No => Action::Shutdown,
        Stop::Asked | Stop::Killed => Action::Rest,
    }
}

fn error(facts: &Facts, again: bool) -> Action {
    match facts.state {
        // It never ran: that it could not be prepared does not matter any more.
        state if state < TaskState::Running && !facts.up && facts.stopping() => Action::End(TaskState::Shutdown, "shutdown"),
        _ if again => Action::Retry,
        TaskState::Running => Action::End(TaskState::Failed, "started"),
        TaskState::Starting => Action::End(TaskState::Failed, "starting"),
        _ => Action::End(TaskState::Rejected, "preparing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DesiredState as D;
    use TaskState as S;
    use expect_test::{Expect, expect};

    const EVENTS: [Event; 9] = [
        Event::Look,
        Event::Prepared,
        Event::Started,
        OK,
        FAILED,
        Event::Exited { failed: true, ran: false },
        Event::Error { again: true },
        Event::Error { again: false },
        Event::Overdue,
    ];
    const OK: Event = Event::Exited { failed: false, ran: true };
    const FAILED: Event = Event::Exited { failed: true, ran: true };
    const STATES: [S; 13] = [
        S::New,
        S::Pending,
        S::Assigned,
        S::Accepted,
        S::Preparing,
        S::Ready,
        S::Starting,
        S::Running,
        S::Complete,
        S::Shutdown,
        S::Failed,
        S::Rejected,
        S::Orphaned,
    ];

    fn facts(state: S, desired: D) -> Facts {
        Facts { state, desired, kill: false, stop: Stop::No, health: State::Healthy, up: state == S::Running }
    }

    fn check(rows: &[(Facts, Event)], expected: Expect) {
        let text: Vec<_> =
            rows.iter().map(|(f, e)| format!("{} want {} {:?} + {e:?} = {:?}", f.state.as_str(), f.desired.as_str(), f.stop, step(f, *e))).collect();
        expected.assert_eq(&(text.join("\n") + "\n"));
    }

    #[test]
    fn the_way_up() {
        check(
            &[
                (facts(S::Assigned, D::Running), Event::Look),
                (facts(S::Accepted, D::Running), Event::Look),
                (facts(S::Preparing, D::Running), Event::Look),
                (facts(S::Preparing, D::Running), Event::Prepared),
                (facts(S::Ready, D::Ready), Event::Look),
                (facts(S::Ready, D::Running), Event::Look),
                (facts(S::Ready, D::Complete), Event::Look),
                (facts(S::Starting, D::Running), Event::Look),
                (facts(S::Starting, D::Running), Event::Started),
                (facts(S::Running, D::Running), Event::Look),
                (facts(S::Running, D::Running), OK),
                (facts(S::Running, D::Running), FAILED),
                (facts(S::Running, D::Running), Event::Exited { failed: true, ran: false }),
            ],
            expect![[r#"
                assigned want running No + Look = Enter(Accepted, "accepted")
                accepted want running No + Look = Enter(Preparing, "preparing")
                preparing want running No + Look = Prepare
                preparing want running No + Prepared = Enter(Ready, "prepared")
                ready want ready No + Look = Rest
                ready want running No + Look = Enter(Starting, "starting")
                ready want complete No + Look = Enter(Starting, "starting")
                starting want running No + Look = Start
                starting want running No + Started = Enter(Running, "started")
                running want running No + Look = Rest
                running want running No + Exited { failed: false, ran: true } = End(Complete, "finished")
                running want running No + Exited { failed: true, ran: true } = End(Failed, "started")
                running want running No + Exited { failed: true, ran: false } = End(Failed, "starting")
            "#]],
        );
    }

    #[test]
    fn the_way_down() {
        let asked = Facts { stop: Stop::Asked, ..facts(S::Running, D::Shutdown) };
        let killed = Facts { stop: Stop::Killed, ..asked };
        check(
            &[
                (facts(S::Assigned, D::Remove), Event::Look),
                (facts(S::Ready, D::Shutdown), Event::Look),
                (facts(S::Starting, D::Shutdown), Event::Started),
                (facts(S::Running, D::Shutdown), Event::Look),
                (facts(S::Running, D::Remove), Event::Look),
                (asked, Event::Look),
                (asked, Event::Overdue),
                (asked, FAILED),
                (killed, Event::Overdue),
                (killed, FAILED),
                (Facts { kill: true, ..facts(S::Running, D::Running) }, Event::Look),
                (Facts { kill: true, ..asked }, Event::Look),
            ],
            expect![[r#"
                assigned want remove No + Look = End(Shutdown, "shutdown")
                ready want shutdown No + Look = End(Shutdown, "shutdown")
                starting want shutdown No + Started = Enter(Running, "started")
                running want shutdown No + Look = Shutdown
                running want remove No + Look = Shutdown
                running want shutdown Asked + Look = Rest
                running want shutdown Asked + Overdue = Terminate
                running want shutdown Asked + Exited { failed: true, ran: true } = End(Shutdown, "shutdown")
                running want shutdown Killed + Overdue = Terminate
                running want shutdown Killed + Exited { failed: true, ran: true } = End(Shutdown, "shutdown")
                running want running No + Look = Terminate
                running want shutdown Asked + Look = Terminate
            "#]],
        );
    }

    #[test]
    fn a_task_with_a_health_check_runs_once_it_is_healthy_and_ends_when_it_is_not() {
        let starting = Facts { health: State::Starting, up: true, ..facts(S::Starting, D::Running) };
        let sick = Facts { health: State::Unhealthy, ..starting };
        let running = facts(S::Running, D::Running);
        check(
            &[
                (starting, Event::Started),
                (starting, Event::Look),
                (Facts { health: State::Healthy, ..starting }, Event::Look),
                (starting, FAILED),
                (starting, OK),
                (Facts { desired: D::Shutdown, ..starting }, Event::Look),
                (Facts { desired: D::Shutdown, stop: Stop::Asked, ..starting }, FAILED),
                (sick, Event::Look),
                (Facts { stop: Stop::Asked, ..sick }, Event::Look),
                (Facts { stop: Stop::Asked, ..sick }, Event::Overdue),
                (Facts { stop: Stop::Killed, ..sick }, FAILED),
                (Facts { health: State::Unhealthy, ..running }, Event::Look),
                (Facts { health: State::Unhealthy, stop: Stop::Asked, ..running }, FAILED),
            ],
            expect![[r#"
                starting want running No + Started = Rest
                starting want running No + Look = Rest
                starting want running No + Look = Enter(Running, "started")
                starting want running No + Exited { failed: true, ran: true } = End(Failed, "starting")
                starting want running No + Exited { failed: false, ran: true } = End(Complete, "finished")
                starting want shutdown No + Look = Shutdown
                starting want shutdown Asked + Exited { failed: true, ran: true } = End(Shutdown, "shutdown")
                starting want running No + Look = Shutdown
                starting want running Asked + Look = Rest
                starting want running Asked + Overdue = Terminate
                starting want running Killed + Exited { failed: true, ran: true } = End(Failed, "starting")
                running want running No + Look = Shutdown
                running want running Asked + Exited { failed: true, ran: true } = End(Failed, "started")
            "#]],
        );
    }

    #[test]
    fn errors() {
        check(
            &[
                (facts(S::Preparing, D::Running), Event::Error { again: true }),
                (facts(S::Preparing, D::Running), Event::Error { again: false }),
                (facts(S::Starting, D::Running), Event::Error { again: false }),
                (facts(S::Running, D::Running), Event::Error { again: true }),
                (facts(S::Running, D::Running), Event::Error { again: false }),
                (facts(S::Preparing, D::Shutdown), Event::Error { again: true }),
                (facts(S::Running, D::Shutdown), Event::Error { again: false }),
            ],
            expect![[r#"
                preparing want running No + Error { again: true } = Retry
                preparing want running No + Error { again: false } = End(Rejected, "preparing")
                starting want running No + Error { again: false } = End(Failed, "starting")
                running want running No + Error { again: true } = Retry
                running want running No + Error { again: false } = End(Failed, "started")
                preparing want shutdown No + Error { again: true } = End(Shutdown, "shutdown")
                running want shutdown No + Error { again: false } = End(Failed, "started")
            "#]],
        );
    }

    #[test]
    fn no_input_moves_a_task_back_or_wakes_an_ended_one() {
        for state in STATES {
            for desired in [D::Ready, D::Running, D::Complete, D::Shutdown, D::Remove] {
                for stop in [Stop::No, Stop::Asked, Stop::Killed] {
                    for (kill, event) in [false, true].into_iter().flat_map(|kill| EVENTS.map(|event| (kill, event))) {
                        let action = step(&Facts { kill, stop, ..facts(state, desired) }, event);
                        match action {
                            _ if !state.is_live() => assert_eq!(action, Action::Rest),
                            // The driver only raises what fits the call it made; here it is enough that nothing leads back past it.
                            Action::Enter(next, _) if matches!(event, Event::Look) => assert!(next > state && next.is_live()),
                            Action::End(next, _) => assert!(next > state && !next.is_live()),
                            _ => {}
                        }
                    }
                }
            }
        }
    }
}
