//! Which registries are believed, and spoken to how: private authorities, certificates shown to a registry, `--insecure-registry`. The registries
//! are real; that they are called `reg.example` is a proxy's doing, since loopback is trusted anyway.

use crate::harness::{Authority, Node, Proxy, Registry, Setup, guest};
use serde_json::json;
use tempfile::TempDir;

const PORT: u16 = 5000;

/// A swarm of one behind a proxy, and the folder of its registries' certificates.
fn node(proxy: &Proxy, flags: &[&str]) -> (Node, TempDir) {
    let certs = tempfile::Builder::new().prefix("c").rand_bytes(5).tempdir().expect("there is a temporary folder");
    let mut all = vec!["--registry-certs".to_owned(), certs.path().display().to_string()];
    all.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let node = Node::start_with(Setup { proxy: Some(proxy.address()), flags: all, ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    (node, certs)
}

/// Puts a file into the folder of a registry.
fn put(certs: &TempDir, host: &str, name: &str, text: &str) {
    let folder = certs.path().join(host);
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    std::fs::write(folder.join(name), text).expect("the folder is ours");
}

#[test]
fn a_private_authority_is_believed_for_its_registry_alone() {
    let (proxy, authority, registry) = (Proxy::start(), Authority::new(), Registry::start());
    registry.artifact("team/sum", "1", &guest("sum"));
    let registry = registry.with_tls(&authority, "reg.example", false);
    let host = format!("reg.example:{PORT}");
    proxy.route(&host, registry.port());
    proxy.route(&format!("other.example:{PORT}"), registry.port());
    let (node, certs) = node(&proxy, &[]);
    let image = format!("{host}/team/sum:1");
    let unknown = |host: &str| {
        format!("Error response from daemon: Get \"https://{host}/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority\n")
    };
    assert_eq!(node.wsw(&["pull", &image]).failed(), unknown(&host));
    assert_eq!(node.wsw(&["login", "-u", "u", "-p", "p", &host]).failed().lines().last().map(|line| format!("{line}\n")), Some(unknown(&host)));
    // From the next pull on: no restart.
    put(&certs, &host, "ca.crt", &authority.pem);
    node.wsw(&["pull", &image]).ok();
    node.wsw(&["tag", &image, &format!("{host}/copies/sum:2")]).ok();
    node.wsw(&["push", &format!("{host}/copies/sum:2")]).ok();
    node.wsw(&["rmi", "-f", &image]).ok();
    node.wsw(&["service", "create", "-d", "--name", "once", "--restart-condition", "none", &format!("{host}/copies/sum:2"), "1", "41"]).ok();
    node.wait_task("once", "complete");
    // Its word counts for this name alone.
    let other = format!("other.example:{PORT}");
    assert_eq!(node.wsw(&["pull", &format!("{other}/team/sum:1")]).failed(), unknown(&other));
    put(&certs, &other, "ca.crt", &authority.pem);
    let said = node.wsw(&["pull", &format!("{other}/team/sum:1")]).failed();
    assert!(said.contains("x509: certificate is valid for reg.example, not other.example"), "{said}");
    put(&certs, &other, "ca.crt", "nothing");
    let said = node.wsw(&["pull", &format!("{other}/team/sum:1")]).failed();
    assert!(said.contains("ca.crt: it holds no certificate"), "{said}");
}

#[test]
fn a_registry_that_wants_a_certificate_gets_one() {
    let (proxy, authority, registry) = (Proxy::start(), Authority::new(), Registry::start());
    registry.artifact("team/sum", "1", &guest("sum"));
    let registry = registry.with_tls(&authority, "reg.example", true);
    let host = format!("reg.example:{PORT}");
    proxy.route(&host, registry.port());
    let (node, certs) = node(&proxy, &[]);
    let image = format!("{host}/team/sum:1");
    put(&certs, &host, "ca.crt", &authority.pem);
    let said = node.wsw(&["pull", &image]).failed();
    assert!(said.contains(&host), "{said}");
    let (certificate, key) = authority.vouch("node.example");
    put(&certs, &host, "me.cert", &certificate);
    let said = node.wsw(&["pull", &image]).failed();
    assert!(said.contains("missing key me.key for client certificate me.cert. CA certificates must use the extension .crt"), "{said}");
    put(&certs, &host, "me.key", &key);
    node.wsw(&["pull", &image]).ok();
    assert_eq!(node.json("/images/json")[0]["RepoTags"], json!([image]));
}

#[test]
fn insecure_registries_are_those_that_were_named() {
    let (proxy, plain, encrypted) = (Proxy::start(), Registry::start(), Registry::start());
    plain.artifact("team/sum", "1", &guest("sum"));
    encrypted.artifact("team/sum", "1", &guest("sum"));
    let encrypted = encrypted.with_tls(&Authority::new(), "nobody.example", false);
    let (named, within, outside) = (format!("reg.example:{PORT}"), format!("192.0.2.7:{PORT}"), format!("198.51.100.7:{PORT}"));
    let tls = "reg.example:5001";
    for host in [&named, &within, &outside] {
        proxy.route(host, plain.port());
    }
    proxy.route(tls, encrypted.port());
    let (node, _certs) = node(&proxy, &["--insecure-registry", "reg.example", "--insecure-registry", "192.0.2.0/24"]);
    let pull = |host: &str| node.wsw(&["pull", &format!("{host}/team/sum:1")]);
    pull(&named).ok();
    pull(&within).ok();
    pull(tls).ok();
    let said = pull(&outside).failed();
    assert_eq!(said, format!("Error response from daemon: Get \"https://{outside}/v2/\": http: server gave HTTP response to HTTPS client\n"));
    node.wsw(&["tag", &format!("{named}/team/sum:1"), &format!("{tls}/copies/sum:1")]).ok();
    node.wsw(&["push", &format!("{tls}/copies/sum:1")]).ok();
    for wrong in ["http://reg.example", "10.0.0.0/40", ""] {
        let other = tempfile::tempdir().expect("there is a temporary folder");
        let path = |name: &str| other.path().join(name).display().to_string();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wsw"));
        command.args(["daemon", "-H", &format!("unix://{}", path("s")), "--data-root", &path("d"), "--exec-root", &path("e"), "--insecure-registry", wrong]);
        let said = crate::harness::run(&mut command).failed();
        assert!(said.contains("--insecure-registry") && said.contains("HOST:PORT"), "{wrong:?}: {said}");
    }
}
