//! From files to a typed configuration, with every fault of one run.
//!
//! Rules: the file, then `conf.d/*.yaml` beside it in the order of their names. A part that cannot be read is a fault,
//! and the rest is still read. What is faulty is left out of the configuration, which the caller may go on with to find
//! more faults (`Faults::was_pruned` says what is missing because of a fault), but must not run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::decode::decode;
use super::fault::{Fault, Faults};
pub use super::interpolate::Env;
use super::interpolate::Interpolation;
use super::merge::Merged;
use super::model::{Config, Service};
use super::node::Node;
use super::origin::Origins;
use super::place::{File, Place};
use super::yaml;

const LARGEST_FILE: u64 = 64 << 20;
const VERSION: &str = "version";

/// A configuration and where its parts came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files say, without what is faulty.
    pub config: Config,
    /// Which part came from where, and what is secret.
    pub origins: Arc<Origins>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads the file at `path` and its `conf.d` with the environment of this process.
pub fn load(path: &Path) -> (Option<Loaded>, Faults) {
    load_with(path, &|name| std::env::var(name).ok())
}

/// Reads the file at `path` and its `conf.d` with the variables of `env`.
pub fn load_with(path: &Path, env: Env<'_>) -> (Option<Loaded>, Faults) {
    let mut loader = Loader::new(env);
    let folder = path.parent().unwrap_or(Path::new(""));
    let main = File::new(0, &path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()));
    loader.add_file(&main, path);
    for (rank, part) in loader.parts(&main, &folder.join("conf.d")).into_iter().enumerate() {
        let name = part.file_name().unwrap_or_default().to_string_lossy();
        loader.add_file(&File::new(rank + 1, &format!("conf.d/{name}")), &part);
    }
    loader.finish()
}

/// Reads a configuration from a text, with no variables.
pub fn parse(text: &str) -> (Option<Loaded>, Faults) {
    parse_with(text, &|_| None)
}

/// Reads a configuration from a text with the variables of `env`; files are relative to the working directory.
pub fn parse_with(text: &str, env: Env<'_>) -> (Option<Loaded>, Faults) {
    let mut loader = Loader::new(env);
    loader.add_text(&File::new(0, ""), text, Path::new(""));
    loader.finish()
}

/// The cause of an input error, without the number of the operating system.
pub(super) fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
    }
}

struct Loader<'e> {
    env: Env<'e>,
    merged: Merged,
    faults: Faults,
    files: Vec<PathBuf>,
}

impl<'e> Loader<'e> {
    fn new(env: Env<'e>) -> Self {
        Loader { env, merged: Merged::default(), faults: Faults::default(), files: Vec::new() }
    }

    fn add_file(&mut self, file: &File, path: &Path) {
        self.files.push(path.into());
        match read(path) {
            Ok(text) => self.add_text(file, &text, path.parent().unwrap_or(Path::new(""))),
            Err(why) => {
                let shown = File { rank: file.rank, name: path.to_string_lossy().into() };
                self.faults.add(Fault::saying(Place::file(&shown), why));
                self.merged.origins.incomplete = true;
            }
        }
    }

    fn add_text(&mut self, file: &File, text: &str, folder: &Path) {
        self.merged.origins.files.push(file.clone());
        let place = Place::file(file);
        let Some(mut node) = yaml::read(text, &place, &mut self.faults) else {
            self.merged.origins.incomplete = true;
            return;
        };
        if node == Node::Null && file.rank == 0 {
            self.faults.add(Fault::saying(place, "the file is empty").with_hint("`gatekeeper config init` prints a good start"));
            self.merged.origins.incomplete = true;
            return;
        }
        Interpolation::new(self.env, folder).fill(&mut node, &place, &mut self.faults);
        self.merged.add(file, node, &mut self.faults);
    }

