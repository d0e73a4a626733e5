//! API objects ↔ our objects, one file each. Docker's spellings live here and in [`crate::model`] only.
//!
//! Invariant: nothing that a user set is lost in silence. A field without a counterpart is refused by its API name, unless it holds
//! the empty value that every docker CLI sends.

pub mod confine;
pub mod container;
pub mod event;
pub mod files;
pub mod generic;
pub mod health;
pub mod image;
mod inspect;
pub mod log_details;
pub mod mount;
pub mod network;
pub mod node;
pub mod service;
pub mod swarm;
pub mod system;
pub mod task;
pub mod task_spec;
pub mod time;
pub mod tls;
pub mod volume;

use serde_json::Value;
use wsw_api::{Error, Result};

/// Refuses a field that wsw does not serve yet, when it says anything.
pub fn unserved(field: &str, value: &Option<Value>) -> Result<()> {
    match value {
        Some(value) if !says_nothing(value) => Err(not_served(field)),
        _ => Ok(()),
    }
}

/// The same with words of its own.
pub fn unserved_as(value: &Option<Value>, refuse: impl FnOnce() -> Result<()>) -> Result<()> {
    if value.as_ref().is_none_or(says_nothing) { Ok(()) } else { refuse() }
}

/// The refusal of a field.
pub fn not_served(field: &str) -> Error {
    Error::unimplemented(format!("{field}: not supported by this version of wsw; leave it out"))
}

/// True for null, false, 0, "", and for lists and objects of nothing else.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
    }
}

/// A Go duration or amount: never negative.
pub fn non_negative(field: &str, value: Option<i64>) -> Result<u64> {
    u64::try_from(value.unwrap_or_default()).map_err(|_| Error::invalid(format!("{field}: must not be negative")))
}

/// Nanoseconds in Go's type; what is longer than its 292 years is cut.
pub fn go_nanos(nanos: u64) -> Option<i64> {
    Some(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Lists and texts that Go leaves out when empty.
pub fn some_list<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// See [`some_list`].
pub fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_values_that_say_something_are_refused() {
        for nothing in [json!(null), json!({}), json!([]), json!({"CredentialSpec": null, "SELinuxContext": {"Disable": false}}), json!(0)] {
            assert!(unserved("X", &Some(nothing.clone())).is_ok(), "{nothing}");
        }
        for something in [json!([{}]), json!({"Nameservers": ["1.1.1.1"]}), json!(-1), json!("x")] {
            assert!(unserved("X", &Some(something.clone())).unwrap_err().message.starts_with("X: not supported"), "{something}");
        }
    }
}
