//! The thread that writes the access log.
//!
//! It looks into the queue at intervals of 1 to 32 ms (longer the less it finds), formats what it finds into one buffer
//! and writes that with one call. Nobody wakes it for a record: a record may appear in the log 32 ms late.
//!
//! When a write fails (a full disk, a closed pipe) the buffer is kept and tried again, so no line is torn or lost;
//! meanwhile the queue fills, and what does not fit is dropped and counted. An outage is warned of once.
//! If the destination changes in the middle of a line, that line is written whole to the new one.

use std::fs::{File, OpenOptions};
use std::hash::RandomState;
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::access_log::{PATIENCE, Shared};
use super::format::Format;
use gatekeeper_core::sink::DropReason;
use gatekeeper_model::raw::AccessLog;

/// A batch is written when it has this many bytes, or the queue is empty.
const BATCH_BYTES: usize = 64 * 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// Where and how the log is written.
pub(super) struct Settings {
    format: Format,
    /// None: the log is off.
    destination: Option<Destination>,
}

impl Settings {
    /// The key is that of hashed client addresses.
    pub fn open(config: &AccessLog, key: RandomState) -> io::Result<Settings> {
        let destination = match config.to.as_str() {
            "off" => None,
            "stdout" => Some(Destination { file: stdout()?, path: None }),
            path => Some(Destination { file: open(path.as_ref())?, path: Some(path.into()) }),
        };
        Ok(Settings { format: Format::new(config, key), destination })
    }

    pub fn is_on(&self) -> bool {
        self.destination.is_some()
    }
}

struct Destination {
    file: File,
    /// None: standard output.
    path: Option<PathBuf>,
}

/// Standard output without the buffer and lock of the standard library's, which would hide how much was written.
fn stdout() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Whoever reads a FIFO must not keep us waiting, and neither must there being nobody.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::other("no process reads this FIFO, or it is a socket"),
        _ => error,
    })
}

/// Lines on their way to the destination.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// How many of the bytes are written.
    done: usize,
    records: u64,
}

impl Batch {
    fn write_to(&mut self, file: &mut File) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.done..).filter(|rest| !rest.is_empty()) {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Goes back to the start of the line that was begun.
    fn restart_line(&mut self) {
        let done = self.bytes.get(..self.done).unwrap_or_default();
        self.done = done.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    }

    /// The records whose lines are not written to their end.
    fn unwritten(&self) -> u64 {
        let rest = self.bytes.get(self.done..).unwrap_or_default();
        rest.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.done, self.records) = (0, 0);
    }
}

/// Warns of the first of a row of failures, and tells of its end.
#[derive(Default)]
struct Outage(bool);

impl Outage {
    fn failed(&mut self, what: &str, error: &io::Error) {
        if !mem::replace(&mut self.0, true) {
            log::warn!("the access log cannot be {what}: {error}; retrying");
        }
    }

    /// Whether there was one, which is told.
    fn over(&mut self, what: &str) -> bool {
        let was = mem::take(&mut self.0);
        if was {
            log::info!("the access log is {what} again");
        }
        was
    }
}

