//! The user's own terminal, and a connection that carries what is typed and shown (`exec`, `attach`).
//!
//! Owns: raw mode (undone when dropped), the window's size, what is typed, and the copying both ways. Invariant: a thread reads standard input, for nobody can wait for it
//! and for the daemon at once; it ends with the process. Never: knows what runs at the other end.

use std::io::{IsTerminal, Read, Write};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::termios::{self, OptionalActions, Termios};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wsw_api::exec::{Escape, Size};

use super::{
    client::Client,
    credentials,
    errors::Error,
    output,
    stream::{Channel, Reader},
};

/// Bytes of one read of what is typed.
const PIECE: usize = 32 << 10;
/// Pieces that wait to be sent: a slow daemon slows the reading down.
const PIECES: usize = 4;

/// Standard input in raw mode; as it was when dropped.
pub struct Raw(Termios);

impl Raw {
    pub fn set() -> Option<Raw> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The window; none when standard output is no terminal.
pub fn size() -> Option<Size> {
    let found = termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(Size { height: found.ws_row, width: found.ws_col }).filter(|size| size.height > 0 && size.width > 0)
}

/// As the API wants it.
pub fn console() -> Value {
    size().map_or_else(|| json!([0, 0]), |size| json!([size.height, size.width]))
}

/// The keys that leave: a flag's, else those of docker's `config.json`, else none (Docker's own count then).
pub fn keys(flag: Option<&str>) -> String {
    match flag.filter(|keys| !keys.is_empty()) {
        Some(keys) => keys.to_owned(),
        None => credentials::setting("detachKeys"),
    }
}

/// Which of them are looked for here.
pub fn escape(keys: &str) -> Escape {
    let parsed = if keys.is_empty() { Ok(Vec::new()) } else { wsw_api::exec::detach_keys(keys) };
    Escape::new(&parsed.unwrap_or_default())
}

/// Tells the daemon the window's size now and whenever it changes. Never ends by itself.
pub async fn follow_size(client: &Client, path: &str) -> Result<(), Error> {
    let mut changes = signal(SignalKind::window_change())?;
    loop {
        if let Some(size) = size() {
            let query = [("h", size.height.to_string()), ("w", size.width.to_string())];
            // What has just ended has no size.
            let _ = client.post(path, &query, None).await;
        }
        if changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// What is typed or piped in, until its end.
fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (send, received) = mpsc::channel(PIECES);
    std::thread::spawn(move || {
        let (mut stdin, mut piece) = (std::io::stdin().lock(), vec![0; PIECE]);
        while let Ok(read @ 1..) = stdin.read(&mut piece) {
            if send.blocking_send(piece[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    received
}

/// How a talk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The other end is through.
    Over,
    /// The user left by the keys.
    Detached,
}

/// How a connection is used.
pub struct Talk {
    /// Ours is sent to it.
    pub stdin: bool,
    /// One stream without frames.
    pub tty: bool,
    pub escape: Option<Escape>,
}

impl Talk {
    /// Copies both ways until the other end is through or the user leaves.
    pub async fn run(self, connection: Upgraded) -> Result<End, Error> {
        let (reader, mut writer) = tokio::io::split(TokioIo::new(connection));
        let mut sending = std::pin::pin!(send(self.stdin, self.escape, &mut writer));
        let mut showing = std::pin::pin!(show(Reader::hijacked(reader), self.tty));
        let mut sends = true;
        loop {
            tokio::select! {
                shown = &mut showing => return shown.map(|()| End::Over),
                end = &mut sending, if sends => match end {
                    End::Detached => return Ok(End::Detached),
                    End::Over => sends = false,
                },
            }
        }
    }
}

async fn send(stdin: bool, mut escape: Option<Escape>, writer: &mut WriteHalf<TokioIo<Upgraded>>) -> End {
    if stdin {
        let mut typed = typed();
        while let Some(piece) = typed.recv().await {
            let (piece, left) = match &mut escape {
                Some(escape) => escape.pass(&piece),
                None => (piece, false),
            };
            if left {
                return End::Detached;
            }
            if writer.write_all(&piece).await.is_err() {
                return End::Over;
            }
        }
    }
    let _ = writer.shutdown().await;
    End::Over
}

async fn show(mut stream: Reader, tty: bool) -> Result<(), Error> {
    if tty {
        while let Some(chunk) = stream.chunk().await? {
            output::bytes(&chunk)?;
        }
        return Ok(());
    }
    while let Some((channel, frame)) = stream.frame().await? {
        match channel {
            Channel::Stdout => output::bytes(&frame)?,
            Channel::Stderr => std::io::stderr().lock().write_all(&frame)?,
            Channel::System => return Err(Error::Plain(format!("error from daemon in stream: {}", String::from_utf8_lossy(&frame)))),
        }
    }
    Ok(())
}
