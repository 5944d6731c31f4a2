//! The gateway: what there is in one process, and the order in which it starts and stops.
//!
//! Start: configuration and plan, sockets, access log, state directory, then the framework's server. Whatever can be
//! wrong is found before the first connection is accepted, and is told in one sentence.
//!
//! How it ends: `drain`. How another takes its place: `succession`. HUP reloads, USR1 reopens the access log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use gatekeeper_admin::Control;
use gatekeeper_model::fault::Faults;
use gatekeeper_model::raw::{Config, Drain, Listen};
use gatekeeper_model::secret::Secret;
use gatekeeper_plane::Plane;
use gatekeeper_plane::listen::accept::Stages;
use gatekeeper_plane::listen::socket::Socket;
use gatekeeper_plane::observe::AccessLog;
use gatekeeper_plane::observe::metrics::Metrics;
use gatekeeper_plane::plan::candidate::Candidate;
use gatekeeper_plane::plan::live::Live;
use gatekeeper_plane::server::{Server, Size};
use tokio::sync::mpsc;

use crate::allocator;
use crate::life::drain::{Heard, Signals};
use crate::life::inherited::Inherited;
use crate::life::running::HERE;
use crate::life::state::State;
use crate::life::succession::Succession;
use crate::life::supervision::Supervisor;
use crate::life::systemd::Systemd;
use crate::life::{Life, last_resort, level};

/// A gateway, ready to run.
pub struct Gateway {
    life: Life,
    token: Secret,
    sockets: Vec<Socket>,
    admin: Socket,
    heard: Heard,
    size: Size,
    drain: Drain,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartFault {
    /// The configuration is wrong.
    Config(Faults),
    /// Something else is, in one sentence.
    Other(String),
}

impl Gateway {
    /// Prepares a gateway: everything that can be wrong is found here.
    pub fn build(file: &Path, mut inherited: Inherited) -> Result<Gateway, StartFault> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let other = |fault: String| StartFault::Other(fault);
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|error| other(error.to_string()))?;
        let metrics = Arc::new(metrics);
        let (live, config, faults) = start(file, &metrics).map_err(StartFault::Config)?;
        log::set_max_level(level(config.log_level));
        faults.lints().iter().for_each(|lint| log::warn!("{lint}"));
        let admin = inherited.bind(&config.admin.address).map_err(|fault| other(format!("admin.address: {fault}")))?;
        let bind = |listen: &Listen| inherited.bind(&listen.address);
        let sockets = config.listen.iter().map(bind).collect::<Result<Vec<_>, _>>().map_err(other)?;
        let systemd = Systemd::of_this_process().map_err(|error| other(format!("cannot notify systemd: {error}")))?;
        let succession = Succession::new(sockets.iter().chain([&admin]), inherited.line.take(), systemd.clone());
        let succession = succession.map_err(|error| other(format!("cannot keep a socket: {error}")))?;
        inherited.close_rest();
        let log = AccessLog::start(&config.access_log)
            .map_err(|error| other(format!("cannot write the access log to {}: {error}", config.access_log.to)))?;
        let state_dir = state_dir(&config);
        let state = State::open(&state_dir).map_err(other)?;
        let heard = Heard::from_now_on().and_then(|heard| last_resort::stand_by().map(|()| heard));
        let heard = heard.map_err(|error| other(format!("cannot listen for signals: {error}")))?;
        let listeners = sockets.iter().map(|socket| socket.address.clone()).collect();
        let plane = Arc::new(Plane::new(live, metrics, log, Vec::new()));
        if !succession.is_on_trial() {
            plane.open();
        }
        let admin_address = admin.address.clone();
        let size = Size { threads: config.threads, pool: config.upstream_pool.size };
        let life = Life { plane, file: file.into(), listeners, systemd, succession, admin_address, state_dir };
        let drain = config.drain.clone();
        drop(config);
        allocator::give_back();
        Ok(Gateway { life, token: state.admin_token, sockets, admin, heard, size, drain })
    }

    /// Where clients connect, as it came to be.
    pub fn listeners(&self) -> &[String] {
        &self.life.listeners
    }

    /// A gateway that can't be upgraded: more than its sockets would have to be handed over.
    pub fn that_is_not_succeeded(mut self) -> Gateway {
        self.life.succession.rule_out();
        self
    }

    /// Runs until it is told to stop.
    pub fn run(self) {
        let (life, stages) = (Arc::new(self.life), Stages::default());
        let (probe, probes) = mpsc::channel(1);
        let mut server = Server::new(&life.plane, self.sockets, self.size, &stages, probes);
        server.background("supervision", Supervisor::new(life.clone(), probe).watch());
        log::info!("administration on {}", self.admin.address);
        let control = Arc::new(Control::new(life.plane.clone(), self.token, life.listeners.clone(), life.clone()));
        server.background("administration", control.serve(self.admin, stages.administer_no_more.subscribe()));
        server.run(Signals::new(life.clone(), stages, self.drain).follow(self.heard));
        life.withdraw();
    }
}

/// The first plan. It is made by a thread that ends: what making it took is then nobody's, and whoever replaces the plan later can
/// give its memory back, too.
fn start(file: &Path, metrics: &Arc<Metrics>) -> Result<(Live, Config, Faults), Faults> {
    let start = || Candidate::read(file).and_then(|candidate| Live::start(candidate, metrics.clone()));
    let started = thread::scope(|scope| scope.spawn(start).join());
    started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The state directory: as written, else systemd's, else beside the working directory.
pub fn state_dir(config: &Config) -> PathBuf {
    let given = config.state_dir.clone().map(PathBuf::from);
    given.or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from)).unwrap_or(HERE.into())
}
