//! Health checks: what a service or an image says of them, and the decision from probe results and time to a state.
//!
//! Owns: the shapes, Docker's defaults, the merging of a service's check with its image's, the state. Pure: results and times come in. Never: runs a probe.

use crate::time::{Nanos, SECOND, Time};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Docker's defaults.
pub const INTERVAL: Nanos = 30 * SECOND;
pub const TIMEOUT: Nanos = 30 * SECOND;
pub const START_INTERVAL: Nanos = 5 * SECOND;
pub const RETRIES: u32 = 3;
/// Results that are kept.
pub const MAX_LOG: usize = 5;
/// Bytes of a probe's output that are kept.
pub const MAX_OUTPUT: usize = 4_096;
/// Shorter durations than a millisecond are refused, as Docker does.
pub const SHORTEST: Nanos = SECOND / 1_000;
/// Docker's shell of `CMD-SHELL`, where an image names no other.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A check as it was given; zero and empty mean "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthConfig {
    /// `NONE`, or `CMD` and the words, or `CMD-SHELL` and a line.
    pub test: Vec<String>,
    pub interval: Nanos,
    pub timeout: Nanos,
    pub start_period: Nanos,
    pub start_interval: Nanos,
    pub retries: u32,
}

/// A check that is made: all is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The command.
    pub args: Vec<String>,
    pub interval: Nanos,
    pub timeout: Nanos,
    pub start_period: Nanos,
    pub start_interval: Nanos,
    pub retries: u32,
}

impl HealthConfig {
    /// True when it asks for something to be run.
    pub fn is_check(&self) -> bool {
        self.test.first().is_some_and(|kind| kind != "NONE")
    }

    /// The check of a container: what the service does not say is the image's, what neither says is Docker's.
    pub fn check(own: Option<&Self>, image: Option<&Self>, shell: &[String]) -> Option<Check> {
        let nothing = Self::default();
        let (own, image) = (own.unwrap_or(&nothing), image.unwrap_or(&nothing));
        let test = if own.test.is_empty() { &image.test } else { &own.test };
        let (kind, words) = test.split_first()?;
        let args = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" if shell.is_empty() => SHELL.iter().map(|word| (*word).to_owned()).chain(words.iter().cloned()).collect(),
            "CMD-SHELL" => shell.iter().chain(words).cloned().collect(),
            // `NONE`; Docker makes nothing of another word.
            _ => return None,
        };
        let pick = |own: Nanos, image: Nanos, default: Nanos| [own, image].into_iter().find(|value| *value > 0).unwrap_or(default);
        let retries = [own.retries, image.retries].into_iter().find(|value| *value > 0).unwrap_or(RETRIES);
        (!args.is_empty()).then(|| Check {
            args,
            interval: pick(own.interval, image.interval, INTERVAL),
            timeout: pick(own.timeout, image.timeout, TIMEOUT),
            start_period: pick(own.start_period, image.start_period, 0),
            start_interval: pick(own.start_interval, image.start_interval, START_INTERVAL),
            retries,
        })
    }
}

/// Docker's three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub start: Time,
    pub end: Time,
    /// 0 is healthy; -1: it could not be run, or not in time.
    pub code: i32,
    pub output: String,
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    pub state: State,
    /// Probes that failed one after the other.
    pub failing: u32,
    /// The last [`MAX_LOG`], the newest last.
    pub log: VecDeque<Probe>,
}

impl Health {
    /// Takes a result; the new state when it is another. Within the start period a failure does not count as long as there was no success.
    pub fn take(&mut self, check: &Check, started: Time, probe: Probe) -> Option<State> {
        let before = self.state;
        if probe.code == 0 {
            (self.failing, self.state) = (0, State::Healthy);
        } else if before != State::Starting || probe.start.since(started) >= check.start_period {
            self.failing += 1;
            if self.failing >= check.retries {
                self.state = State::Unhealthy;
            }
        }
        if self.log.len() >= MAX_LOG {
            self.log.pop_front();
        }
        self.log.push_back(probe);
        (self.state != before).then_some(self.state)
    }

