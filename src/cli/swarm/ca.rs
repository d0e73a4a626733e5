//! `swarm ca`: shows the root certificate, or has it replaced.

use serde_json::{Value, json};
use sha2::Digest;

use super::{external_ca, flags, update};
use crate::cli::{
    Session,
    args::Matches,
    errors::Error,
    output,
    service::progress::{Display, Line},
    task::text,
};

/// Between two looks at the rotation.
const PACE: std::time::Duration = std::time::Duration::from_millis(200);

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let mut swarm = session.client.get("/swarm", &[]).await?;
    if !matches.on("rotate") {
        for flag in ["ca-cert", "ca-key", "cert-expiry", "external-ca"] {
            if matches.changed(flag) {
                return Err(Error::Plain(format!("`--{flag}` flag requires the `--rotate` flag to update the CA")));
            }
        }
        return show_root(&swarm);
    }
    let (cert, key, external) = (matches.text("ca-cert"), matches.text("ca-key"), matches.changed("external-ca"));
    if external && cert.is_none() {
        return Err(Error::plain(
            "rotating to an external CA requires the `--ca-cert` flag to specify the external CA's cert - to add an external CA with the current root CA \
             certificate, use the `update` command instead",
        ));
    }
    if cert.is_some() && !external && key.is_none() {
        return Err(Error::plain("the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well"));
    }
    let read = |path: Option<&str>| path.map_or(Ok(String::new()), external_ca::pem).map_err(Error::Plain);
    let (cert, key) = (read(cert)?, read(key)?);
    let spec = &mut swarm["Spec"];
    flags::change_ca(spec, &matches, Some(&cert))?;
    if cert.is_empty() && key.is_empty() {
        spec["CAConfig"]["ForceRotate"] = json!(spec["CAConfig"]["ForceRotate"].as_u64().unwrap_or(0) + 1);
    } else {
        spec["CAConfig"]["SigningCACert"] = json!(cert);
        spec["CAConfig"]["SigningCAKey"] = json!(key);
    }
    update::send(&session, &swarm, update::Rotate::default()).await?;
    if matches.on("detach") {
        return Ok(());
    }
    show_root(&converged(&session, matches.on("quiet")).await?)
}

fn show_root(swarm: &Value) -> Result<(), Error> {
    match text(&swarm["TLSInfo"]["TrustRoot"]).trim() {
        "" => Err(Error::plain("No CA information available")),
        root => output::line(root),
    }
}

/// Waits until every node has a certificate of the new root and believes it.
async fn converged(session: &Session, quiet: bool) -> Result<Value, Error> {
    let mut display = Display::new(quiet);
    let mut done = false;
    loop {
        let swarm = session.client.get("/swarm", &[]).await?;
        if done {
            return Ok(swarm);
        }
        let nodes = session.client.get("/nodes", &[]).await?;
        for line in lines(&swarm, nodes.as_array().map(Vec::as_slice).unwrap_or_default(), &mut done) {
            display.show(line)?;
        }
        tokio::time::sleep(PACE).await;
    }
}

/// How far the rotation is.
fn lines(swarm: &Value, nodes: &[Value], done: &mut bool) -> [Line; 3] {
    let wanted = &swarm["TLSInfo"];
    let counted = |right: &dyn Fn(&Value) -> bool| nodes.iter().filter(|node| right(&node["Description"]["TLSInfo"])).count() as u64;
    let issued = counted(&|own| ["CertIssuerPublicKey", "CertIssuerSubject"].iter().all(|field| own[field] == wanted[field]));
    let trusting = counted(&|own| own["TrustRoot"] == wanted["TrustRoot"]);
    let total = nodes.len() as u64;
    // The old root is the one that is believed until then.
    let follows = issued == total && swarm["RootRotationInProgress"] != Value::Bool(true);
    *done = follows && trusting == total;
    let digest = sha2::Sha256::digest(text(&wanted["TrustRoot"]));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = |name: &str, action: &str, done: u64| Line { name: name.into(), action: action.into(), done: (done, total), units: "nodes" };
    [
        Line::action("desired root digest", format!("sha256:{hex}")),
        line("  rotated TLS certificates", "", issued),
        line("  rotated CA certificates", " ", if follows { trusting } else { 0 }),
    ]
}
