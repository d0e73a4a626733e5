//! `/containers/{id}/exec` and `/exec/{id}`: commands in this node's containers.
//!
//! Owns: the requests, and what is between a client's connection and a command's streams. Invariants: moby's order (the connection is taken over before the command
//! starts, so what hinders it is written there); a client that half-closes ends the command's input only; one that goes away ends nothing. Never: keeps a command.

use super::containers::find;
use super::control::{local, runs};
use super::{hijack, hijack::Wire};
use crate::backend::ExecStreams;
use crate::call::{self, Call};
use crate::convert::task::container_id;
use crate::error::{Answer, ApiError};
use crate::model::exec::{ExecConfig, ExecCreated, ExecInspect, ExecProcess, ExecStart};
use crate::stdcopy::{self, Channel};
use base64::Engine;
use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use wsw_api::Error;
use wsw_api::exec::{Command, Escape, Size, detach_keys};
use wsw_api::log::Stream;

/// Clients at a time that talk to commands; each holds a connection and some buffers.
const MAX_CLIENTS: usize = 512;
static PLACES: Semaphore = Semaphore::const_new(MAX_CLIENTS);
/// Bytes of one read of a client's input.
const PIECE: usize = 32 << 10;

/// `POST /containers/{id}/exec`.
pub async fn create(mut call: Call) -> Answer {
    let config: ExecConfig = call.json().await?;
    let args = config.cmd.unwrap_or_default();
    if args.is_empty() {
        return Err(ApiError::invalid("No exec command specified"));
    }
    let keys = config.detach_keys.unwrap_or_default();
    let keys =
        if keys.is_empty() { Vec::new() } else { detach_keys(&keys).map_err(|_| ApiError::invalid(format!("Invalid escape keys ({keys}) provided")))? };
    let id = find(&call).await?;
    if !runs(&local(&call, id)?) {
        return Err(Error::conflict(format!("container {} is not running", container_id(id))).into());
    }
    let command = Command {
        args,
        env: config.env.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        dir: config.dir.unwrap_or_default(),
        tty: config.tty.unwrap_or_default(),
        privileged: config.privileged.unwrap_or_default(),
        stdin: config.stdin.unwrap_or_default(),
        stdout: config.stdout.unwrap_or_default(),
        stderr: config.stderr.unwrap_or_default(),
        detach_keys: keys,
    };
    size(config.console.as_deref())?;
    let id = call.backend.exec_create(id, command)?;
    call::json(StatusCode::CREATED, &ExecCreated { id: Some(id) })
}

/// `[height, width]`; none when either is 0.
fn size(console: Option<&[u32]>) -> Result<Option<Size>, ApiError> {
    let side = |value: u32| u16::try_from(value).map_err(|_| ApiError::invalid(format!("ConsoleSize: {value} is too large: use numbers up to {}", u16::MAX)));
    match console {
        None | Some([]) => Ok(None),
        Some([height, width]) => Ok(Some(Size { height: side(*height)?, width: side(*width)? }).filter(|size| size.height > 0 && size.width > 0)),
        Some(_) => Err(ApiError::invalid("ConsoleSize: use two numbers, height and width")),
    }
}

/// `POST /exec/{id}/start`.
pub async fn start(mut call: Call) -> Answer {
    let config: ExecStart = call.json().await?;
    let size = size(config.console.as_deref())?;
    let status = call.backend.exec_status(&call.name)?;
    let id = call.name.clone();
    if config.detach.unwrap_or_default() {
        call.backend.exec_start(&id, size).await?;
        return call::empty();
    }
    let place = PLACES.try_acquire().map_err(|_| Error::unavailable(format!("{MAX_CLIENTS} clients talk to commands; end one and try again")))?;
    let command = status.command;
    let kind = super::logs::content_type(&call, command.tty);
    let backend = call.backend.clone();
    hijack::take(&mut call, kind, move |wire| async move {
        let _place = place;
        let talk = Talk { framed: !command.tty, command };
        match backend.exec_start(&id, size).await {
            Ok(streams) => {
                if talk.run(wire, streams).await == End::Detached {
                    backend.exec_detached(&id);
                }
            }
            Err(error) => talk.refuse(wire, &error.message).await,
        }
    })
}

/// How a client's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Over,
    Detached,
}

