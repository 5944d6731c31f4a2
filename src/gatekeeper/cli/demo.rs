//! `run --demo`: the gateway of conf/examples/engadi.yaml, and a small service for each of its services on loopback.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Failure, Outcome, jwt, run};
use crate::life::inherited::Inherited;
use gatekeeper_model::load::load;
use gatekeeper_model::raw::Config;
use gatekeeper_plane::policy::auth::api_key::new_key;
use gatekeeper_plane::upstream::target::{Url, Way};

const CONFIGURATION: &str = include_str!("../../../conf/examples/engadi.yaml");

/// Runs the demo until it is told to stop.
pub fn run() -> Outcome {
    let folder = std::env::temp_dir().join(format!("gatekeeper-demo-{}", std::process::id()));
    let outcome = run_in(&folder);
    // What is left behind is a small folder among temporary files.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

fn run_in(folder: &Path) -> Outcome {
    let file = folder.join("engadi.yaml");
    // Nobody else may have made this folder: it says what is run.
    let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
    let written = made.and_then(|()| std::fs::write(&file, configuration(folder)));
    written.map_err(|error| Failure::Refused(format!("can't write to {}: {error}", folder.display())))?;
    let (loaded, faults) = load(&file);
    let Some(loaded) = loaded.filter(|_| faults.is_empty()) else { return Err(Failure::Faults(faults)) };
    let services = bind_services(&loaded.config)?;
    let gateway = run::start(&file, Inherited::default())?.that_is_not_succeeded();
    std::thread::spawn(move || serve(services));
    greet(gateway.listeners(), &loaded.config);
    gateway.run();
    Ok(())
}

/// The demo leaves nothing in the working directory, and has a secret of its own where none is set.
fn configuration(folder: &Path) -> String {
    let secret = format!("${{SECRET_KEY:-{}}}", new_key().unwrap_or_default());
    let text = CONFIGURATION.replace("${SECRET_KEY}", &secret);
    format!("{text}\nstate_dir: {:?}\n", folder.join("state").display().to_string())
}

type Bound = Vec<(String, TcpListener)>;

fn bind_services(config: &Config) -> Result<Bound, Failure> {
    let mut bound = Vec::new();
    for (name, service) in &config.services {
        for target in &service.targets {
            let Some(address) = loopback(target.url()) else { continue };
            let listener = TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            let listener = listener.map_err(|error| {
                Failure::Refused(format!("the demo's {name} service can't listen on {address}: {error}"))
            })?;
            bound.push((name.clone(), listener));
        }
    }
    Ok(bound)
}

/// The address of a target that the demo may stand in for.
fn loopback(url: &str) -> Option<SocketAddr> {
    let Way::Tcp(host, port) = Url::parse(url).ok()?.way else { return None };
    let host = if host == "localhost" { "127.0.0.1" } else { &host };
    let address = SocketAddr::new(host.parse().ok()?, port);
    address.ip().is_loopback().then_some(address)
}

fn serve(services: Bound) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for (name, listener) in services {
            let router = Router::new().fallback(answer).with_state(name);
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { continue };
            running.spawn(async move { axum::serve(listener, router).await });
        }
        while running.join_next().await.is_some() {}
    });
}

/// Shows what the service saw, so that one sees what the gateway sent.
async fn answer(State(name): State<String>, request: Request) -> Response {
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()));
    let seen = json!({
        "service": name,
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": headers.collect::<serde_json::Map<_, _>>(),
    });
    format!("{seen:#}\n").into_response()
}

fn greet(listeners: &[String], config: &Config) {
    let address = listeners.first().map(String::as_str).unwrap_or_default().replace("0.0.0.0", "127.0.0.1");
    println!("gatekeeper listens on {address}, its administration on {}. Try:", config.admin.address);
    let token = jwt::sample(config).unwrap_or_default();
    println!("  curl -i http://{address}/api/v1/content/articles/1");
    println!("  curl -i -H 'Authorization: Bearer {token}' http://{address}/api/v1/content/articles/1");
    println!("  curl -i -X POST http://{address}/api/v1/auth/login");
    println!("  curl -i http://{address}/nowhere");
    println!("  curl http://{}/metrics", config.admin.address);
    println!("The first one is refused, the token makes the difference; it holds for 12 hours.");
    println!("Ctrl-C stops it.");
}
