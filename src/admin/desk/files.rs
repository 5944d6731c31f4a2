//! What the files declare. As long as nobody asks for it, only the texts are kept: a gateway whose API nobody uses pays nothing
//! for it.

use std::sync::{Arc, OnceLock};

use gatekeeper_model::{Loaded, Texts};

/// What the files declare.
pub struct Files {
    texts: Arc<Texts>,
    fingerprint: String,
    loaded: OnceLock<Option<Loaded>>,
}

impl Files {
    /// Files that were read.
    pub fn of(loaded: &Loaded) -> Files {
        Files { texts: loaded.texts.clone(), fingerprint: loaded.fingerprint(), loaded: OnceLock::new() }
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

    /// What they declare. It was understood when they were read, so it is understood again.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get_or_init(|| self.texts.understand()).as_ref()
    }
}
