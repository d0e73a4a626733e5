//! Capabilities, privileges, kernel parameters, limits, hosts and name servers of a container: the API's fields ↔ ours.
//!
//! Owns: which of them are of other systems and are refused. Values are checked by [`wsw_api::confine`].

use super::{some_list, some_text};
use crate::model::task as api;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wsw_api::confine::{Confinement, Dns, Seccomp, Ulimit, capability};
use wsw_api::{Error, Result};

/// Takes its fields out of a container's spec.
pub fn read(spec: &mut api::ContainerSpec) -> Result<Confinement> {
    match spec.isolation.as_deref() {
        None | Some("" | "default") => {}
        // moby's words.
        Some(other) => return Err(Error::invalid(format!("ContainerSpec.Isolation: invalid isolation '{other}' on linux"))),
    }
    let names = |field: &str, list: Option<Vec<String>>| {
        let one = |name: String| capability(&name).map_err(|error| Error::invalid(format!("ContainerSpec.{field}: {}", error.message)));
        list.unwrap_or_default().into_iter().map(one).collect::<Result<Vec<_>>>()
    };
    let dns = spec.dns.take().unwrap_or_default();
    let ulimit = |limit: api::Ulimit| Ulimit { name: limit.name.unwrap_or_default(), soft: limit.soft.unwrap_or(0), hard: limit.hard.unwrap_or(0) };
    let mut out = Confinement {
        hosts: spec.hosts.take().unwrap_or_default(),
        dns: Dns { nameservers: dns.nameservers.unwrap_or_default(), search: dns.search.unwrap_or_default(), options: dns.options.unwrap_or_default() },
        sysctls: spec.sysctls.take().unwrap_or_default(),
        capability_add: names("CapabilityAdd", spec.capability_add.take())?,
        capability_drop: names("CapabilityDrop", spec.capability_drop.take())?,
        ulimits: spec.ulimits.take().unwrap_or_default().into_iter().map(ulimit).collect(),
        oom_score_adj: spec.oom_score_adj.unwrap_or(0),
        ..Confinement::default()
    };
    privileges(spec.privileges.take().unwrap_or_default(), &mut out)?;
    out.check()?;
    Ok(out)
}

fn privileges(given: api::Privileges, out: &mut Confinement) -> Result<()> {
    let refuse = |field: &str, why: &str| Err(Error::invalid(format!("ContainerSpec.Privileges.{field}: {why}")));
    super::unserved_as(&given.credential_spec, || refuse("CredentialSpec", "credential specs are for Windows containers; leave it out"))?;
    let selinux = given.selinux.unwrap_or_default();
    if [&selinux.user, &selinux.role, &selinux.kind, &selinux.level].iter().any(|text| text.as_ref().is_some_and(|text| !text.is_empty())) {
        return refuse("SELinuxContext", "containers have no SELinux labels here; leave it out");
    }
    let seccomp = given.seccomp.unwrap_or_default();
    let profile = seccomp.profile.unwrap_or_default();
    let mode = seccomp.mode.unwrap_or_default();
    out.seccomp = match mode.as_str() {
        "custom" => Seccomp::Custom(profile_text(&profile)?),
        _ if !profile.is_empty() => return refuse("Seccomp", "a profile needs the mode \"custom\""),
        "" | "default" => Seccomp::Default,
        "unconfined" => Seccomp::Unconfined,
        other => return refuse("Seccomp.Mode", &format!("unknown mode {other:?}; use default, unconfined or custom")),
    };
    out.apparmor_disabled = match given.apparmor.unwrap_or_default().mode.as_deref() {
        None | Some("" | "default") => false,
        Some("disabled") => true,
        Some(other) => return refuse("AppArmor.Mode", &format!("unknown mode {other:?}; use default or disabled")),
    };
    out.no_new_privileges = given.no_new_privileges.unwrap_or(false);
    Ok(())
}

/// Go sends bytes as base64.
fn profile_text(base64: &str) -> Result<String> {
    let wrong = |why: String| Error::invalid(format!("ContainerSpec.Privileges.Seccomp.Profile: decoding seccomp profile failed: {why}"));
    let bytes = STANDARD.decode(base64).map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if json["defaultAction"].is_string() { Ok(text) } else { Err(wrong("it has no defaultAction".into())) }
}

/// Puts them into a container's spec.
pub fn write(from: &Confinement, spec: &mut api::ContainerSpec) {
    spec.hosts = some_list(&from.hosts);
    // docker's CLI always sends these two, so moby always shows them.
    let dns = &from.dns;
    spec.dns = Some(api::Dns { nameservers: some_list(&dns.nameservers), search: some_list(&dns.search), options: some_list(&dns.options) });
    spec.isolation = Some("default".into());
    spec.sysctls = (!from.sysctls.is_empty()).then(|| from.sysctls.clone());
    spec.capability_add = some_list(&from.capability_add);
    spec.capability_drop = some_list(&from.capability_drop);
    let number = |n: i64| (n != 0).then_some(n);
    let ulimit = |limit: &Ulimit| api::Ulimit { name: some_text(&limit.name), hard: number(limit.hard), soft: number(limit.soft) };
    spec.ulimits = some_list(&from.ulimits.iter().map(ulimit).collect::<Vec<_>>());
    spec.oom_score_adj = number(from.oom_score_adj);
    let seccomp = match &from.seccomp {
        Seccomp::Default => None,
        Seccomp::Unconfined => Some(api::SeccompOptions { mode: Some("unconfined".into()), profile: None }),
        Seccomp::Custom(text) => Some(api::SeccompOptions { mode: Some("custom".into()), profile: Some(STANDARD.encode(text)) }),
    };
    if seccomp.is_some() || from.no_new_privileges || from.apparmor_disabled {
        let apparmor = from.apparmor_disabled.then(|| api::AppArmorOptions { mode: Some("disabled".into()) });
        spec.privileges = Some(api::Privileges { seccomp, apparmor, no_new_privileges: Some(from.no_new_privileges), ..Default::default() });
    }
}
