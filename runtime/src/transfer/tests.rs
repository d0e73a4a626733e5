//! Trees that go through an archive and come out the same, and trees whose owner moves links about meanwhile.

use super::*;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// A tree of a stranger's.
fn root(path: &Path) -> Root {
    Root::of_stranger(open(path))
}

fn packed(root: &Root, path: &str, name: &str) -> Result<Vec<u8>, Fault> {
    let (node, _) = root.look(&path::inside(path))?;
    let mut packer = Packer::new(root, Vec::new());
    packer.pack(node, name.as_bytes()).unwrap();
    Ok(packer.finish().unwrap())
}

fn unpacked(root: &Root, to: &str, bytes: &[u8], keeps_kinds: bool) -> Result<(), Fault> {
    unpack(root, Unpacker { to, shown: to, owner: Owner::Own, keeps_kinds }, &Renames::default(), &mut &bytes[..])
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let long = "ü".repeat(90);
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("a/f"), vec![7_u8; 70_000]).unwrap();
    fs::write(from.join("a/b").join(&long), "x").unwrap();
    fs::hard_link(from.join("a/f"), from.join("a/b/again")).unwrap();
    fs::set_permissions(from.join("a/b"), fs::Permissions::from_mode(0o2750)).unwrap();
    symlink("../f", from.join("a/b/link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, from.join("a/pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(from.join("a/socket")).unwrap();
    let bytes = packed(&root(&from), "a", "new").unwrap();
    unpacked(&root(&to), "/", &bytes, true).unwrap();
    drop(socket);
    let made = to.join("new");
    assert_eq!(fs::read(made.join("f")).unwrap(), vec![7_u8; 70_000]);
    assert_eq!(fs::read(made.join("b").join(&long)).unwrap(), b"x");
    assert_eq!(fs::read_link(made.join("b/link")).unwrap(), Path::new("../f"));
    let status = |path: &str| fs::symlink_metadata(made.join(path)).unwrap();
    assert_eq!((status("f").ino(), status("b").mode() & 0o7777), (status("b/again").ino(), 0o2750));
    assert!(status("pipe").file_type().is_fifo() && !made.join("socket").exists());
    assert_eq!(status("b").mtime(), fs::metadata(from.join("a/b")).unwrap().mtime());
}

#[test]
fn no_link_leads_out_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    fs::create_dir_all(tree.join("in")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::write(tree.join("mine"), "mine").unwrap();
    symlink(&outside, tree.join("abs")).unwrap();
    symlink("../outside", tree.join("rel")).unwrap();
    symlink("/", tree.join("in/top")).unwrap();
    symlink("/proc/self/root", tree.join("magic")).unwrap();
    let root = root(&tree);
    for path in ["abs/secret", "rel/secret", "../outside/secret", "in/../../outside/secret", "magic/etc", "abs/"] {
        assert!(matches!(packed(&root, path, "x"), Err(Fault::NotThere)), "{path}");
    }
    assert!(packed(&root, "in/top/mine", "x").is_ok(), "a link within the tree is followed in it");
    assert_eq!(root.look("/rel").unwrap().1.link_target, "/outside");
    assert_eq!(root.look("/in/top").unwrap().1.link_target, "/");
    // An archive with its own link, and a file through it.
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("secret"), "overwritten").unwrap();
    let bytes = packed(&Root::of_stranger(open(&source)), "secret", "abs/secret").unwrap();
    assert!(unpacked(&root, "/", &bytes, false).is_err(), "the link leads nowhere in the tree");
    let bytes = packed(&Root::of_stranger(open(&source)), "secret", "../outside/secret").unwrap();
    assert!(matches!(unpacked(&root, "/", &bytes, false), Err(Fault::Wrong(_))));
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
}

/// The owner of the tree exchanges a folder and a link to the outside all the time.
#[test]
fn whoever_moves_links_meanwhile_gets_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    fs::create_dir_all(tree.join("x/deep")).unwrap();
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(tree.join("x/deep/f"), "mine").unwrap();
    fs::write(outside.join("deep/f"), "secret").unwrap();
    symlink(&outside, tree.join("y")).unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("deep")).unwrap();
    fs::write(source.join("deep/f"), "new").unwrap();
    let bytes = packed(&Root::of_stranger(open(&source)), "deep", "deep").unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(open(&tree), "x", open(&tree), "y", rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        });
        let root = root(&tree);
        for _ in 0..2_000 {
            if let Ok(archive) = packed(&root, "x", "x") {
                assert!(!archive.windows(6).any(|window| window == b"secret"));
            }
            // It may fail, but never lands outside.
            let _ = unpacked(&root, "/x", &bytes, false);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read(outside.join("deep/f")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.join("deep")).unwrap().count(), 1);
}

#[test]
fn kinds_are_kept_and_what_is_broken_is_said() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("d/e")).unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    let root = root(dir.path());
    let (file, folder) = (packed(&root, "f", "d").unwrap(), packed(&root, "d", "f").unwrap());
    let said = |done: Result<(), Fault>| done.unwrap_err().to_string();
    assert_eq!(said(unpacked(&root, "/", &file, true)), "cannot overwrite directory \"/d\" with non-directory \"/\"");
    assert_eq!(said(unpacked(&root, "/", &folder, true)), "cannot overwrite non-directory \"/f\" with directory \"/\"");
    assert_eq!(said(unpacked(&root, "/f", &file, true)), "extraction point is not a directory");
    assert!(matches!(unpacked(&root, "/nope", &file, true), Err(Fault::NotThere)));
    assert!(said(unpacked(&root, "/d", &file[..700], false)).contains("cut off"));
    assert!(said(unpacked(&root, "/d", &[b'x'; 2_000], false)).contains("checksum"));
    unpacked(&root, "/", &file, false).unwrap();
    assert_eq!(fs::read(dir.path().join("d")).unwrap(), b"f");
}

#[test]
fn the_kernel_s_own_file_systems_are_left_alone() {
    let root = root(Path::new("/"));
    for path in ["/proc/version", "/proc/self/environ", "/sys/kernel"] {
        assert!(matches!(root.look(path), Err(Fault::NotThere)), "{path}");
    }
    assert!(unpacked(&root, "/proc/sys/kernel", &[0; 1_024], false).is_err());
}