/// Between a client and a command.
struct Talk {
    framed: bool,
    command: Command,
}

impl Talk {
    /// What hindered the command, where its output would be.
    async fn refuse(&self, mut wire: Wire, why: &str) {
        let text = format!("{why}\r\n");
        let bytes = if self.framed { stdcopy::frame(Channel::Stdout, &[text.as_bytes()]) } else { Bytes::from(text) };
        let _ = wire.write_all(&bytes).await;
        let _ = wire.shutdown().await;
    }

    async fn run(self, wire: Wire, streams: ExecStreams) -> End {
        let (mut reader, mut writer) = tokio::io::split(wire);
        let ExecStreams { input, mut output } = streams;
        let escape = self.command.tty.then(|| Escape::new(&self.command.detach_keys));
        let mut typing = std::pin::pin!(feed(&mut reader, input, escape));
        let mut listens = true;
        loop {
            tokio::select! {
                piece = output.recv() => {
                    let Some((stream, bytes)) = piece else { break };
                    if self.wants(stream) && write(&mut writer, stream, &bytes, self.framed).await.is_err() {
                        return End::Over;
                    }
                }
                end = &mut typing, if listens => {
                    if end == End::Detached {
                        let _ = writer.shutdown().await;
                        return End::Detached;
                    }
                    listens = false;
                }
            }
        }
        let _ = writer.shutdown().await;
        End::Over
    }

    fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.command.stdout,
            Stream::Stderr => self.command.stderr,
        }
    }
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), stream: Stream, bytes: &[u8], framed: bool) -> std::io::Result<()> {
    let channel = if stream == Stream::Stdout { Channel::Stdout } else { Channel::Stderr };
    if framed { writer.write_all(&stdcopy::frame(channel, &[bytes])).await } else { writer.write_all(bytes).await }
}

/// The client's input to the command, until either closes. Without an input it is read all the same: that is how a client that is gone is noticed.
pub(super) async fn feed(reader: &mut (impl AsyncReadExt + Unpin), input: Option<mpsc::Sender<Bytes>>, mut escape: Option<Escape>) -> End {
    let mut piece = vec![0_u8; PIECE];
    loop {
        let Ok(read @ 1..) = reader.read(&mut piece).await else { return End::Over };
        let bytes = piece.get(..read).unwrap_or_default();
        let (bytes, left) = match &mut escape {
            Some(escape) => escape.pass(bytes),
            None => (bytes.to_vec(), false),
        };
        if let Some(input) = input.as_ref().filter(|_| !bytes.is_empty())
            && input.send(Bytes::from(bytes)).await.is_err()
        {
            return End::Over;
        }
        if left {
            return End::Detached;
        }
    }
}

/// `POST /exec/{id}/resize`.
pub async fn resize(call: Call) -> Answer {
    let size = window(&call)?;
    call.backend.exec_resize(&call.name, size).await?;
    call::empty()
}

/// `h` and `w` of a request.
pub(super) fn window(call: &Call) -> Result<Size, ApiError> {
    let side = |name: &str| {
        let text = call.query.get(name).unwrap_or_default();
        text.parse::<u16>().map_err(|_| ApiError::invalid(format!("invalid value for \"{name}\": {text:?}: use a number up to {}", u16::MAX)))
    };
    Ok(Size { height: side("h")?, width: side("w")? })
}

/// `GET /exec/{id}/json`.
pub async fn inspect(call: Call) -> Answer {
    let status = call.backend.exec_status(&call.name)?;
    let command = status.command;
    let mut words = command.args.into_iter();
    let process = ExecProcess {
        tty: Some(command.tty),
        entrypoint: words.next(),
        arguments: Some(words.collect()),
        privileged: Some(command.privileged),
        user: (!command.user.is_empty()).then_some(command.user),
    };
    call::ok(&ExecInspect {
        id: Some(call.name),
        running: Some(status.running),
        code: Some(status.code),
        process: Some(process),
        stdin: Some(command.stdin),
        stderr: Some(command.stderr),
        stdout: Some(command.stdout),
        can_remove: Some(false),
        container: Some(container_id(status.task)),
        detach_keys: Some(base64::engine::general_purpose::STANDARD.encode(&command.detach_keys)),
        pid: Some(status.pid),
    })
}
