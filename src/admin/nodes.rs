//! The gateways that share a store: which revision each serves, and why not the newest.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gatekeeper_client::Node as Shown;
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::Control;
use crate::desk::{Held, moment, now};
use crate::problem::Problem;

/// A gateway that was not heard of for this long is not shown any more, in milliseconds.
const SHOWN: i64 = 24 * 3600 * 1000;
/// A gateway that reports lives.
pub const LIVE: i64 = 10_000;

/// How other gateways know this one.
pub struct Identity {
    /// Its id: the same as long as the host and the state directory are.
    pub id: Uuid,
    /// The host's name.
    pub name: String,
    /// Where its administration answers.
    pub address: String,
}

impl Identity {
    /// The gateway of this host that keeps its state in this directory.
    pub fn of(state_dir: &std::path::Path, address: String) -> Identity {
        let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let name = name.unwrap_or_else(|| "unknown".into());
        let directory = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.into());
        let digest = digest(&SHA256, format!("node\0{name}\0{}", directory.display()).as_bytes());
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest.as_ref()).for_each(|(byte, found)| *byte = *found);
        Identity { id: uuid::Builder::from_custom_bytes(bytes).into_uuid(), name, address }
    }
}

/// Tells whether two gateways serve the same: the objects, and the files.
pub fn hash(held: &Held) -> String {
    let objects = held.revision.hash.get(..16).unwrap_or_default();
    format!("{objects}-{}", held.files.hash())
}

/// All gateways that were heard of within a day.
pub async fn list(State(control): State<Arc<Control>>) -> Result<Json<Vec<Shown>>, Problem> {
    let now = now();
    let nodes = control.kept()?.store.nodes(now - SHOWN).await.map_err(Problem::of_store)?;
    let shown = nodes.into_iter().map(|node| Shown {
        id: node.id.to_string(),
        name: node.name,
        address: node.address,
        version: node.version,
        revision: node.revision,
        hash: node.hash,
        status: match (now - node.seen_at <= LIVE, &node.fault) {
            (false, _) => "away".into(),
            (true, Some(_)) => "behind".into(),
            (true, None) => "live".into(),
        },
        fault: node.fault,
        seen_at: moment(node.seen_at),
    });
    Ok(Json(shown.collect()))
}
