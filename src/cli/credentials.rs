//! The credentials that docker's client keeps: `config.json` (`auths`) and the helper programs it names (`credsStore`, `credHelpers`).
//!
//! Owns: which of them belong to an image's registry, the `X-Registry-Auth` made of them, and what `login` and `logout` change in the file.
//! Never: prints one.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE};
use serde_json::{Map, Value, json};

use super::{errors::Error, task::text};

/// docker's key for Docker Hub.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";

fn path() -> Option<PathBuf> {
    let given = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let folder = given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    Some(folder.join("config.json"))
}

fn read() -> Value {
    let read = path().and_then(|path| std::fs::read(path).ok());
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(|| json!({}))
}

/// Another setting of the file.
pub fn setting(name: &str) -> String {
    text(&read()[name]).to_owned()
}

/// The registry of an image as `config.json` names it.
pub fn server_of(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | "index.docker.io" => DOCKER_HUB.to_owned(),
            host => host.to_owned(),
        },
        _ => DOCKER_HUB.to_owned(),
    }
}

/// A key of the file as a host: older files hold whole addresses.
fn host(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or_default()
}

/// The helper that keeps the credentials of a server.
fn helper(config: &Value, server: &str) -> Option<String> {
    let own = config["credHelpers"].get(server).or_else(|| config["credHelpers"].get(host(server))).and_then(Value::as_str);
    own.or_else(|| config["credsStore"].as_str()).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Runs `docker-credential-<name> <verb>` with `input`; what it says, or docker's words for why it did not.
fn run_helper(name: &str, verb: &str, input: &str) -> Result<String, String> {
    let program = format!("docker-credential-{name}");
    let failed = |why: &str, said: &str| format!("{why}, out: `{}`", said.trim());
    if name.contains('/') {
        return Err(failed(&format!("exec: {program:?}: no name of a helper"), ""));
    }
    let spawned = Command::new(&program).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(&format!("exec: {program:?}: executable file not found in $PATH"), ""),
        _ => failed(&format!("exec: {program:?}: {error}"), ""),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has its own answer.
        let _ = stdin.write_all(input.as_bytes());
    }
    let done = child.wait_with_output().map_err(|error| failed(&error.to_string(), ""))?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    // Go's words for an end: without "code".
    if done.status.success() { Ok(said) } else { Err(failed(&done.status.to_string().replace("exit status: ", "exit status "), &said)) }
}

/// The credentials of a server as the API takes them; an empty object when there are none. A helper that fails knows none: the registry is then asked
/// as by nobody, as docker does it.
pub fn find(server: &str) -> Value {
    let config = read();
    if let Some(helper) = helper(&config, server) {
        let said = run_helper(&helper, "get", server).unwrap_or_default();
        let found = serde_json::from_str::<Value>(&said).unwrap_or_default();
        return match (text(&found["Username"]), text(&found["Secret"])) {
            ("", _) => json!({}),
            ("<token>", secret) => json!({"identitytoken": secret, "serveraddress": server}),
            (user, secret) => json!({"username": user, "password": secret, "serveraddress": server}),
        };
    }
    let auths = config["auths"].as_object();
    let found = auths.and_then(|auths| auths.get(server).or_else(|| auths.iter().find(|(key, _)| host(key) == host(server)).map(|(_, value)| value)));
    found.map_or_else(|| json!({}), |entry| of_entry(entry, server))
}

fn of_entry(entry: &Value, server: &str) -> Value {
    let mut out = Map::new();
    let pair = STANDARD.decode(text(&entry["auth"])).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((user, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) {
        out.insert("username".into(), user.into());
        out.insert("password".into(), password.trim_end_matches('\0').into());
    }
    for key in ["username", "password", "identitytoken", "registrytoken"] {
        if let Some(value) = entry[key].as_str().filter(|value| !value.is_empty()) {
            out.insert(key.into(), value.into());
        }
    }
    if !out.is_empty() {
        out.insert("serveraddress".into(), server.into());
    }
    Value::Object(out)
}

/// `X-Registry-Auth` for an image: docker sends the empty ones when there are none.
pub fn header(image: &str) -> (&'static str, String) {
    ("x-registry-auth", URL_SAFE.encode(find(&server_of(image)).to_string()))
}

/// Keeps credentials: in the helper when the file names one, and the file then says only that there are some. Answers the file's path when they
/// are new in it, as they are.
pub fn keep(server: &str, user: &str, password: &str) -> Result<Option<PathBuf>, Error> {
    let mut config = read();
    let kept = match helper(&config, server) {
        Some(helper) => {
            let stored = run_helper(&helper, "store", &json!({"ServerURL": server, "Username": user, "Secret": password}).to_string());
            stored.map_err(|why| Error::Plain(format!("Error saving credentials: error storing credentials - err: {why}")))?;
            json!({})
        }
        None => json!({"auth": STANDARD.encode(format!("{user}:{password}"))}),
    };
    if config["auths"][server] == kept {
        return Ok(None);
    }
    let in_file = kept.get("auth").is_some();
    config["auths"][server] = kept;
    write(&config)?;
    Ok(path().filter(|_| in_file))
}

/// Forgets credentials, under all the names that a server has had in the file.
pub fn forget(server: &str) -> Result<(), Error> {
    let mut config = read();
    if let Some(helper) = helper(&config, server) {
        // docker keeps silent about a helper that fails, and leaves the file.
        if run_helper(&helper, "erase", server).is_err() {
            return Ok(());
        }
    }
    match config["auths"].as_object_mut() {
        Some(auths) => auths.retain(|key, _| host(key) != host(server)),
        None => config["auths"] = json!({}),
    }
    write(&config)
}

/// The file as a whole, for its owner alone.
fn write(config: &Value) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = path().ok_or_else(|| Error::plain("neither DOCKER_CONFIG nor HOME is set: there is no place for credentials"))?;
    let failed = |error: std::io::Error| Error::Plain(format!("error saving credentials: {}: {error}", path.display()));
    let folder = path.parent().ok_or_else(|| Error::plain("error saving credentials: no folder"))?;
    std::fs::create_dir_all(folder).map_err(failed)?;
    let temp = folder.join(format!("config.json.{}", std::process::id()));
    let text = serde_json::to_string_pretty(config).unwrap_or_default().replace("  ", "\t");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&temp, &path)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_found_as_docker_names_them() {
        for (image, server) in [
            ("app", DOCKER_HUB),
            ("me/app:1", DOCKER_HUB),
            ("docker.io/me/app", DOCKER_HUB),
            ("localhost:5000/app", "localhost:5000"),
            ("reg.example/a/b@sha256:00", "reg.example"),
        ] {
            assert_eq!(server_of(image), server, "{image}");
        }
        assert_eq!(host("https://reg.example/v2/"), "reg.example");
        let config = json!({"credsStore": "all", "credHelpers": {"reg.example": "one"}});
        assert_eq!(helper(&config, "reg.example").as_deref(), Some("one"));
        assert_eq!(helper(&config, "other").as_deref(), Some("all"));
        assert_eq!(helper(&json!({}), "other"), None);
    }

    #[test]
    fn entries_become_what_the_api_takes() {
        assert_eq!(of_entry(&json!({"auth": "dTpwOng="}), "s"), json!({"username": "u", "password": "p:x", "serveraddress": "s"}));
        assert_eq!(of_entry(&json!({"identitytoken": "t"}), "s"), json!({"identitytoken": "t", "serveraddress": "s"}));
        assert_eq!(of_entry(&json!({}), "s"), json!({}));
    }
}
