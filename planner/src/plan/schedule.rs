//! The scheduler: gives tasks their nodes, in one batch per service.
//!
//! Owns: the batch. Filters are in `filter.rs`, the order of nodes in `spread.rs`. Nodes are scored once per batch.
//! Invariant: no task is put on a node that any filter refuses, counting what this plan placed before.

use super::Reason;
use super::filter::{self, Failures, Filter, Pipeline};
use super::generic::Claim;
use super::nodes::Table;
use super::spread::{Branch, Key};
use super::work::{Op, Work};
use crate::Store;
use std::sync::Arc;
use wsw_api::id::NodeId;
use wsw_api::object::{Node, Template};
use wsw_api::task::Task;

/// Finds nodes for all tasks of all works that have none; says which could not be placed, and why.
pub(super) fn place<'a>(view: &'a Store, works: &mut [Work<'a>]) -> Vec<Reason> {
    if works.iter().all(|work| work.creates.is_empty() && work.waiting.is_empty()) {
        return Vec::new();
    }
    let mut table = Table::new(view);
    for work in works.iter() {
        for (node, tasks) in &work.retired {
            table.release(node, *tasks);
        }
    }
    let mut reasons = Vec::new();
    for work in works.iter_mut().filter(|work| !work.creates.is_empty() || !work.waiting.is_empty()) {
        reasons.extend(place_service(view, work, &mut table));
    }
    reasons
}

fn place_service<'a>(view: &'a Store, work: &mut Work<'a>, table: &mut Table<'a>) -> Option<Reason> {
    let template = work.template?;
    if !template.spec.resources.generic.is_empty() {
        table.count_generic(view);
    }
    let mut batch = Batch::new(view, work, template, table);
    let (bound, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut work.waiting).into_iter().partition(|(_, task)| task.node.is_some());
    let kept = batch.bound(work, &bound, table);
    let open = waiting.len() + work.creates.iter().filter(|create| create.node.is_none()).count();
    let mut left = 0_u32;
    if open > 0 {
        let mut tree = batch.tree(table);
        let mut unplaced = Vec::new();
        for (group, task) in &waiting {
            match batch.take(&mut tree, table) {
                Some((at, claim)) => {
                    work.ops.extend(table.rows.get(at).map(|row| (*group, Op::Assign(task.id, row.node.id))));
                    work.ops.extend(claim.map(|claim| (*group, Op::Claim(task.id, claim))));
                }
                None => unplaced.push((*group, *task)),
            }
        }
        for create in work.creates.iter_mut().filter(|create| create.node.is_none()) {
            let taken = batch.take(&mut tree, table);
            create.node = taken.as_ref().and_then(|(at, _)| table.rows.get(*at)).map(|row| row.node.id);
            create.claim = taken.and_then(|(_, claim)| claim);
            left += u32::from(create.node.is_none());
        }
        left += u32::try_from(unplaced.len()).unwrap_or(u32::MAX);
        if left > 0 {
            let text: Arc<str> = filter::explain(&batch.failures(table)).into();
            let news = unplaced.iter().filter(|(_, task)| task.status.err != text);
            work.ops.extend(news.map(|(group, task)| (*group, Op::Explain(task.id, text.clone()))));
            for create in work.creates.iter_mut().filter(|create| create.node.is_none()) {
                create.reason = Some(text.clone());
            }
            return Some(Reason { service: work.service.id, tasks: left, text: text.to_string() });
        }
    }
    kept
}

/// One service's tasks that need nodes.
struct Batch<'t> {
    view: &'t Store,
    template: &'t Template,
    pipeline: Pipeline<'t>,
    /// Active tasks and recent failures of the service, by place in the table.
    copies: Vec<u32>,
    failed: Vec<u32>,
}

impl<'t> Batch<'t> {
    fn new(view: &'t Store, work: &Work<'t>, template: &'t Template, table: &Table<'_>) -> Self {
        let mut copies = vec![0_u32; table.rows.len()];
        let mut failed = copies.clone();
        for (node, placed) in view.placed(&work.service.id) {
            if let Some(count) = table.find(&node).and_then(|at| copies.get_mut(at)) {
                *count = placed.active;
            }
        }
        for (node, tasks) in &work.retired {
            if let Some(count) = table.find(node).and_then(|at| copies.get_mut(at)) {
                *count = count.saturating_sub(*tasks);
            }
        }
        for (node, failures) in view.recent_failures(work.service, work.now) {
            if let Some(count) = table.find(&node).and_then(|at| failed.get_mut(at)) {
                *count = failures;
            }
        }
        Self { view, template, pipeline: Pipeline::new(template), copies, failed }
    }

