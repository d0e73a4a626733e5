//! The tree of commands: docker's groups and words, each leaf with its flags and the function that runs it.

use super::{
    args::{Arity, Command, Flag, check, help},
    completion,
    container::commands as container,
    image, login, network, node, service, stack, swarm, system, up, volume,
};

/// A command's function as the tables hold it.
macro_rules! go {
    ($run:path) => {
        |session, matches| Box::pin($run(session, matches))
    };
}
pub(super) use go;

pub const FORMAT_HELP: &str = "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n\
     'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n\
     'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";
const INSPECT_HELP: &str = "Format output using a custom template:\n'json':             Print in JSON format\n\
     'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";

pub const FORMAT: Flag = Flag::string("format", FORMAT_HELP);
pub const INSPECT_FORMAT: Flag = Flag::string("format", INSPECT_HELP).short('f');
pub const FILTER: Flag = Flag::custom("filter", "filter", check::filter, "Filter output based on conditions provided").short('f');
const QUIET_IDS: Flag = Flag::boolean("quiet", "Only display IDs").short('q');
const PRETTY: Flag = Flag::boolean("pretty", "Print the information in a human friendly format");
const DETACH: Flag = Flag::boolean("detach", "Exit immediately instead of waiting for the service to converge").short('d');
const QUIET_PROGRESS: Flag = Flag::boolean("quiet", "Suppress progress output").short('q');

pub const LIST: &[Flag] = &[FILTER, FORMAT, QUIET_IDS];
const INSPECT: &[Flag] = &[INSPECT_FORMAT, PRETTY];
const TASKS: &[Flag] = &[
    FILTER,
    Flag::string("format", "Pretty-print tasks using a Go template"),
    Flag::boolean("no-resolve", "Do not map IDs to Names"),
    Flag::boolean("no-trunc", "Do not truncate output"),
    Flag::boolean("quiet", "Only display task IDs").short('q'),
];
const LOGS: &[Flag] = &[
    Flag::boolean("details", "Show extra details provided to logs"),
    Flag::boolean("follow", "Follow log output").short('f'),
    Flag::boolean("no-resolve", "Do not map IDs to Names in output"),
    Flag::boolean("no-task-ids", "Do not include task IDs in output"),
    Flag::boolean("no-trunc", "Do not truncate output"),
    Flag::boolean("raw", "Do not neatly format logs"),
    Flag::string("since", "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)"),
    Flag::string("tail", "Number of lines to show from the end of the logs").short('n').default("all"),
    Flag::boolean("timestamps", "Show timestamps").short('t'),
];
const IMAGES: &[Flag] = &[
    Flag::boolean("all", "Show all images (default hides intermediate images)").short('a'),
    Flag::boolean("digests", "Show digests"),
    FILTER,
    FORMAT,
    Flag::boolean("no-trunc", "Don't truncate output"),
    Flag::boolean("quiet", "Only show image IDs").short('q'),
    Flag::boolean("tree", "List multi-platform images as a tree (EXPERIMENTAL)"),
];
const LOAD: &[Flag] = &[
    Flag::string("input", "Read from tar archive file, instead of STDIN").short('i'),
    Flag::string("platform", "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")"),
    Flag::boolean("quiet", "Suppress the load output").short('q'),
];
const IMAGE_INSPECT: &[Flag] = &[
    INSPECT_FORMAT,
    Flag::string(
        "platform",
        "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n\
         'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
    ),
];
const IMAGE_RM: &[Flag] = &[
    Flag::boolean("force", "Force removal of the image").short('f'),
    Flag::boolean("no-prune", "Do not delete untagged parents"),
    Flag::custom("platform", "strings", check::any, "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")"),
];
const EVENTS: &[Flag] = &[
    FILTER,
    Flag::string("format", INSPECT_HELP),
    Flag::string("since", "Show all events created since timestamp"),
    Flag::string("until", "Stream events until this timestamp"),
];
const OBJECT_INSPECT: &[Flag] = &[
    INSPECT_FORMAT,
    Flag::boolean("size", "Display total file sizes if the type is container").short('s'),
    Flag::string("type", "Only inspect objects of the given type"),
];
const NETWORKS: &[Flag] = &[
    Flag::custom("filter", "filter", check::filter, "Provide filter values (e.g. \"driver=bridge\")").short('f'),
    FORMAT,
    Flag::boolean("no-trunc", "Do not truncate the output"),
    Flag::boolean("quiet", "Only display network IDs").short('q'),
];
const SYSTEM_PRUNE: &[Flag] = &[
    Flag::boolean("all", "Remove all unused images not just dangling ones").short('a'),
    Flag::custom("filter", "filter", check::filter, "Provide filter values (e.g. \"label=<key>=<value>\")"),
    Flag::boolean("force", "Do not prompt for confirmation").short('f'),
    Flag::boolean("volumes", "Prune anonymous volumes"),
];
const NODE_UPDATE: &[Flag] = &[
    Flag::string("availability", "Availability of the node (\"active\", \"pause\", \"drain\")"),
    Flag::list("label-add", "Add or update a node label (\"key=value\")"),
    Flag::list("label-rm", "Remove a node label if exists"),
    Flag::string("role", "Role of the node (\"worker\", \"manager\")"),
];

