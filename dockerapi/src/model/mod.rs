//! Docker's JSON shapes, as docker 20.10 to 28 read and write them.
//!
//! Owns: field names and their order (moby's, since `docker inspect` prints our bytes). Every field is optional: Go clients send
//! `null` or nothing for a zero value, and moby leaves most of those out of its answers.
//! Never: meaning; that is in [`crate::convert`]. (`bollard-stubs` has these models too, but unordered maps, no `PreviousSpec`, and
//! enumerations that hide which value was refused.)

pub mod container;
pub mod exec;
pub mod image;
pub mod mount;
pub mod network;
pub mod node;
pub mod service;
pub mod stats;
pub mod swarm;
pub mod system;
pub mod task;
pub mod volume;

/// Structs of answers: all fields optional, left out when not set, named as in Docker's JSON.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty = $json:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        pub struct $name {
            $(#[serde(rename = $json, skip_serializing_if = "Option::is_none")] pub $field: Option<$ty>,)*
        }
    )*};
}
pub(crate) use answers;

/// The same for what comes in as well: as Go reads it, so names in any case, the last of two wins, unknown ones are passed over. (A
/// derived `Deserialize` would take a list for a struct too.)
macro_rules! model {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty = $json:literal),* $(,)? })*) => {$(
        $crate::model::answers! { $(#[$doc])* $name { $($field: $ty = $json),* } }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object;
                impl<'de> serde::de::Visitor<'de> for Object {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    #[allow(unused_mut, unused_variables)] // for the struct without fields
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut out = $name::default();
                        while let Some(key) = map.next_key::<String>()? {
                            $(if key.eq_ignore_ascii_case($json) {
                                out.$field = map.next_value()?;
                                continue;
                            })*
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok(out)
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
    )*};
}
pub(crate) use model;

/// Labels and the like, in a stable order.
pub type Map = std::collections::BTreeMap<String, String>;

/// A field that wsw does not serve: kept as it came, so that a value which is set can be refused by name.
pub type Unserved = serde_json::Value;

model! {
    /// An object without fields.
    Empty {}
    /// The version that an update must name.
    Version { index: u64 = "Index" }
    /// An operating system and a processor.
    Platform { architecture: String = "Architecture", os: String = "OS" }
}
answers! {
    /// What `POST …/create` answers.
    Created { id: String = "ID", warnings: Vec<String> = "Warnings" }
    /// What `POST /services/{id}/update` answers.
    Updated { warnings: Vec<String> = "Warnings" }
}

impl Version {
    /// The version with this index.
    pub fn of(index: u64) -> Option<Self> {
        Some(Self { index: Some(index) })
    }
}
