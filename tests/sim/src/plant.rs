//! Planted faults: what a disk, a network, a worker or a client does in a run that must be found out.
//!
//! Owns: the faults that no cluster is to survive unnoticed, and the proof that each is noticed: a handful of seeds, one of which at least
//! must report the offence. To add one: a variant, its place (`disk`, `ways`, `tasks`, `client`, `cluster`), a line in the tests below.
//! Invariant: all of it lies in the models around the managers; what ships knows nothing of it.

use crate::chance;
use crate::runtime::Simulated;
use std::sync::Arc;
use wsw_manager::raft::stored::StoredVote;
use wsw_manager::raft::types::{Command, Payload, RaftEntry};
use wsw_manager::raft::wire::{Append, Ask};

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A disk that forgets some of the writes that it has synced.
    LosesSynced,
    /// A log that is acknowledged before it is synced: the last write is durable with the next sync only.
    AcknowledgesEarly,
    /// A disk that forgets some names that it has synced.
    LosesNames,
    /// Votes are written, and synced only with what comes after them.
    VotesUnsynced,
    /// Votes are given, and forgotten at once.
    VotesForgotten,
    /// A leader that goes on writing after it has lost the lead, and is heard.
    HearsOldLeader,
    /// Entries change on their way.
    SpoilsEntries,
    /// What an entry does depends on the host.
    Drifts,
    /// A worker starts tasks again that were removed.
    StartsRemoved,
    /// A worker forgets what it has said and nobody has confirmed.
    LosesStatuses,
    /// A write that is tried again is another write.
    RetriesAnew,
    /// Reads are answered from what a manager has applied, without asking the leader.
    ReadsStale,
}

/// True for a log's write that is a record of its state (votes are in it) and nothing else: the form is `manager`'s (`raft/record.rs`).
pub fn is_vote(bytes: &[u8]) -> bool {
    const HEADER: usize = 48;
    let length = |bytes: &[u8]| bytes.get(12..16).and_then(|field| field.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    bytes.starts_with(b"wswR") && bytes.get(5) == Some(&2) && bytes.len() == HEADER + length(bytes)
}

/// What becomes of a question on its way to a manager that has promised something already.
pub fn on_its_way(plant: Option<Plant>, ask: Ask, promised: Option<StoredVote>) -> Ask {
    match (plant, ask) {
        // The same answer, and nothing is kept of it.
        (Some(Plant::VotesForgotten), Ask::Vote(ballot)) => Ask::PreVote(ballot),
        (Some(Plant::HearsOldLeader), Ask::Append(append)) => match promised {
            Some(StoredVote(term, node, _)) if (term, node) > (append.vote.0, append.vote.1) => {
                Ask::Append(Append { vote: StoredVote(term, node, true), ..append })
            }
            _ => Ask::Append(append),
        },
        (Some(Plant::SpoilsEntries), Ask::Append(append)) if chance::below(3) == 0 => Ask::Append(spoilt(append)),
        (_, ask) => ask,
    }
}

/// The same entries, each a nanosecond later.
fn spoilt(append: Append) -> Append {
    let mut request = append.clone().request::<Simulated>().unwrap();
    request.entries.iter_mut().for_each(later);
    Append::of(&request).map_or(append, |(spoilt, _)| spoilt)
}

fn later(entry: &mut RaftEntry) {
    if let Payload::Normal(Command(command)) = &mut entry.payload {
        Arc::make_mut(command).time.0 += 1;
    }
}

mod tests {
    use super::Plant;
    use crate::cluster::planted;

    /// Seeds that are tried at most.
    const SEEDS: u64 = 25;

    /// Some seed reports it, in these words.
    #[track_caller]
    fn found(plant: Plant, words: &[&str]) {
        let mut others = Vec::new();
        for seed in 1..=SEEDS {
            let Err(report) = planted(seed, plant) else { continue };
            let offence = report.lines().last().unwrap_or_default();
            if words.iter().any(|word| offence.contains(word)) {
                println!("{plant:?} is found by seed {seed}: {}", &offence[..offence.len().min(200)]);
                return;
            }
            others.push(format!("seed {seed}: {offence}"));
        }
        panic!("{plant:?} is not found out; what was found instead: {others:#?}");
    }

    #[test]
    fn a_disk_that_loses_synced_writes_is_found() {
        found(Plant::LosesSynced, &["another entry", "is lost", "takes back", "not settled"]);
    }

    #[test]
    fn a_log_that_is_acknowledged_before_its_sync_is_found() {
        found(Plant::AcknowledgesEarly, &["another entry", "is lost", "takes back", "moved back", "not settled"]);
    }

    #[test]
    fn a_disk_that_loses_names_is_found() {
        found(Plant::LosesNames, &["another entry", "is lost", "takes back", "not settled"]);
    }

    #[test]
    fn a_vote_that_is_not_synced_is_found() {
        // Either the vote is given anew, or the log says that something synced is missing and its manager stays away.
        found(Plant::VotesUnsynced, &["takes back", "another entry", "not settled"]);
    }

    #[test]
    fn a_vote_that_is_not_kept_is_found() {
        found(Plant::VotesForgotten, &["takes back", "another entry"]);
    }

    #[test]
    fn a_leader_that_writes_after_it_lost_the_lead_is_found() {
        found(Plant::HearsOldLeader, &["takes back", "another entry"]);
    }

    #[test]
    fn entries_that_change_on_their_way_are_found() {
        found(Plant::SpoilsEntries, &["another entry"]);
    }

    #[test]
    fn a_state_that_depends_on_its_host_is_found() {
        found(Plant::Drifts, &["another state"]);
    }

    #[test]
    fn a_worker_that_starts_removed_tasks_is_found() {
        found(Plant::StartsRemoved, &["what runs"]);
    }

    #[test]
    fn a_worker_that_forgets_statuses_is_found() {
        found(Plant::LosesStatuses, &["not settled"]);
    }

    #[test]
    fn reads_of_an_earlier_state_are_found() {
        found(Plant::ReadsStale, &["does not see"]);
    }

    #[test]
    fn a_write_that_is_tried_again_under_another_id_is_found() {
        found(Plant::RetriesAnew, &["was refused"]);
    }
}
