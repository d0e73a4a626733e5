//! Generic resources: what a node offers beside CPUs and memory (`gpu=2`, or by name: `ssd=sda`, `ssd=sdb`), and what tasks take of it.
//!
//! Owns: the shapes, and reading what an operator types (SwarmKit's `genericresource`, with its messages). What fits where is the planner's.
//! Invariants: a kind is either counted or named on a node, never both; tasks ask for numbers only, whatever the node has.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Resources of one node; each named one is an entry. The description travels with every session.
pub const MAX_RESOURCES: usize = 1_024;
/// Length of a kind or a name: they become environment variables of tasks.
pub const MAX_NAME_BYTES: usize = 128;

/// An amount of a kind, or one thing of it by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GenericResource {
    Discrete { kind: String, value: u64 },
    Named { kind: String, name: String },
}

/// What each task of a service reserves of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenericReservation {
    pub kind: String,
    pub value: u64,
}

impl GenericResource {
    /// What it is one of, or some of.
    pub fn kind(&self) -> &str {
        match self {
            Self::Discrete { kind, .. } | Self::Named { kind, .. } => kind,
        }
    }
}

/// Reads `kind=number` and `kind=name` terms, as dockerd's `--node-generic-resource` takes them; the error is for the operator.
pub fn parse(terms: &[String]) -> Result<Vec<GenericResource>, String> {
    let wrong = |text: String| format!("could not parse GenericResource: {text}");
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for term in terms.iter().flat_map(|term| term.split(',')) {
        let Some((kind, value)) = term.split_once('=').filter(|(_, value)| !value.contains('=')) else {
            return Err(wrong(format!("incorrect term {term}, missing '=' or malformed expression")));
        };
        let (kind, value) = (kind.trim(), value.trim());
        if !is_name(kind) || !is_name(value) {
            return Err(wrong(format!("incorrect term {term}: use letters, digits and -_.:/ on both sides, at most {MAX_NAME_BYTES} of them")));
        }
        kinds.entry(kind).or_default().push(value);
    }
    let mut all = Vec::new();
    for (kind, values) in kinds {
        all.extend(of_kind(kind, &values).map_err(wrong)?);
    }
    if all.len() > MAX_RESOURCES {
        return Err(wrong(format!("{} resources are too many; use at most {MAX_RESOURCES}", all.len())));
    }
    Ok(all)
}

fn of_kind(kind: &str, values: &[&str]) -> Result<Vec<GenericResource>, String> {
    let number = |text: &str| text.parse::<i64>().ok();
    match values {
        [one] if number(one).is_some() => {
            let value = number(one).and_then(|value| u64::try_from(value).ok()).ok_or_else(|| format!("cannot ask for negative resource {kind}"))?;
            Ok(vec![GenericResource::Discrete { kind: kind.to_owned(), value }])
        }
        _ if values.iter().any(|value| number(value).is_some()) => {
            Err(format!("mixed discrete and named resources in expression '{kind}=[{}]'", values.join(" ")))
        }
        _ => {
            let mut names = values.to_vec();
            names.sort_unstable();
            names.dedup();
            Ok(names.into_iter().map(|name| GenericResource::Named { kind: kind.to_owned(), name: name.to_owned() }).collect())
        }
    }
}

/// A word that can stand in an environment variable's name or in its list of values.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/".contains(c))
}

/// The variables by which a task finds what it was given: `DOCKER_RESOURCE_GPU=uuid1,uuid2`, or the number.
pub fn environment(given: &[GenericResource]) -> Vec<String> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in given {
        let value = match resource {
            GenericResource::Discrete { value, .. } => value.to_string(),
            GenericResource::Named { name, .. } => name.clone(),
        };
        values.entry(format!("DOCKER_RESOURCE_{}", resource.kind()).to_ascii_uppercase()).or_default().push(value);
    }
    values.into_iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(terms: &[&str]) -> Result<Vec<GenericResource>, String> {
        parse(&terms.iter().map(|term| (*term).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn numbers_and_names_are_told_apart() {
        let named = |name: &str| GenericResource::Named { kind: "gpu".into(), name: name.into() };
        let ssd = GenericResource::Discrete { kind: "ssd".into(), value: 3 };
        assert_eq!(read(&["gpu=b", "ssd=3", "gpu=a", "gpu=b"]), Ok(vec![named("a"), named("b"), ssd.clone()]));
        assert_eq!(read(&["gpu=a,gpu=b,ssd=3"]), Ok(vec![named("a"), named("b"), ssd]));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn wrong_terms_are_named() {
        for (terms, want) in [
            (&["gpu"][..], "incorrect term gpu, missing '=' or malformed expression"),
            (&["a=b=c"], "incorrect term a=b=c, missing '=' or malformed expression"),
            (&["gpu=-1"], "cannot ask for negative resource gpu"),
            (&["gpu=1", "gpu=a"], "mixed discrete and named resources in expression 'gpu=[1 a]'"),
            (&["gpu=1", "gpu=2"], "mixed discrete and named resources in expression 'gpu=[1 2]'"),
            (&["=1"], "incorrect term =1: use letters, digits and -_.:/ on both sides, at most 128 of them"),
            (&["gpu=a b"], "incorrect term gpu=a b: use letters, digits and -_.:/ on both sides, at most 128 of them"),
        ] {
            assert_eq!(read(terms), Err(format!("could not parse GenericResource: {want}")));
        }
        let many: Vec<String> = (0..=MAX_RESOURCES).map(|n| format!("gpu=x{n}")).collect();
        assert!(parse(&many).unwrap_err().ends_with("1025 resources are too many; use at most 1024"));
    }

    #[test]
    fn tasks_find_what_they_were_given() {
        let given = read(&["NVIDIA-GPU=uuid2", "NVIDIA-GPU=uuid1", "ssd=3"]).unwrap();
        assert_eq!(environment(&given), ["DOCKER_RESOURCE_NVIDIA-GPU=uuid1,uuid2", "DOCKER_RESOURCE_SSD=3"]);
    }
}