    /// The parts beside the main file, in the order of their names.
    fn parts(&mut self, main: &File, folder: &Path) -> Vec<PathBuf> {
        let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut parts: Vec<PathBuf> = match listed {
            Ok(parts) => parts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let why = format!("its folder conf.d cannot be read: {}", cause(&error));
                self.faults.add(Fault::saying(Place::file(main), why));
                return Vec::new();
            }
        };
        parts.retain(|part| !part.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
        parts.sort();
        let (parts, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.extension().is_some_and(|e| e == "yaml"));
        for other in others.iter().filter(|other| other.extension().is_some_and(|e| e == "yml")) {
            let shown = File { rank: usize::MAX, name: other.to_string_lossy().into() };
            self.faults.warn(Fault::saying(Place::file(&shown), "not read: the names of parts end with .yaml"));
        }
        parts
    }

    fn finish(mut self) -> (Option<Loaded>, Faults) {
        self.merged.refuse_double_names(&mut self.faults);
        let Merged { root, mut origins } = self.merged;
        // A main file that could not be read has been reported; the parts are still looked at.
        let unread = origins.incomplete && !root.contains_key(VERSION);
        let mut root = Node::Map(root);
        origins.note_secret_texts(&root);
        self.faults.set_origins(Arc::new(origins.clone()));
        settle_version(&mut root, unread, &mut self.faults);
        let config = decode_sections(&mut root, &mut self.faults);
        origins.survey(&root, &Place::default());
        let origins = Arc::new(origins);
        self.faults.set_origins(origins.clone());
        let config = config.filter(|_| !unread);
        (config.map(|config| Loaded { config, origins, files: self.files }), self.faults)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    opened.map_err(|error| cause(&error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("the file is over 64 MiB".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        format!("the file is not UTF-8 text (line {line})")
    })
}

/// Only version 1 exists; what follows is read as that, whatever is written.
fn settle_version(root: &mut Node, unread: bool, faults: &mut Faults) {
    let Node::Map(root) = root else { return };
    let place = Place::new(VERSION);
    match root.insert(VERSION.into(), Node::Unsigned(1)) {
        Some(Node::Unsigned(1) | Node::Gone(_)) => {}
        None if unread => {}
        None => faults.add(Fault::saying(place, "missing").with_hint("begin the file with `version: 1`")),
        Some(Node::Text(text)) if text.from.is_some() && text.text == "1" => {}
        Some(other) => faults.push(place, other.describe(), "1"),
    }
}

/// The long sections entry by entry, so that a fault costs no second look at all the others; then the rest.
fn decode_sections(root: &mut Node, faults: &mut Faults) -> Option<Config> {
    let mut sections = BTreeMap::new();
    if let Node::Map(root) = root {
        for section in ["services", "routes", "tests"] {
            sections.extend(root.remove_entry(section));
        }
        let odd = sections.extract_if(.., |section, node| match section.as_str() {
            "services" => !matches!(node, Node::Map(_)),
            _ => !matches!(node, Node::List(_)),
        });
        root.extend(odd);
    }
    let services = sections.get_mut("services").map(|node| named(node, faults));
    let routes = sections.get_mut("routes").map(|node| listed(node, &Place::new("routes"), faults));
    let tests = sections.get_mut("tests").map(|node| listed(node, &Place::new("tests"), faults));
    let mut config = decode::<Config>(root, &Place::default(), faults);
    if let Some(config) = &mut config {
        config.services.extend(services.unwrap_or_default());
        config.routes.extend(routes.unwrap_or_default());
        config.tests.extend(tests.unwrap_or_default());
    }
    if let Node::Map(root) = root {
        root.extend(sections);
    }
    config
}

fn listed<T: DeserializeOwned>(node: &mut Node, place: &Place<'_>, faults: &mut Faults) -> Vec<T> {
    let Node::List(list) = node else { return Vec::new() };
    let entries = list.iter_mut().enumerate();
    entries.filter_map(|(index, node)| decode(node, &place.index(index), faults)).collect()
}

fn named(node: &mut Node, faults: &mut Faults) -> BTreeMap<String, Service> {
    let Node::Map(map) = node else { return BTreeMap::new() };
    let place = Place::new("services");
    let decoded = map.iter_mut().filter_map(|(name, node)| Some((name.clone(), decode(node, &place.key(name), faults)?)));
    decoded.collect()
}
