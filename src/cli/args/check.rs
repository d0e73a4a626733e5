//! The checks that flag tables name: one small function a type, each refusing with docker's text.

use super::values;

pub fn any(_: &str) -> Result<(), String> {
    Ok(())
}

pub fn boolean(value: &str) -> Result<(), String> {
    values::parse_bool(value).map(drop)
}

pub fn uint(value: &str) -> Result<(), String> {
    values::parse_uint(value, 64).map(drop)
}

pub fn uint32(value: &str) -> Result<(), String> {
    values::parse_uint(value, 32).map(drop)
}

pub fn int(value: &str) -> Result<(), String> {
    values::parse_int(value).map(drop)
}

pub fn float(value: &str) -> Result<(), String> {
    values::parse_float(value).map(drop)
}

pub fn duration(value: &str) -> Result<(), String> {
    values::parse_duration(value).map(drop)
}

pub fn positive_duration(value: &str) -> Result<(), String> {
    if values::parse_duration(value)? < 0 {
        return Err("duration cannot be negative".into());
    }
    Ok(())
}

pub fn cpus(value: &str) -> Result<(), String> {
    values::parse_cpus(value).map(drop)
}

pub fn bytes(value: &str) -> Result<(), String> {
    values::parse_bytes(value).map(drop)
}

pub fn command(value: &str) -> Result<(), String> {
    values::split_words(value).map(drop)
}

pub fn label(value: &str) -> Result<(), String> {
    let key = value.split('=').next().unwrap_or_default().trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

pub fn env(value: &str) -> Result<(), String> {
    if value.is_empty() || value.starts_with('=') {
        return Err(format!("invalid environment variable: {value}"));
    }
    Ok(())
}

pub fn filter(value: &str) -> Result<(), String> {
    if value.is_empty() || value.contains('=') {
        return Ok(());
    }
    Err("bad format of filter (expected name=value)".into())
}

pub fn address(value: &str) -> Result<(), String> {
    match value.trim().parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("IP address is not correctly formatted: {value}")),
    }
}

pub fn generic_resource(value: &str) -> Result<(), String> {
    if value.contains('=') {
        return Ok(());
    }
    Err(format!("invalid generic-resource format `{value}` expected `name=value`"))
}

pub fn placement_preference(value: &str) -> Result<(), String> {
    match value.split_once('=') {
        None | Some(("", _)) => Err("placement preference must be of the format \"<strategy>=<arg>\"".into()),
        Some(("spread", _)) => Ok(()),
        Some((strategy, _)) => Err(format!("unsupported placement preference {strategy} (only spread is supported)")),
    }
}

pub fn credential_spec(value: &str) -> Result<(), String> {
    if value.is_empty() || ["config://", "file://", "registry://"].iter().any(|prefix| value.starts_with(prefix)) {
        return Ok(());
    }
    Err("invalid credential spec: value must be prefixed with \"config://\", \"file://\", or \"registry://\"".into())
}

pub fn extra_host(value: &str) -> Result<(), String> {
    values::extra_host(value).map(drop)
}

pub fn network_cidr(value: &str) -> Result<(), String> {
    values::parse_cidrs(value).map(drop)
}
