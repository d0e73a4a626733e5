//! Clients that write without pause, and record which of their writes were acknowledged.
//!
//! Invariants: a write is two labels of a service in one request; at the end all acknowledged ones are there, and of every other both or none.

use super::http::over_unix;
use super::node::Node;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two writes of one client: the service must not outgrow what one entry takes.
const PAUSE: Duration = Duration::from_millis(25);
/// Labels of one client are overwritten after so many: the service stays small, however long a test takes.
const LABELS: usize = 400;

/// One client for each socket; each keeps to its manager.
pub struct Recorder {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Record>>>,
}

/// What came of the newest writes to one pair of labels: the last that was acknowledged, and those after it.
#[derive(Debug, Clone, Default)]
struct Record {
    acknowledged: Option<usize>,
    unknown: Vec<usize>,
}

impl Recorder {
    /// Begins.
    pub fn start(service: &str, sockets: Vec<PathBuf>) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |(place, socket): (usize, PathBuf)| {
            let (stop, acknowledged, service) = (stop.clone(), acknowledged.clone(), service.to_owned());
            std::thread::spawn(move || {
                let mut records = vec![Record::default(); LABELS];
                for number in 0.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    let record = &mut records[number % LABELS];
                    if write(&socket, &service, place, number).unwrap_or(false) {
                        *record = Record { acknowledged: Some(number), unknown: Vec::new() };
                        acknowledged.fetch_add(1, Ordering::AcqRel);
                    } else {
                        record.unknown.push(number);
                    }
                    std::thread::sleep(PAUSE);
                }
                records
            })
        };
        let clients = sockets.into_iter().enumerate().map(client).collect();
        Self { stop, acknowledged, clients }
    }

    /// How many were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Waits until some more are acknowledged.
    #[track_caller]
    pub fn goes_on(&self) {
        let before = self.acknowledged();
        super::wait::until("writes to be acknowledged", || if self.acknowledged() > before + 5 { Ok(()) } else { Err("none were".into()) });
    }

    /// Stops, and checks on a manager that every acknowledged write is there and none by half. Answers how many were acknowledged.
    #[track_caller]
    pub fn check(self, at: &Node, service: &str) -> usize {
        self.stop.store(true, Ordering::Release);
        let clients: Vec<Vec<Record>> = self.clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect();
        let labels = at.json(&format!("/services/{service}"))["Spec"]["Labels"].clone();
        for (place, records) in clients.iter().enumerate() {
            for (slot, record) in records.iter().enumerate() {
                let found = ["a", "b"].map(|half| labels[format!("{half}{place}.{slot}")].as_str().map(str::to_owned));
                let right = |number: &usize| found.iter().all(|found| found.as_deref() == Some(&number.to_string()));
                let allowed = record.acknowledged.iter().chain(&record.unknown).any(right);
                let nothing = record.acknowledged.is_none() && found.iter().all(Option::is_none);
                assert!(allowed || nothing, "client {place}, labels {slot}: {record:?}, found {found:?}");
            }
        }
        self.acknowledged.load(Ordering::Acquire)
    }
}

/// One more pair of labels on the service; false when it was refused or nobody knows.
fn write(socket: &Path, service: &str, place: usize, number: usize) -> Option<bool> {
    let found = over_unix(socket, "GET", &format!("/services/{service}"), &[]).ok().filter(|answer| answer.status == 200)?.json();
    let mut spec = found["Spec"].clone();
    for half in ["a", "b"] {
        spec["Labels"][format!("{half}{place}.{}", number % LABELS)] = number.to_string().into();
    }
    let path = format!("/services/{service}/update?version={}", found["Version"]["Index"]);
    Some(over_unix(socket, "POST", &path, spec.to_string().as_bytes()).ok()?.status == 200)
}
