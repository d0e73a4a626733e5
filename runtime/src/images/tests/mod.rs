//! The image store on real archives: formats, names, and what strangers might send. The compiler is a stand-in that reads the module's text.

mod bad_registry;
mod code;
pub(crate) mod fixture;
mod formats;
mod hostile;
mod linux;
mod names;
mod peers;
mod registry;
mod sparse;
mod spoilt;
mod stand_in;
