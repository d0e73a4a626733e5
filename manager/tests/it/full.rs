//! A full disk: writes are refused by name, reads go on, and when there is room again everything goes on without a restart.

use super::*;
use std::process::Command;
use wsw_api::Class;

/// A small file system; unmounted when it is dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// None without the right to mount.
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
    fn root(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }
    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("ballast")).unwrap();
        let block = vec![1_u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }
    fn free(&self) {
        std::fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_by_name_and_goes_on_when_there_is_room() {
    let Some(disk) = Disk::mount(24) else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let manager = init(&disk.root()).await;
    let id = create(&manager, "before", 3).await;
    disk.fill();
    let mut acknowledged = Vec::new();
    let refused = loop {
        let name = format!("s{}", acknowledged.len());
        match manager.write(Write::CreateService { spec: spec(&name, 200) }).await {
            Ok(_) => acknowledged.push(name),
            Err(err) => break err,
        }
    };
    assert_eq!(refused.class, Class::Unavailable);
    assert!(refused.message.contains("no space left on device"), "{refused}");
    // Reads go on, and nothing that was acknowledged is missing.
    let store = manager.read().await.unwrap();
    assert!(store.service(&id).is_some() && acknowledged.iter().all(|name| store.service_by_name(name).is_some()));
    assert!(manager.write(Write::RemoveService { id }).await.is_err());
    disk.free();
    let after = loop {
        match manager.write(Write::CreateService { spec: spec("after", 1) }).await {
            Ok(_) => break "after".to_owned(),
            Err(err) => assert!(err.message.contains("space") || err.class == Class::Unavailable, "{err}"),
        }
    };
    acknowledged.push(after);
    manager.shutdown().await;
    let manager = restart(&disk.root()).await;
    let store = manager.store();
    assert!(acknowledged.iter().all(|name| store.service_by_name(name).is_some()));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_on_a_full_disk_says_so_and_leaves_nothing() {
    let Some(disk) = Disk::mount(4) else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    std::fs::create_dir(disk.root()).unwrap();
    disk.fill();
    let init = InitSpec { spec: ClusterSpec::default(), availability: Availability::Active };
    let refused = Manager::bootstrap(config(&disk.root()), init).await.err().unwrap();
    assert_eq!(refused.class, Class::Unavailable);
    assert!(refused.message.to_lowercase().contains("no space left"), "{refused}");
    assert_eq!(std::fs::read_dir(disk.root()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_for_good_is_outlived_without_a_restart() {
    let Some(disk) = Disk::mount(16) else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let manager = init(&disk.root()).await;
    let id = create(&manager, "before", 3).await;
    // Somebody took even the reserve: the log's write fails, and Raft with it.
    std::fs::remove_file(disk.root().join("raft/reserve")).unwrap();
    disk.fill();
    let mut acknowledged = 0;
    let failed = loop {
        match manager.write(Write::CreateService { spec: spec(&format!("s{acknowledged}"), 500) }).await {
            Ok(_) => acknowledged += 1,
            Err(err) => break err,
        }
    };
    assert_eq!(failed.class, Class::Unavailable);
    assert!(failed.message.to_lowercase().contains("no space left"), "{failed}");
    assert!(manager.read().await.unwrap().service(&id).is_some(), "reads go on");
    disk.free();
    while manager.write(Write::CreateService { spec: spec("after", 1) }).await.is_err() {}
    let store = manager.read().await.unwrap();
    assert!((0..acknowledged).all(|n| store.service_by_name(&format!("s{n}")).is_some()));
    manager.shutdown().await;
    let manager = restart(&disk.root()).await;
    assert!(manager.store().service_by_name("after").is_some() && manager.store().service(&id).is_some());
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_starts_on_a_full_disk_waits_for_room() {
    let Some(disk) = Disk::mount(16) else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let manager = init(&disk.root()).await;
    let id = create(&manager, "before", 3).await;
    manager.shutdown().await;
    std::fs::remove_file(disk.root().join("raft/reserve")).unwrap();
    disk.fill();
    let manager = restart(&disk.root()).await;
    let refused = manager.write(Write::CreateService { spec: spec("refused", 1) }).await.unwrap_err();
    assert_eq!(refused.class, Class::Unavailable);
    disk.free();
    while manager.write(Write::CreateService { spec: spec("after", 1) }).await.is_err() {}
    let store = manager.read().await.unwrap();
    assert!(store.service(&id).is_some() && store.service_by_name("after").is_some());
    manager.shutdown().await;
}
