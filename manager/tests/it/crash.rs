//! `kill -9` of a process that writes: everything it was told is there afterwards.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Names the data root for the process that is to be killed.
const ROOT: &str = "WSW_TEST_CRASH_ROOT";

/// Not a test by itself: the process that `acknowledged_writes_survive_kill_9` starts and kills.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = std::path::PathBuf::from(root);
    let manager = match Manager::restart(config(&root)).await.unwrap() {
        Some(manager) => manager,
        None => init(&root).await,
    };
    for n in 0.. {
        let name = format!("p{}-{n}", std::process::id());
        create(&manager, &name, 3).await;
        println!("\nacknowledged {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_kill_9() {
    let root = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--nocapture"])
            .env(ROOT, root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let wanted = acknowledged.len() + 5 * round;
        for name in lines.filter_map(|line| line.strip_prefix("acknowledged ").map(str::to_owned)) {
            acknowledged.push(name);
            if acknowledged.len() == wanted {
                break;
            }
        }
        assert_eq!(acknowledged.len(), wanted, "the process ended early");
        child.kill().unwrap();
        child.wait().unwrap();
        let manager = restart(root.path()).await;
        let store = manager.read().await.unwrap();
        for name in &acknowledged {
            let service = store.service_by_name(name).unwrap_or_else(|| panic!("{name} is lost"));
            assert_eq!(store.task_count_of_service(&service.id), 3);
        }
        manager.shutdown().await;
    }
}
