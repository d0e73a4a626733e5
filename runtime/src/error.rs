//! Why something of a task or an image could not be done.
//!
//! Owns: the kinds, and whether trying again can help ([`Error::is_temporary`]). The texts are for the user: they end up in a
//! task's status or in an API answer, so they never carry a secret.

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Docker's words, which clients look for.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// A registry does not have it, or not for us; docker's words.
    #[error("{0}")]
    NotThere(String),
    /// Docker's words, too.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    #[error("remove {name}: volume is in use by {} tasks", users.len())]
    VolumeInUse { name: String, users: Vec<wsw_api::TaskId> },
    /// A volume driver that this node does not have.
    #[error("{0}")]
    NoDriver(String),
    /// What was asked for is wrong: a file, a reference, an archive, a label.
    #[error("{0}")]
    Invalid(String),
    /// Known, but not done by this version.
    #[error("{0}")]
    Unsupported(String),
    /// It is in the way of something that exists.
    #[error("{0}")]
    Conflict(String),
    /// The machine stands in the way (disk, memory, a process that does not answer); it may go away by itself.
    #[error("{0}")]
    Temporary(String),
    /// The process that held the task is gone.
    #[error("{0}")]
    ShimDied(String),
    /// A container's first process could not be started; Docker's words and exit code.
    #[error("{why}")]
    NotStarted { code: u32, why: String },
    /// A shim refused; the text is its own.
    #[error("{0}")]
    Refused(String),
}

/// `std::result::Result` with our error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// True when the same step may succeed later without any change.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Temporary(_))
    }

    /// An I/O error with what was being done: `cannot write X: …`.
    pub(crate) fn io(doing: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::Temporary(format!("cannot {doing}: {error}"))
    }
}

impl From<Error> for wsw_api::Error {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NoSuchImage(_) | Error::NotThere(_) | Error::NoSuchVolume(_) | Error::NoDriver(_) => Self::not_found(message),
            Error::Invalid(_) => Self::invalid(message),
            Error::Unsupported(_) => Self::unimplemented(message),
            Error::Conflict(_) | Error::VolumeInUse { .. } => Self::conflict(message),
            Error::Temporary(_) => Self::unavailable(message),
            Error::ShimDied(_) | Error::NotStarted { .. } | Error::Refused(_) => Self::internal(message),
        }
    }
}
