//! Names for services that were created without one: `adjective_surname`, as dockerd gives them (its `namesgenerator`).
//!
//! Owns: the words. Never: draws a number; the caller brings it.

/// Names tried before a number is put behind: collisions among 900 pairs are rare.
const TRIES: u64 = 8;

const ADJECTIVES: [&str; 30] = [
    "agile", "bold", "brisk", "calm", "clever", "cosmic", "crisp", "daring", "eager", "earnest", "fluent", "gentle", "golden", "happy", "humble", "keen",
    "lively", "lucid", "mellow", "nimble", "patient", "polite", "proud", "quick", "quiet", "serene", "sharp", "steady", "vivid", "wise",
];

/// People who computed, measured or built.
const SURNAMES: [&str; 30] = [
    "abel", "babbage", "bell", "boole", "cantor", "church", "curie", "darwin", "dijkstra", "euler", "fermi", "galois", "gauss", "godel", "hamilton", "hilbert",
    "hopper", "kepler", "knuth", "lamport", "lovelace", "mendel", "noether", "pascal", "ritchie", "shannon", "tesla", "turing", "wiles", "zuse",
];

fn pick<'a>(words: &[&'a str], number: u64) -> &'a str {
    words.get((number % words.len() as u64) as usize).copied().unwrap_or("wsw")
}

/// A name that is not `taken`, from a random number.
pub fn choose(number: u64, taken: impl Fn(&str) -> bool) -> String {
    let pair = |number: u64| format!("{}_{}", pick(&ADJECTIVES, number), pick(&SURNAMES, number / ADJECTIVES.len() as u64));
    let free = (0..TRIES).map(|step| pair(number.wrapping_add(step))).find(|name| !taken(name));
    free.unwrap_or_else(|| format!("{}{}", pair(number), number % 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_and_valid() {
        let name = choose(12_345, |_| false);
        assert!(name.split_once('_').is_some_and(|(a, b)| ADJECTIVES.contains(&a) && SURNAMES.contains(&b)), "{name}");
        assert_ne!(choose(12_345, |taken| taken == name), name);
        assert!(choose(12_345, |_| true).ends_with("12345"));
    }
}
