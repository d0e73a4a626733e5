//! Mounting as root on this machine's own kernel; planning without it.

use super::*;
use crate::users::User;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use wsw_api::spec::{TmpfsOptions, VolumeOptions};

const SHIM: User = User { uid: 64_123, gid: 64_123 };

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A data root, an exec root and a bundle; nothing stays mounted when it goes.
struct Place {
    dir: tempfile::TempDir,
    mounts: Mounts,
}

impl Place {
    fn new(shim: Option<User>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(dir.path().join("bundle")).unwrap();
        let volumes = Volumes::open(dir.path().join("volumes"), 0o711).unwrap();
        Self { mounts: Mounts::new(volumes, shim), dir }
    }
    fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }
    fn folder(&self, name: &str, mode: u32) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }
    async fn mounted(&self, user: &str, mounts: Vec<Mount>) -> Result<Vec<Ready>> {
        let container = ContainerSpec { user: user.into(), mounts, ..ContainerSpec::default() };
        let found = self.mounts.find(task(), &container).await?;
        let ready = Mounts::plan(&found, &self.bundle())?;
        Mounts::put(found, self.bundle()).await?;
        Ok(ready)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        Mounts::sweep(self.dir.path(), |_| false);
    }
}

fn task() -> TaskId {
    TaskId::from_bytes([7; 16])
}

fn bind(source: &str, target: &str) -> Mount {
    Mount { source: source.into(), target: target.into(), ..Mount::default() }
}

fn named(name: &str, target: &str) -> Mount {
    Mount { kind: MountKind::Volume, ..bind(name, target) }
}

/// Runs a shell line as the shims' user.
fn as_shim(line: &str) -> bool {
    Command::new("/bin/sh").arg("-c").arg(line).uid(SHIM.uid).gid(SHIM.gid).stderr(std::process::Stdio::null()).status().unwrap().success()
}

#[tokio::test]
async fn the_services_user_is_the_shims_on_the_mount_and_itself_on_disk() {
    if !root() {
        return;
    }
    for (user, uid) in [("", 0), ("1234:1235", 1_234)] {
        let place = Place::new(Some(SHIM));
        let source = place.folder("src", 0o700);
        std::os::unix::fs::chown(&source, Some(uid), Some(0)).unwrap();
        let ready = place.mounted(user, vec![bind(&source, "/data"), named("vol", "/vol")]).await.unwrap();
        for (ready, disk) in ready.iter().zip([PathBuf::from(&source), place.mounts.volumes.data("vol")]) {
            assert!(as_shim(&format!("echo hello > {}/new", ready.source.display())), "{ready:?}");
            let meta = fs::metadata(disk.join("new")).unwrap();
            assert_eq!(meta.uid(), uid, "{ready:?}");
            assert_eq!(fs::metadata(ready.source.join("new")).unwrap().uid(), SHIM.uid);
        }
        assert_eq!(place.mounts.volumes_of(task()), ["vol"]);
        place.mounts.release(task(), place.bundle()).await.unwrap();
        assert_eq!(kernel::mounted_below(place.dir.path()), Vec::<PathBuf>::new());
        assert!(place.mounts.volumes.data("vol").join("new").exists() && fs::read_dir(place.bundle().join("m/0")).unwrap().count() == 0);
    }
}

