//! What the files declare. As long as nobody asks for it, only the texts are kept: a gateway whose API nobody uses pays nothing
//! for it.

use std::sync::{Arc, OnceLock};

use gatekeeper_model::{Loaded, Texts};

/// What the files declare.
pub struct Files {
    texts: Arc<Texts>,
    fingerprint: String,
    loaded: OnceLock<Option<Loaded>>,
    hash: OnceLock<String>,
}

/// Settings in which gateways that serve the same may differ.
const OWN: [&str; 8] = ["listen", "admin", "state_dir", "store", "threads", "log_level", "access_log", "drain"];

impl Files {
    /// Files that were read.
    pub fn of(loaded: &Loaded) -> Files {
        Files {
            texts: loaded.texts.clone(),
            fingerprint: loaded.fingerprint(),
            loaded: OnceLock::new(),
            hash: OnceLock::new(),
        }
    }

    /// The same, of which it is known that they will be asked for.
    pub fn kept(loaded: Loaded) -> Files {
        let files = Files::of(&loaded);
        files.loaded.get_or_init(|| Some(loaded));
        files
    }

    /// Tells whether the files are others.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The hash of what they declare, but for the settings in which gateways that serve the same may differ.
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let mut config = self.loaded().map(|loaded| serde_json::json!(loaded.config)).unwrap_or_default();
            OWN.iter().for_each(|own| config[*own] = serde_json::Value::Null);
            let digest = ring::digest::digest(&ring::digest::SHA256, config.to_string().as_bytes());
            digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
        })
    }

    /// What they declare. It was understood when they were read, so it is understood again.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get_or_init(|| self.texts.understand()).as_ref()
    }
}
