//! The way out for containers: their addresses become the node's.
//!
//! Owns: one table of nftables, else two rules of iptables; forwarding. Where a firewall drops what is forwarded (Docker sets it so), the bridge is let through.
//! What is missing costs containers their way out and nothing else: it is logged once. Never: changes another's table.

use super::tools;
use std::io::Write;
use std::process::{Command, Stdio};

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
    let path = tools::path();
    let file = tools::find(&path, program).ok_or_else(|| format!("{program} is not installed"))?;
    let mut command = Command::new(file);
    command.args(arguments).env_clear().env("PATH", path).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| format!("{program}: {error}"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| format!("{program}: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(format!("{program}: {}", said(&output.stderr))) }
}

fn iptables(arguments: &str) -> Result<String, String> {
    run("iptables", &["-w"].into_iter().chain(arguments.split(' ')).collect::<Vec<_>>(), None)
}

/// Lets the network out.
pub(super) fn open(id: &str, bridge: &str, network: &str) {
    if let Err(error) = std::fs::write("/proc/sys/net/ipv4/ip_forward", "1") {
        tracing::warn!(%error, "forwarding cannot be switched on: containers cannot reach other machines");
    }
    let table = format!("wsw_{id}");
    let script = format!(
        "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n chain postrouting {{\n  type nat hook postrouting priority 100\n  ip saddr {network} oifname != \"{bridge}\" masquerade\n }}\n}}\n"
    );
    let translated = run("nft", &["-f", "-"], Some(&script)).or_else(|first| {
        let rule = format!("POSTROUTING -s {network} ! -o {bridge} -j MASQUERADE");
        iptables(&format!("-t nat -C {rule}")).or_else(|_| iptables(&format!("-t nat -A {rule}"))).map_err(|second| format!("{first}; {second}"))
    });
    if let Err(error) = translated {
        tracing::warn!(error, "no address translation: containers cannot reach other machines");
    }
    if iptables("-S FORWARD").is_ok_and(|rules| rules.contains("-P FORWARD DROP")) {
        for rule in forwards(bridge) {
            if let Err(error) = iptables(&format!("-C {rule}")).or_else(|_| iptables(&format!("-I {rule}"))) {
                tracing::warn!(error, "the firewall drops what containers send");
            }
        }
    }
}

fn forwards(bridge: &str) -> [String; 2] {
    [format!("FORWARD -i {bridge} -j ACCEPT"), format!("FORWARD -o {bridge} -j ACCEPT")]
}

/// Takes all of it away but forwarding, which others may have come to use.
pub(super) fn close(id: &str, bridge: &str) {
    let _ = run("nft", &["delete", "table", "ip", &format!("wsw_{id}")], None);
    for rule in iptables("-t nat -S POSTROUTING").unwrap_or_default().lines().filter(|rule| rule.contains(&format!("! -o {bridge} "))) {
        let _ = iptables(&format!("-t nat {}", rule.replacen("-A ", "-D ", 1)));
    }
    for rule in forwards(bridge) {
        let _ = iptables(&format!("-D {rule}"));
    }
}
