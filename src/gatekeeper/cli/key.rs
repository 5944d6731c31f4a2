//! `key`: a new API key, and the hash of it that the configuration holds.

use std::io::Read;

use serde_json::json;

use super::{Failure, Options, Outcome};
use gatekeeper_plane::policy::auth::api_key::{hash, new_key, write_hash};

#[derive(clap::Args)]
pub struct Args {
    /// Hash a key from standard input, instead of creating one
    #[arg(long)]
    stdin: bool,
}

/// Prints a key and its hash.
pub fn run(options: &Options, args: &Args) -> Outcome {
    if args.stdin {
        let mut key = String::new();
        let read = std::io::stdin().take(4096).read_to_string(&mut key);
        read.map_err(|error| Failure::Refused(format!("cannot read the key: {error}")))?;
        let hash = write_hash(hash(key.trim_end_matches(['\r', '\n']).as_bytes()));
        return options.print(&json!({ "hash": hash }), format_args!("{hash}\n"));
    }
    let key = new_key().ok_or_else(|| Failure::Refused("the system provides no random numbers".into()))?;
    let hash = write_hash(hash(key.as_bytes()));
    options.print(
        &json!({ "key": key, "hash": hash }),
        format_args!(
            "key   {key}   (for its owner; it is not shown again)\nhash  {hash}   (for auth.api_keys.keys[].hash)\n"
        ),
    )
}
