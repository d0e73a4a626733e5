//! Registries: looking, pulling, pushing, logging in (the OCI distribution protocol).
//!
//! ```text
//! session    one repository: plain HTTP or TLS, login, manifests     token       answering a 401
//! downloads  blobs: resumed, verified, each loaded once              http        the client, its limits and its second tries
//! insecure   who is spoken to without certificates                   certs       authorities and certificates of single registries
//! words      what a failed connection says, as docker words it       push        the way out
//! ```
//! Invariants: nothing that a registry sends is used before its digest or its bound is checked; credentials are shown to the registry that
//! they are for, and to nobody else: no log line, no error, no redirect. Never: touches the store's index.

mod certs;
mod credentials;
mod downloads;
mod failure;
mod http;
mod insecure;
mod login;
mod peers;
mod pull;
mod push;
mod session;
mod token;
mod words;

pub use certs::Trust;
pub use credentials::Credentials;
pub use insecure::Insecure;
pub use peers::{BlobReader, Given, Peers};
pub use pull::{PullRequest, Pulled};

pub(crate) use downloads::Downloads;
pub(crate) use failure::Failure;
pub(crate) use http::{Patience, Transport};
pub(crate) use session::{Rights, Session};