const SERVICE: &[Command] = &[
    Command::leaf("create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a new service", Arity::AtLeast(1), go!(service::create::run))
        .flags(&[service::flags::COMMON, service::flags::CREATE])
        .rest_is_command(),
    Command::leaf(
        "inspect",
        "[OPTIONS] SERVICE [SERVICE...]",
        "Display detailed information on one or more services",
        Arity::AtLeast(1),
        go!(service::inspect::run),
    )
    .flags(&[INSPECT]),
    Command::leaf("logs", "[OPTIONS] SERVICE|TASK", "Fetch the logs of a service or task", Arity::Exact(1), go!(service::logs::run)).flags(&[LOGS]),
    Command::leaf("ls", "[OPTIONS]", "List services", Arity::None, go!(service::ls::run)).flags(&[LIST]).aliases(&["list"], &["service ls", "service list"]),
    Command::leaf("ps", "[OPTIONS] SERVICE [SERVICE...]", "List the tasks of one or more services", Arity::AtLeast(1), go!(service::ps::run)).flags(&[TASKS]),
    Command::leaf("rm", "SERVICE [SERVICE...]", "Remove one or more services", Arity::AtLeast(1), go!(service::rm::run))
        .aliases(&["remove"], &["service rm", "service remove"]),
    Command::leaf("rollback", "[OPTIONS] SERVICE", "Revert changes to a service's configuration", Arity::Exact(1), go!(service::rollback::run))
        .flags(&[&[DETACH, QUIET_PROGRESS]]),
    Command::leaf("scale", "SERVICE=REPLICAS [SERVICE=REPLICAS...]", "Scale one or multiple replicated services", Arity::AtLeast(1), go!(service::scale::run))
        .flags(&[&[DETACH]]),
    Command::leaf("update", "[OPTIONS] SERVICE", "Update a service", Arity::Exact(1), go!(service::update::run))
        .flags(&[service::flags::COMMON, service::flags::UPDATE]),
];

const SWARM: &[Command] = &[
    Command::leaf("ca", "[OPTIONS]", "Display and rotate the root CA", Arity::None, go!(swarm::ca)).flags(&[swarm::flags::CA, swarm::flags::CA_SPEC]),
    Command::leaf("init", "[OPTIONS]", "Initialize a swarm", Arity::None, go!(swarm::init)).flags(&[
        swarm::flags::INIT,
        swarm::flags::SPEC,
        swarm::flags::CA_SPEC,
    ]),
    Command::leaf("join", "[OPTIONS] HOST:PORT", "Join a swarm as a node and/or manager", Arity::Exact(1), go!(swarm::join)).flags(&[swarm::flags::JOIN]),
    Command::leaf("join-token", "[OPTIONS] (worker|manager)", "Manage join tokens", Arity::Exact(1), go!(swarm::join_token)).flags(&[swarm::flags::JOIN_TOKEN]),
    Command::leaf("leave", "[OPTIONS]", "Leave the swarm", Arity::None, go!(swarm::leave)).flags(&[swarm::flags::LEAVE]),
    Command::leaf("unlock", "", "Unlock swarm", Arity::None, go!(swarm::unlock)),
    Command::leaf("unlock-key", "[OPTIONS]", "Manage the unlock key", Arity::None, go!(swarm::unlock_key)).flags(&[swarm::flags::UNLOCK_KEY]),
    Command::leaf("update", "[OPTIONS]", "Update the swarm", Arity::None, go!(swarm::update)).flags(&[
        swarm::flags::UPDATE,
        swarm::flags::SPEC,
        swarm::flags::CA_SPEC,
    ]),
];

