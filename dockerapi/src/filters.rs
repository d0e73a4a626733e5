//! The `filters` query parameter: `{"label":{"a=b":true}}`, or `{"label":["a=b"]}` from old clients.
//!
//! Owns: both JSON forms, which keys a route knows, and how values match. An unknown key is refused: a filter that is ignored lists
//! (or deletes) too much.

use crate::error::ApiError;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use wsw_api::Time;

/// Values by key; several values of one key are alternatives, keys must all match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Map(BTreeMap<String, bool>),
    List(Vec<String>),
    One(String),
}

impl Filters {
    /// Reads the parameter (absent or empty is no filter) and refuses keys that are not in `known`.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let raw: BTreeMap<String, Option<Values>> = serde_json::from_str(text).map_err(|e| ApiError::invalid(format!("invalid filter: filters: {e}")))?;
        let mut out = BTreeMap::new();
        for (key, values) in raw {
            if !known.contains(&key.as_str()) {
                return Err(ApiError::invalid(format!("invalid filter '{key}'")));
            }
            let values: BTreeSet<String> = match values {
                Some(Values::Map(map)) => map.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect(),
                Some(Values::List(list)) => list.into_iter().collect(),
                Some(Values::One(value)) => BTreeSet::from([value]),
                None => BTreeSet::new(),
            };
            out.insert(key, values);
        }
        Ok(Self(out))
    }

    /// The values of a key.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// True when the key is given.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).next().is_some()
    }

    /// True when the key is absent or one of its values satisfies `test`.
    pub fn any(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.get(key).any(test)
    }

    /// True when the key is absent or a value is a prefix of `text`.
    pub fn prefix(&self, key: &str, text: &str) -> bool {
        self.any(key, |value| text.starts_with(value))
    }

    /// True when the key is absent or a value equals `text`.
    pub fn exact(&self, key: &str, text: &str) -> bool {
        self.any(key, |value| value == text)
    }

    /// Labels: each value (`name` or `name=value`) must be there.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// The opposite of [`Self::labels`]: none of the values may be there.
    pub fn without_labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        !self.get(key).any(|unwanted| match unwanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
            None => labels.contains_key(unwanted),
        })
    }

    /// The moment of `until`: Unix seconds (as docker's CLI sends them) or a length of time before now (`24h`).
    pub fn until(&self, now: Time) -> Result<Option<Time>, ApiError> {
        let mut values = self.get("until");
        let Some(text) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(ApiError::invalid("more than one until filter specified"));
        }
        if let Some(nanos) = crate::convert::time::length(text) {
            return Ok(Some(Time(now.0.saturating_sub(nanos))));
        }
        crate::call::moment(text).map(Some).ok_or_else(|| self.bad("until", text))
    }

    /// The single boolean of a key: `true`/`1`, `false`/`0`.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, ApiError> {
        let mut values = self.get(key);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some("true" | "1"), None) => Ok(Some(true)),
            (Some("false" | "0"), None) => Ok(Some(false)),
            (Some(value), _) => Err(self.bad(key, value)),
        }
    }

    /// The refusal of a value, in moby's words.
    pub fn bad(&self, key: &str, value: &str) -> ApiError {
        ApiError::invalid(format!("invalid filter '{key}={value}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let map = Filters::parse(Some(r#"{"label":{"a=b":true,"c":true,"off":false},"id":{"x":true}}"#), &["label", "id"]).unwrap();
        let list = Filters::parse(Some(r#"{"label":["a=b","c"],"id":["x"]}"#), &["label", "id"]).unwrap();
        assert_eq!(map, list);
        assert!(map.prefix("id", "xyz") && !map.prefix("id", "ab") && map.prefix("name", "anything"));
        let labels = BTreeMap::from([("a".into(), "b".into()), ("c".into(), "".into())]);
        assert!(map.labels("label", &labels));
        assert!(!map.labels("label", &BTreeMap::new()));
    }

    #[test]
    fn unknown_keys_and_bad_json_are_refused() {
        assert_eq!(Filters::parse(Some(r#"{"colour":["red"]}"#), &["label"]).unwrap_err().message, "invalid filter 'colour'");
        assert!(Filters::parse(Some("[1]"), &["label"]).unwrap_err().message.starts_with("invalid filter: "));
        assert_eq!(Filters::parse(Some(""), &[]).unwrap(), Filters::default());
    }
}
