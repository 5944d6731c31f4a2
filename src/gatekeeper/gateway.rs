//! The gateway: what there is in one process, and the order in which it starts and stops.
//!
//! Start: configuration and plan, sockets, access log, state directory, then the framework's server. Whatever can be
//! wrong is found before the first connection is accepted, and is told in one sentence.
//!
//! How it ends: `drain`. How another takes its place: `succession`. HUP reloads, USR1 reopens the access log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use gatekeeper_admin::desk::{Desk, Held, Keeping};
use gatekeeper_admin::{Control, Identity};
use gatekeeper_model::Loaded;
use gatekeeper_model::fault::Faults;
use gatekeeper_model::load::load;
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
use tokio::runtime::Runtime;
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
use crate::store;

/// A gateway, ready to run.
pub struct Gateway {
    life: Life,
    token: Secret,
    sockets: Vec<Socket>,
    admin: Socket,
    heard: Heard,
    size: Size,
    drain: Drain,
    /// Waits for the store, as long as the gateway runs.
    _runtime: Option<Runtime>,
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
    pub fn build(file: &Path, inherited: Inherited) -> Result<Gateway, StartFault> {
        allocator::thriftily(|| Gateway::prepare(file, inherited))
    }

    fn prepare(file: &Path, mut inherited: Inherited) -> Result<Gateway, StartFault> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let other = |fault: String| StartFault::Other(fault);
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|error| other(error.to_string()))?;
        let metrics = Arc::new(metrics);
        let Started { live, config, faults, held, keeping, state_dir, state, runtime } = start(file, &metrics)?;
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
        let heard = Heard::from_now_on().and_then(|heard| last_resort::stand_by().map(|()| heard));
        let heard = heard.map_err(|error| other(format!("cannot listen for signals: {error}")))?;
        let listeners = sockets.iter().map(|socket| socket.address.clone()).collect();
        let plane = Arc::new(Plane::new(live, metrics, log, Vec::new()));
        if !succession.is_on_trial() {
            plane.open();
        }
        let admin_address = admin.address.clone();
        let size = Size { threads: config.threads, pool: config.upstream_pool.size };
        let desk = Arc::new(Desk::new(plane.clone(), file.into(), keeping, held));
        let life = Life { plane, desk, file: file.into(), listeners, systemd, succession, admin_address, state_dir };
        let drain = config.drain.clone();
        Ok(Gateway { life, token: state.admin_token, sockets, admin, heard, size, drain, _runtime: runtime })
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
        let node = Identity::of(&life.state_dir, life.admin_address.clone());
        let control = Control::new(life.desk.clone(), self.token, life.listeners.clone(), life.clone(), node);
        let control = Arc::new(control);
        server.background("administration", control.serve(self.admin, stages.administer_no_more.subscribe()));
        server.run(Signals::new(life.clone(), stages, self.drain).follow(self.heard));
        life.withdraw();
    }
}

/// What there is before the plan serves.
struct Started {
    live: Live,
    config: Config,
    faults: Faults,
    held: Held,
    keeping: Option<Keeping>,
    state_dir: PathBuf,
    state: State,
    runtime: Option<Runtime>,
}

/// The first plan. It is made by a thread that ends: what making it took is then nobody's, and whoever replaces the plan later can
/// give its memory back, too.
fn start(file: &Path, metrics: &Arc<Metrics>) -> Result<Started, StartFault> {
    let started = thread::scope(|scope| scope.spawn(|| begin(file, metrics)).join());
    started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The files, the state directory, the store, then the plan.
fn begin(file: &Path, metrics: &Arc<Metrics>) -> Result<Started, StartFault> {
    let (files, faults) = load(file);
    let Some(files) = files else { return Err(StartFault::Config(faults)) };
    // Faults of the file come before those of what it names.
    let files = match faults.is_empty() {
        true => files,
        false => return Err(StartFault::Config(all_faults(files, faults, metrics))),
    };
    let state_dir = state_dir(&files.config);
    let state = State::open(&state_dir).map_err(StartFault::Other)?;
    let runtime = store::runtime(&files.config.store).map_err(StartFault::Other)?;
    let keeping = runtime.as_ref().map(|runtime| store::open(&files.config.store, &state_dir, runtime.handle()));
    let keeping = keeping.transpose().map_err(StartFault::Other)?;
    let (held, candidate) = Held::of(files, faults, keeping.as_ref()).map_err(StartFault::of_store)?;
    let (live, mut config, faults) = Live::start(candidate, metrics.clone()).map_err(StartFault::Config)?;
    // They may be many: this thread gives back what it took.
    config.routes = Vec::new();
    Ok(Started { live, config, faults, held, keeping, state_dir, state, runtime })
}

/// The faults of loading together with those of compiling.
fn all_faults(files: Loaded, faults: Faults, metrics: &Metrics) -> Faults {
    match Candidate::of(files, faults, "its file").judge(metrics) {
        Ok(draft) => draft.faults,
        Err(faults) => faults,
    }
}

impl StartFault {
    fn of_store(failure: gatekeeper_store::failure::Failure) -> StartFault {
        StartFault::Other(store::cannot_start(&failure))
    }
}

/// The state directory: as written, else systemd's, else the one of a store with a whole path, else beside the working directory.
pub fn state_dir(config: &Config) -> PathBuf {
    let given = config.state_dir.clone().map(PathBuf::from);
    let of_systemd = || std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    given.or_else(of_systemd).or_else(|| store::folder(&config.store)).unwrap_or(HERE.into())
}
