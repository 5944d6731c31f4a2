//! The real binary in a directory of its own, on a free port.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Ask, Client, Origin, PATIENCE, Raw, Request, eventually};

/// The program: the one that was built with the tests, or the one that is to be measured.
fn program() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_gatekeeper").into();
    std::env::var_os("MEASURED_GATEKEEPER").map_or_else(built, PathBuf::from)
}

/// A running gateway: asked to stop when dropped, killed when it does not, its complaints shown if the test fails.
pub struct Gateway {
    pub address: SocketAddr,
    dir: TempDir,
    /// Its configuration.
    file: PathBuf,
    /// Its environment, beside the test's own.
    variables: Vec<(String, String)>,
    /// Sockets it does not bind itself.
    handed: Vec<OwnedFd>,
    process: Child,
    /// Processes that took its place.
    successors: Vec<u32>,
}

impl Gateway {
    /// Runs with this configuration, to which is added what every test needs and it does not say itself.
    pub async fn start(config: &str) -> Gateway {
        Gateway::start_with(config, &[]).await
    }

    /// The same, with variables in its environment.
    pub async fn start_with(config: &str, variables: &[(&str, String)]) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        write_config(dir.path(), config);
        let file = config_file(dir.path());
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Gateway::spawn(dir, file, variables, Vec::new()).await
    }

    /// Runs with sockets that were bound for it, as systemd starts it. A configuration may name them by port 0.
    pub async fn start_on(config: &str, handed: Vec<OwnedFd>) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        write_config(dir.path(), config);
        let file = config_file(dir.path());
        Gateway::spawn(dir, file, Vec::new(), handed).await
    }

    /// What a gateway says that does not start with these sockets.
    pub fn refuses(config: &str, handed: Vec<OwnedFd>) -> String {
        let dir = tempfile::tempdir().unwrap();
        write_config(dir.path(), config);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gatekeeper"), dir.path().join("gatekeeper")).unwrap();
        let mut process = launch("", dir.path(), &config_file(dir.path()), &[], &handed);
        assert_eq!(process.wait().unwrap().code(), Some(1));
        fs::read_to_string(dir.path().join("stderr")).unwrap()
    }

    /// Runs with this configuration and at most so many descriptors.
    pub async fn with_descriptors(most: usize, config: &str) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        write_config(dir.path(), config);
        let file = config_file(dir.path());
        Gateway::spawn_after(&format!("ulimit -n {most};"), dir, file, Vec::new(), Vec::new()).await
    }

    /// Runs with a file as it is, whose addresses come from PORT, ADMIN_ADDRESS and these variables.
    pub async fn of_file(file: impl Into<PathBuf>, variables: &[(&str, &str)]) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let own = [
            ("PORT", "0".to_owned()),
            ("ADMIN_ADDRESS", format!("unix:{}", dir.path().join("admin.sock").display())),
            ("STATE_DIRECTORY", dir.path().join("state").display().to_string()),
        ];
        let given = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let variables = own.into_iter().chain(given).map(|(name, value)| (name.to_owned(), value)).collect();
        Gateway::spawn(dir, file.into(), variables, Vec::new()).await
    }

    async fn spawn(dir: TempDir, file: PathBuf, variables: Vec<(String, String)>, handed: Vec<OwnedFd>) -> Gateway {
        Gateway::spawn_after("", dir, file, variables, handed).await
    }

    async fn spawn_after(
        before: &str,
        dir: TempDir,
        file: PathBuf,
        variables: Vec<(String, String)>,
        handed: Vec<OwnedFd>,
    ) -> Gateway {
        std::os::unix::fs::symlink(program(), dir.path().join("gatekeeper")).unwrap();
        let process = launch(before, dir.path(), &file, &variables, &handed);
        let address = ([0, 0, 0, 0], 0).into();
        let mut gateway = Gateway { address, dir, file, variables, handed, process, successors: Vec::new() };
        gateway.address = gateway.listening().await;
        gateway
    }

    /// Sends everything to one upstream.
    pub async fn to(origin: &Origin) -> Gateway {
        Gateway::to_url(origin.url()).await
    }

    pub async fn to_url(url: &str) -> Gateway {
        Gateway::start(&everything_to(url)).await
    }

    /// Polls `status` until it names the address.
    async fn listening(&mut self) -> SocketAddr {
        eventually("the gateway answers `status`", async || {
            if let Some(exit) = self.process.try_wait().unwrap() {
                panic!("the gateway ended at once: {exit}");
            }
            let output = self.command("status", &["--json"]);
            output.status.success().then(|| listeners_of(&output)[0].parse().expect("a listener on TCP"))
        })
        .await
    }

    /// Where clients connect, in the order of the configuration.
    pub fn listeners(&self) -> Vec<String> {
        listeners_of(&self.command("status", &["--json"]))
    }

    /// The address of one of the listeners.
    pub fn listener(&self, index: usize) -> SocketAddr {
        self.listeners()[index].parse().unwrap()
    }

    /// So many connections came to nothing for this reason, and no more.
    pub async fn has_turned_away(&self, reason: &str, count: u64) {
        let counted = async || Some(self.turned_away(reason).await).filter(|counted| *counted >= count);
        assert_eq!(eventually(reason, counted).await, count, "{reason}");
    }

    /// How many connections came to nothing for this reason.
    pub async fn turned_away(&self, reason: &str) -> u64 {
        let name = format!("gatekeeper_connections_turned_away_total{{reason=\"{reason}\"}} ");
        self.metrics().await.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }

    /// Runs `gatekeeper NAME -c FILE ARGS…`.
    pub fn command(&self, name: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.arg(name).arg("-c").arg(&self.file).args(args).envs(self.variables.iter().cloned());
        command.env("XDG_RUNTIME_DIR", self.dir.path().join("runtime")).output().unwrap()
    }

    /// Starts `gatekeeper NAME -c FILE ARGS…`, which may take its time.
    pub fn spawn_command(&self, name: &str, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatekeeper"));
        command.arg(name).arg("-c").arg(&self.file).args(args).envs(self.variables.iter().cloned());
        command.env("XDG_RUNTIME_DIR", self.dir.path().join("runtime"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// What it says of itself.
    pub async fn status(&self) -> Value {
        serde_json::from_slice(&self.command("status", &["--json"]).stdout).unwrap_or_default()
    }

    /// The process that was started first.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Replaces the configuration and makes the gateway read it; the reason when it refuses.
    pub fn reload(&self, config: &str) -> Result<(), String> {
        write_config(self.dir.path(), config);
        let output = self.command("reload", &[]);
        output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Stops it, as systemd would, and starts it again.
    pub async fn restart(&mut self) {
        self.stop();
        self.process = launch("", self.dir.path(), &self.file, &self.variables, &self.handed);
        self.address = self.listening().await;
    }

    /// Installs another program in its place, which the next upgrade will start.
    pub fn install(&self, script: &str, mode: u32) {
        let new = self.file("new");
        fs::write(&new, script).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(new, self.file("gatekeeper")).unwrap();
    }

    /// Installs the gateway again.
    pub fn install_gateway(&self) {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gatekeeper"), self.file("new")).unwrap();
        fs::rename(self.file("new"), self.file("gatekeeper")).unwrap();
    }

    /// Upgrades; the new process, or why there is none.
    pub fn upgrade(&mut self, args: &[&str]) -> Result<u32, String> {
        let output = self.command("upgrade", &[&["--json"], args].concat());
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1));
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let upgraded: Value = serde_json::from_slice(&output.stdout).unwrap();
        let pid = upgraded["pid"].as_u64().unwrap().try_into().unwrap();
        self.successors.push(pid);
        Ok(pid)
    }

    /// A process took its place.
    pub fn adopt(&mut self, successor: u32) {
        self.successors.push(successor);
    }

    /// Writes another configuration, which nobody is told of.
    pub fn write(&self, config: &str) {
        write_config(self.dir.path(), config);
    }

    /// What it said on standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(self.file("stderr")).unwrap()
    }

    /// Its exit status, once it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the gateway ends", async || self.process.try_wait().unwrap()).await
    }

    /// A file of the test in the gateway's directory; its path.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn h1(&self) -> impl Future<Output = Client> {
        Client::h1(self.address)
    }

    pub fn h2c(&self) -> impl Future<Output = Client> {
        Client::h2c(self.address)
    }

    pub fn raw(&self) -> impl Future<Output = Raw> {
        Raw::connect(self.address)
    }

    /// One request over HTTP/1.1 on a connection of its own.
    pub async fn ask(&self, ask: impl Ask) -> Answer {
        self.h1().await.ask(ask).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.ask(Request::get(target)).await
    }

    /// A request to the administration listener.
    pub async fn admin(&self, target: &str) -> Answer {
        let socket = self.file("admin.sock");
        Client::unix(socket.to_str().unwrap()).await.ask(Request::get(target)).await
    }

    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.text().to_owned()
    }

    /// What a metric stands at; 0 when it is not there. The series is as in the text format: `name{label="value"}`.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The access log so far, without a line that is being written.
    pub fn log_lines(&self) -> Vec<String> {
        let log = fs::read_to_string(self.file("access.log")).unwrap_or_default();
        log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// The record of the request with this target's path, once it is written.
    pub async fn log_of(&self, path: &str) -> Value {
        eventually("the request is in the access log", async || {
            let records = self.log_lines().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
            records.into_iter().find(|record| record["path"] == path)
        })
        .await
    }

    /// The ids of its threads whose names begin so.
    pub fn threads(&self, name: &str) -> Vec<i32> {
        let all = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let of_name = all.filter_map(|thread| {
            let path = thread.unwrap().path();
            let is_one = fs::read_to_string(path.join("comm")).unwrap().starts_with(name);
            is_one.then(|| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        });
        of_name.collect()
    }

    /// The memory it has now, in bytes.
    pub fn memory(&self) -> u64 {
        self.status_field("VmRSS:")
    }

    /// The memory it has now beside what it reads from its program's file, in bytes.
    pub fn own_memory(&self) -> u64 {
        self.status_field("RssAnon:")
    }

    /// The most memory it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status_field("VmHWM:")
    }

    fn status_field(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The processor time it has used, in clock ticks (1/100 s).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Sends a signal: HUP, USR1, TERM.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    fn stop(&mut self) {
        for successor in self.successors.drain(..) {
            end(successor);
        }
        if self.process.try_wait().unwrap().is_some() {
            return;
        }
        self.signal("TERM");
        let started = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            if started.elapsed() > PATIENCE {
                self.process.kill().unwrap();
                self.process.wait().unwrap();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the gateway's standard error\n{}", self.said());
            let lines = self.log_lines();
            let last = lines.split_at(lines.len().saturating_sub(100)).1;
            eprintln!("--- the end of its access log\n{}", last.join("\n"));
        }
    }
}

/// From what `status --json` printed.
fn listeners_of(output: &Output) -> Vec<String> {
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listeners = status["listeners"].as_array().expect("listeners");
    listeners.iter().map(|listener| listener["address"].as_str().unwrap().to_owned()).collect()
}

/// Starts the program that is installed, by a shell that does something before it becomes the program.
fn launch(before: &str, dir: &Path, file: &Path, variables: &[(String, String)], handed: &[OwnedFd]) -> Child {
    // The binary stands in the folder under the name that the register of running gateways has in its own.
    let _ = fs::create_dir(dir.join("runtime"));
    let mut command = Command::new("sh");
    // The variable for whom the sockets are can only be set by the process itself.
    let script = format!("{before} export LISTEN_PID=$$; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(dir.join("gatekeeper"));
    if !handed.is_empty() {
        command.env("LISTEN_FDS", handed.len().to_string());
    }
    let mappings = (3..).zip(handed);
    let mappings = mappings.map(|(child_fd, fd)| FdMapping { parent_fd: fd.try_clone().unwrap(), child_fd });
    command.fd_mappings(mappings.collect()).unwrap();
    let stderr = File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
    command.args(["run", "-c"]).arg(file).envs(variables.iter().cloned());
    command.env("XDG_RUNTIME_DIR", dir.join("runtime"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

/// Whether a process that is not our child runs.
pub fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn end(process: u32) {
    let tell = |signal: &str| Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status();
    tell("-TERM").unwrap();
    let started = Instant::now();
    while runs(process) {
        if started.elapsed() > PATIENCE {
            tell("-KILL").unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A configuration whose only route takes everything to one target.
pub fn everything_to(url: &str) -> String {
    format!("routes:\n  - {{ name: all, path_pattern: /*, target_url: \"{url}\" }}\n")
}

fn config_file(dir: &Path) -> PathBuf {
    dir.join("gatekeeper.yaml")
}

fn write_config(dir: &Path, config: &str) {
    let here = dir.display();
    let common = [
        "version: 1".to_owned(),
        "listen: [{ address: \"127.0.0.1:0\", h2c: true }]".to_owned(),
        format!("admin: {{ address: \"unix:{here}/admin.sock\" }}"),
        format!("state_dir: {here}/state"),
        format!("access_log: {{ to: {here}/access.log }}"),
        "drain: { grace: 1s, upgrade_grace: 1s }".to_owned(),
        "threads: 2".to_owned(),
    ];
    let said = |line: &String| {
        let key = line.split_inclusive(':').next().unwrap_or_default();
        config.lines().any(|line| line.starts_with(key))
    };
    let added: Vec<String> = common.into_iter().filter(|line| !said(line)).collect();
    fs::write(config_file(dir), format!("{}\n{config}", added.join("\n"))).unwrap();
}