const NODE: &[Command] = &[
    Command::leaf("demote", "NODE [NODE...]", "Demote one or more nodes from manager in the swarm", Arity::AtLeast(1), go!(node::demote)),
    Command::leaf("inspect", "[OPTIONS] self|NODE [NODE...]", "Display detailed information on one or more nodes", Arity::AtLeast(1), go!(node::inspect))
        .flags(&[INSPECT]),
    Command::leaf("ls", "[OPTIONS]", "List nodes in the swarm", Arity::None, go!(node::ls)).flags(&[LIST]).aliases(&["list"], &["node ls", "node list"]),
    Command::leaf("promote", "NODE [NODE...]", "Promote one or more nodes to manager in the swarm", Arity::AtLeast(1), go!(node::promote)),
    Command::leaf("ps", "[OPTIONS] [NODE...]", "List tasks running on one or more nodes, defaults to current node", Arity::AtLeast(0), go!(node::ps))
        .flags(&[TASKS]),
    Command::leaf("rm", "[OPTIONS] NODE [NODE...]", "Remove one or more nodes from the swarm", Arity::AtLeast(1), go!(node::rm))
        .flags(&[&[Flag::boolean("force", "Force remove a node from the swarm").short('f')]])
        .aliases(&["remove"], &["node rm", "node remove"]),
    Command::leaf("update", "[OPTIONS] NODE", "Update a node", Arity::Exact(1), go!(node::update)).flags(&[NODE_UPDATE]),
];

const IMAGE_LS_ALIASES: &[&str] = &["image ls", "image list", "images"];
const IMAGE_RM_ALIASES: &[&str] = &["image rm", "image remove", "rmi"];

