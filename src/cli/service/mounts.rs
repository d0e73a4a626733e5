//! `--mount`, `--network`, `--secret`, `--config` and `--ulimit`: comma lists of `key=value` as parts of a service's spec.

use serde_json::{Map, Value, json};

use super::ports::is_long;
use crate::cli::args::values;

pub fn check(value: &str) -> Result<(), String> {
    parse(value).map(drop)
}

pub fn check_network(value: &str) -> Result<(), String> {
    network(value).map(drop)
}

pub fn check_file_reference(value: &str) -> Result<(), String> {
    file_reference(value, "Secret").map(drop)
}

pub fn check_ulimit(value: &str) -> Result<(), String> {
    ulimit(value).map(drop)
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, String> {
    value.map_or(Ok(true), |value| values::parse_bool(value).map_err(|_| format!("invalid value for {key}: {value}")))
}

/// Sets `mount[part][key]`.
fn set(mount: &mut Value, part: &str, key: &str, value: Value) {
    mount[part][key] = value;
}

/// One `--mount`.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut mount = json!({"Type": "volume"});
    for field in values::split_csv(text)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let key = key.to_lowercase();
        let bare = ["readonly", "ro", "volume-nocopy", "bind-nonrecursive"].contains(&key.as_str());
        if value.is_none() && !bare {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        mount_field(&mut mount, &key, value, &field)?;
    }
    let kind = mount["Type"].as_str().unwrap_or_default().to_owned();
    if kind.is_empty() {
        return Err("type is required".into());
    }
    if mount["Target"].as_str().unwrap_or_default().is_empty() {
        return Err("target is required".into());
    }
    for (part, of) in [("VolumeOptions", "volume"), ("ImageOptions", "image"), ("BindOptions", "bind"), ("TmpfsOptions", "tmpfs")] {
        if mount.get(part).is_some() && kind != of {
            return Err(format!("cannot mix '{of}-*' options with mount type '{kind}'"));
        }
    }
    check_recursion(&mount)?;
    Ok(mount)
}

