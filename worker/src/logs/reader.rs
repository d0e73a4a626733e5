//! All the logs of one query, read in rounds.
//!
//! ```text
//! history: what was there when the query began, merged by time over all tasks   →   following: what was added since the last round
//! ```
//! Invariants: a round takes at most [`ROUND`] bytes and gives its lines in order of time; a task that the service gets later joins.
//! Never: waits, sends.

use super::place::log_path;
use super::record::Joined;
use super::source::{Chunk, Source};
use super::{Readers, Selector};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use wsw_api::log::{Line, Query};
use wsw_api::{Error, Result, ServiceId, TaskId, Time};

/// Bytes of one round.
const ROUND: usize = 4 * 1024 * 1024;
/// Bytes of one reading of one file: at least, at most. The merge holds one of them for each file.
const CHUNK: (usize, usize) = (4 * 1024, 256 * 1024);

/// What a round gave.
pub struct Round {
    pub lines: Vec<Result<Line>>,
    /// It ended because it was full: there is more at once.
    pub more: bool,
}

struct Task {
    service: ServiceId,
    source: Source,
    /// Read, not yet given out.
    lines: VecDeque<Line>,
}

/// See the module's page.
pub struct Reader {
    readers: Arc<Readers>,
    selector: Selector,
    query: Query,
    tasks: BTreeMap<TaskId, Task>,
    /// Present while the history is merged: the next line of each task.
    history: Option<BinaryHeap<Reverse<(Time, TaskId)>>>,
    /// The task at which a following round begins, so that a chatty one cannot starve the others.
    turn: Option<TaskId>,
}

impl Reader {
    /// A reader that has not looked at anything yet.
    pub fn new(readers: Arc<Readers>, selector: Selector, query: Query) -> Self {
        Self { readers, selector, query, tasks: BTreeMap::new(), history: None, turn: None }
    }

    /// True when nothing will be added any more: the task has ended. A service never ends here.
    pub fn is_over(&self) -> bool {
        match self.selector {
            Selector::Task(id) => self.readers.board.get(id).is_none_or(|row| !row.status.state.is_live()),
            Selector::Service(_) => false,
        }
    }

    /// Reads on. Blocking.
    pub fn round(mut self) -> (Self, Round) {
        let mut lines = Vec::new();
        let more = match self.history.take() {
            None if self.turn.is_none() && self.tasks.is_empty() => {
                let heap = self.begin(&mut lines);
                self.merge(heap, &mut lines)
            }
            Some(heap) => self.merge(heap, &mut lines),
            None => self.follow(&mut lines),
        };
        (self, Round { lines, more })
    }

    fn wanted_tasks(&self) -> Vec<(TaskId, ServiceId)> {
        match self.selector {
            Selector::Task(id) => self.readers.board.get(id).map(|row| (id, row.service)).into_iter().collect(),
            Selector::Service(service) => self.readers.board.of_service(service).into_iter().map(|id| (id, service)).collect(),
        }
    }

    fn open(&self, id: TaskId, query: &Query) -> io::Result<Source> {
        Source::open(log_path(&self.readers.folder, id), query)
    }

    /// Lines that were begun and will not end, once no round comes any more.
    pub fn rest(&mut self) -> Vec<Result<Line>> {
        let Self { tasks, query, readers, .. } = self;
        let rests = tasks.iter_mut().flat_map(|(id, task)| {
            let (node, service, task_id) = (readers.node, task.service, *id);
            let lines = task.source.rest().into_iter().filter(|line| is_inside(query, line));
            lines.map(move |line| Line { time: line.time, stream: line.stream, node, service, task: task_id, text: line.text })
        });
        let mut lines: Vec<Line> = rests.collect();
        lines.sort_by_key(|line| line.time);
        lines.into_iter().map(Ok).collect()
    }

