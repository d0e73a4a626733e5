//! `--cap-add` and `--cap-drop`: names in one spelling, adding before dropping.

use std::collections::BTreeSet;

const ALL: &str = "ALL";
/// Forgets what was set before; for updates only.
const RESET: &str = "RESET";

fn normal(names: &[String]) -> BTreeSet<String> {
    names
        .iter()
        .map(|name| {
            let name = name.trim().to_uppercase();
            if name == ALL || name == RESET || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
        })
        .collect()
}

/// What a new service adds and drops.
pub fn effective(add: &[String], drop: &[String]) -> (Vec<String>, Vec<String>) {
    let only_all = |mut names: BTreeSet<String>| {
        if names.contains(ALL) {
            names.retain(|name| name == ALL);
        }
        names
    };
    let (mut add, mut drop) = (only_all(normal(add)), only_all(normal(drop)));
    drop.retain(|name| !add.contains(name) && name != RESET);
    add.remove(RESET);
    (add.into_iter().collect(), drop.into_iter().collect())
}

/// What an existing service adds and drops after a change: dropping what was added takes it away first, and the other way round.
pub fn updated(add: &[String], drop: &[String], to_add: &[String], to_drop: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut add, mut drop, mut to_add, mut to_drop) = (normal(add), normal(drop), normal(to_add), normal(to_drop));
    if to_add.remove(RESET) {
        add.clear();
    }
    if to_drop.remove(RESET) {
        drop.clear();
    }
    for name in to_drop.difference(&to_add) {
        if !add.remove(name) {
            drop.insert(name.clone());
        }
    }
    for name in to_add {
        if !drop.remove(&name) {
            add.insert(name);
        }
    }
    let list = |names: BTreeSet<String>| if names.contains(ALL) { vec![ALL.to_owned()] } else { names.into_iter().collect() };
    (list(add), list(drop))
}

#[cfg(test)]
mod unit {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn adding_wins() {
        assert_eq!(effective(&names(&["net_admin"]), &names(&["NET_ADMIN", "chown"])), (names(&["CAP_NET_ADMIN"]), names(&["CAP_CHOWN"])));
        assert_eq!(updated(&names(&["CAP_A"]), &[], &[], &names(&["a"])), (vec![], vec![]));
        assert_eq!(updated(&[], &names(&["CAP_A"]), &names(&["a"]), &[]), (vec![], vec![]));
        assert_eq!(updated(&names(&["CAP_A"]), &[], &names(&["RESET", "b"]), &[]), (names(&["CAP_B"]), vec![]));
    }
}
