//! `run --demo`: the gateway of conf/examples/engadi.yaml, and a small service for each of its services on loopback.

use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::folder::{self, OwnFolder};
use super::{Failure, Outcome, jwt};
use gatekeeper_model::load::load;
use gatekeeper_model::raw::Config;
use gatekeeper_plane::policy::auth::api_key::new_key;
use gatekeeper_plane::upstream::target::{Url, Way};

const CONFIGURATION: &str = include_str!("../../../conf/examples/engadi.yaml");

/// Runs the demo until it is told to stop.
pub fn run() -> Outcome {
    let folder = OwnFolder::new()?;
    let file = folder.write("engadi.yaml", &configuration())?;
    let (loaded, faults) = load(&file);
    let Some(loaded) = loaded.filter(|_| faults.is_empty()) else { return Err(Failure::Faults(faults)) };
    let services = bind_services(&loaded.config)?;
    let gateway = folder::prepare(&file)?;
    std::thread::spawn(move || serve(services));
    greet(gateway.listeners(), &loaded.config);
    gateway.run();
    Ok(())
}

/// The demo is for this machine alone, and has a secret of its own where none is set. Its services are known to be healthy
/// before somebody has looked at them.
fn configuration() -> String {
    let secret = format!("${{SECRET_KEY:-{}}}", new_key().unwrap_or_default());
    let own = CONFIGURATION.replace("${SECRET_KEY}", &secret).replace("\"0.0.0.0:", "\"127.0.0.1:");
    own.replace("${HEALTH_CHECK_INTERVAL:-60}", "${HEALTH_CHECK_INTERVAL:-2}")
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
                Failure::Refused(format!("the demo's {name} service cannot listen on {address}: {error}"))
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
    let address = listeners.first().map(String::as_str).unwrap_or_default();
    println!("gatekeeper listens on {address}, administration on {}. Try:", config.admin.address);
    let token = jwt::sample(config).unwrap_or_default();
    println!("  curl -i http://{address}/api/v1/content/articles/1");
    println!("  curl -i -H 'Authorization: Bearer {token}' http://{address}/api/v1/content/articles/1");
    println!("  curl -i -X POST http://{address}/api/v1/auth/login");
    println!("  curl -i http://{address}/nowhere");
    println!("  curl http://{}/metrics", config.admin.address);
    println!("The first request is refused. The second one has a token, which is valid for 12 hours.");
    println!("Press Ctrl-C to stop.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_for_this_machine_and_checks_its_services_often() {
        let text = configuration();
        assert!(text.contains("${HEALTH_CHECK_INTERVAL:-2}") && !text.contains("INTERVAL:-60"), "{text}");
        assert!(text.contains("\"127.0.0.1:") && !text.contains("\"0.0.0.0:"), "{text}");
        assert!(text.contains("${SECRET_KEY:-") && !text.contains("${SECRET_KEY}"), "{text}");
    }
}
