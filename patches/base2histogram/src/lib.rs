//! Stands in for openraft's histogram crate (`[patch.crates-io]` in the root manifest), with only what openraft calls.
//!
//! Why: version 0.2.3 of that crate builds the bucket tables of all 16 resolutions at first use, 26 MB that stay resident, although one
//! of 252 buckets is used. An idle manager would take twice its memory. Goes when openraft's own dependency no longer does that.
//! Owns: counts in logarithmic buckets. Each power of two has four buckets, so a percentile is at most a quarter too low.

use std::fmt;
use std::marker::PhantomData;

/// Buckets per power of two.
const STEPS: usize = 4;
/// Values below this have a bucket of their own.
const EXACT: u64 = 4;
/// Four exact ones, then four for each of the powers 2^2 … 2^63.
const BUCKETS: usize = EXACT as usize + 62 * STEPS;

/// Counts of values, by size. `T` only mirrors the replaced crate's type parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// As long as the highest bucket that was hit.
    counts: Vec<u64>,
    data: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let power = 63 - value.leading_zeros() as usize;
    let step = (value >> (power - 2)) as usize & (STEPS - 1);
    EXACT as usize + (power - 2) * STEPS + step
}

/// The smallest value of the bucket.
fn floor(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(EXACT as usize) else { return bucket as u64 };
    ((STEPS + above % STEPS) as u64) << (above / STEPS)
}

impl<T> Histogram<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { counts: Vec::new(), data: PhantomData }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = bucket(value).min(BUCKETS - 1);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(slot) = self.counts.get_mut(bucket) {
            *slot = slot.saturating_add(count);
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The value below which the share `p` (0 to 1) of all values lies; 0 when nothing was counted.
    pub fn percentile(&self, p: f64) -> u64 {
        let total = self.total();
        if total == 0 {
            return 0;
        }
        let wanted = ((p.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= wanted {
                return floor(bucket);
            }
        }
        floor(self.counts.len().saturating_sub(1))
    }

    /// The usual ones together.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.10),
            p50: self.percentile(0.50),
            p90: self.percentile(0.90),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

/// Percentiles of a histogram, in the unit of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[samples: {}, P50: {}, P90: {}, P99: {}, P99.9: {}]", self.samples, self.p50, self.p90, self.p99, self.p99_9)
    }
}

/// Named histograms for a text report, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsciiChart<T = ()> {
    rows: Vec<(String, Histogram<T>)>,
}

impl<T> AsciiChart<T> {
    /// An empty report.
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds one.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "the replaced crate's name")]
    pub fn add(mut self, name: &str, histogram: Histogram<T>) -> Self {
        self.rows.push((name.to_owned(), histogram));
        self
    }

    /// The report.
    pub fn compact(&self) -> String {
        self.rows.iter().map(|(name, histogram)| format!("{name}: {}\n", histogram.percentile_stats())).collect()
    }

    /// The same report: there is one form only.
    pub fn detailed(&self) -> String {
        self.compact()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let values = (0..63).flat_map(|power| [1_u64 << power, (1 << power) + 1, (1 << power) - 1]).chain([u64::MAX]);
        for value in values {
            let bucket = bucket(value);
            assert!(bucket < BUCKETS && floor(bucket) <= value, "{value}");
            assert!(value - floor(bucket) <= value / 4, "{value}");
        }
    }

    #[test]
    fn percentiles_are_a_quarter_off_at_most() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile(0.5), 0);
        (1..=1000).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1000);
        assert!((375..=500).contains(&stats.p50) && (740..=990).contains(&stats.p99), "{stats}");
    }
}