    /// Tasks of global services have their node already: they fit there, or wait for it and say why.
    fn bound(&mut self, work: &mut Work<'_>, waiting: &[(u32, &Arc<Task>)], table: &mut Table<'_>) -> Option<Reason> {
        let mut failures = Failures::default();
        for (group, task) in waiting {
            let Some(node) = task.node else { continue };
            match self.fit(node, table) {
                Ok(claim) => {
                    work.ops.push((*group, Op::Assign(task.id, node)));
                    work.ops.extend(claim.map(|claim| (*group, Op::Claim(task.id, claim))));
                }
                Err(filter) => {
                    failures[filter as usize] += 1;
                    let text = filter.explain(1);
                    if *task.status.err != *text {
                        work.ops.push((*group, Op::Explain(task.id, text.into())));
                    }
                }
            }
        }
        for create in &mut work.creates {
            let Some(node) = create.node else { continue };
            match self.fit(node, table) {
                Ok(claim) => create.claim = claim,
                Err(filter) => {
                    failures[filter as usize] += 1;
                    create.reason = Some(filter.explain(1).into());
                }
            }
        }
        let tasks = failures.iter().sum();
        (tasks > 0).then(|| Reason { service: work.service.id, tasks, text: filter::explain(&failures) })
    }

    /// Counts a task on its node, with what it is given there, or tells the filter that keeps it from it.
    fn fit(&mut self, node: NodeId, table: &mut Table<'_>) -> Result<Option<Claim>, Filter> {
        let at = table.find(&node);
        // A node that is gone takes nothing; its tasks have been dealt with before.
        let found = at.and_then(|at| Some((table.rows.get_mut(at)?, self.copies.get_mut(at)?)));
        let Some((row, copies)) = found else { return Err(Filter::Ready) };
        match self.pipeline.check(self.view, row, *copies) {
            Some(failed) => Err(failed),
            None => {
                *copies += 1;
                Ok(row.add(&self.pipeline.wants, &self.pipeline.host_ports, self.pipeline.generic))
            }
        }
    }

    /// The nodes that fit, under the branches of the placement preferences.
    fn tree(&self, table: &Table<'_>) -> Branch {
        let mut root = Branch::default();
        for (at, row) in table.rows.iter().enumerate() {
            let copies = self.copies.get(at).copied().unwrap_or(0);
            let failed = self.failed.get(at).copied().unwrap_or(0);
            let fits = self.pipeline.check(self.view, row, copies).is_none();
            let values: Vec<&str> = self.template.spec.placement.spread.iter().map(|descriptor| label(row.node, descriptor)).collect();
            root.add(&values, copies, fits.then(|| Key::new(failed, copies, row.active, at)));
        }
        root.finish();
        root
    }

    /// Takes the best node and counts the task there; tells what it is given of that node's generic resources.
    fn take(&mut self, tree: &mut Branch, table: &mut Table<'_>) -> Option<(usize, Option<Claim>)> {
        let Self { view, pipeline, copies, failed, .. } = self;
        let mut claim = None;
        let taken = tree.take(&mut |at| {
            let (row, copies) = (table.rows.get_mut(at)?, copies.get_mut(at)?);
            claim = row.add(&pipeline.wants, &pipeline.host_ports, pipeline.generic);
            *copies += 1;
            let failed = failed.get(at).copied().unwrap_or(0);
            pipeline.still_fits(view, row, *copies).then(|| Key::new(failed, *copies, row.active, at))
        });
        taken.map(|at| (at, claim))
    }

    /// By which filter each node fails now.
    fn failures(&self, table: &Table<'_>) -> Failures {
        let mut failures = Failures::default();
        for (row, copies) in table.rows.iter().zip(&self.copies) {
            if let Some(filter) = self.pipeline.check(self.view, row, *copies) {
                failures[filter as usize] += 1;
            }
        }
        failures
    }
}

/// The node's value of a spread descriptor; a label that it does not have is the empty value.
fn label<'n>(node: &'n Node, descriptor: &str) -> &'n str {
    let lower = descriptor.to_ascii_lowercase();
    let labels = if lower.starts_with("node.labels.") { Some((&node.spec.annotations.labels, 12)) } else { None };
    let labels = labels.or_else(|| lower.starts_with("engine.labels.").then_some((&node.description.engine_labels, 14)));
    labels.and_then(|(labels, prefix)| labels.get(descriptor.get(prefix..)?)).map_or("", String::as_str)
}
