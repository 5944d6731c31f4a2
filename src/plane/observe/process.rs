//! What the kernel says of this process, read from /proc at each scrape. What cannot be read is left out.
//!
//! CPU time is counted in hundredths of a second, as /proc does on every architecture Rust's Linux targets serve.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::tally::{describe, family, sample};

const TICKS_PER_SECOND: f64 = 100.0;

/// A metric of the process: its name, its help, its kind, and how it is read.
type Source = (&'static str, &'static str, MetricType, fn() -> Option<f64>);

const SOURCES: [Source; 5] = [
    ("process_resident_memory_bytes", "Resident memory.", MetricType::GAUGE, resident_memory),
    ("process_cpu_seconds_total", "CPU time, user and system.", MetricType::COUNTER, cpu_seconds),
    ("process_open_fds", "Open file descriptors.", MetricType::GAUGE, open_files),
    ("process_max_fds", "Limit of open file descriptors.", MetricType::GAUGE, most_files),
    ("process_start_time_seconds", "Start time of the process, in seconds since 1970.", MetricType::GAUGE, start_time),
];

/// The collector of these metrics.
pub(super) struct Process(Vec<Desc>);

impl Process {
    pub fn new() -> prometheus::Result<Process> {
        SOURCES.iter().map(|(name, help, ..)| describe(name, help, &[])).collect::<Result<_, _>>().map(Process)
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let read = |(name, help, kind, read): Source| Some(family(name, help, kind, vec![sample(&[], kind, read()?)]));
        SOURCES.into_iter().filter_map(read).collect()
    }
}

fn resident_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kibibytes.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS_PER_SECOND)
}

fn open_files() -> Option<f64> {
    // The directory being read is open as well.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn most_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(f64::INFINITY) } else { soft.parse().ok() }
}

fn start_time() -> Option<f64> {
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted + stat(22)? / TICKS_PER_SECOND)
}

/// A field of /proc/self/stat by its number in proc(5). The second, the name, may hold anything: start behind it.
fn stat(field: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    #[test]
    fn reads_what_is_true() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let started = start_time().unwrap();
        assert!(started <= now + 2.0 && started > now - 86_400.0, "{started} {now}");
        assert!(resident_memory().unwrap() > 1_000_000.0);
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let (before, start) = (cpu_seconds().unwrap(), Instant::now());
        while cpu_seconds().unwrap() <= before {
            assert!(start.elapsed().as_secs() < 5);
        }
    }

    #[test]
    fn counts_open_files() {
        let held: Vec<_> = (0..200).map(|_| File::open("/dev/null").unwrap()).collect();
        let with = open_files().unwrap();
        drop(held);
        // Other tests open and close files meanwhile.
        assert!(with - open_files().unwrap() > 100.0);
    }
}
