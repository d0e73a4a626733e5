//! The contract between the daemon and its Wasm shims: bundle annotations, the hand-over socket, reports.
//!
//! Owns: names and shapes only. The Task API itself is containerd's (v3, ttrpc). Both ends must be of one `CONTRACT` version
//! to talk about connections; a shim of an older version keeps its tasks and gets no new ones.
//! Used by `runtime` (the client) and `wasm-shim` (the server).
//!
//! Files of one shim, all below `<exec root>/wasm/`; shim `n` reaches nothing but `x/<n>/` once it runs guests:
//! ```text
//! s/<n>.sock       ttrpc, Task API v3        s/<n>.sock.fd     SOCK_SEQPACKET, connections as descriptors
//! s/<n>.log        the shim's stderr         x/<n>/<task id>/  one bundle per task: config.json, exit.json, m/<i>/ (mounts)
//! ```
//! Logs of its tasks are in `<data root>/logs/<n>/`.

use crate::id::ServiceId;
use crate::spec::{PortConfig, Protocol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

/// Version of this contract; sent in each hand-over.
pub const CONTRACT: u32 = 2;

/// Digest of the module or component (`sha256:…`).
pub const MODULE_DIGEST: &str = "wsw.wasm.module-digest";
/// Absolute path of the compiled artefact to load.
pub const COMPILED: &str = "wsw.wasm.compiled";
/// `http`, `command` or `module`: what `wasm-compile` found ([`Kind`]).
pub const KIND: &str = "wsw.wasm.kind";
/// The service's id: connections are handed to the service, requests go to its ready tasks.
pub const SERVICE: &str = "wsw.wasm.service";
/// What the guest may reach: [`crate::outbound::Outbound`] as text. Absent or empty: nothing.
pub const ALLOW_OUTBOUND: &str = "wsw.wasm.allow-outbound";
/// Concurrent requests of one replica.
pub const MAX_INSTANCES: &str = "wsw.wasm.max-instances";
/// Requests of one replica that may wait before 503.
pub const QUEUE: &str = "wsw.wasm.queue";
/// Time limit of one request, as a decimal number of nanoseconds.
pub const REQUEST_TIMEOUT: &str = "wsw.wasm.request-timeout";
/// Target ports of the task's published ports, which a command may bind: [`Listen`] as text. Absent or empty: none.
pub const LISTEN: &str = "wsw.wasm.listen";
/// `v2`: connections to a command's listening sockets begin with a PROXY header.
pub const PROXY_PROTOCOL: &str = "wsw.wasm.proxy-protocol";
/// Bytes of one log file, as a decimal number ([`crate::log::Bounds`]).
pub const LOG_MAX_SIZE: &str = "wsw.wasm.log-max-size";
/// Log files of one task; 0: nothing is kept.
pub const LOG_MAX_FILES: &str = "wsw.wasm.log-max-files";
/// All annotations with this prefix that are not listed above are refused by name.
pub const PREFIX: &str = "wsw.wasm.";
/// Every annotation of the contract.
pub const ANNOTATIONS: [&str; 12] =
    [MODULE_DIGEST, COMPILED, KIND, SERVICE, ALLOW_OUTBOUND, MAX_INSTANCES, QUEUE, REQUEST_TIMEOUT, LISTEN, PROXY_PROTOCOL, LOG_MAX_SIZE, LOG_MAX_FILES];

/// The name of our shim, as `wsw.runtime` and a node's plugins spell it.
pub const RUNTIME_NAME: &str = "io.wsw.wasm.v1";
/// The shim of containers of which nothing else is said: containerd's for runc.
pub const CONTAINER_RUNTIME: &str = "io.containerd.runc.v2";

/// Prefix of `CreateTaskRequest.stdout` and `.stderr` for Wasm tasks: the rest is an absolute path of a log file in
/// the format of [`crate::log`], which the shim appends to. Both streams name the same file.
pub const LOG_SCHEME: &str = "cri://";
/// Suffix of the hand-over socket beside the ttrpc socket.
pub const HANDOVER_SUFFIX: &str = ".fd";
/// File in the bundle that the shim writes before `Wait` answers: an [`ExitReport`] as JSON. It is there before and empty, since the
/// bundle's folder is not the shim's to write in.
pub const EXIT_REPORT: &str = "exit.json";
/// Default of [`MAX_INSTANCES`].
pub const DEFAULT_MAX_INSTANCES: u32 = 64;
/// Default of [`QUEUE`].
pub const DEFAULT_QUEUE: u32 = 256;
/// Default of [`REQUEST_TIMEOUT`]: 60 s.
pub const DEFAULT_REQUEST_TIMEOUT: u64 = 60 * crate::time::SECOND;
/// Instances that one shim takes unless it is told otherwise (`vm.max_map_count` bounds it, `shims.md`).
pub const DEFAULT_CAPACITY: u32 = 5_000;
/// The largest hand-over message, header only.
pub const MAX_HANDOVER: usize = 512;

/// Which sockets a shim can make once it runs guests; fixed for its life, so tasks of one need share a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// None at all: connections are handed to it.
    #[default]
    None,
    /// TCP and UDP over IPv4 and IPv6.
    Inet,
}

