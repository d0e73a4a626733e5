//! The `deploy` part of a service in canonical form.

use serde_json::{Map, Value};

use super::fields::{self, given, put};

pub fn canonical(deploy: &Value) -> Result<Value, String> {
    let mut map = Map::new();
    put(&mut map, "mode", deploy["mode"].clone());
    if let Some(replicas) = given(deploy, "replicas") {
        map.insert("replicas".into(), fields::count(replicas, "Deploy.Replicas")?);
    }
    put(&mut map, "labels", fields::mapping(&deploy["labels"]));
    for key in ["update_config", "rollback_config"] {
        if let Some(config) = given(deploy, key) {
            map.insert(key.into(), update(config, key)?);
        }
    }
    put(&mut map, "resources", resources(&deploy["resources"])?);
    if let Some(policy) = given(deploy, "restart_policy") {
        map.insert("restart_policy".into(), restart(policy)?);
    }
    put(&mut map, "placement", placement(&deploy["placement"])?);
    put(&mut map, "endpoint_mode", deploy["endpoint_mode"].clone());
    Ok(map.into())
}

fn update(config: &Value, key: &str) -> Result<Value, String> {
    let mut map = Map::new();
    if let Some(parallelism) = given(config, "parallelism") {
        map.insert("parallelism".into(), fields::count(parallelism, &format!("Deploy.{key}.Parallelism"))?);
    }
    for name in ["delay", "monitor"] {
        if let Some(duration) = given(config, name) {
            let duration = fields::duration(duration, &format!("Deploy.{key}.{name}"))?;
            if duration != "0s" {
                map.insert(name.into(), duration);
            }
        }
    }
    for name in ["failure_action", "max_failure_ratio", "order"] {
        put(&mut map, name, config[name].clone());
    }
    Ok(map.into())
}

fn restart(policy: &Value) -> Result<Value, String> {
    let mut map = Map::new();
    put(&mut map, "condition", policy["condition"].clone());
    for name in ["delay", "window"] {
        if let Some(duration) = given(policy, name) {
            map.insert(name.into(), fields::duration(duration, &format!("Deploy.restart_policy.{name}"))?);
        }
    }
    if let Some(attempts) = given(policy, "max_attempts") {
        map.insert("max_attempts".into(), fields::count(attempts, "Deploy.restart_policy.max_attempts")?);
    }
    Ok(map.into())
}

fn resources(resources: &Value) -> Result<Value, String> {
    let mut map = Map::new();
    for (key, field) in [("limits", "Limits"), ("reservations", "Reservations")] {
        let Some(given_part) = given(resources, key) else { continue };
        let mut part = Map::new();
        put(&mut part, "cpus", given_part["cpus"].clone());
        if let Some(memory) = given(given_part, "memory") {
            let bytes = fields::bytes(memory, &format!("Deploy.Resources.{field}.memory"))?;
            if bytes != "0" {
                part.insert("memory".into(), bytes);
            }
        }
        if let Some(pids) = given(given_part, "pids") {
            put(&mut part, "pids", fields::integer(pids));
        }
        put(&mut part, "generic_resources", given_part["generic_resources"].clone());
        map.insert(key.into(), part.into());
    }
    Ok(map.into())
}

fn placement(placement: &Value) -> Result<Value, String> {
    let mut map = Map::new();
    put(&mut map, "constraints", fields::list(&placement["constraints"]));
    put(&mut map, "preferences", placement["preferences"].clone());
    if let Some(most) = given(placement, "max_replicas_per_node") {
        put(&mut map, "max_replicas_per_node", fields::count(most, "Deploy.Placement.max_replicas_per_node")?);
    }
    Ok(map.into())
}
