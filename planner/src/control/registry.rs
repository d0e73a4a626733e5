//! Writes to services that bring credentials for a registry.
//!
//! Owns: which credentials a service has after a write. Invariant: they are in no spec and no template; a new password replaces no task.

use super::{Decision, Mint, handle, invalid};
use crate::Store;
use std::sync::Arc;
use wsw_api::control::Write;
use wsw_api::entry::{Change, Outcome};
use wsw_api::error::Result;
use wsw_api::registry::{AuthFrom, MAX_REGISTRY_AUTH, RegistryAuth};
use wsw_api::time::Time;

pub(super) fn with(view: &Store, write: &Write, auth: Option<&RegistryAuth>, from: AuthFrom, now: Time, mint: &mut Mint<'_>) -> Result<Decision> {
    if auth.is_some_and(|auth| auth.reveal().len() > MAX_REGISTRY_AUTH) {
        return Err(invalid(format!("X-Registry-Auth: longer than {MAX_REGISTRY_AUTH} bytes")));
    }
    let id = match write {
        Write::CreateService { .. } => None,
        Write::UpdateService { id, .. } => Some(*id),
        _ => return Err(invalid("credentials for a registry belong to a service")),
    };
    let mut decision = handle(view, write, now, mint)?;
    let service = match (id, &decision.outcome) {
        (Some(id), _) => id,
        (None, Outcome::ServiceCreated { id, .. }) => *id,
        (None, _) => return Ok(decision),
    };
    let old = view.registry_auth(&service).map(|old| (**old).clone()).unwrap_or_default();
    let new = old.next(auth, from);
    if new != old {
        decision.changes.push(Change::RegistryAuth { service, auth: Arc::new(new) });
    }
    Ok(decision)
}

#[cfg(test)]
mod tests {
    use crate::fixture::{World, spec};
    use wsw_api::control::{Rollback, Write};
    use wsw_api::registry::{AuthFrom, RegistryAuth};

    #[test]
    fn credentials_follow_the_service_and_leave_its_template_alone() {
        let mut world = World::new(1);
        let auth = |text: &str| Some(RegistryAuth::new(text));
        let with = |write, auth, from| Write::WithRegistryAuth { write: Box::new(write), auth, from };
        world.write(with(Write::CreateService { spec: Box::new(spec("web", 1)) }, auth("a"), AuthFrom::Spec)).unwrap();
        let service = world.store.service_by_name("web").unwrap().clone();
        let current = |world: &World| world.store.registry_auth(&service.id).and_then(|row| row.current.clone());
        assert_eq!(current(&world), auth("a"));
        let update = |world: &World, given, from| {
            let version = world.store.service(&service.id).unwrap().meta.version;
            with(Write::UpdateService { id: service.id, version, spec: Box::new(spec("web", 1)), rollback: Rollback::No }, given, from)
        };
        let write = update(&world, auth("b"), AuthFrom::Spec);
        world.write(write).unwrap();
        assert_eq!(current(&world), auth("b"));
        assert_eq!(world.store.service(&service.id).unwrap().template, service.template, "a new password replaces no task");
        let write = update(&world, None, AuthFrom::PreviousSpec);
        world.write(write).unwrap();
        assert_eq!(current(&world), auth("a"));
        let snapshot = world.store.to_snapshot();
        assert!(!format!("{snapshot:?}").contains("\"a\"") && crate::Store::from_snapshot(snapshot).unwrap().registry_auth(&service.id).is_some());
        let refused = world.write(with(Write::RemoveService { id: service.id }, auth("x"), AuthFrom::Spec));
        assert!(refused.unwrap_err().message.contains("belong to a service"));
    }
}
