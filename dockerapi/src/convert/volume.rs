//! Volumes of this node to the API, and which of them a filter means.

use super::{not_served, task, time};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::model::volume as api;
use crate::volume_store::{NewVolume, Volume};
use wsw_api::mount::LOCAL_DRIVER;

/// The whole of it; `size` when it was measured.
pub fn shown(volume: &Volume, size: Option<u64>) -> api::Volume {
    let some = |map: &crate::model::Map| Some((!map.is_empty()).then(|| map.clone()));
    let usage = size.map(|size| api::UsageData { users: i64::try_from(volume.users.len()).ok(), size: i64::try_from(size).ok() });
    api::Volume {
        created: Some(time::rfc3339_seconds(volume.created)),
        driver: Some(LOCAL_DRIVER),
        labels: some(&volume.labels),
        mountpoint: Some(volume.mountpoint.display().to_string()),
        name: Some(volume.name.clone()),
        options: some(&volume.options),
        scope: Some("local"),
        usage,
    }
}

/// What `POST /volumes/create` asks for.
pub fn read(new: api::NewVolume) -> Result<NewVolume, ApiError> {
    // docker's client sends the object only for cluster volumes; an empty one asks for one, too
    if new.cluster.is_some_and(|cluster| !cluster.is_null()) {
        return Err(not_served("ClusterVolumeSpec").into());
    }
    Ok(NewVolume {
        name: new.name.unwrap_or_default(),
        driver: new.driver.unwrap_or_default(),
        labels: new.labels.unwrap_or_default(),
        options: new.options.unwrap_or_default(),
    })
}

/// The filters of `volume ls`.
pub fn matches(volume: &Volume, filters: &Filters, dangling: Option<bool>) -> bool {
    dangling.is_none_or(|dangling| volume.users.is_empty() == dangling)
        && filters.any("name", |name| volume.name.contains(name))
        && filters.exact("driver", LOCAL_DRIVER)
        && filters.labels("label", &volume.labels)
}

/// moby's refusal to remove what tasks have.
pub fn in_use(volume: &Volume) -> ApiError {
    let users: Vec<String> = volume.users.iter().map(|user| task::container_id(*user)).collect();
    wsw_api::Error::conflict(format!("remove {}: volume is in use - [{}]", volume.name, users.join(", "))).into()
}