impl Network {
    /// The argument's value (`--network`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Inet => "inet",
        }
    }
    /// Reads the argument's value.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Inet].into_iter().find(|network| network.as_str() == text)
    }
}

/// What of its sandbox a shim really got, as it says in the answer to `Connect` (field `version`, after its own version).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confinement {
    pub seccomp: bool,
    pub landlock: bool,
}

impl Confinement {
    const WORDS: [&str; 2] = ["seccomp", "landlock"];

    /// The parts that are there, by name.
    pub fn parts(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().zip([self.seccomp, self.landlock]).filter_map(|(word, there)| there.then_some(word))
    }
    /// Reads the words among others; what is not said is not there.
    pub fn parse(text: &str) -> Self {
        let [seccomp, landlock] = Self::WORDS.map(|word| text.split([' ', ',']).any(|said| said == word));
        Self { seccomp, landlock }
    }
}

/// What a Wasm file is, by its exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A component that exports `wasi:http/incoming-handler`.
    Http,
    /// A component that exports `wasi:cli/run`.
    Command,
    /// A wasip1 core module with `_start`.
    Module,
}

impl Kind {
    /// The annotation's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Command => "command",
            Self::Module => "module",
        }
    }
    /// Reads the annotation's value.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Command, Self::Module].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Ports that a task may listen on, as the guest knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listen(BTreeSet<(Protocol, u16)>);

impl Listen {
    /// The target ports of published ports. SCTP has no sockets in WASI.
    pub fn of(ports: &[PortConfig]) -> Self {
        Self(ports.iter().filter(|port| port.protocol != Protocol::Sctp).map(|port| (port.protocol, port.target)).collect())
    }

    /// Reads the annotation's value: `8080/tcp,53/udp`.
    pub fn parse(text: &str) -> Option<Self> {
        let one = |entry: &str| {
            let (port, protocol) = entry.split_once('/')?;
            let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.as_str() == protocol)?;
            Some((protocol, port.parse().ok().filter(|port| *port > 0_u16)?))
        };
        text.split(',').filter(|entry| !entry.is_empty()).map(one).collect::<Option<_>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn allows(&self, protocol: Protocol, port: u16) -> bool {
        self.0.contains(&(protocol, port))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (protocol, port)) in self.0.iter().enumerate() {
            write!(f, "{}{port}/{}", if index > 0 { "," } else { "" }, protocol.as_str())?;
        }
        Ok(())
    }
}

/// The last line that `wsw wasm-compile` writes to stderr, as JSON. The module comes on stdin, the artefact goes to stdout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompileReport {
    /// It compiles and links with what we serve.
    Ok { kind: Kind },
    /// It does not; the text names the reason (the import, the missing export, …) for the user.
    Err { message: String },
}

/// Why and how a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Exit code as the status shows it: the guest's own, 128 + signal when stopped, 134 for a trap, 137 for killed or out of memory.
    pub code: u32,
    /// Which limit was hit or which trap it was; none for an ordinary end.
    pub reason: Option<String>,
    /// False when no guest code ran (the shim or the load failed).
    pub ran: bool,
}

/// Header of one hand-over message (MessagePack, named fields); exactly one descriptor comes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    pub contract: u32,
    /// The daemon's number for this message on this socket; the answer repeats it.
    pub seq: u64,
    pub service: ServiceId,
    /// Target port of the published port that was hit.
    pub port: u16,
    /// What comes: a connection (TCP), or a datagram socket that is to be connected to a task's port, one for each flow (UDP).
    #[serde(default)]
    pub protocol: Protocol,
    /// The true client, as the ingress saw it.
    pub client: SocketAddr,
}

/// The shim's answer to one [`Handover`] (MessagePack, named fields).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverAnswer {
    pub seq: u64,
    pub outcome: HandoverOutcome,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandoverOutcome {
    /// The shim owns it now; the daemon closes its copy.
    Taken,
    /// The service has no ready task here; nothing was read from it.
    None,
    /// The shim's bound on connections is reached; nothing was read from it.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_to_listen_on_print_as_they_are_read() {
        let port = |protocol, target| PortConfig { protocol, target, published: 1, ..PortConfig::default() };
        let ports = [port(Protocol::Udp, 53), port(Protocol::Tcp, 8080), port(Protocol::Sctp, 9), port(Protocol::Tcp, 8080)];
        let listen = Listen::of(&ports);
        assert_eq!(listen.to_string(), "8080/tcp,53/udp");
        assert_eq!(Listen::parse("8080/tcp,53/udp"), Some(listen.clone()));
        assert!(listen.allows(Protocol::Udp, 53) && !listen.allows(Protocol::Tcp, 53));
        assert_eq!(Listen::parse(""), Some(Listen::default()));
        for wrong in ["80", "80/sctp", "0/tcp", "x/tcp", "70000/udp"] {
            assert_eq!(Listen::parse(wrong), None, "{wrong}");
        }
    }
}
