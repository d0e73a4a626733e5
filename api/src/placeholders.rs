//! Swarm's placeholders in a service's spec: `{{.Node.Hostname}}`, `{{.Task.Slot}}`, `{{index .Service.Labels "tier"}}`.
//!
//! Owns: what a task is called, the fields, and the refusal of others; no other part of Go's templates. A text without placeholders stays as it is.

use crate::id::{NodeId, ServiceId, TaskId};
use crate::spec::ContainerSpec;
use std::collections::BTreeMap;

/// What placeholders stand for, for one task.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    pub service: ServiceId,
    pub service_name: &'a str,
    pub service_labels: &'a BTreeMap<String, String>,
    pub node: NodeId,
    pub hostname: &'a str,
    /// As the kernel names it: `x86_64`.
    pub architecture: &'a str,
    pub task: TaskId,
    /// 0 for a task of a global service.
    pub slot: u32,
}

impl Fields<'_> {
    /// Swarm's: a task of a global service has its node there.
    fn place(&self) -> String {
        if self.slot == 0 { self.node.to_string() } else { self.slot.to_string() }
    }

    /// `<service>.<slot>.<id>` (SwarmKit's `api/naming`).
    pub fn task_name(&self) -> String {
        format!("{}.{}.{}", self.service_name, self.place(), self.task)
    }

    fn value(&self, field: &str) -> Option<String> {
        Some(match field {
            ".Service.ID" => self.service.to_string(),
            ".Service.Name" => self.service_name.to_owned(),
            ".Node.ID" => self.node.to_string(),
            ".Node.Hostname" => self.hostname.to_owned(),
            ".Node.Platform.OS" => "linux".into(),
            ".Node.Platform.Architecture" => self.architecture.to_owned(),
            ".Task.ID" => self.task.to_string(),
            ".Task.Name" => self.task_name(),
            ".Task.Slot" => self.place(),
            // Go's: a label that is not there is an empty text.
            _ => self.service_labels.get(label(field)?).cloned().unwrap_or_default(),
        })
    }

    /// Replaces the placeholders of a text; else says what is wrong with it.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, behind) = after.split_once("}}").ok_or_else(|| format!("{text:?}: a placeholder is not closed"))?;
            out.push_str(before);
            let field = field.trim();
            out.push_str(&self.value(field).ok_or_else(|| format!("{text:?}: {{{{{field}}}}} is no field of a task"))?);
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }
}

impl ContainerSpec {
    /// With its placeholders replaced where Swarm knows them (SwarmKit's `ExpandContainerSpec`): host name, environment, mounts. Else which field is
    /// wrong, and how.
    pub fn expanded(&self, fields: &Fields<'_>) -> Result<Self, String> {
        let mut out = self.clone();
        let replace = |what: &str, text: &mut String| -> Result<(), String> {
            *text = fields.expand(text).map_err(|why| format!("expanding {what} failed: {why}"))?;
            Ok(())
        };
        replace("hostname", &mut out.hostname)?;
        out.env.iter_mut().try_for_each(|variable| replace("env", variable))?;
        for mount in &mut out.mounts {
            replace("mounts", &mut mount.target)?;
            replace("mounts", &mut mount.source)?;
        }
        Ok(out)
    }
}

/// The label of `.Service.Labels.tier` or `index .Service.Labels "tier"`.
fn label(field: &str) -> Option<&str> {
    if let Some(name) = field.strip_prefix(".Service.Labels.") {
        return Some(name);
    }
    field.strip_prefix("index ")?.trim_start().strip_prefix(".Service.Labels")?.trim().strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_replaced_and_others_refused() {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let (service, node, task) = (ServiceId::default(), NodeId::default(), TaskId::default());
        let fields = Fields { service, service_name: "web", service_labels: &labels, node, hostname: "host", architecture: "x86_64", task, slot: 3 };
        let said = |text: &str| fields.expand(text).unwrap();
        assert_eq!(said("plain"), "plain");
        assert_eq!(said("{{.Service.Name}}-{{ .Task.Slot }}-{{.Node.Hostname}}"), "web-3-host");
        assert_eq!(said(r#"{{.Service.Labels.tier}} {{index .Service.Labels "tier"}} <{{.Service.Labels.none}}>"#), "front front <>");
        assert_eq!(said("{{.Task.Name}}"), format!("web.3.{task}"));
        assert_eq!(Fields { slot: 0, ..fields }.expand("{{.Task.Slot}}").unwrap(), node.to_string());
        assert_eq!(fields.expand("a{{.Nope}}").unwrap_err(), "\"a{{.Nope}}\": {{.Nope}} is no field of a task");
        assert!(fields.expand("{{.Task.ID").unwrap_err().contains("not closed"));
    }
}
