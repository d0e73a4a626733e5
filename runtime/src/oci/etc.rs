//! A container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, as Docker writes them.
//!
//! Owns: their text: the node's name servers unless the service names its own, its hosts after the usual ones. Never: changes a file of the node.

use crate::error::{Error, Result};
use std::net::Ipv4Addr;
use std::path::Path;
use wsw_api::confine::{Confinement, Dns};

/// Writes the three into the bundle.
pub(super) fn write(bundle: &Path, hostname: &str, address: Option<Ipv4Addr>, asked: &Confinement) -> Result<()> {
    let own = address.map(|address| format!("{address}\t{hostname}\n")).unwrap_or_default();
    let more = asked.hosts.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join("\t") + "\n").collect::<String>();
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n{more}{own}"
    );
    let resolv = resolv(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(), &asked.dns);
    for (name, text) in [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolv)] {
        let path = bundle.join(name);
        let written = std::fs::write(&path, text).and_then(|()| std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)));
        written.map_err(|e| Error::io(format_args!("write {}", path.display()), &e))?;
    }
    Ok(())
}

/// The node's own name servers, but for those on its loopback, which a container cannot reach; Docker's stand-ins when none is left.
/// What the service names of a kind takes the place of all of that kind.
fn resolv(own: &str, asked: &Dns) -> String {
    let local = |line: &str| line.split_whitespace().nth(1).is_some_and(|server| server.starts_with("127.") || server == "::1");
    let is = |line: &str, word: &str| line.split_whitespace().next() == Some(word);
    let replaced = |line: &str| {
        let search = is(line, "search") || is(line, "domain");
        (is(line, "nameserver") && !asked.nameservers.is_empty()) || (search && !asked.search.is_empty()) || (is(line, "options") && !asked.options.is_empty())
    };
    let kept = own.lines().filter(|line| !(replaced(line) || is(line, "nameserver") && local(line))).collect::<Vec<_>>();
    let mut lines = kept.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    // Docker's way to ask for no search at all.
    if !asked.search.is_empty() && asked.search != ["."] {
        lines.push(format!("search {}", asked.search.join(" ")));
    }
    lines.extend(asked.nameservers.iter().map(|server| format!("nameserver {server}")));
    if !asked.options.is_empty() {
        lines.push(format!("options {}", asked.options.join(" ")));
    }
    if !lines.iter().any(|line| is(line, "nameserver")) {
        lines.extend(["nameserver 8.8.8.8".into(), "nameserver 8.8.4.4".into()]);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_the_loopback_are_left_out() {
        let resolv = |own: &str| resolv(own, &Dns::default());
        assert_eq!(resolv("search a\nnameserver 10.0.0.1\nnameserver 127.0.0.53\n"), "search a\nnameserver 10.0.0.1\n");
        assert!(resolv("nameserver 127.0.0.1\n").ends_with("nameserver 8.8.8.8\nnameserver 8.8.4.4\n"));
    }

    #[test]
    fn a_service_names_its_own() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let dns = Dns { nameservers: words(&["1.1.1.1"]), search: words(&["a.b", "c"]), options: words(&["ndots:1"]) };
        assert_eq!(resolv("search x\nnameserver 10.0.0.1\noptions rotate\n", &dns), "search a.b c\nnameserver 1.1.1.1\noptions ndots:1\n");
        let none = Dns { search: words(&["."]), ..Dns::default() };
        assert_eq!(resolv("search x\nnameserver 10.0.0.1\n", &none), "nameserver 10.0.0.1\n");
    }
}
