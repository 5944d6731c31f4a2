//! The gateway: what there is in one process, and the order in which it starts and stops.
//!
//! Start: configuration and plan, sockets, access log, state directory, then the framework's server. Whatever can be
//! wrong is found before the first connection is accepted, and is told in one sentence.
//!
//! How it ends: `drain`. How another takes its place: `succession`. HUP reloads, USR1 reopens the access log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pingora::apps::HttpServerOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora_proxy::http_proxy;
use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::config::fault::Faults;
use crate::config::model::{Config, Listen};
use crate::drain::{Heard, Signals, Stages};
use crate::last_resort;
use crate::listen::accept::Listeners;
use crate::listen::door::Door;
use crate::listen::entrance::Entrance;
use crate::listen::inherited::Inherited;
use crate::listen::ledger::Ledger;
use crate::listen::socket::Socket;
use crate::listen::trimmer::Trimmer;
use crate::plan::live::{Live, Report};
use crate::policy::auth::failures::Failures;
use crate::policy::auth::keeper::KeyKeeper;
use crate::policy::limit::sweeper::Sweeper;
use crate::proxy::deadline::Guarded;
use crate::proxy::{Proxy, attempt};
use crate::record::metrics::Metrics;
use crate::record::{AccessLog, Refusals, RouteMetrics};
use crate::state::{State, remember_admin_address};
use crate::succession::{Estate, Succession};
use crate::supervision::{self, Supervisor};
use crate::systemd::Systemd;
use crate::upstream::keeper::Keeper;

/// What the runtimes have to drop the tasks of requests that were cut off.
const LAST_TASKS: Duration = Duration::from_millis(500);

/// What requests and administration share.
pub struct Shared {
    /// The plan that serves.
    pub live: Live,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The metrics of requests that match no route.
    pub unrouted: RouteMetrics,
    /// The access log.
    pub log: AccessLog,
    /// The last refusals.
    pub refusals: Refusals,
    /// The answers that clients have not taken yet.
    pub ledger: Arc<Ledger>,
    /// What opens the administration API.
    pub admin_token: String,
    /// How many wrong ones an address may show.
    pub wrong_tokens: Failures,
    /// Where clients connect, as it came to be.
    pub listeners: Vec<String>,
    /// When the process started.
    pub started: Instant,
    /// Who started the process, if it wants to be told.
    pub systemd: Systemd,
    /// How it succeeds another, and is succeeded.
    pub succession: Succession,
    /// Where the administration is reached.
    admin_address: String,
    state_dir: PathBuf,
    /// What each listener asks of its connections.
    entrances: Vec<Arc<ArcSwap<Entrance>>>,
    stopping: AtomicBool,
    /// Connections are accepted; a successor's not before it has shown that it serves.
    accepting: watch::Sender<bool>,
}

/// A gateway, ready to run.
pub struct Gateway {
    shared: Arc<Shared>,
    sockets: Vec<Socket>,
    admin: Socket,
    heard: Heard,
    config: Config,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartFault {
    /// The configuration is wrong.
    Config(Faults),
    /// Something else is, in one sentence.
    Other(String),
}

impl Shared {
    /// Whether the gateway takes new requests.
    pub fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }

    /// The gateway takes no more requests, but those on their way.
    pub fn stop_being_ready(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until connections are to be accepted.
    pub async fn opening(&self) {
        // It fails only without a sender, which lives as long as we do.
        let _ = self.accepting.subscribe().wait_for(|accepting| *accepting).await;
    }

    /// The request path answers: from now on this is the gateway, also for the command line.
    pub async fn take_over(&self) {
        let inherit = |estate: Estate| estate.settle(&self.live.plan(), Instant::now());
        self.succession.take_over(inherit).await;
        self.accepting.send_replace(true);
        if let Err(error) = remember_admin_address(&self.state_dir, &self.admin_address) {
            log::error!("{error}");
        }
    }

    /// Reads the configuration again. Blocks.
    pub fn reload(&self) -> Result<Report, Faults> {
        self.systemd.reloading();
        let began = Instant::now();
        let result = self.live.reload(|config, plan| {
            self.log.reconfigure(&config.access_log).map_err(|error| format!("access_log.to: {error}"))?;
            log::set_max_level(level(config));
            self.adopt(&plan.entrances);
            Ok(())
        });
        match &result {
            Ok(report) => {
                let (revision, took) = (report.revision, began.elapsed().as_millis());
                log::info!("revision {revision} serves, made in {took} ms{}", restart_note(report));
            }
            Err(faults) => log::error!("the configuration was not applied, the last one serves on: {faults}"),
        }
        self.systemd.ready(&supervision::serving(self));
        result
    }
}

impl Shared {
    /// Takes over what listeners ask of their connections, for those that come from now on.
    fn adopt(&self, entrances: &[Entrance]) {
        // An address whose port the system chooses may stand there more than once.
        let mut rest: Vec<_> = entrances.iter().collect();
        for current in &self.entrances {
            let previous = current.load();
            if let Some(place) = rest.iter().position(|next| next.address == previous.address) {
                let next = Arc::new(rest.remove(place).succeeding(&previous));
                current.store(next.clone());
                previous.give_way(&next);
            }
        }
    }
}

impl Gateway {
    /// Prepares a gateway: everything that can be wrong is found here.
    pub fn build(file: &Path, mut inherited: Inherited) -> Result<Gateway, StartFault> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let other = |fault: String| StartFault::Other(fault);
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|error| other(error.to_string()))?;
        let metrics = Arc::new(metrics);
        let (live, loaded, faults) = Live::start(file.into(), metrics.clone()).map_err(StartFault::Config)?;
        let config = loaded.config;
        log::set_max_level(level(&config));
        faults.lints().iter().for_each(|lint| log::warn!("{lint}"));
        let admin = inherited.bind(&config.admin.address).map_err(other)?;
        let bind = |listen: &Listen| inherited.bind(&listen.address);
        let sockets = config.listen.iter().map(bind).collect::<Result<Vec<_>, _>>().map_err(other)?;
        let systemd = Systemd::of_this_process().map_err(|error| other(format!("systemd can't be told: {error}")))?;
        let succession = Succession::new(sockets.iter().chain([&admin]), inherited.line.take(), systemd.clone());
        let succession = succession.map_err(|error| other(format!("a socket can't be kept: {error}")))?;
        inherited.close_rest();
        let accepting = watch::Sender::new(!succession.is_on_trial());
        let plan = live.plan();
        let entrances =
            plan.entrances.iter().map(|entrance| Arc::new(ArcSwap::from_pointee(entrance.clone()))).collect();
        let ledger = Ledger::new(plan.edge.limits.buffered_answers);
        drop(plan);
        let log = AccessLog::start(&config.access_log, metrics.access_log_dropped.clone())
            .map_err(|error| other(format!("can't write the access log to {}: {error}", config.access_log.to)))?;
        let state_dir = state_dir(&config);
        let state = State::open(&state_dir).map_err(other)?;
        let heard = Heard::from_now_on().and_then(|heard| last_resort::stand_by().map(|()| heard));
        let heard = heard.map_err(|error| other(format!("signals can't be heard: {error}")))?;
        let listeners = sockets.iter().map(|socket| socket.address.clone()).collect();
        let shared = Shared {
            live,
            unrouted: metrics.unrouted(),
            metrics,
            log,
            refusals: Refusals::default(),
            ledger,
            admin_token: state.admin_token,
            wrong_tokens: admin::guard::budget(),
            listeners,
            started: Instant::now(),
            systemd,
            succession,
            admin_address: admin.address.clone(),
            state_dir,
            entrances,
            stopping: AtomicBool::new(false),
            accepting,
        };
        Ok(Gateway { shared: Arc::new(shared), sockets, admin, heard, config })
    }

    /// Where clients connect, as it came to be.
    pub fn listeners(&self) -> &[String] {
        &self.shared.listeners
    }

    /// A gateway that can't be upgraded: more than its sockets would have to be handed over.
    pub fn that_is_not_succeeded(mut self) -> Gateway {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.succession.rule_out();
        }
        self
    }

    /// Runs until it is told to stop.
    pub fn run(self) {
        let mut server = Server::new_with_opt_and_conf(None, server_conf(&self.config));
        let mut proxy = http_proxy(&server.configuration, Proxy::new(self.shared.clone()));
        // Whether HTTP/2 may begin without TLS is each listener's own choice, which its tap makes.
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        // CONNECT is ours to refuse, like everything else that no request may be; the framework would do so unseen.
        options.allow_connect_method_proxying = true;
        proxy.server_options = Some(options);
        proxy.h2_options = Some(self.shared.live.plan().edge.http2.options());
        let proxy = Arc::new(Guarded(Arc::new(proxy)));
        let stages = Stages::default();
        self.sockets.iter().for_each(|socket| log::info!("listening on {}", socket.address));
        let door = Door { shared: self.shared.clone(), proxy, caps: Arc::default() };
        let listeners = self.sockets.into_iter().zip(self.shared.entrances.iter().cloned()).collect();
        let (probe, probes) = mpsc::channel(1);
        server.add_service(Listeners::new(door, listeners, probes, &stages));
        server.add_service(background_service("supervision", Supervisor::new(self.shared.clone(), probe)));
        server.add_service(background_service("upstreams", Keeper::new(self.shared.clone())));
        server.add_service(background_service("keys", KeyKeeper::new(self.shared.clone())));
        server.add_service(background_service("limits", Sweeper::new(self.shared.clone())));
        server.add_service(background_service("answers", Trimmer::new(self.shared.clone())));
        log::info!("administration on {}", self.admin.address);
        let leave = stages.administer_no_more.subscribe();
        let administration = admin::Service::new(self.admin, self.shared.clone(), leave);
        server.add_service(background_service("administration", administration));
        let signals = Signals::new(self.heard, self.shared.clone(), stages, self.config.drain);
        server.run(RunArgs { shutdown_signal: Box::new(signals) });
        await_settled(&self.shared.metrics);
        self.shared.log.finish();
    }
}

