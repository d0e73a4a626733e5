//! The table of `wsw container`'s commands; most stand at the top as well.

use super::flags;
use crate::cli::{
    args::{Arity, Command, Flag},
    commands::{FILTER, FORMAT, INSPECT_FORMAT, go},
};

const LS_ALIASES: &[&str] = &["container ls", "container list", "container ps", "ps"];
const CONTAINERS: &[Flag] = &[
    Flag::boolean("all", "Show all containers (default shows just running)").short('a'),
    FILTER,
    FORMAT,
    Flag::int("last", "Show n last created containers (includes all states)").short('n').default("-1"),
    Flag::boolean("latest", "Show the latest created container (includes all states)").short('l'),
    Flag::boolean("no-trunc", "Don't truncate output"),
    Flag::boolean("quiet", "Only display container IDs").short('q'),
    Flag::boolean("size", "Display total file sizes").short('s'),
];
const CONTAINER_INSPECT: &[Flag] = &[INSPECT_FORMAT, Flag::boolean("size", "Display total file sizes").short('s')];

pub const fn ls(name: &'static str, aliases: &'static [&'static str]) -> Command {
    Command::leaf(name, "[OPTIONS]", "List containers", Arity::None, go!(super::ls)).flags(&[CONTAINERS]).aliases(aliases, LS_ALIASES)
}

/// Commands of `container` that stand at the top as well.
pub const KILL: Command =
    Command::leaf("kill", "[OPTIONS] CONTAINER [CONTAINER...]", "Kill one or more running containers", Arity::AtLeast(1), go!(super::kill))
        .flags(&[flags::KILL])
        .aliases(&[], &["container kill", "kill"]);
pub const LOGS: Command = Command::leaf("logs", "[OPTIONS] CONTAINER", "Fetch the logs of a container", Arity::Exact(1), go!(super::logs))
    .flags(&[flags::LOGS])
    .aliases(&[], &["container logs", "logs"]);
pub const PORT: Command = Command::leaf(
    "port",
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "List port mappings or a specific mapping for the container",
    Arity::Between(1, 2),
    go!(super::port),
)
.aliases(&[], &["container port", "port"]);
pub const STATS: Command =
    Command::leaf("stats", "[OPTIONS] [CONTAINER...]", "Display a live stream of container(s) resource usage statistics", Arity::AtLeast(0), go!(super::stats))
        .flags(&[flags::STATS])
        .aliases(&[], &["container stats", "stats"]);
pub const STOP: Command =
    Command::leaf("stop", "[OPTIONS] CONTAINER [CONTAINER...]", "Stop one or more running containers", Arity::AtLeast(1), go!(super::stop))
        .flags(&[flags::STOP])
        .aliases(&[], &["container stop", "stop"]);
pub const TOP: Command = Command::leaf("top", "CONTAINER [ps OPTIONS]", "Display the running processes of a container", Arity::AtLeast(1), go!(super::top))
    .rest_is_command()
    .aliases(&[], &["container top", "top"]);
pub const WAIT: Command = Command::leaf(
    "wait",
    "CONTAINER [CONTAINER...]",
    "Block until one or more containers stop, then print their exit codes",
    Arity::AtLeast(1),
    go!(super::wait),
)
.aliases(&[], &["container wait", "wait"]);

/// Those that a Wasm task has no answer for are here all the same: the daemon says why.
pub const ATTACH: Command = Command::leaf(
    "attach",
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    Arity::Exact(1),
    go!(super::attach),
)
.flags(&[flags::ATTACH])
.aliases(&[], &["container attach", "attach"]);
pub const CP: Command = Command::leaf(
    "cp",
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\twsw cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem",
    Arity::Exact(2),
    go!(super::cp),
)
.flags(&[flags::CP])
.long(
    "Copy files/folders between a container and the local filesystem\n\n\
     Use '-' as the source to read a tar archive from stdin\n\
     and extract it to a directory destination in a container.\n\
     Use '-' as the destination to stream a tar archive of a\n\
     container source to stdout.",
)
.aliases(&[], &["container cp", "cp"]);
pub const EXEC: Command =
    Command::leaf("exec", "[OPTIONS] CONTAINER COMMAND [ARG...]", "Execute a command in a running container", Arity::AtLeast(2), go!(super::exec))
        .flags(&[flags::EXEC])
        .rest_is_command()
        .aliases(&[], &["container exec", "exec"]);
pub const PAUSE: Command =
    Command::leaf("pause", "CONTAINER [CONTAINER...]", "Pause all processes within one or more containers", Arity::AtLeast(1), go!(super::pause))
        .aliases(&[], &["container pause", "pause"]);
pub const RESTART: Command =
    Command::leaf("restart", "[OPTIONS] CONTAINER [CONTAINER...]", "Restart one or more containers", Arity::AtLeast(1), go!(super::restart))
        .flags(&[flags::RESTART])
        .aliases(&[], &["container restart", "restart"]);
pub const RM: Command = Command::leaf("rm", "[OPTIONS] CONTAINER [CONTAINER...]", "Remove one or more containers", Arity::AtLeast(1), go!(super::rm))
    .flags(&[flags::RM])
    .aliases(&["remove"], &["container rm", "container remove", "rm"]);
pub const UNPAUSE: Command =
    Command::leaf("unpause", "CONTAINER [CONTAINER...]", "Unpause all processes within one or more containers", Arity::AtLeast(1), go!(super::unpause))
        .aliases(&[], &["container unpause", "unpause"]);

pub const CONTAINER: &[Command] = &[
    ATTACH,
    CP,
    EXEC,
    Command::leaf(
        "inspect",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Display detailed information on one or more containers",
        Arity::AtLeast(1),
        go!(super::inspect),
    )
    .flags(&[CONTAINER_INSPECT]),
    KILL,
    LOGS,
    ls("ls", &["list", "ps"]),
    PAUSE,
    PORT,
    Command::leaf("prune", "[OPTIONS]", "Remove all stopped containers", Arity::None, go!(super::prune)).flags(&[flags::PRUNE]),
    RESTART,
    RM,
    STATS,
    STOP,
    TOP,
    UNPAUSE,
    WAIT,
];