/// The writer's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    settings: Settings,
    batch: Batch,
    pause: Duration,
    reopen: bool,
    /// The destination is a FIFO, and it is full.
    is_full: bool,
    writing: Outage,
    reopening: Outage,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, settings: Settings) -> Writer {
        Writer {
            shared,
            settings,
            batch: Batch::default(),
            pause: SHORTEST_PAUSE,
            reopen: false,
            is_full: false,
            writing: Outage::default(),
            reopening: Outage::default(),
        }
    }

    /// Orders are taken before the queue is emptied and followed after it: what was pushed before an order was given is
    /// written before the order takes effect.
    pub fn run(mut self) {
        loop {
            let orders = mem::take(&mut *self.shared.orders.lock());
            let taken = self.empty_queue();
            if let Some(settings) = orders.settings {
                self.change(settings);
            }
            self.reopen |= orders.reopen;
            if self.reopen {
                self.try_reopening();
            }
            if orders.stop {
                return self.finish();
            }
            self.rest(taken);
        }
    }

    /// Writes what is queued, but at most as much as the queue holds: orders must not wait for a pause in the traffic.
    fn empty_queue(&mut self) -> usize {
        let mut taken = 0;
        while self.flush() && taken < self.shared.queue.capacity() {
            match self.fill() {
                0 => break,
                count => taken += count,
            }
        }
        taken
    }

    fn fill(&mut self) -> usize {
        let mut count = 0;
        while self.batch.bytes.len() < BATCH_BYTES
            && let Some(record) = self.shared.queue.pop()
        {
            self.settings.format.line(&record, &mut self.batch.bytes);
            count += 1;
        }
        self.batch.records += count as u64;
        count
    }

    /// Writes the batch; false if it could not be written to its end, or the log is off: what is then still queued waits
    /// for it to be turned on.
    fn flush(&mut self) -> bool {
        let Some(destination) = &mut self.settings.destination else { return false };
        if self.batch.records == 0 {
            return true;
        }
        if let Err(error) = self.batch.write_to(&mut destination.file) {
            // A FIFO that is full for a moment is no outage; what does not fit the queue until it is read is counted.
            self.is_full = error.kind() == io::ErrorKind::WouldBlock;
            if self.is_full {
                return false;
            }
            self.writing.failed("written", &error);
            return false;
        }
        self.writing.over("written");
        self.shared.written.fetch_add(self.batch.records, Ordering::Relaxed);
        self.batch.clear();
        true
    }

    /// Gives up what is not written of the batch.
    fn abandon(&mut self) {
        let lost = self.batch.unwritten();
        self.shared.queue.drops().add(DropReason::Unwritten, lost);
        self.shared.written.fetch_add(self.batch.records - lost, Ordering::Relaxed);
        self.batch.clear();
    }

    fn change(&mut self, settings: Settings) {
        let old = mem::replace(&mut self.settings, settings);
        match (&old.destination, &self.settings.destination) {
            (Some(old), Some(new)) if !is_same(&old.file, &new.file) => self.batch.restart_line(),
            (_, None) => self.abandon(),
            _ => {}
        }
        self.reopen = false;
        self.reopening = Outage::default();
    }

    fn try_reopening(&mut self) {
        let Some(Destination { file, path: Some(path) }) = &mut self.settings.destination else {
            self.reopen = false;
            return;
        };
        match open(path) {
            Ok(new) => {
                if !is_same(file, &new) {
                    self.batch.restart_line();
                }
                *file = new;
                self.reopen = false;
                if !self.reopening.over("reopened") {
                    log::info!("the access log {} was reopened", path.display());
                }
            }
            Err(error) => self.reopening.failed("reopened", &error),
        }
    }

    /// The last attempt, as long as a FIFO is only full; what it cannot write is lost and counted.
    fn finish(mut self) {
        let deadline = Instant::now() + PATIENCE / 2;
        self.empty_queue();
        while mem::take(&mut self.is_full) && Instant::now() < deadline {
            thread::sleep(SHORTEST_PAUSE);
            self.empty_queue();
        }
        self.abandon();
        while self.shared.queue.pop().is_some() {
            self.shared.queue.drops().add(DropReason::Unwritten, 1);
        }
    }

    /// Pauses, longer than before if little was found, shorter if the queue was filling up.
    fn rest(&mut self, taken: usize) {
        let busy = taken > self.shared.queue.capacity() / 8;
        let pause = if busy { self.pause / 2 } else { self.pause * 2 };
        self.pause = pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        thread::park_timeout(self.pause);
    }
}

/// Whether both are one file; if that cannot be found out, they are taken for two.
fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|about| (about.dev(), about.ino())).ok();
    identity(one).is_some() && identity(one) == identity(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_torn_line_is_written_whole_to_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("next");
        let mut batch = Batch { bytes: b"one\ntwo\nthree\n".to_vec(), done: 6, records: 3 };
        assert_eq!(batch.unwritten(), 2);
        batch.restart_line();
        batch.write_to(&mut open(&path).unwrap()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two\nthree\n");
        assert_eq!(batch.unwritten(), 0);
    }

    #[test]
    fn a_line_begun_in_the_same_file_goes_on_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = open(&path).unwrap();
        assert!(is_same(&file, &open(&path).unwrap()));
        fs::rename(&path, folder.path().join("old")).unwrap();
        assert!(!is_same(&file, &open(&path).unwrap()));
    }

    #[test]
    fn an_outage_has_one_beginning() {
        let mut outage = Outage::default();
        let error = io::Error::other("full");
        outage.failed("written", &error);
        outage.failed("written", &error);
        assert!(outage.0);
        outage.over("written");
        assert!(!outage.0);
    }
}
