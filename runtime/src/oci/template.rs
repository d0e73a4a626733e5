//! Swarm's placeholders in a service's spec: `{{.Node.Hostname}}`, `{{.Task.Slot}}`, … as far as they are plain fields.
//!
//! Owns: the fields and the refusal of others. Pure.

use crate::error::{Error, Result};
use crate::executor::TaskRequest;

/// Replaces the placeholders of a text; `what` names the field in an error.
pub(super) fn expand(what: &str, text: &str, request: &TaskRequest) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let wrong = |why: &str| Error::Invalid(format!("{what}: {text:?}: {why}"));
        let (field, behind) = after.split_once("}}").ok_or_else(|| wrong("a placeholder is not closed"))?;
        out.push_str(before);
        let field = field.trim();
        out.push_str(&value(field, request).ok_or_else(|| wrong(&format!("{{{{{field}}}}} is no field of a task")))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn value(field: &str, request: &TaskRequest) -> Option<String> {
    Some(match field {
        ".Service.ID" => request.service.to_string(),
        ".Service.Name" => request.service_name.clone(),
        ".Node.ID" => request.node.to_string(),
        ".Node.Hostname" => request.hostname.clone(),
        ".Node.Platform.OS" => "linux".into(),
        ".Node.Platform.Architecture" => std::env::consts::ARCH.into(),
        ".Task.ID" => request.task.to_string(),
        ".Task.Name" => crate::spec::task_name(request),
        // Swarm's: tasks of a global service have their node there.
        ".Task.Slot" if request.slot == 0 => request.node.to_string(),
        ".Task.Slot" => request.slot.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_replaced_and_others_refused() {
        let request = crate::spec::tests::request(wsw_api::spec::ContainerSpec::default());
        let expand = |text: &str| expand("Hostname", text, &request).map_err(|error| error.to_string());
        assert_eq!(expand("plain").unwrap(), "plain");
        assert_eq!(expand("{{.Service.Name}}-{{ .Task.Slot }}-{{.Node.Hostname}}").unwrap(), "web-3-host");
        assert!(expand("{{.Task.Name}}").unwrap().starts_with("web.3."));
        assert!(expand("{{.Nope}}").unwrap_err().contains("Hostname: \"{{.Nope}}\": {{.Nope}} is no field"));
        assert!(expand("{{.Task.ID").unwrap_err().contains("not closed"));
    }
}
