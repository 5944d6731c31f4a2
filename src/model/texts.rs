//! The texts that a configuration was read from, compressed. Who needs the configuration once more can understand them again:
//! that takes a hundredth of the memory of keeping it, and does not depend on what has become of the files.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::place::File;

/// Fast, and small enough.
const LEVEL: i32 = 1;

/// What was read.
#[derive(Clone, Default)]
pub struct Texts {
    /// The files of the configuration, in order.
    pub(super) parts: Vec<Part>,
    /// What `${file:…}` brought in.
    pub(super) included: HashMap<PathBuf, String>,
}

/// A file of the configuration.
#[derive(Clone)]
pub(super) struct Part {
    pub file: File,
    pub folder: PathBuf,
    text: Vec<u8>,
}

impl Texts {
    pub(super) fn keep(&mut self, file: &File, folder: &Path, text: &str) {
        // Memory is always written to.
        let text = zstd::encode_all(text.as_bytes(), LEVEL).unwrap_or_default();
        self.parts.push(Part { file: file.clone(), folder: folder.into(), text });
    }
}

impl Part {
    pub fn text(&self) -> String {
        let bytes = zstd::decode_all(self.text.as_slice()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// The texts hold secrets.
impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}
