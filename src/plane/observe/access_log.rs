//! The access log: a [`Sink`] with a bounded queue, and a thread that empties it.
//!
//! Telling it of a request never blocks: when the queue is full the record is dropped and counted. Every record it is told
//! of while the log is on is in the end either written or counted as dropped. The log may be turned on, off and elsewhere while it
//! runs ([`AccessLog::reconfigure`]); only the queue's length stays what it was at the start.
//!
//! Finishing (or dropping) the log writes what is queued, but waits no longer than [`PATIENCE`]: whoever reads our standard output and
//! has stopped reading must not keep the gateway from ending.

use std::hash::RandomState;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::record::Record;
use super::writer::{Settings, Writer};
use gatekeeper_core::event::Event;
use gatekeeper_core::sink::{Drops, Queue, Sink};
use gatekeeper_model::raw;

/// How long the end of the log waits for its last records to be written.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The access log.
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    key: RandomState,
}

/// What those who push and the writer share.
pub(super) struct Shared {
    pub queue: Queue<Box<Record>>,
    pub enabled: AtomicBool,
    pub written: AtomicU64,
    pub orders: Mutex<Orders>,
}

/// What the writer has been told and has not yet done.
#[derive(Default)]
pub(super) struct Orders {
    pub settings: Option<Settings>,
    pub reopen: bool,
    pub stop: bool,
}

impl AccessLog {
    /// Opens the destination and starts the writer.
    pub fn start(config: &raw::AccessLog) -> io::Result<AccessLog> {
        let key = RandomState::new();
        let settings = Settings::open(config, key.clone())?;
        let shared = Arc::new(Shared {
            queue: Queue::new("access_log", config.queue),
            enabled: AtomicBool::new(settings.is_on()),
            written: AtomicU64::new(0),
            orders: Mutex::default(),
        });
        let writer = Writer::new(Arc::clone(&shared), settings);
        let writer = thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
        Ok(AccessLog { shared, writer: Mutex::new(Some(writer)), key })
    }

    /// Makes the writer open its file anew (after it was renamed). Earlier records go to the old file, later ones to the
    /// new one. If that fails the old file stays in use, and opening is tried until it succeeds.
    pub fn reopen(&self) {
        self.order(|orders| orders.reopen = true);
    }

    /// Changes destination, format and masks. An error changes nothing.
    pub fn reconfigure(&self, config: &raw::AccessLog) -> io::Result<()> {
        let settings = Settings::open(config, self.key.clone())?;
        self.shared.enabled.store(settings.is_on(), Ordering::Relaxed);
        self.order(|orders| orders.settings = Some(settings));
        Ok(())
    }

    /// Records that were dropped: the queue was full, or the end came while they could not be written.
    pub fn dropped(&self) -> u64 {
        self.shared.queue.drops().total()
    }

    /// Records that were written.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends the writer; what it is told of later is lost.
    pub fn finish(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        self.shared.orders.lock().stop = true;
        writer.thread().unpark();
        let deadline = Instant::now() + PATIENCE;
        while !writer.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        if !writer.is_finished() {
            log::warn!("the last access log records could not be written and are lost");
        } else if writer.join().is_err() {
            log::error!("the access log writer panicked");
        }
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut self.shared.orders.lock());
        if let Some(writer) = &*self.writer.lock() {
            writer.thread().unpark();
        }
    }
}

impl Sink for AccessLog {
    /// Queues a record, or drops it when the queue is full. Does nothing while the log is off.
    fn take(&self, event: &Event<'_>) {
        if self.shared.enabled.load(Ordering::Relaxed) {
            self.shared.queue.offer(|| Box::new(Record::of(event)));
        }
    }

    fn drops(&self) -> Option<&Drops> {
        Some(self.shared.queue.drops())
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::samples::event;
    use gatekeeper_core::sink::DropReason;
    use gatekeeper_model::raw::{ClientAddress, LogFormat};
    use http::HeaderMap;
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn to(path: &Path) -> raw::AccessLog {
        raw::AccessLog { to: path.to_str().unwrap().into(), ..raw::AccessLog::default() }
    }

    fn start(config: &raw::AccessLog) -> AccessLog {
        AccessLog::start(config).unwrap()
    }

    fn push(log: &AccessLog, ids: impl Iterator<Item = usize>) {
        let none = HeaderMap::new();
        for id in ids.map(|id| id.to_string()) {
            let mut event = event(&none);
            event.request_id = Some(&id);
            log.take(&event);
        }
    }

    /// The ids in a file; every line must be whole.
    fn ids(path: &Path) -> Vec<usize> {
        let id = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["request_id"].as_str().unwrap().parse().unwrap()
        };
        fs::read_to_string(path).unwrap_or_default().lines().map(id).collect()
    }

