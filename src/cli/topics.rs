//! `wsw help TOPIC`: pages about what is no command: labels, files, the environment, exit codes, formats.
//!
//! Owns: their text. A page names only what the program does; the tests hold the label page against the labels that are read.

/// Name, one line, page.
type Topic = (&'static str, &'static str, &'static str);

pub const TOPICS: &[Topic] = &[
    ("labels", "Container labels that wsw reads", LABELS),
    ("files", "Where a node keeps what", FILES),
    ("environment", "Variables that client, daemon and guests know", ENVIRONMENT),
    ("exit-codes", "What wsw and tasks end with", EXIT_CODES),
    ("formats", "Templates for --format, conditions for --filter", FORMATS),
];

/// The page of this name.
pub fn find(name: &str) -> Option<&'static str> {
    TOPICS.iter().find(|(topic, ..)| *topic == name).map(|(.., page)| *page)
}

/// The list below the root's help.
pub fn list() -> String {
    let lines: String = TOPICS.iter().map(|(name, about, _)| format!("  {name:<11} {about}\n")).collect();
    format!("\nTopics (wsw help TOPIC):\n{lines}")
}

const LABELS: &str = "\
Container labels are set with --container-label (a stack file's \"labels:\" of a service), so they
roll out like any other change of a task. A label that begins with \"wsw.\" and is not here is refused.

  wsw.wasm.allow-outbound      Where a guest may connect to: a comma list of HOST[:PORT],
                               *.DOMAIN[:PORT], CIDR[:PORT], or * for everywhere (default: nowhere).
                               Loopback, link-local and the node's own addresses must be named.
  wsw.wasm.max-instances       Requests that a replica serves at once (default 64)
  wsw.wasm.queue               Requests that may wait before one is answered 503 (default 256)
  wsw.wasm.request-timeout     How long one request may take, such as 500ms, 60s, 5m (default 60s)
  wsw.wasm.group               Which tasks share a process: shared, service, own (default shared)
  wsw.runtime                  A shim's name or path (default: by the image)
  wsw.ingress.proxy-protocol   v2: the client's address precedes each connection (default off)

Example:
  wsw service create --name web -p 8080:80 --container-label wsw.wasm.max-instances=200 ./web.wasm
";

const FILES: &str = "\
  root                     a user
  /var/lib/wsw             $XDG_DATA_HOME/wsw     data root: state, images, volumes, logs (--data-root)
                           or ~/.local/share/wsw
  /run/wsw                 $XDG_RUNTIME_DIR/wsw   exec root: sockets, bundles of running tasks (--exec-root)
  /run/wsw/wsw.sock        .../wsw/wsw.sock       the Engine API, for root and the group wsw, or the user (-H)
  /run/wsw/wsw.pid         .../wsw/wsw.pid        the daemon's process id (--pidfile)

Below the data root:
  identity/     key and certificates of the node: whoever reads them is the node
  raft/         the cluster's state, encrypted
  tasks/        what this node was assigned
  images/       blobs by digest, compiled code (at most 4 GiB; the least recently used goes first)
  logs/         the output of tasks, bounded
  swarm.json    whether the node is part of a swarm

Not its own, but read by the daemon:
  /etc/docker/certs.d/HOST[:PORT]/   certificates for one registry (--registry-certs): *.crt are
                                     authorities, *.cert with *.key are shown to it

The data root is for one daemon, and only for one as new as the one that wrote it last. A daemon
that is killed at any instant starts again from it; running tasks are found below the exec root.
";

const ENVIRONMENT: &str = "\
The client reads
  WSW_HOST, DOCKER_HOST    the daemon's socket, when there is no -H: unix:///PATH or tcp://HOST:PORT
  DOCKER_CONFIG            the folder of docker's config.json, for formats and logins (default ~/.docker)
  DOCKER_API_VERSION       the version of the API to speak, instead of the newest that both know
The daemon reads
  XDG_DATA_HOME, XDG_RUNTIME_DIR, HOME   default folders of a user's daemon
  NOTIFY_SOCKET            tells systemd when it is ready (Type=notify)
Every Wasm task finds
  WSW_TASK_ID, WSW_TASK_NAME, WSW_TASK_SLOT, WSW_SERVICE_NAME, WSW_NODE_ID, WSW_NODE_HOSTNAME
what --env and --env-file of its service say, and DOCKER_RESOURCE_<KIND> with what it was
given of its node's generic resources; nothing of the daemon's own environment.
";

const EXIT_CODES: &str = "\
The client
    0   done
    1   refused by the daemon, not found, cancelled; bad arguments
   64   a template of --format that cannot be read (inspect, events, info)
  125   a flag that is unknown or has a bad value
  141   whoever read the output went away (SIGPIPE)
The daemon
    0   stopped by SIGTERM or SIGINT; tasks go on
    1   it could not start; the message says what to do
  125   a flag that is unknown or has a bad value
A task
    n   the guest's own code
  134   it trapped (a fault in the guest, or a limit: \"service ps --no-trunc\" says which)
  137   killed (SIGKILL), or its shim died
  143   stopped (SIGTERM)
";

const FORMATS: &str = "\
--format takes \"table\", \"table TEMPLATE\", \"json\" (one object a line) or a Go template. Known in templates:
  json X, join LIST SEP, split TEXT SEP, lower, upper, title, pad TEXT LEFT RIGHT, truncate TEXT N,
  println, printf, print, index, len, slice, html, urlquery, eq ne lt le gt ge, and or not,
  if/else, range/else, with, variables ($x := ...), comments ({{/* */}}).
A field that does not exist is an error that names it; \"json\" shows all fields of a list.

Without --format a list looks as docker's config.json says ($DOCKER_CONFIG, or ~/.docker): psFormat,
servicesFormat, tasksFormat, nodesFormat, imagesFormat, networksFormat, statsFormat.

--filter (-f) takes KEY=VALUE and may be repeated: values of one key are alternatives (labels must all
be there), keys must all hold. A key that the object does not have is refused.

Examples:
  wsw service ls --format 'table {{.Name}}\\t{{.Replicas}}'
  wsw ps --filter label=com.docker.swarm.service.name=web --format json
  wsw events --filter type=container --filter event=die --format '{{.Actor.Attributes.exitCode}}'
";

#[cfg(test)]
mod tests {
    use super::*;
    use wsw_api::labels;

    #[test]
    fn the_page_of_labels_is_complete() {
        let named =
            [labels::ALLOW_OUTBOUND, labels::MAX_INSTANCES, labels::QUEUE, labels::REQUEST_TIMEOUT, labels::GROUP, labels::RUNTIME, labels::PROXY_PROTOCOL];
        let listed: Vec<&str> = LABELS.split_whitespace().filter(|word| word.starts_with("wsw.") && !word.contains('=')).collect();
        assert_eq!(listed.iter().filter(|word| **word != "wsw.\\").count(), named.len(), "{listed:?}");
        assert!(named.iter().all(|name| listed.contains(name)), "{listed:?}");
    }

    #[test]
    fn pages_fit_a_terminal() {
        for (name, _, page) in TOPICS {
            let widest = page.lines().map(str::len).max().unwrap_or(0);
            assert!(widest <= 120 && page.ends_with('\n'), "{name}: {widest}");
        }
    }
}
