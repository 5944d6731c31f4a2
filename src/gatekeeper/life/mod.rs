//! The life of the process: how it starts, reloads, is succeeded, and ends.

pub mod drain;
pub mod inherited;
pub mod last_resort;
pub mod running;
pub mod state;
pub mod succession;
pub mod supervision;
pub mod systemd;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatekeeper_admin::desk::Desk;
use gatekeeper_admin::process::{Process, Upgrade};
use gatekeeper_model::fault::Faults;
use gatekeeper_model::raw::LogLevel;
use gatekeeper_plane::Plane;
use gatekeeper_plane::estate::Estate;
use gatekeeper_plane::plan::live::Report;

use running::Running;
use succession::Succession;
use systemd::Systemd;

use crate::allocator;

/// A process that serves.
pub struct Life {
    /// What it serves.
    pub plane: Arc<Plane>,
    /// What it is configured by.
    pub desk: Arc<Desk>,
    /// The file of its configuration.
    pub file: PathBuf,
    /// Where clients connect, as it came to be.
    pub listeners: Vec<String>,
    /// Who started it, if it wants to be told.
    pub systemd: Systemd,
    /// How it succeeds another, and is succeeded.
    pub succession: Succession,
    /// Where the administration is reached.
    pub admin_address: String,
    /// Where the command line finds that.
    pub state_dir: PathBuf,
}

impl Life {
    /// The request path answers: from now on this is the gateway, also for the command line.
    pub async fn take_over(&self) {
        let inherit = |estate: Estate| estate.settle(&self.plane.live.plan(), Instant::now());
        self.succession.take_over(inherit).await;
        self.plane.open();
        if let Err(error) = self.running().announce(&self.state_dir) {
            log::error!("the commands on this host cannot find this gateway: {}: {error}", self.state_dir.display());
        }
    }

    /// From now on the command line finds this gateway no more.
    pub fn withdraw(&self) {
        self.running().withdraw(&self.state_dir);
    }

    fn running(&self) -> Running {
        Running::here(&self.file, &self.admin_address)
    }

    /// What serves, in a sentence.
    pub fn serving(&self) -> String {
        let live = &self.plane.live;
        let fault = if live.last_fault().is_some() { "; the last reload was rejected" } else { "" };
        format!("running revision {} on {}{fault}", live.plan().revision, self.listeners.join(", "))
    }
}

impl Process for Life {
    fn configuration(&self) -> PathBuf {
        self.running().config
    }

    fn reload(&self) -> Result<Report, Faults> {
        self.systemd.reloading();
        let began = Instant::now();
        let result = allocator::thriftily(|| self.desk.reload());
        match &result {
            Ok(report) => {
                log::set_max_level(level(report.log_level));
                let (revision, took) = (report.revision, began.elapsed().as_millis());
                log::info!("revision {revision} is running, built in {took} ms{}", restart_note(report));
            }
            Err(faults) => {
                let revision = self.plane.live.plan().revision;
                log::error!("reload rejected, still running revision {revision}:\n{}", faults.to_string().trim_end());
            }
        }
        self.systemd.ready(&self.serving());
        result
    }

    fn may_reload(&self) -> bool {
        self.succession.may_reload() && !self.plane.deed.is_handed_over()
    }

    fn upgrade(self: Arc<Self>, patience: Duration) -> Upgrade {
        Box::pin(async move {
            let estate = || Estate::of(&self.plane.live.plan(), Instant::now());
            self.succession.upgrade(patience, &self.plane.deed, estate).await
        })
    }
}

/// How much the log tells.
pub fn level(level: LogLevel) -> log::LevelFilter {
    match level {
        LogLevel::Off => log::LevelFilter::Off,
        LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Warn => log::LevelFilter::Warn,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Trace => log::LevelFilter::Trace,
    }
}

fn restart_note(report: &Report) -> String {
    match report.needs_restart.as_slice() {
        [] => String::new(),
        settings => format!("; takes effect after a restart: {}", settings.join(", ")),
    }
}