    /// How long until the next probe. A start period that ends before is waited for no longer than that.
    pub fn pause(&self, check: &Check, started: Time, now: Time) -> Nanos {
        let left = check.start_period.saturating_sub(now.since(started));
        match () {
            () if left == 0 => check.interval,
            () if self.state == State::Starting => check.start_interval.min(left),
            () => check.interval.min(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(test: &[&str]) -> HealthConfig {
        HealthConfig { test: test.iter().map(|word| (*word).to_owned()).collect(), ..HealthConfig::default() }
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * SECOND)
    }

    fn probe(start: u64, code: i32) -> Probe {
        Probe { start: at(start), end: at(start + 1), code, output: String::new() }
    }

    #[test]
    fn a_service_s_check_wins_field_by_field() {
        let image = HealthConfig { interval: 7, retries: 2, ..config(&["CMD", "true"]) };
        let check = HealthConfig::check(None, Some(&image), &[]).unwrap();
        assert_eq!((check.args, check.interval, check.timeout, check.retries), (vec!["true".to_owned()], 7, TIMEOUT, 2));
        let own = HealthConfig { interval: 9, ..config(&["CMD-SHELL", "exit 1"]) };
        let check = HealthConfig::check(Some(&own), Some(&image), &[]).unwrap();
        assert_eq!((check.args.join(" ").as_str(), check.interval, check.retries), ("/bin/sh -c exit 1", 9, 2));
        let check = HealthConfig::check(Some(&own), None, &["/bin/bash".into(), "-ec".into()]).unwrap();
        assert_eq!((check.args.join(" ").as_str(), check.retries), ("/bin/bash -ec exit 1", RETRIES));
        for none in [config(&["NONE"]), config(&["CMD"]), config(&["ODD", "x"])] {
            assert_eq!(HealthConfig::check(Some(&none), Some(&image), &[]), None, "{none:?}");
        }
        assert_eq!(HealthConfig::check(None, None, &[]), None);
        assert!(own.is_check() && !config(&["NONE"]).is_check() && !HealthConfig::default().is_check());
    }

    #[test]
    fn so_many_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() {
        let check = HealthConfig::check(Some(&HealthConfig { retries: 2, ..config(&["CMD", "x"]) }), None, &[]).unwrap();
        let mut health = Health::default();
        let mut say = |start, code| health.take(&check, at(0), probe(start, code));
        assert_eq!((say(1, 1), say(2, 0), say(3, 1), say(4, 0)), (None, Some(State::Healthy), None, None));
        assert_eq!((say(5, -1), say(6, 3), say(7, 1), say(8, 0)), (None, Some(State::Unhealthy), None, Some(State::Healthy)));
        assert_eq!(health.log.iter().map(|probe| probe.start).collect::<Vec<_>>(), [at(4), at(5), at(6), at(7), at(8)]);
    }

    #[test]
    fn a_container_may_take_its_start_period_to_come_up() {
        let second = |n| n * SECOND;
        let own = HealthConfig { retries: 1, interval: second(10), start_interval: second(2), start_period: second(25), ..config(&["CMD", "x"]) };
        let check = HealthConfig::check(Some(&own), None, &[]).unwrap();
        let mut health = Health::default();
        assert_eq!(health.pause(&check, at(100), at(100)), second(2));
        assert_eq!(health.take(&check, at(100), probe(124, 1)), None);
        assert_eq!((health.failing, health.pause(&check, at(100), at(124))), (0, second(1)), "the first probe that counts is not late");
        assert_eq!(health.pause(&check, at(100), at(125)), second(10));
        let mut good = health.clone();
        assert_eq!(health.take(&check, at(100), probe(125, 1)), Some(State::Unhealthy));
        // After a success each failure counts, also within the period.
        good.take(&check, at(100), probe(101, 0));
        assert_eq!(good.pause(&check, at(100), at(102)), second(10));
        assert_eq!(good.take(&check, at(100), probe(103, 1)), Some(State::Unhealthy));
    }
}
