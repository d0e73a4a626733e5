//! `--external-ca protocol=cfssl,url=…[,cacert=FILE]` and PEM files.

use serde_json::{Map, Value, json};

use crate::cli::{args::values, service::options::os_text};

pub fn check(value: &str) -> Result<(), String> {
    parse(value, "").map(drop)
}

pub fn check_pem(path: &str) -> Result<(), String> {
    pem(path).map(drop)
}

/// The content of a PEM file.
pub fn pem(path: &str) -> Result<String, String> {
    let content = std::fs::read_to_string(path).map_err(|error| format!("open {path}: {}", os_text(&error)))?;
    if content.contains("-----BEGIN ") { Ok(content) } else { Err("file contents must be in PEM format".into()) }
}

/// One external authority; `root` is its certificate when none is named.
pub fn parse(text: &str, root: &str) -> Result<Value, String> {
    let (mut protocol, mut url, mut certificate) = (None, None, root.to_owned());
    let mut options = Map::new();
    for field in values::split_csv(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        match key.to_lowercase().as_str() {
            "protocol" if value.eq_ignore_ascii_case("cfssl") => protocol = Some("cfssl"),
            "protocol" => return Err(format!("unrecognized external CA protocol {value}")),
            "url" => url = Some(value.to_owned()),
            "cacert" => {
                let content =
                    std::fs::read_to_string(value).map_err(|error| format!("unable to read CA cert for external CA: open {value}: {}", os_text(&error)))?;
                if !content.contains("-----BEGIN ") {
                    return Err("CA cert for external CA must be in PEM format".into());
                }
                certificate = content;
            }
            _ => {
                options.insert(key.to_owned(), json!(value));
            }
        }
    }
    let protocol = protocol.ok_or("the external-ca option needs a protocol= parameter")?;
    let url = url.ok_or("the external-ca option needs a url= parameter")?;
    let mut authority = json!({"Protocol": protocol, "URL": url, "CACert": certificate});
    if !options.is_empty() {
        authority["Options"] = Value::Object(options);
    }
    Ok(authority)
}
