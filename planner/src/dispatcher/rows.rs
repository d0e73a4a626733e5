//! A table whose rows are numbered by change, so that a session only remembers the number up to which it was told.
//!
//! Owns: the rows as they were last made, and which of them were removed. Never: knows what a row is.

use std::collections::BTreeMap;

/// Removed rows kept for sessions that have not heard of them; above this they are looked through.
const MAX_GRAVES: usize = 256;

/// The rows; none for one that is not there any more.
#[derive(Debug)]
pub(super) struct Rows<K, V> {
    /// Number of the last change.
    last: u64,
    rows: BTreeMap<K, (u64, Option<V>)>,
    by_number: BTreeMap<u64, K>,
    graves: usize,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { last: 0, rows: BTreeMap::new(), by_number: BTreeMap::new(), graves: 0 }
    }
}

impl<K: Ord + Copy, V: PartialEq> Rows<K, V> {
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Takes over how a row is now; it gets a number when that differs.
    pub(super) fn put(&mut self, id: K, row: Option<V>) {
        let old = self.rows.get(&id);
        let known = old.and_then(|(_, old)| old.as_ref());
        if known == row.as_ref() {
            return;
        }
        if let Some((number, buried)) = old {
            self.by_number.remove(number);
            self.graves -= usize::from(buried.is_none());
        }
        self.last += 1;
        self.graves += usize::from(row.is_none());
        self.by_number.insert(self.last, id);
        self.rows.insert(id, (self.last, row));
    }

    /// Rows that changed after number `seen`; none stands for removed.
    pub(super) fn since(&self, seen: u64) -> impl Iterator<Item = (K, Option<&V>)> + '_ {
        self.by_number.range(seen + 1..).map(|(_, id)| (*id, self.rows.get(id).and_then(|(_, row)| row.as_ref())))
    }

    /// Forgets removed rows that every session (the least has seen `seen`) was told of.
    pub(super) fn prune(&mut self, seen: Option<u64>) {
        if self.graves <= MAX_GRAVES {
            return;
        }
        let seen = seen.unwrap_or(self.last);
        let Self { rows, by_number, graves, .. } = self;
        rows.retain(|_, (number, row)| {
            let keep = row.is_some() || *number > seen;
            if !keep {
                by_number.remove(number);
                *graves -= 1;
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_seen_a_row_is_told_of_its_changes_only() {
        let mut rows = Rows::default();
        rows.put(1, Some('a'));
        rows.put(2, Some('b'));
        rows.put(1, Some('a'));
        assert_eq!((rows.last(), rows.since(0).collect::<Vec<_>>()), (2, vec![(1, Some(&'a')), (2, Some(&'b'))]));
        rows.put(1, None);
        assert_eq!(rows.since(2).collect::<Vec<_>>(), [(1, None)]);
        assert_eq!(rows.since(3).count(), 0);
    }

    #[test]
    fn removed_rows_are_forgotten_once_everybody_knows() {
        let mut rows = Rows::default();
        for id in 0..=MAX_GRAVES {
            rows.put(id, Some(()));
            rows.put(id, None);
        }
        let last = rows.last();
        rows.prune(Some(last - 1));
        assert_eq!(rows.since(0).count(), 1, "one that a session has not heard of");
        rows.put(MAX_GRAVES, Some(()));
        assert_eq!(rows.since(last).count(), 1);
    }
}
