//! Compiled code of this node's modules: who uses it, how much of it is kept, and what goes first.
//!
//! Owns: the count of tasks on each module, the bound on all code together. Invariants: code that a task uses is not removed, also not the code
//! of a task that is just being made; code that is gone is made again when it is asked for. Never: makes code (`crate::compiler`).

use super::store::Images;
use crate::error::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wsw_api::Time;
use wsw_api::image::{Code, Image};

/// Tasks on each module.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses(Arc<Mutex<BTreeMap<String, u64>>>);

impl Uses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One task's hold on the code of a module, given up when dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    uses: Uses,
    module: String,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut uses = self.uses.lock();
        if let Some(count) = uses.get_mut(&self.module) {
            *count -= 1;
            if *count == 0 {
                uses.remove(&self.module);
            }
        }
    }
}

/// What has to go for the rest to be within `limit`: the least recently used first, nothing that a task has.
fn surplus(code: &[Code], limit: u64) -> Vec<&Code> {
    let mut sum: u64 = code.iter().map(|code| code.size).sum();
    let mut free = code.iter().filter(|code| code.tasks == 0).collect::<Vec<_>>();
    free.sort_by_key(|code| code.used);
    let over = |code: &&Code| {
        let over = sum > limit;
        sum -= if over { code.size } else { 0 };
        over
    };
    free.into_iter().take_while(over).collect()
}

impl Images {
    /// Takes hold of a module's code, whether it is there or not.
    pub(crate) fn hold_code(&self, module: &str) -> InUse {
        *self.uses.lock().entry(module.to_owned()).or_default() += 1;
        InUse { uses: self.uses.clone(), module: module.to_owned() }
    }

    /// The compiled code of an image's module, held for the task that asks; made now when it is not there (a new engine, a cache that was full).
    pub(crate) async fn artifact(&self, image: &Image) -> Result<(PathBuf, InUse)> {
        // First: from here on nobody removes it.
        let (module, held) = (&image.module_digest, self.hold_code(&image.module_digest));
        let path = self.compiler.artifact(module);
        if !path.exists() {
            // All tasks of a service come here together; one of them does the work.
            let _compiling = self.compiling.lock().await;
            if !path.exists() {
                self.compiler.compile(module, &self.blobs().path(module)).await?;
                self.trim_code();
            }
        }
        self.compiler.used(module);
        Ok((path, held))
    }

    /// All code that is kept.
    pub fn code(&self) -> Vec<Code> {
        self.counted(&self.uses.lock())
    }

    fn counted(&self, uses: &BTreeMap<String, u64>) -> Vec<Code> {
        let count = |code: Code| Code { tasks: uses.get(&code.module).copied().unwrap_or_default(), ..code };
        self.compiler.kept().into_iter().map(count).collect()
    }

    /// Keeps the bound.
    pub(super) fn trim_code(&self) {
        self.remove_code(self.compiler.limit(), None);
    }

    fn remove_code(&self, limit: u64, before: Option<Time>) -> Vec<Code> {
        // Held to the end: a task that comes now finds the code gone, not going.
        let uses = self.uses.lock();
        let code = self.counted(&uses).into_iter().filter(|code| before.is_none_or(|before| code.used < before)).collect::<Vec<_>>();
        let gone = surplus(&code, limit);
        gone.iter().for_each(|code| self.compiler.forget(&code.module));
        gone.into_iter().cloned().collect()
    }

    /// Removes all code that no task has (and that none has asked for since `before`); it is made again when a task wants it.
    pub fn prune_code(&self, before: Option<Time>) -> Vec<Code> {
        self.remove_code(0, before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str, size: u64, used: u64, tasks: u64) -> Code {
        Code { module: name.into(), size, made: Time(0), used: Time(used), tasks }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_nothing_that_is_in_use() {
        let all = [code("a", 10, 3, 0), code("b", 10, 1, 1), code("c", 10, 2, 0), code("d", 10, 4, 0)];
        let gone = |limit| surplus(&all, limit).iter().map(|code| code.module.as_str()).collect::<Vec<_>>();
        assert_eq!(gone(40), Vec::<&str>::new());
        assert_eq!(gone(39), ["c"]);
        assert_eq!(gone(25), ["c", "a"]);
        assert_eq!(gone(0), ["c", "a", "d"], "what a task has stays, whatever the bound");
    }
}
