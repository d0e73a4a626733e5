//! The process of a command, as Docker makes it: the container's own, with other words, user, folder and environment.
//!
//! Owns: that. Pure. What the container's process may not do (bounding set, no new privileges, limits) its commands may not do either, unless they are privileged.

use crate::error::{Error, Result};
use crate::oci::users::User;
use crate::spec::merged;
use serde_json::{Value, json};
use wsw_api::confine::CAPABILITIES;
use wsw_api::exec::{Command, Size};

/// The shim's `Process`, as JSON; `given` are the capabilities of a privileged one.
pub(super) fn of(spec: &Value, command: &Command, user: Option<User>, size: Option<Size>, given: u64) -> Result<Vec<u8>> {
    let mut process = spec["process"].clone();
    let strings = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let mut env = strings(&process["env"]);
    if command.tty && !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    process["args"] = json!(command.args);
    process["env"] = json!(merged(env.iter().chain(&command.env)));
    process["terminal"] = json!(command.tty);
    if !command.dir.is_empty() {
        process["cwd"] = json!(command.dir);
    }
    if let Some(size) = size.filter(|_| command.tty) {
        process["consoleSize"] = json!({"height": size.height, "width": size.width});
    }
    if let Some(user) = user {
        process["user"] = json!({"uid": user.uid, "gid": user.gid, "additionalGids": user.groups});
    }
    if command.privileged {
        let all = CAPABILITIES.iter().enumerate().filter(|(bit, _)| given >> bit & 1 == 1).map(|(_, name)| *name).collect::<Vec<_>>();
        process["capabilities"] = json!({"bounding": all, "permitted": all, "effective": all});
    }
    serde_json::to_vec(&process).map_err(|error| Error::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(command: &Command, user: Option<User>) -> Value {
        let spec = json!({"process": {
            "args": ["tail"], "env": ["PATH=/bin", "A=1"], "cwd": "/www", "user": {"uid": 0}, "noNewPrivileges": true, "terminal": false,
            "capabilities": {"bounding": ["CAP_CHOWN"]}, "rlimits": [1],
        }});
        serde_json::from_slice(&of(&spec, command, user, Some(Size { height: 4, width: 9 }), 0x3f_feff_ffff).unwrap()).unwrap()
    }

    #[test]
    fn a_command_is_the_containers_process_but_for_what_it_says() {
        let plain = made(&Command { args: vec!["true".into()], ..Command::default() }, None);
        assert_eq!((&plain["args"], &plain["cwd"], &plain["env"]), (&json!(["true"]), &json!("/www"), &json!(["PATH=/bin", "A=1"])));
        assert_eq!((&plain["noNewPrivileges"], &plain["rlimits"], &plain["capabilities"]["bounding"]), (&json!(true), &json!([1]), &json!(["CAP_CHOWN"])));
        assert!(plain["consoleSize"].is_null());
        let command = Command { env: vec!["A=2".into(), "B=3".into()], dir: "/tmp".into(), tty: true, privileged: true, ..Command::default() };
        let user = User { uid: 33, gid: 34, groups: vec![50] };
        let other = made(&command, Some(user));
        assert_eq!(other["env"], json!(["PATH=/bin", "A=2", "TERM=xterm", "B=3"]));
        assert_eq!((&other["cwd"], &other["terminal"], &other["consoleSize"]["width"]), (&json!("/tmp"), &json!(true), &json!(9)));
        assert_eq!(other["user"], json!({"uid": 33, "gid": 34, "additionalGids": [50]}));
        let effective = other["capabilities"]["effective"].as_array().unwrap();
        assert!(
            effective.len() == 37 && effective.contains(&json!("CAP_SYS_ADMIN")) && !effective.contains(&json!("CAP_SYS_RESOURCE")),
            "no more than can be given"
        );
    }
}
