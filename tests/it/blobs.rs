//! Parts of images between nodes, without any registry: one node has an image, and all get it, from each other too.

use crate::harness::{Cluster, Node, image_tar, large_guest, until};
use std::path::{Path, PathBuf};

/// Large enough that it takes its time, and a place among the few that are given at once.
const BYTES: usize = 24 << 20;

/// Bytes of large blobs that a node has given out.
fn given(node: &Node) -> u64 {
    let log = node.log();
    let sent = log.lines().filter(|line| line.contains("gave a part of an image to another node"));
    sent.filter_map(|line| line.split("sent=").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()).sum()
}

fn load(node: &Node, archive: &Path) {
    node.wsw(&["image", "load", "-q", "-i", &archive.to_string_lossy()]).ok();
}

/// The file of the image's module.
fn blob(node: &Node) -> PathBuf {
    let folder = node.data_root().join("images/blobs/sha256");
    let large = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|data| data.len() > BYTES as u64);
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(large).expect("the blob is there")
}

#[test]
fn an_image_that_one_manager_has_reaches_all_nodes_and_not_all_of_it_from_there() {
    let cluster = Cluster::of(6);
    let archive = image_tar(cluster.manager.folder(), "large", &large_guest(cluster.manager.folder(), BYTES, 1));
    load(&cluster.manager, &archive);
    cluster.manager.wsw(&["service", "create", "-q", "-d", "--name", "all", "--mode", "global", "large:latest"]).ok();
    cluster.manager.wait_running("all", 7);
    // An upload is told of when its connection ends.
    let (first, others) = until("all uploads to be over", || {
        let (first, others): (u64, Vec<u64>) = (given(&cluster.manager), cluster.workers.iter().map(given).collect());
        if first + others.iter().sum::<u64>() >= 6 * BYTES as u64 { Ok((first, others)) } else { Err(format!("{first} {others:?}")) }
    });
    eprintln!("the manager gave {first} bytes, the workers {others:?}");
    assert!(first < 5 * BYTES as u64, "{first} {others:?}: those that have it give it on");
    for worker in &cluster.workers {
        assert!(worker.log().contains("the image came from another node"));
    }
}

#[test]
fn wrong_bytes_and_a_source_that_dies_cost_time_only() {
    let mut cluster = Cluster::of(3);
    let archive = image_tar(cluster.manager.folder(), "large", &large_guest(cluster.manager.folder(), BYTES, 2));
    load(&cluster.manager, &archive);
    cluster.workers.iter().for_each(|worker| load(worker, &archive));
    // All but one give something else of the same size.
    for node in [&cluster.manager, &cluster.workers[0]] {
        let path = blob(node);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[BYTES / 2] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let late = Cluster::apart();
    cluster.join(&late);
    cluster.manager.wsw(&["service", "create", "-q", "-d", "--name", "there", "--constraint", &format!("node.id=={}", late.id()), "large:latest"]).ok();
    // One of the two that are right dies in the middle.
    until("the first bytes", || {
        let parts = std::fs::read_dir(late.data_root().join("images/downloads")).into_iter().flatten().flatten();
        let begun = parts.into_iter().any(|part| part.metadata().is_ok_and(|data| data.len() > 0)) || !late.local().is_empty();
        if begun { Ok(()) } else { Err(String::new()) }
    });
    cluster.workers[1].kill();
    until("the task to run", || if late.local().len() == 1 { Ok(()) } else { Err(format!("{:?}", cluster.manager.tasks("there"))) });
    assert!(late.log().contains("the image came from another node"));
}
