//! `/containers/{id}/exec` and `/exec/{id}`: commands in this node's containers.
//!
//! Owns: the requests. Invariants: moby's order (the connection is taken over before the command
//! starts, so what hinders it is written there); a client that half-closes ends the command's input only; one that goes away ends nothing. Never: keeps a command.

use super::containers::find;
use super::control::{local, runs};
use super::hijack;
use super::talk::{End, Talk};
use crate::call::{self, Call};
use crate::convert::task::container_id;
use crate::error::{Answer, ApiError};
use crate::model::exec::{ExecConfig, ExecCreated, ExecInspect, ExecProcess, ExecStart};
use base64::Engine;
use http::StatusCode;
use tokio::sync::Semaphore;
use wsw_api::Error;
use wsw_api::exec::{Command, Escape, Size, detach_keys};

/// Clients at a time that talk to commands; each holds a connection and some buffers.
const MAX_CLIENTS: usize = 512;
static PLACES: Semaphore = Semaphore::const_new(MAX_CLIENTS);

/// `POST /containers/{id}/exec`.
pub async fn create(mut call: Call) -> Answer {
    let config: ExecConfig = call.json().await?;
    let args = config.cmd.unwrap_or_default();
    if args.is_empty() {
        return Err(ApiError::invalid("No exec command specified"));
    }
    let keys = keys(config.detach_keys.as_deref())?;
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

/// The keys that leave a terminal; empty: Docker's own.
pub(super) fn keys(text: Option<&str>) -> Result<Vec<u8>, ApiError> {
    match text.unwrap_or_default() {
        "" => Ok(Vec::new()),
        keys => detach_keys(keys).map_err(|_| ApiError::invalid(format!("Invalid escape keys ({keys}) provided"))),
    }
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
        let talk = Talk {
            framed: !command.tty,
            stdout: command.stdout,
            stderr: command.stderr,
            escape: command.tty.then(|| Escape::new(&command.detach_keys)),
            ends_with_input: false,
        };
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
