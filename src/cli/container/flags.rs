//! Flags of `wsw container`, in docker's words.

use crate::cli::args::{Flag, check};

pub const KILL: &[Flag] = &[Flag::string("signal", "Signal to send to the container").short('s')];
pub const STOP: &[Flag] = &[
    Flag::string("signal", "Signal to send to the container").short('s'),
    Flag::int("timeout", "Seconds to wait before killing the container").short('t'),
    Flag { hidden: true, ..Flag::int("time", "") },
];
pub const STATS: &[Flag] = &[
    Flag::boolean("all", "Show all containers (default shows just running)").short('a'),
    Flag::string("format", crate::cli::commands::FORMAT_HELP),
    Flag::boolean("no-stream", "Disable streaming stats and only pull the first result"),
    Flag::boolean("no-trunc", "Do not truncate output"),
];
pub const LOGS: &[Flag] = &[
    Flag::boolean("details", "Show extra details provided to logs"),
    Flag::boolean("follow", "Follow log output").short('f'),
    Flag::string("since", "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)"),
    Flag::string("tail", "Number of lines to show from the end of the logs").short('n').default("all"),
    Flag::boolean("timestamps", "Show timestamps").short('t'),
    Flag::string("until", "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)"),
];
pub const RM: &[Flag] = &[
    Flag::boolean("force", "Force the removal of a running container (uses SIGKILL)").short('f'),
    Flag::boolean("link", "Remove the specified link").short('l'),
    Flag::boolean("volumes", "Remove anonymous volumes associated with the container").short('v'),
];
pub const RESTART: &[Flag] =
    &[Flag::string("signal", "Signal to send to the container").short('s'), Flag::int("timeout", "Seconds to wait before killing the container").short('t')];
pub const ATTACH: &[Flag] = &[
    Flag::string("detach-keys", "Override the key sequence for detaching a container"),
    Flag::boolean("no-stdin", "Do not attach STDIN"),
    Flag::boolean("sig-proxy", "Proxy all received signals to the process").default("true"),
];
pub const CP: &[Flag] = &[
    Flag::boolean("archive", "Archive mode (copy all uid/gid information)").short('a'),
    Flag::boolean("follow-link", "Always follow symbol link in SRC_PATH").short('L'),
    Flag::boolean("quiet", "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached").short('q'),
];
pub const EXEC: &[Flag] = &[
    Flag::boolean("detach", "Detached mode: run command in the background").short('d'),
    Flag::string("detach-keys", "Override the key sequence for detaching a container"),
    Flag::list("env", "Set environment variables").short('e'),
    Flag::list("env-file", "Read in a file of environment variables"),
    Flag::boolean("interactive", "Keep STDIN open even if not attached").short('i'),
    Flag::boolean("privileged", "Give extended privileges to the command"),
    Flag::boolean("tty", "Allocate a pseudo-TTY").short('t'),
    Flag::string("user", "Username or UID (format: \"<name|uid>[:<group|gid>]\")").short('u'),
    Flag::string("workdir", "Working directory inside the container").short('w'),
];
pub const PRUNE: &[Flag] = &[
    Flag::custom("filter", "filter", check::filter, "Provide filter values (e.g. \"until=<timestamp>\")"),
    Flag::boolean("force", "Do not prompt for confirmation").short('f'),
];