    fn until(mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < deadline, "in vain");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn writes_all_that_is_queued_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = start(&to(&path));
        push(&log, 0..5000);
        drop(log);
        assert_eq!(ids(&path), (0..5000).collect::<Vec<_>>());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        drop(start(&to(&path)));
        assert_eq!(ids(&path).len(), 5000, "opened for appending");
    }

    #[test]
    fn every_record_is_written_or_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = start(&raw::AccessLog { queue: 64, ..to(&path) });
        thread::scope(|scope| {
            for thread in 0..8 {
                let log = &log;
                scope.spawn(move || push(log, thread * 10_000..(thread + 1) * 10_000));
            }
        });
        let shared = Arc::clone(&log.shared);
        drop(log);
        let ids = ids(&path);
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "none twice");
        assert_eq!(ids.len() as u64, shared.written.load(Ordering::Relaxed));
        let drops = shared.queue.drops();
        assert_eq!(ids.len() as u64 + drops.total(), 80_000);
        assert!(drops.total() > 0, "so small a queue overflows");
        assert_eq!(drops.count(DropReason::QueueFull), drops.total());
    }

    #[test]
    fn reopening_splits_the_records_between_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = start(&to(&path));
        let mut files = vec![path.clone()];
        for turn in 0..20 {
            push(&log, turn * 100..turn * 100 + 50);
            let rotated = folder.path().join(format!("access.log.{turn}"));
            fs::rename(&path, &rotated).unwrap();
            files.push(rotated);
            log.reopen();
            push(&log, turn * 100 + 50..turn * 100 + 100);
            until(|| path.exists());
        }
        fs::rename(&path, folder.path().join("last")).unwrap();
        files[0] = folder.path().join("last");
        thread::sleep(Duration::from_millis(50));
        assert!(!path.exists(), "reopened once for each time it was told to");
        drop(log);
        let mut all: Vec<_> = files.iter().flat_map(|path| ids(path)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..2000).collect::<Vec<_>>());
    }

    #[test]
    fn a_failed_reopening_keeps_the_old_file_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, moved) = (folder.path().join("logs"), folder.path().join("moved"));
        fs::create_dir(&logs).unwrap();
        let log = start(&to(&logs.join("a")));
        fs::rename(&logs, &moved).unwrap();
        log.reopen();
        push(&log, 0..10);
        until(|| log.written() == 10);
        assert_eq!(ids(&moved.join("a")).len(), 10);
        fs::create_dir(&logs).unwrap();
        until(|| logs.join("a").exists());
        thread::sleep(Duration::from_millis(50));
        push(&log, 10..20);
        drop(log);
        assert_eq!(ids(&logs.join("a")), (10..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_disk_drops_what_does_not_fit_the_queue_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let full = raw::AccessLog { queue: 16, ..to(Path::new("/dev/full")) };
        let log = start(&full);
        for id in 0..200 {
            push(&log, id..id + 1);
            thread::sleep(Duration::from_micros(100));
        }
        assert_eq!(log.written(), 0);
        let dropped = log.dropped();
        assert!((1..=200 - 16).contains(&dropped), "{dropped}");
        log.reconfigure(&to(&path)).unwrap();
        until(|| log.written() + log.dropped() == 200);
        push(&log, 200..210);
        drop(log);
        let ids = ids(&path);
        assert_eq!(ids.len() as u64 + dropped, 210);
        assert!(ids.ends_with(&(200..210).collect::<Vec<_>>()));
    }

    #[test]
    fn what_cannot_be_written_at_the_end_is_counted() {
        let log = start(&to(Path::new("/dev/full")));
        push(&log, 0..100);
        let shared = Arc::clone(&log.shared);
        drop(log);
        let drops = shared.queue.drops();
        assert_eq!((drops.count(DropReason::Unwritten), drops.total()), (100, 100));
    }

    #[test]
    fn format_destination_and_masks_change_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
        let log = start(&to(&paths[0]));
        push(&log, 0..100);
        let hashed = raw::AccessLog { client_address: ClientAddress::Hashed, ..to(&paths[1]) };
        log.reconfigure(&hashed).unwrap();
        until(|| log.written() == 100);
        thread::sleep(Duration::from_millis(20));
        push(&log, 100..200);
        assert!(log.reconfigure(&to(&folder.path().join("missing/x"))).is_err());
        log.reconfigure(&raw::AccessLog { format: LogFormat::Combined, ..to(&paths[2]) }).unwrap();
        until(|| log.written() == 200);
        thread::sleep(Duration::from_millis(20));
        push(&log, 200..201);
        drop(log);
        assert_eq!(ids(&paths[0]), (0..100).collect::<Vec<_>>());
        assert_eq!(ids(&paths[1]), (100..200).collect::<Vec<_>>());
        assert!(!fs::read_to_string(&paths[1]).unwrap().contains("203.0.113.77"));
        assert!(fs::read_to_string(&paths[2]).unwrap().starts_with("203.0.113.77 - - ["));
    }

    #[test]
    fn off_records_nothing_until_it_is_turned_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = start(&to(Path::new("off")));
        push(&log, 0..10);
        log.reconfigure(&to(&path)).unwrap();
        push(&log, 10..20);
        until(|| log.written() == 10);
        log.reconfigure(&to(Path::new("off"))).unwrap();
        push(&log, 20..30);
        drop(log);
        assert!(!Path::new("off").exists());
        assert_eq!(ids(&path), (10..20).collect::<Vec<_>>());
    }
}