    fn begin(&mut self, out: &mut Vec<Result<Line>>) -> BinaryHeap<Reverse<(Time, TaskId)>> {
        for (id, service) in self.wanted_tasks() {
            match self.open(id, &self.query) {
                Ok(source) => drop(self.tasks.insert(id, Task { service, source, lines: VecDeque::new() })),
                Err(error) => out.push(Err(unreadable(id, &error))),
            }
        }
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.refill(id, out).map(|time| Reverse((time, id)))).collect()
    }

    /// The time of the task's next line, read from its file if need be.
    fn refill(&mut self, id: TaskId, out: &mut Vec<Result<Line>>) -> Option<Time> {
        let size = (ROUND / self.tasks.len().max(1)).clamp(CHUNK.0, CHUNK.1);
        loop {
            if let Some(line) = self.tasks.get(&id)?.lines.front() {
                return Some(line.time);
            }
            if self.read(id, size, out)? == 0 {
                return None;
            }
        }
    }

    /// Reads one chunk into the task's lines; the bytes taken, none when the file cannot be read.
    fn read(&mut self, id: TaskId, size: usize, out: &mut Vec<Result<Line>>) -> Option<usize> {
        let Self { tasks, query, readers, .. } = self;
        let task = tasks.get_mut(&id)?;
        match task.source.read(size, query) {
            Ok(Chunk { lines, bytes }) => {
                // As docker: the first line beyond the time ends it.
                if lines.iter().any(|line| query.until.is_some_and(|until| line.time > until)) {
                    task.source.stop();
                }
                let inside = lines.into_iter().filter(|line| is_inside(query, line));
                let (node, service) = (readers.node, task.service);
                task.lines.extend(inside.map(|line| Line { time: line.time, stream: line.stream, node, service, task: id, text: line.text }));
                Some(bytes)
            }
            Err(error) => {
                tasks.remove(&id);
                out.push(Err(unreadable(id, &error)));
                None
            }
        }
    }

    fn merge(&mut self, mut heap: BinaryHeap<Reverse<(Time, TaskId)>>, out: &mut Vec<Result<Line>>) -> bool {
        let mut bytes = 0;
        while bytes < ROUND {
            let Some(Reverse((_, id))) = heap.pop() else {
                if self.query.follow {
                    self.tasks.values_mut().for_each(|task| task.source.go_on());
                }
                self.turn = Some(TaskId::default());
                // What came while the history was given out, perhaps in many rounds, is looked for before anybody takes it for all.
                return self.query.follow;
            };
            if let Some(line) = self.tasks.get_mut(&id).and_then(|task| task.lines.pop_front()) {
                bytes += line.text.len() + size_of::<Line>();
                out.push(Ok(line));
            }
            heap.extend(self.refill(id, out).map(|time| Reverse((time, id))));
        }
        self.history = Some(heap);
        true
    }

    fn follow(&mut self, out: &mut Vec<Result<Line>>) -> bool {
        let wanted: BTreeMap<TaskId, ServiceId> = self.wanted_tasks().into_iter().collect();
        // A task that came since then is read from its beginning.
        let whole = Query { tail: None, ..self.query.clone() };
        for (id, service) in &wanted {
            if !self.tasks.contains_key(id) {
                match self.open(*id, &whole) {
                    Ok(mut source) => {
                        source.go_on();
                        drop(self.tasks.insert(*id, Task { service: *service, source, lines: VecDeque::new() }));
                    }
                    Err(error) => out.push(Err(unreadable(*id, &error))),
                }
            }
        }
        let turn = self.turn.unwrap_or_default();
        let ids: Vec<TaskId> = self.tasks.range(turn..).chain(self.tasks.range(..turn)).map(|(id, _)| *id).collect();
        let mut bytes = 0;
        let mut fresh = Vec::new();
        let mut stopped_at = None;
        for id in ids {
            if bytes >= ROUND {
                stopped_at = Some(id);
                break;
            }
            let taken = self.read(id, CHUNK.1, out).unwrap_or_default();
            bytes += taken;
            fresh.extend(self.tasks.get_mut(&id).into_iter().flat_map(|task| task.lines.drain(..)));
            if taken == 0 && !wanted.contains_key(&id) {
                self.tasks.remove(&id);
            }
        }
        fresh.sort_by_key(|line| line.time);
        out.extend(fresh.into_iter().map(Ok));
        self.turn = Some(stopped_at.unwrap_or_default());
        bytes > 0
    }
}

fn is_inside(query: &Query, line: &Joined) -> bool {
    query.since.is_none_or(|since| line.time >= since) && query.until.is_none_or(|until| line.time <= until)
}

fn unreadable(task: TaskId, error: &io::Error) -> Error {
    Error::internal(format!("cannot read the log of task {task}: {error}"))
}
