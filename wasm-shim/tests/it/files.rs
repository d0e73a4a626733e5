//! Files of guests: how many, and calls that hang.

use crate::harness::{Shim, until};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::Path,
};

/// Opens `name` in its folder `times` times and keeps it; ends with the error's number, or 0.
fn opener(name: &str, times: u32) -> String {
    format!(
        r#"(module
          (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1) (data (i32.const 64) "{name}")
          (func (export "_start") (local $left i32) (local $error i32)
            (local.set $left (i32.const {times}))
            (loop $again
              (local.set $error (call $open (i32.const 3) (i32.const 1) (i32.const 64) (i32.const {length})
                (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8)))
              (if (local.get $error) (then (call $exit (local.get $error))))
              (if (i32.eqz (i32.rem_u (local.get $left) (i32.const 4))) (then
                (if (call $close (i32.load (i32.const 8))) (then unreachable))))
              (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#,
        length = name.len()
    )
}

fn with_folder(folder: &Path) -> impl FnOnce(&mut Value) {
    let source = folder.to_str().unwrap().to_owned();
    move |config| config["mounts"] = json!([{ "destination": "/data", "type": "bind", "source": source, "options": ["rbind", "rw"] }])
}

#[tokio::test]
async fn files_are_counted_and_what_would_hang_is_refused() {
    let shim = Shim::start(10).await;
    let folder = shim.folder.path().join("data");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("x"), "x").unwrap();
    let fifo = folder.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0).unwrap();
    // A quarter is closed again: 1,024 fit, the rest does not.
    for (id, name, times, code, reason) in [
        ("few", "x", 1_300, 0, None),
        ("many", "x", 1_400, 33, Some("limit of 1024 open files of a task reached")),
        ("fifo", "fifo", 1, 58, None),
        ("missing", "no", 1, 44, None),
    ] {
        shim.run(id, &shim.program(&opener(name, times)), with_folder(&folder)).await;
        let end = shim.wait(id).await;
        assert_eq!((end.code, end.report.reason.as_deref()), (code, reason), "{id}");
    }
    assert!(shim.log("many").iter().any(|(_, _, text)| text == "wsw: a file was not opened: limit of 1024 open files of a task reached"));
    // What they held is given back.
    shim.run("again", &shim.program(&opener("x", 1_300)), with_folder(&folder)).await;
    assert_eq!(shim.wait("again").await.code, 0);
}

/// libc has no name for it.
const F_SETSIG: i32 = 10;

/// Who opens this file waits until it is dropped (or for as long as the kernel lets leases hold up others: 45 s).
struct Leased(#[allow(dead_code, reason = "held open")] File);

impl Leased {
    fn new(path: &Path) -> Self {
        let file = File::options().write(true).create(true).truncate(true).open(path).unwrap();
        let control = |command: i32, argument: i32| {
            #[allow(unsafe_code)]
            // SAFETY: both commands take a number, and the descriptor is open.
            let done = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        };
        // Told by a signal that is ignored where nothing else is asked for.
        control(F_SETSIG, libc::SIGURG);
        control(libc::F_SETLEASE, libc::F_WRLCK);
        Self(file)
    }
}

/// More guests hang in a call than one would think there are threads for; the others' files are read, and those that hang are killed at once.
#[tokio::test]
async fn guests_that_hang_in_a_call_hold_up_no_others() {
    const HANGING: usize = 40;
    let shim = Shim::start(100).await;
    let folder = shim.folder.path().join("data");
    fs::create_dir(&folder).unwrap();
    let leased = Leased::new(&folder.join("leased"));
    fs::write(folder.join("free"), "x").unwrap();
    let hang = shim.program(&opener("leased", 1));
    for n in 0..HANGING {
        shim.run(&format!("hang{n}"), &hang, with_folder(&folder)).await;
    }
    // Each has a thread of its own that waits in the kernel.
    let threads = || fs::read_dir(format!("/proc/{}/task", shim.child.id())).unwrap().count();
    until("a thread for each", async || (threads() > HANGING).then_some(())).await;
    assert!(fs::read_to_string("/proc/locks").unwrap().lines().any(|line| line.contains("LEASE") && line.contains("BREAKING")));
    shim.run("free", &shim.program(&opener("free", 1)), with_folder(&folder)).await;
    assert_eq!(shim.wait("free").await.code, 0);
    for n in 0..HANGING {
        let id = format!("hang{n}");
        assert!(shim.state(&id).await.unwrap().exited_at.is_none(), "it hangs");
        shim.kill(&id, 9).await.unwrap();
        assert_eq!(shim.wait(&id).await.code, 137);
    }
    drop(leased);
}
