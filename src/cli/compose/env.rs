//! The environment of a service: its files first, then its own variables; one without a value takes the caller's.

use serde_json::{Map, Value};

use super::{
    Context,
    fields::{self, given},
};
use crate::cli::service::options;

pub fn environment(service: &Value, context: &Context) -> Result<Value, String> {
    let mut all = Map::new();
    if let Some(files) = given(service, "env_file") {
        let mut lines = Vec::new();
        for file in fields::list(files).as_array().into_iter().flatten().filter_map(Value::as_str) {
            let path = context.absolute(file);
            lines.extend(options::env_file(&path).map_err(|error| error.to_string())?.into_iter().map(Value::from));
        }
        add(&mut all, fields::mapping_with_nothing(&Value::Array(lines)), context);
    }
    add(&mut all, fields::mapping_with_nothing(&service["environment"]), context);
    Ok(all.into())
}

fn add(all: &mut Map<String, Value>, given: Value, context: &Context) {
    let Value::Object(given) = given else { return };
    for (name, value) in given {
        let caller = if value.as_str().is_none_or(str::is_empty) { context.variable(&name) } else { None };
        let value = caller.map_or(value, Value::from);
        all.insert(name, value);
    }
}