fn mount_field(mount: &mut Value, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
    let text = value.unwrap_or_default();
    let wrong = || format!("invalid value for {key}: {text}");
    match key {
        "type" => mount["Type"] = json!(text.to_lowercase()),
        "source" | "src" => mount["Source"] = json!(absolute(text)),
        "target" | "dst" | "destination" => mount["Target"] = json!(text),
        "readonly" | "ro" => {
            if boolean(key, value)? {
                mount["ReadOnly"] = json!(true);
            }
        }
        "consistency" => mount["Consistency"] = json!(text.to_lowercase()),
        "bind-propagation" => set(mount, "BindOptions", "Propagation", json!(text.to_lowercase())),
        "bind-nonrecursive" => {
            set(mount, "BindOptions", "NonRecursive", json!(boolean(key, value)?));
        }
        "bind-recursive" => match text {
            "enabled" => {}
            "disabled" => set(mount, "BindOptions", "NonRecursive", json!(true)),
            "writable" => set(mount, "BindOptions", "ReadOnlyNonRecursive", json!(true)),
            "readonly" => set(mount, "BindOptions", "ReadOnlyForceRecursive", json!(true)),
            _ => return Err(format!("{} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")", wrong())),
        },
        "volume-subpath" => volume(mount)["Subpath"] = json!(text),
        "volume-nocopy" => volume(mount)["NoCopy"] = json!(boolean(key, value)?),
        "volume-label" => pair(&mut volume(mount)["Labels"], text),
        "volume-driver" => volume(mount)["DriverConfig"]["Name"] = json!(text),
        "volume-opt" => pair(&mut volume(mount)["DriverConfig"]["Options"], text),
        "image-subpath" => set(mount, "ImageOptions", "Subpath", json!(text)),
        "tmpfs-size" => set(mount, "TmpfsOptions", "SizeBytes", json!(values::parse_bytes(text).map_err(|_| wrong())?)),
        "tmpfs-mode" => set(mount, "TmpfsOptions", "Mode", json!(u32::from_str_radix(text, 8).map_err(|_| wrong())?)),
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn volume(mount: &mut Value) -> &mut Value {
    let options = &mut mount["VolumeOptions"];
    if options.is_null() {
        *options = json!({"DriverConfig": {}});
    }
    options
}

fn pair(map: &mut Value, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if !key.is_empty() {
        map[key] = json!(value);
    }
}

fn check_recursion(mount: &Value) -> Result<(), String> {
    let options = &mount["BindOptions"];
    let read_only = mount["ReadOnly"] == json!(true);
    let refused = |mode: &str, needs: &str| Err(format!("option 'bind-recursive={mode}' requires '{needs}' to be specified in conjunction"));
    if options["ReadOnlyNonRecursive"] == json!(true) && !read_only {
        return refused("writable", "readonly");
    }
    if options["ReadOnlyForceRecursive"] == json!(true) {
        if !read_only {
            return refused("readonly", "readonly");
        }
        if options["Propagation"] != json!("rprivate") {
            return refused("readonly", "bind-propagation=rprivate");
        }
    }
    Ok(())
}

fn absolute(path: &str) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.components().collect::<std::path::PathBuf>().display().to_string())
}

/// One `--network`, its target still a name.
pub fn network(text: &str) -> Result<Value, String> {
    if !is_long(text) {
        return Ok(json!({"Target": text}));
    }
    let mut target = String::new();
    let mut aliases: Vec<String> = Vec::new();
    let mut options = Map::new();
    for field in values::split_csv(text)? {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        match (key.trim(), value.trim()) {
            ("name", value) => target = value.to_owned(),
            ("alias", value) => aliases.push(value.to_owned()),
            ("driver-opt", value) => {
                let (key, value) = value.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("invalid key value pair format in driver options")?;
                options.insert(key.trim().to_owned(), json!(value.trim()));
            }
            // Addresses belong to containers; a service's attachment does not carry them, as with docker.
            ("ip" | "ip6" | "mac-address" | "link-local-ip", _) => {}
            ("gw-priority", value) => {
                value.parse::<i64>().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            (key, _) => return Err(format!("invalid field key {key}")),
        }
    }
    if target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    let mut network = json!({"Target": target});
    if !aliases.is_empty() {
        network["Aliases"] = json!(aliases);
    }
    if !options.is_empty() {
        network["DriverOpts"] = Value::Object(options);
    }
    Ok(network)
}

/// One `--secret` or `--config` (`kind` is the word in its field names), its id still unknown.
pub fn file_reference(text: &str, kind: &str) -> Result<Value, String> {
    let fields = values::split_csv(text)?;
    let (mut source, mut target, mut uid, mut gid, mut mode) = (String::new(), String::new(), String::from("0"), String::from("0"), 0o444);
    if let [name] = fields.as_slice()
        && !name.contains('=')
    {
        source = name.clone();
    } else {
        for field in &fields {
            let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(format!("invalid field '{field}' must be a key=value pair"));
            };
            match key.to_lowercase().as_str() {
                "source" | "src" => source = value.to_owned(),
                "target" => target = value.to_owned(),
                "uid" => uid = value.to_owned(),
                "gid" => gid = value.to_owned(),
                "mode" => mode = values::parse_uint(value, 32).map_err(|why| format!("invalid mode specified: {why}"))?,
                _ => return Err(format!("invalid field in {} request: {key}", kind.to_lowercase())),
            }
        }
    }
    if source.is_empty() {
        return Err("source is required".into());
    }
    let target = if target.is_empty() { source.clone() } else { target };
    Ok(json!({"File": {"Name": target, "UID": uid, "GID": gid, "Mode": mode}, format!("{kind}ID"): "", format!("{kind}Name"): source}))
}

const ULIMITS: [&str; 15] =
    ["core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"];

/// One `--ulimit name=soft[:hard]`.
pub fn ulimit(text: &str) -> Result<Value, String> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let parts: Vec<&str> = limits.split(':').collect();
    if parts.len() > 2 {
        return Err(format!("too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"));
    }
    let soft = values::parse_int(parts[0])?;
    let hard = parts.get(1).map_or(Ok(soft), |hard| values::parse_int(hard))?;
    if hard != -1 && (soft == -1 || soft > hard) {
        let shown = |limit: i64| if limit == -1 { "-1".to_owned() } else { limit.to_string() };
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {} > {}", shown(soft), shown(hard)));
    }
    Ok(json!({"Name": name, "Hard": hard, "Soft": soft}))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn mounts() {
        assert_eq!(parse("type=bind,source=/a,target=/b,ro").unwrap(), json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}));
        assert_eq!(
            parse("source=v,target=/b,volume-label=a=1,volume-nocopy").unwrap(),
            json!({"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": {"NoCopy": true, "Labels": {"a": "1"}, "DriverConfig": {}}})
        );
        assert_eq!(parse("x").unwrap_err(), "invalid field 'x' must be a key=value pair");
        assert_eq!(parse("source=a").unwrap_err(), "target is required");
        assert_eq!(parse("type=bind,target=/b,tmpfs-size=1m").unwrap_err(), "cannot mix 'tmpfs-*' options with mount type 'bind'");
    }

    #[test]
    fn references() {
        assert_eq!(
            file_reference("s", "Secret").unwrap(),
            json!({"File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 0o444}, "SecretID": "", "SecretName": "s"})
        );
        assert_eq!(file_reference("source=c,target=/x,mode=0400", "Config").unwrap()["File"]["Mode"], json!(0o400));
        assert_eq!(network("name=n,alias=a").unwrap(), json!({"Target": "n", "Aliases": ["a"]}));
        assert_eq!(ulimit("nofile=1:2").unwrap(), json!({"Name": "nofile", "Soft": 1, "Hard": 2}));
        assert_eq!(ulimit("foo=1").unwrap_err(), "invalid ulimit type: foo");
    }
}