/// Waits for requests that were cut off: they settle when their tasks are dropped, which the runtimes do after we are told
/// that they have ended.
fn await_settled(metrics: &Metrics) {
    let began = Instant::now();
    while metrics.requests_in_flight() > 0 && began.elapsed() < LAST_TASKS {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn level(config: &Config) -> log::LevelFilter {
    use crate::config::model::LogLevel::*;
    match config.log_level {
        Off => log::LevelFilter::Off,
        Error => log::LevelFilter::Error,
        Warn => log::LevelFilter::Warn,
        Info => log::LevelFilter::Info,
        Debug => log::LevelFilter::Debug,
        Trace => log::LevelFilter::Trace,
    }
}

fn restart_note(report: &Report) -> String {
    match report.needs_restart.as_slice() {
        [] => String::new(),
        settings => format!("; after a restart only: {}", settings.join(", ")),
    }
}

/// The state directory: as written, else systemd's, else beside the working directory.
pub fn state_dir(config: &Config) -> PathBuf {
    let given = config.state_dir.clone().map(PathBuf::from);
    given.or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from)).unwrap_or("./gatekeeper-state".into())
}

fn server_conf(config: &Config) -> ServerConf {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = config.threads.unwrap_or_else(cores);
    ServerConf {
        threads,
        // One thread has nobody to share its work with.
        work_stealing: threads > 1,
        max_retries: attempt::MAX_ATTEMPTS,
        upstream_keepalive_pool_size: config.upstream_pool.size,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}
