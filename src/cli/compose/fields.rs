//! The shapes that fields of a Compose file come in, brought into one: lists or mappings, words or lists of words, texts for sizes and durations.
//!
//! The schema has been checked: a shape that it does not allow cannot come here, and is left as nothing.

use serde_json::{Map, Value};

use super::scalar;
use crate::cli::{args::values, format::units};

/// What docker says when a field cannot be taken.
pub fn undecodable(path: &str, why: &str) -> String {
    format!("decoding failed due to the following error(s):\n\nerror decoding '{path}': {why}")
}

/// `{a: 1}` or `["a=1"]` as a mapping of texts; without a value it is empty.
pub fn mapping(value: &Value) -> Value {
    pairs(value, |value| value.map_or_else(String::new, |value| if value.is_null() { String::new() } else { scalar::text(value) }).into())
}

/// The same, but no value stays no value.
pub fn mapping_with_nothing(value: &Value) -> Value {
    pairs(value, |value| match value {
        None | Some(Value::Null) => Value::Null,
        Some(value) => scalar::text(value).into(),
    })
}

fn pairs(value: &Value, show: impl Fn(Option<&Value>) -> Value) -> Value {
    let mut map = Map::new();
    match value {
        Value::Object(given) => map.extend(given.iter().map(|(name, value)| (name.clone(), show(Some(value))))),
        Value::Array(items) => {
            for item in items.iter().filter_map(Value::as_str) {
                let (name, value) = item.split_once('=').map_or((item, None), |(name, value)| (name, Some(Value::from(value))));
                map.insert(name.to_owned(), show(value.as_ref()));
            }
        }
        _ => {}
    }
    map.into()
}

/// A word or a list as a list.
pub fn list(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| Value::from(scalar::text(item))).collect(),
        Value::Null => Value::Array(Vec::new()),
        other => Value::Array(vec![scalar::text(other).into()]),
    }
}

/// A command line as words.
pub fn command(value: &Value, path: &str) -> Result<Value, String> {
    match value.as_str() {
        Some(text) => values::split_words(text).map(Value::from).map_err(|why| undecodable(path, &why)),
        None => Ok(list(value)),
    }
}

/// `host: address` pairs as `host:address`, without the brackets of an IPv6 address.
pub fn hosts(value: &Value) -> Value {
    let given: Vec<(String, String)> = match value {
        Value::Object(map) => map.iter().filter(|(_, address)| !address.is_null()).map(|(host, address)| (host.clone(), scalar::text(address))).collect(),
        Value::Array(items) => {
            let split = |text: &str| text.split_once('=').or_else(|| text.split_once(':')).map(|(host, address)| (host.to_owned(), address.to_owned()));
            items.iter().filter_map(|item| split(&scalar::text(item))).collect()
        }
        _ => Vec::new(),
    };
    let bare = |address: &str| address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).filter(|inner| !inner.is_empty()).map(str::to_owned);
    given.into_iter().map(|(host, address)| Value::from(format!("{host}:{}", bare(&address).unwrap_or(address)))).collect()
}

/// A duration as Go writes it.
pub fn duration(value: &Value, path: &str) -> Result<Value, String> {
    let text = value.as_str().unwrap_or_default();
    values::parse_duration(text).map(|nanos| units::duration(nanos).into()).map_err(|why| undecodable(path, &why))
}

/// Nanoseconds of a canonical duration.
pub fn nanos(value: &Value) -> i64 {
    value.as_str().and_then(|text| values::parse_duration(text).ok()).unwrap_or(0)
}

/// A count that cannot be negative; a fraction is cut off, as docker's decoder does it.
pub fn count(value: &Value, path: &str) -> Result<Value, String> {
    let number = value.as_i64().or_else(|| value.as_f64().map(|number| number as i64)).unwrap_or(0);
    u64::try_from(number)
        .map(Value::from)
        .map_err(|_| format!("decoding failed due to the following error(s):\n\ncannot parse '{path}', {number} overflows uint"))
}

/// A whole number.
pub fn integer(value: &Value) -> Value {
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64)).unwrap_or(0).into()
}

/// Bytes of "50M", as the decimal text that docker shows.
pub fn bytes(value: &Value, path: &str) -> Result<Value, String> {
    let text = scalar::text(value);
    values::parse_bytes(&text).map(|bytes| bytes.to_string().into()).map_err(|why| undecodable(path, &why))
}

/// Whether a value is what an unset field holds.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Sets `key` where there is something to set.
pub fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    if !is_zero(&value) {
        map.insert(key.to_owned(), value);
    }
}

/// A mapping's own value for `key`, if the file has it.
pub fn given<'a>(from: &'a Value, key: &str) -> Option<&'a Value> {
    from.get(key).filter(|value| !value.is_null())
}