const fn image_ls(name: &'static str, aliases: &'static [&'static str]) -> Command {
    Command::leaf(name, "[OPTIONS] [REPOSITORY[:TAG]]", "List images", Arity::AtMost(1), go!(image::ls)).flags(&[IMAGES]).aliases(aliases, IMAGE_LS_ALIASES)
}

const fn image_rm(name: &'static str, aliases: &'static [&'static str]) -> Command {
    Command::leaf(name, "[OPTIONS] IMAGE [IMAGE...]", "Remove one or more images", Arity::AtLeast(1), go!(image::rm))
        .flags(&[IMAGE_RM])
        .aliases(aliases, IMAGE_RM_ALIASES)
}

const IMAGE_LOAD: Command = Command::leaf("load", "[OPTIONS]", "Load an image from a tar archive or STDIN", Arity::None, go!(image::load))
    .flags(&[LOAD])
    .aliases(&[], &["image load", "load"]);

const INFO: Command = Command::leaf("info", "[OPTIONS]", "Display system-wide information", Arity::None, go!(system::info))
    .flags(&[&[INSPECT_FORMAT]])
    .aliases(&[], &["system info", "info"]);
const EVENTS_COMMAND: Command = Command::leaf("events", "[OPTIONS]", "Get real time events from the server", Arity::None, go!(system::events))
    .flags(&[EVENTS])
    .aliases(&[], &["system events", "events"]);

const PULL: &[Flag] = &[
    Flag::boolean("all-tags", "Download all tagged images in the repository").short('a'),
    Flag::boolean("disable-content-trust", "Skip image verification").default("true"),
    Flag::string("platform", "Set platform if server is multi-platform capable"),
    Flag::boolean("quiet", "Suppress verbose output").short('q'),
];
const PUSH: &[Flag] = &[
    Flag::boolean("all-tags", "Push all tags of an image to the repository").short('a'),
    Flag::boolean("disable-content-trust", "Skip image signing").default("true"),
    Flag::string(
        "platform",
        "Push a platform-specific manifest as a single-platform image to the registry.\n\
         Image index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n\
         'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
    ),
    Flag::boolean("quiet", "Suppress verbose output").short('q'),
];
const SAVE: &[Flag] = &[
    Flag::string("output", "Write to a file, instead of STDOUT").short('o'),
    Flag::string("platform", "Save only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")"),
];
const HISTORY: &[Flag] = &[
    Flag::string("format", FORMAT_HELP),
    Flag::boolean("human", "Print sizes and dates in human readable format").short('H').default("true"),
    Flag::boolean("no-trunc", "Don't truncate output"),
    Flag::string("platform", "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")"),
    Flag::boolean("quiet", "Only show image IDs").short('q'),
];
const IMAGE_PRUNE: &[Flag] = &[
    Flag::boolean("all", "Remove all unused images, not just dangling ones").short('a'),
    Flag::custom("filter", "filter", check::filter, "Provide filter values (e.g. \"until=<timestamp>\")"),
    Flag::boolean("force", "Do not prompt for confirmation").short('f'),
];
const LOGIN: &[Flag] = &[
    Flag::string("password", "Password or Personal Access Token (PAT)").short('p'),
    Flag::boolean("password-stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
    Flag::string("username", "Username").short('u'),
];
const IMAGE_HISTORY: Command = Command::leaf("history", "[OPTIONS] IMAGE", "Show the history of an image", Arity::Exact(1), go!(image::history))
    .flags(&[HISTORY])
    .aliases(&[], &["image history", "history"]);
const IMAGE_PULL: Command = Command::leaf("pull", "[OPTIONS] NAME[:TAG|@DIGEST]", "Download an image from a registry", Arity::Exact(1), go!(image::pull))
    .flags(&[PULL])
    .aliases(&[], &["image pull", "pull"]);
const IMAGE_PUSH: Command = Command::leaf("push", "[OPTIONS] NAME[:TAG]", "Upload an image to a registry", Arity::Exact(1), go!(image::push))
    .flags(&[PUSH])
    .aliases(&[], &["image push", "push"]);
const IMAGE_SAVE: Command = Command::leaf(
    "save",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to STDOUT by default)",
    Arity::AtLeast(1),
    go!(image::save),
)
.flags(&[SAVE])
.aliases(&[], &["image save", "save"]);
const IMAGE_TAG: Command =
    Command::leaf("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", Arity::Exact(2), go!(image::tag))
        .aliases(&[], &["image tag", "tag"])
        .rest_is_command();

const IMAGE: &[Command] = &[
    IMAGE_HISTORY,
    Command::leaf("inspect", "[OPTIONS] IMAGE [IMAGE...]", "Display detailed information on one or more images", Arity::AtLeast(1), go!(image::inspect))
        .flags(&[IMAGE_INSPECT]),
    IMAGE_LOAD,
    image_ls("ls", &["list"]),
    Command::leaf("prune", "[OPTIONS]", "Remove unused images", Arity::None, go!(image::prune)).flags(&[IMAGE_PRUNE]),
    IMAGE_PULL,
    IMAGE_PUSH,
    image_rm("rm", &["remove", "rmi"]),
    IMAGE_SAVE,
    IMAGE_TAG,
];

const NETWORK: &[Command] = &[
    Command::leaf("connect", "[OPTIONS] NETWORK CONTAINER", "Connect a container to a network", Arity::Exact(2), go!(network::connect))
        .flags(&[network::flags::CONNECT]),
    Command::leaf("create", "[OPTIONS] NETWORK", "Create a network", Arity::Exact(1), go!(network::create)).flags(&[network::flags::CREATE]),
    Command::leaf("disconnect", "[OPTIONS] NETWORK CONTAINER", "Disconnect a container from a network", Arity::Exact(2), go!(network::disconnect))
        .flags(&[network::flags::DISCONNECT]),
    Command::leaf(
        "inspect",
        "[OPTIONS] NETWORK [NETWORK...]",
        "Display detailed information on one or more networks",
        Arity::AtLeast(1),
        go!(network::inspect),
    )
    .flags(&[&[INSPECT_FORMAT, Flag::boolean("verbose", "Verbose output for diagnostics").short('v')]]),
    Command::leaf("ls", "[OPTIONS]", "List networks", Arity::None, go!(network::ls)).flags(&[NETWORKS]).aliases(&["list"], &["network ls", "network list"]),
    Command::leaf("prune", "[OPTIONS]", "Remove all unused networks", Arity::None, go!(network::prune)).flags(&[network::flags::PRUNE]),
    Command::leaf("rm", "NETWORK [NETWORK...]", "Remove one or more networks", Arity::AtLeast(1), go!(network::rm))
        .flags(&[network::flags::RM])
        .aliases(&["remove"], &["network rm", "network remove"]),
];

const SYSTEM: &[Command] = &[
    Command::leaf("df", "[OPTIONS]", "Show docker disk usage", Arity::None, go!(system::df))
        .flags(&[&[FORMAT, Flag::boolean("verbose", "Show detailed information on space usage").short('v')]]),
    EVENTS_COMMAND,
    INFO,
    Command::leaf("prune", "[OPTIONS]", "Remove unused data", Arity::None, go!(system::prune)).flags(&[SYSTEM_PRUNE]),
];

const VOLUME_LS: &[Flag] = &[
    Flag::boolean("cluster", "Display only cluster volumes, and use cluster volume list formatting"),
    Flag::custom("filter", "filter", check::filter, "Provide filter values (e.g. \"dangling=true\")").short('f'),
    FORMAT,
    Flag::boolean("quiet", "Only display volume names").short('q'),
];
const VOLUME: &[Command] = &[
    Command::leaf("create", "[OPTIONS] [VOLUME]", "Create a volume", Arity::AtMost(1), go!(volume::create)).flags(&[volume::flags::CREATE]),
    Command::leaf("inspect", "[OPTIONS] VOLUME [VOLUME...]", "Display detailed information on one or more volumes", Arity::AtLeast(1), go!(volume::inspect))
        .flags(&[&[INSPECT_FORMAT]]),
    Command::leaf("ls", "[OPTIONS]", "List volumes", Arity::None, go!(volume::ls)).flags(&[VOLUME_LS]).aliases(&["list"], &["volume ls", "volume list"]),
    Command::leaf("prune", "[OPTIONS]", "Remove unused local volumes", Arity::None, go!(volume::prune)).flags(&[volume::flags::PRUNE]),
    Command::leaf("rm", "[OPTIONS] VOLUME [VOLUME...]", "Remove one or more volumes", Arity::AtLeast(1), go!(volume::rm))
        .long("Remove one or more volumes. You cannot remove a volume that is in use by a container.")
        .flags(&[volume::flags::RM])
        .aliases(&["remove"], &["volume rm", "volume remove"]),
    Command::leaf("update", "[OPTIONS] [VOLUME]", "Update a volume (cluster volumes only)", Arity::Exact(1), go!(volume::update))
        .flags(&[volume::flags::UPDATE]),
];

const COMPLETION: &[Command] = &[
    Command::leaf("bash", "", "Print the completion script for bash", Arity::None, go!(completion::run)),
    Command::leaf("fish", "", "Print the completion script for fish", Arity::None, go!(completion::run)),
    Command::leaf("powershell", "", "Print the completion script for powershell", Arity::None, go!(completion::run)),
    Command::leaf("zsh", "", "Print the completion script for zsh", Arity::None, go!(completion::run)),
];

/// `wsw` itself.
pub static ROOT: Command = Command::group(
    "wsw",
    "A workload orchestrator: containers and WebAssembly side by side",
    &[
        Command::group("container", "Manage containers", container::CONTAINER),
        Command::group("image", "Manage images", IMAGE),
        Command::group("network", "Manage networks", NETWORK),
        Command::group("node", "Manage Swarm nodes", NODE),
        Command::group("service", "Manage Swarm services", SERVICE),
        Command::group("stack", "Manage Swarm stacks", stack::commands::STACK),
        Command::group("swarm", "Manage Swarm", SWARM),
        Command::group("system", "Manage the daemon", SYSTEM),
        Command::group("volume", "Manage volumes", VOLUME),
        Command::group("completion", "Print the completion script of a shell", COMPLETION),
        container::ATTACH,
        container::CP,
        Command::leaf("daemon", "[OPTIONS]", "Run the daemon of this node", Arity::AtLeast(0), go!(up::misplaced_daemon)),
        Command::leaf("down", "[OPTIONS]", "Stop the daemon that runs in the background", Arity::None, go!(up::down))
            .flags(&[up::DOWN])
            .details(up::DOWN_DETAILS),
        EVENTS_COMMAND,
        container::EXEC,
        IMAGE_HISTORY,
        image_ls("images", &[]),
        INFO,
        Command::leaf("inspect", "[OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on objects", Arity::AtLeast(1), go!(system::inspect))
            .flags(&[OBJECT_INSPECT]),
        container::KILL,
        IMAGE_LOAD,
        container::LOGS,
        container::PAUSE,
        container::PORT,
        Command::leaf("login", "[OPTIONS] [SERVER]", "Authenticate to a registry", Arity::AtMost(1), go!(login::login)).flags(&[LOGIN]),
        Command::leaf("logout", "[SERVER]", "Log out from a registry", Arity::AtMost(1), go!(login::logout)),
        container::ls("ps", &[]),
        IMAGE_PULL,
        IMAGE_PUSH,
        container::RESTART,
        container::RM,
        image_rm("rmi", &[]),
        IMAGE_SAVE,
        container::STATS,
        container::STOP,
        IMAGE_TAG,
        container::TOP,
        container::UNPAUSE,
        Command::leaf("up", "[OPTIONS]", "Start a daemon in the background and make a swarm of one", Arity::None, go!(up::up))
            .flags(&[up::UP])
            .details(up::UP_DETAILS),
        Command::leaf("version", "[OPTIONS]", "Show the version information", Arity::None, go!(system::version)).flags(&[&[INSPECT_FORMAT]]),
        container::WAIT,
    ],
)
.flags(&[&[
    Flag::custom("host", "list", check::any, "Daemon socket to connect to").short('H'),
    Flag::boolean("version", "Print version information and quit").short('v'),
]]);

/// The help text of a command below the root.
pub fn help_of(words: &[&str]) -> String {
    let mut command = &ROOT;
    for word in words {
        command = command.find(word).unwrap_or(command);
    }
    help::help(command, &format!("{} {}", ROOT.name, words.join(" ")))
}