#[tokio::test]
async fn read_only_is_the_mounts_and_holds_for_what_is_mounted_below() {
    if !root() {
        return;
    }
    let place = Place::new(Some(SHIM));
    let source = place.folder("src", 0o777);
    let below = place.folder("src/below", 0o777);
    let tree = kernel::tmpfs(&kernel::Tmpfs { size: 1 << 20, mode: 0o777, uid: 0, gid: 0, files: 0 }, false).unwrap();
    kernel::attach(tree.as_fd(), Path::new(&below)).unwrap();
    let ready = place.mounted("", vec![Mount { read_only: true, ..bind(&source, "/data") }]).await.unwrap();
    assert!(ready[0].read_only);
    let at = ready[0].source.display();
    // root itself cannot
    assert_eq!(fs::write(ready[0].source.join("x"), "x").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fs::write(ready[0].source.join("below/x"), "x").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(!as_shim(&format!("echo x > {at}/x")) && !as_shim(&format!("echo x > {at}/below/x")));
    // nor does anything run there
    fs::copy("/bin/true", format!("{source}/true")).unwrap();
    assert!(as_shim("/bin/true") && !as_shim(&format!("{at}/true")));
}

#[tokio::test]
async fn a_tmpfs_is_full_at_its_size() {
    if !root() {
        return;
    }
    let place = Place::new(Some(SHIM));
    let options = TmpfsOptions { size_bytes: 1 << 20, mode: 0o700 };
    let ready = place.mounted("", vec![Mount { kind: MountKind::Tmpfs, tmpfs: Some(options), ..bind("", "/tmp") }]).await.unwrap();
    let at = ready[0].source.display();
    assert!(as_shim(&format!("head -c 500000 /dev/zero > {at}/a")) && !as_shim(&format!("head -c 800000 /dev/zero > {at}/b")));
    assert_eq!(fs::metadata(&ready[0].source).unwrap().mode() & 0o7777, 0o700);
}

#[tokio::test]
async fn a_tmpfs_volume_is_shared_while_it_is_used() {
    if !root() {
        return;
    }
    let place = Place::new(Some(SHIM));
    let words = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")];
    let options = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    place.mounts.volumes.create(NewVolume { name: "mem".into(), options, ..NewVolume::default() }).await.unwrap();
    let ready = place.mounted("", vec![named("mem", "/a")]).await.unwrap();
    assert!(as_shim(&format!("head -c 500000 /dev/zero > {0}/a && ! head -c 800000 /dev/zero > {0}/b", ready[0].source.display())));
    let other = TaskId::from_bytes([8; 16]);
    place.mounts.volumes.adopt(other, &["mem".into()]);
    place.mounts.release(task(), place.bundle()).await.unwrap();
    assert!(place.mounts.volumes.data("mem").join("a").exists(), "another task has it");
    place.mounts.volumes.release(other).unwrap();
    assert!(!place.mounts.volumes.data("mem").join("a").exists());
    assert_eq!(kernel::mounted_below(place.dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn files_are_shown_in_a_folder_of_their_own() {
    if !root() {
        return;
    }
    let place = Place::new(Some(SHIM));
    let source = place.folder("src", 0o755);
    for name in ["a", "b"] {
        fs::write(format!("{source}/{name}"), name).unwrap();
    }
    let read_only = Mount { read_only: true, ..bind(&format!("{source}/b"), "/etc/app/two") };
    let ready = place.mounted("", vec![bind(&format!("{source}/a"), "/etc/app/one"), read_only]).await.unwrap();
    assert_eq!((ready.len(), ready[0].target.as_str(), ready[0].read_only), (1, "/etc/app", false));
    let at = ready[0].source.display();
    assert!(as_shim(&format!("echo new > {at}/one && ! echo new > {at}/two && ! echo new > {at}/three && test $(cat {at}/two) = b")));
    assert_eq!(fs::read_to_string(format!("{source}/a")).unwrap(), "new\n");
    place.mounts.release(task(), place.bundle()).await.unwrap();
    assert_eq!(kernel::mounted_below(place.dir.path()), Vec::<PathBuf>::new());
    let error = place.mounted("", vec![bind(&format!("{source}/a"), "/etc/one"), bind(&source, "/etc")]).await.unwrap_err().to_string();
    assert!(error.contains("cannot be mounted into /etc"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_mounted_says_why_and_uses_nothing() {
    if !root() {
        return;
    }
    let place = Place::new(Some(SHIM));
    let closed = place.folder("closed", 0o700);
    for (user, mount, words) in [
        ("", bind("/no/such", "/a"), "bind source path does not exist: /no/such".to_owned()),
        (
            "1000",
            bind(&closed, "/a"),
            format!("bind source {closed} belongs to 0:0 (mode 0700): Wasm runs as user 1000, which cannot read and enter it; run: chown 1000 {closed}"),
        ),
        ("app", bind(&closed, "/a"), "user app: a Wasm image has no accounts; use numbers (UID or UID:GID)".to_owned()),
        (
            "",
            Mount { volume: Some(VolumeOptions { subpath: "no".into(), ..VolumeOptions::default() }), ..named("vol", "/v") },
            "volume vol: cannot access path no".to_owned(),
        ),
    ] {
        let error = place.mounted(user, vec![named("other", "/o"), mount]).await.unwrap_err();
        assert!(error.to_string().contains(&words), "{error}");
        assert!(!error.is_temporary());
        assert_eq!(place.mounts.volumes_of(task()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn without_root_volumes_are_opened_where_they_are() {
    let place = Place::new(None);
    let source = place.folder("src", 0o755);
    let ready = place.mounted("", vec![bind(&source, "/data"), named("vol", "/vol")]).await.unwrap();
    assert_eq!(ready[0], Ready { target: "/data".into(), source: source.clone().into(), read_only: false });
    assert_eq!(ready[1].source, place.mounts.volumes.data("vol"));
    let error = place.mounted("", vec![Mount { kind: MountKind::Tmpfs, ..bind("", "/tmp") }]).await.unwrap_err().to_string();
    assert!(error.contains("does not run as root"), "{error}");
    fs::write(format!("{source}/f"), "x").unwrap();
    let error = place.mounted("", vec![bind(&format!("{source}/f"), "/f")]).await.unwrap_err().to_string();
    assert!(error.contains("is a file"), "{error}");
}

#[tokio::test]
async fn a_sweep_takes_what_dead_tasks_left() {
    if !root() {
        return;
    }
    let place = Place::new(Some(SHIM));
    let source = place.folder("src", 0o755);
    place.mounted("", vec![bind(&source, "/a"), bind("/etc/hostname", "/b/hostname")]).await.unwrap();
    assert_eq!(kernel::mounted_below(place.dir.path()).len(), 2);
    let bundle = place.bundle();
    Mounts::sweep(place.dir.path(), |path| path == bundle);
    assert_eq!(kernel::mounted_below(place.dir.path()).len(), 2, "its bundle is known");
    Mounts::sweep(place.dir.path(), |_| false);
    assert_eq!(kernel::mounted_below(place.dir.path()), Vec::<PathBuf>::new());
    assert!(Path::new(&source).is_dir());
}
