//! `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?why}`, `${NAME?why}` and `$$` in the texts of a Compose file, and the types that a text
//! becomes where the file wants a number or a boolean.

use serde_json::{Map, Value, json};

use crate::cli::args::values;

/// What a variable stands for.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

enum Cast {
    Int,
    Float,
    Bool,
}

/// Where an interpolated text becomes something else: `*` is any key, `[]` an item of a list.
const CASTS: &[(&str, Cast)] = &[
    ("services.*.configs.[].mode", Cast::Int),
    ("services.*.secrets.[].mode", Cast::Int),
    ("services.*.healthcheck.retries", Cast::Int),
    ("services.*.healthcheck.disable", Cast::Bool),
    ("services.*.deploy.replicas", Cast::Int),
    ("services.*.deploy.update_config.parallelism", Cast::Int),
    ("services.*.deploy.update_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.rollback_config.parallelism", Cast::Int),
    ("services.*.deploy.rollback_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.restart_policy.max_attempts", Cast::Int),
    ("services.*.deploy.placement.max_replicas_per_node", Cast::Int),
    ("services.*.ports.[].target", Cast::Int),
    ("services.*.ports.[].published", Cast::Int),
    ("services.*.ulimits.*", Cast::Int),
    ("services.*.ulimits.*.hard", Cast::Int),
    ("services.*.ulimits.*.soft", Cast::Int),
    ("services.*.privileged", Cast::Bool),
    ("services.*.oom_score_adj", Cast::Int),
    ("services.*.read_only", Cast::Bool),
    ("services.*.stdin_open", Cast::Bool),
    ("services.*.tty", Cast::Bool),
    ("services.*.volumes.[].read_only", Cast::Bool),
    ("services.*.volumes.[].volume.nocopy", Cast::Bool),
    ("networks.*.external", Cast::Bool),
    ("networks.*.internal", Cast::Bool),
    ("networks.*.attachable", Cast::Bool),
    ("volumes.*.external", Cast::Bool),
    ("secrets.*.external", Cast::Bool),
    ("configs.*.external", Cast::Bool),
];

/// Every text of `config` with its variables filled in.
pub fn all(config: Map<String, Value>, lookup: Lookup<'_>) -> Result<Map<String, Value>, String> {
    let mut path = Vec::new();
    match inside(Value::Object(config), &mut path, lookup)? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

fn inside(value: Value, path: &mut Vec<String>, lookup: Lookup<'_>) -> Result<Value, String> {
    let mut step = |name: String, value: Value| {
        path.push(name);
        let filled = inside(value, path, lookup);
        path.pop();
        filled
    };
    match value {
        Value::Object(map) => Ok(Value::Object(map.into_iter().map(|(name, value)| Ok((name.clone(), step(name, value)?))).collect::<Result<_, String>>()?)),
        Value::Array(items) => items.into_iter().map(|item| step("[]".into(), item)).collect(),
        Value::String(text) => {
            let shown = || path.join(".");
            let filled = substitute(&text, lookup)
                .map_err(|template| format!("invalid interpolation format for {}: {template:?}; you may need to escape any $ with another $", shown()))?;
            if filled == text {
                return Ok(text.into());
            }
            cast(&filled, path).map_err(|why| format!("error while interpolating {}: failed to cast to expected type: {why}", shown()))
        }
        other => Ok(other),
    }
}

fn cast(text: &str, path: &[String]) -> Result<Value, String> {
    let fits = |pattern: &str| {
        let parts: Vec<&str> = pattern.split('.').collect();
        parts.len() == path.len() && parts.iter().zip(path).all(|(part, step)| *part == "*" || part == step)
    };
    match CASTS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, cast)| cast) {
        None => Ok(text.into()),
        Some(Cast::Int) => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
            }
            text.parse::<i64>().map(Value::from).map_err(|_| format!("strconv.Atoi: parsing {text:?}: value out of range"))
        }
        Some(Cast::Float) => values::parse_float(text).map(|number| json!(number)),
        Some(Cast::Bool) => match text.to_lowercase().as_str() {
            "y" | "yes" | "true" | "on" => Ok(true.into()),
            "n" | "no" | "false" | "off" => Ok(false.into()),
            _ => Err(format!("invalid boolean: {text}")),
        },
    }
}

/// `text` with its variables filled in; an error is the text that is wrong.
fn substitute(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if let Some(tail) = behind.strip_prefix('$') {
            filled.push('$');
            rest = tail;
            continue;
        }
        let braced = behind.strip_prefix('{');
        let length = expression(braced.unwrap_or(behind));
        let body = braced.unwrap_or(behind);
        let (expression, tail) = body.split_at(length);
        let tail = if braced.is_some() { tail.strip_prefix('}') } else { Some(tail) };
        match tail.filter(|_| length > 0) {
            Some(tail) => {
                filled.push_str(&replacement(expression, lookup)?);
                rest = tail;
            }
            None => return Err(text.to_owned()),
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// How much of `text` is a name with what follows it (`:-`, `-`, `:?`, `?` and all up to a `}`).
fn expression(text: &str) -> usize {
    let is_name = |at: usize, c: char| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    let name = text.char_indices().find(|(at, c)| !is_name(*at, *c)).map_or(text.len(), |(at, _)| at);
    if name == 0 {
        return 0;
    }
    let behind = &text[name..];
    let operator = behind.strip_prefix(':').unwrap_or(behind);
    if !operator.starts_with(['-', '?']) {
        return name;
    }
    text[name..].find('}').map_or(text.len(), |end| name + end)
}

fn replacement(expression: &str, lookup: Lookup<'_>) -> Result<String, String> {
    // In docker's order: `:-` anywhere wins over `-`, that over `:?`, that over `?`.
    if let Some((name, default)) = expression.split_once(":-") {
        return Ok(lookup(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
    }
    if let Some((name, default)) = expression.split_once('-') {
        return Ok(lookup(name).unwrap_or_else(|| default.to_owned()));
    }
    let missing = |name: &str, why: &str| format!("required variable {name} is missing a value: {why}");
    if let Some((name, why)) = expression.split_once(":?") {
        return lookup(name).filter(|value| !value.is_empty()).ok_or_else(|| missing(name, why));
    }
    if let Some((name, why)) = expression.split_once('?') {
        return lookup(name).ok_or_else(|| missing(name, why));
    }
    Ok(lookup(expression).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            "N" => Some("3".into()),
            _ => None,
        }
    }

    #[test]
    fn forms() {
        for (text, filled) in [
            ("$A/${A}", "one/one"),
            ("$$A ${NO}|", "$A |"),
            ("${EMPTY:-x}${EMPTY-x}${NO-y}", "xy"),
            ("${A:?no}${EMPTY?no}", "one"),
            ("a$NO:-rest of it", "arest of it"),
        ] {
            assert_eq!(substitute(text, &lookup).as_deref(), Ok(filled), "{text}");
        }
        for text in ["$", "${", "${A", "${1}", "a $ b"] {
            assert_eq!(substitute(text, &lookup), Err(text.to_owned()));
        }
        assert_eq!(substitute("${NO:?set it}", &lookup), Err("required variable NO is missing a value: set it".into()));
    }

    #[test]
    fn numbers_and_booleans_where_the_file_wants_them() {
        let config = json!({"services": {"w": {"deploy": {"replicas": "$N"}, "tty": "${NO:-yes}", "image": "$N"}}});
        let Value::Object(config) = config else { panic!() };
        let filled = Value::Object(all(config, &lookup).unwrap());
        assert_eq!(filled, json!({"services": {"w": {"deploy": {"replicas": 3}, "tty": true, "image": "3"}}}));
    }
}
