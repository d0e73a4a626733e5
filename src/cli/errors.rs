//! What a command can fail with, in the words that docker prints, and the exit code that follows from it.

/// A failed command. Its text goes to standard error as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon answered with an error.
    #[error("Error response from daemon: {message}")]
    Daemon { status: u16, message: String },
    /// No daemon answers.
    #[error("{0}")]
    Connect(String),
    /// A failure with an exit code of its own.
    #[error("{text}")]
    Status { code: u8, text: String },
    #[error("{0}")]
    Plain(String),
    /// Said already; only the exit code is left.
    #[error("")]
    Silent(u8),
}

/// The exit code after SIGPIPE, when the reader of our output is gone.
const BROKEN_PIPE: u8 = 141;

impl Error {
    pub fn plain(text: impl Into<String>) -> Self {
        Error::Plain(text.into())
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Status { code, .. } | Error::Silent(code) => *code,
            _ => 1,
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Daemon { status: 404, .. })
    }

    /// One error out of many, a line each; `None` when there was none.
    pub fn join(errors: Vec<Error>) -> Result<(), Error> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(Error::Plain(errors.iter().map(Error::to_string).collect::<Vec<_>>().join("\n")))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe { Error::Silent(BROKEN_PIPE) } else { Error::Plain(error.to_string()) }
    }
}
