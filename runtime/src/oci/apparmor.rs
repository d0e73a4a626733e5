//! AppArmor's profile for containers, where the kernel has it; elsewhere nothing.
//!
//! Owns: the profile's text (what Docker's default one allows and denies) and its loading, once, at the daemon's start. Invariants: a container names a profile only when the kernel took it; a
//! kernel that has AppArmor and does not get the profile is said in the node's label, and containers run without, as with Docker. Never: changes another profile.

use super::tools;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The profile's name. Two daemons of a machine load the same text.
const PROFILE: &str = "wsw-default";
/// Where the kernel says whether it is switched on.
const SWITCH: &str = "module/apparmor/parameters/enabled";
const TEXT: &str = r"#include <tunables/global>

profile wsw-default flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>

  network,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (receive) peer={runc,crun},
  signal (send,receive) peer=wsw-default,
  ptrace (trace,read,tracedby,readby) peer=wsw-default,

  # Of /proc only what belongs to processes and to shared memory is written.
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  deny mount,

  # Of /sys only control groups.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
";

/// Loads the profile into the kernel whose `/sys` this is: its name if containers can have it, none where there is no AppArmor, or why it is not to be had. Blocking.
pub(super) fn load(sys: &Path, path: &str) -> Result<Option<String>, String> {
    let enabled = std::fs::read_to_string(sys.join(SWITCH)).is_ok_and(|text| text.trim() == "Y");
    if !enabled {
        return Ok(None);
    }
    match feed(path) {
        Ok(()) => Ok(Some(PROFILE.to_owned())),
        Err(error) => {
            tracing::warn!(error, "this kernel has AppArmor, and containers run without its profile");
            Err(error)
        }
    }
}

fn feed(path: &str) -> Result<(), String> {
    let parser = tools::find(path, "apparmor_parser").ok_or("apparmor_parser is not installed (Debian: package apparmor)")?;
    let mut command = Command::new(parser);
    // Its cache is for files; an earlier daemon's profile is replaced.
    command.args(["--skip-cache", "--replace"]).env_clear().env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // What it says tells more than that it did not read to the end.
        let _ = stdin.write_all(TEXT.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_profile_is_named_once_the_kernel_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bin");
        std::fs::create_dir(&path).unwrap();
        let parser = |text: &str| {
            let file = path.join("apparmor_parser");
            std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        };
        let taken = dir.path().join("taken");
        let load = || load(dir.path(), &format!("{}:/none", path.display()));
        parser(&format!("/bin/cat >{}", taken.display()));
        assert_eq!((load(), taken.exists()), (Ok(None), false), "a kernel without it is not asked");
        let switch = dir.path().join(SWITCH);
        std::fs::create_dir_all(switch.parent().unwrap()).unwrap();
        std::fs::write(&switch, "N\n").unwrap();
        assert_eq!(load(), Ok(None));
        std::fs::write(&switch, "Y\n").unwrap();
        assert_eq!(load(), Ok(Some(PROFILE.to_owned())));
        assert_eq!(std::fs::read_to_string(taken).unwrap(), TEXT);
        parser("echo no >&2; exit 1");
        assert_eq!(load(), Err("no".into()), "the kernel did not take it");
        std::fs::remove_file(path.join("apparmor_parser")).unwrap();
        assert!(load().unwrap_err().contains("apparmor_parser is not installed"));
    }
}
