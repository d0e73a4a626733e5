//! The rest of `wsw daemon --help`: what the flags do not say.
//!
//! Owns: the text. Flags are described where they are defined, in [`super::Args`].

/// Below the usage line.
pub const ABOUT: &str = "\
Run the daemon of this node

The daemon serves the Docker Engine API on a Unix socket, runs the tasks that the swarm assigns to
this node, and listens on the published ports of services. It runs in the foreground and logs to
standard error; `wsw up` starts one in the background.";

/// Below the flags.
pub const MORE: &str = "\
Files:
  root: state in /var/lib/wsw, sockets and running tasks in /run/wsw; a user: $XDG_DATA_HOME/wsw and
  $XDG_RUNTIME_DIR/wsw. `wsw help files` says what lies where. One daemon per data root.

Environment:
  XDG_DATA_HOME, XDG_RUNTIME_DIR, HOME   default folders when not root
  NOTIFY_SOCKET                          systemd is told READY=1 and STOPPING=1 (Type=notify)

Signals:
  SIGTERM, SIGINT   stop the daemon; tasks go on, and the next daemon finds them
  SIGKILL           the same, without a goodbye: nothing that was acknowledged is lost
  To end the tasks too, leave the swarm first: `wsw swarm leave --force`, or `wsw down --all`.

Exit codes:
  0    stopped by a signal
  1    it could not start: the message says why and what to do
  125  a flag that is unknown or has a bad value

Examples:
  wsw daemon
  wsw daemon -H unix:///tmp/w/wsw.sock --data-root /tmp/w/data --exec-root /tmp/w/run
  wsw daemon --listen-addr 0.0.0.0:2377 --advertise-addr 192.0.2.7 --log-level debug";
