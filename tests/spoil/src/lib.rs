//! Spoils what decoders are given: bytes that are cut, changed and doubled, JSON with other values in it.
//!
//! Owns: the mutations and how many are tried. Invariant: which they are follows from a seed alone, so a failure comes back; the bytes that a decoder
//! panicked at are printed. Used by tests only: `WSW_SPOILT_SECONDS=60 cargo test spoilt` tries mutants of each kind for so long (CI: ten, `make fuzz`: minutes).

use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// The numbers of the mutants of one kind: so few that a test takes its second or two, and on for as long as the environment says.
pub fn tries(few: usize) -> impl Iterator<Item = usize> {
    let seconds = std::env::var("WSW_SPOILT_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    (0..).take_while(move |number| *number < few || end.is_some_and(|end| Instant::now() < end))
}

/// What a decoder is given; printed in hexadecimal when it panics.
#[derive(Debug)]
pub struct Given<'a> {
    pub what: &'a str,
    pub bytes: &'a [u8],
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("{} panicked at these bytes: {hex}", self.what);
        }
    }
}

/// One sequence of mutations (SplitMix64).
#[derive(Debug, Clone)]
pub struct Spoiler(u64);

impl Spoiler {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end` (0 when there is none).
    pub fn below(&mut self, end: usize) -> usize {
        self.number().checked_rem(end as u64).unwrap_or(0) as usize
    }

    /// Bytes that nobody chose, fewer than `end`.
    pub fn bytes(&mut self, end: usize) -> Vec<u8> {
        (0..self.below(end)).map(|_| self.number() as u8).collect()
    }

    /// A mutant: cut, flipped, doubled, with lengths that claim too much; now and then it is random.
    pub fn mutant(&mut self, valid: &[u8]) -> Vec<u8> {
        let mut bytes = if self.below(20) == 0 { self.bytes(200) } else { valid.to_vec() };
        self.spoil(&mut bytes);
        bytes
    }

    /// Some changes.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len().max(1));
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.extend_from_within(at..),
                2 if at < bytes.len() => bytes[at] = self.number() as u8,
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                // MessagePack's heads of arrays, maps, texts and bytes that are four gigabytes long.
                4 => drop(bytes.splice(at..at, [[0xdd, 0xdf, 0xdb, 0xc6][self.below(4)], 0xff, 0xff, 0xff, 0xff])),
                _ => bytes.push(self.number() as u8),
            }
        }
    }

    /// JSON in which some values are others, of any type, or elsewhere.
    pub fn json(&mut self, valid: &Value) -> Value {
        let mut value = valid.clone();
        for _ in 0..=self.below(3) {
            let places = count(&value);
            let (at, other) = (self.below(places), self.below(places));
            let new = self.value(find(valid, &mut { other }));
            replace(&mut value, &mut { at }, &new);
        }
        value
    }

    fn value(&mut self, elsewhere: Option<&Value>) -> Value {
        match self.below(16) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => (-1).into(),
            3 => i64::MIN.into(),
            4 => u64::MAX.into(),
            5 => (1_u64 << 53).into(),
            6 => 1e300.into(),
            7 => 0.5.into(),
            8 => "".into(),
            9 => ["\0", "é\u{202e}\u{1f600}", "../../etc", "-1", "18446744073709551616", "a=b=c", "%s%n", "1e9"][self.below(8)].into(),
            10 => "x".repeat(self.below(5_000)).into(),
            11 => Value::Array(Vec::new()),
            12 => Value::Object(Map::new()),
            13 => (0..40).fold(Value::Null, |inner, _| Value::Array(vec![inner])),
            14 => Value::Array(vec![elsewhere.cloned().unwrap_or_default(); self.below(4)]),
            _ => elsewhere.cloned().unwrap_or_default(),
        }
    }
}

fn parts(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn count(value: &Value) -> usize {
    1 + parts(value).into_iter().map(count).sum::<usize>()
}

/// The value at a place, counted from the outermost.
fn find<'a>(value: &'a Value, at: &mut usize) -> Option<&'a Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    parts(value).into_iter().find_map(|part| find(part, at))
}

fn replace(value: &mut Value, at: &mut usize, new: &Value) -> bool {
    if *at == 0 {
        *value = new.clone();
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|part| replace(part, at, new)),
        Value::Object(map) => map.values_mut().any(|part| replace(part, at, new)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_place_is_reached_and_a_seed_repeats() {
        let valid = json!({"a": [1, {"b": "c"}], "d": null});
        let mutants = |seed| {
            let mut spoiler = Spoiler::new(seed);
            (0..2_000).map(|_| spoiler.json(&valid)).collect::<Vec<_>>()
        };
        let tried = mutants(1);
        assert_eq!(tried, mutants(1));
        assert!(tried.iter().any(|value| !value.is_object()) && tried.iter().any(|value| value["a"][1]["b"].is_number()));
        let mut spoiler = Spoiler::new(2);
        let tried: Vec<_> = (0..500).map(|_| spoiler.mutant(b"0123456789")).collect();
        assert!(tried.iter().any(Vec::is_empty) && tried.iter().any(|bytes| bytes.len() > 12));
    }
}
