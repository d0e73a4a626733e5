//! Commands in containers: `docker exec`.

use super::{Unserved, answers, model};

model! {
    /// `POST /containers/{id}/exec`.
    ExecConfig {
        user: String = "User",
        privileged: bool = "Privileged",
        tty: bool = "Tty",
        console: Vec<u32> = "ConsoleSize",
        stdin: bool = "AttachStdin",
        stderr: bool = "AttachStderr",
        stdout: bool = "AttachStdout",
        detach_keys: String = "DetachKeys",
        env: Vec<String> = "Env",
        dir: String = "WorkingDir",
        cmd: Vec<String> = "Cmd",
        detach: Unserved = "Detach",
    }
    /// `POST /exec/{id}/start`.
    ExecStart { detach: bool = "Detach", tty: bool = "Tty", console: Vec<u32> = "ConsoleSize" }
}
answers! {
    /// Its answer.
    ExecCreated { id: String = "Id" }
    /// `GET /exec/{id}/json`.
    ExecInspect {
        id: String = "ID",
        running: bool = "Running",
        code: Option<u32> = "ExitCode",
        process: ExecProcess = "ProcessConfig",
        stdin: bool = "OpenStdin",
        stderr: bool = "OpenStderr",
        stdout: bool = "OpenStdout",
        can_remove: bool = "CanRemove",
        container: String = "ContainerID",
        detach_keys: String = "DetachKeys",
        pid: u32 = "Pid",
    }
    /// What it runs.
    ExecProcess {
        tty: bool = "tty",
        entrypoint: String = "entrypoint",
        arguments: Vec<String> = "arguments",
        privileged: bool = "privileged",
        user: String = "user",
    }
}
