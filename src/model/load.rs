//! From files to a typed configuration, with every fault of one run.
//!
//! Rules: the file, then `conf.d/*.yaml` beside it in the order of their names. A part that cannot be read is a fault,
//! and the rest is still read. What is faulty is left out of the configuration, which the caller may go on with to find
//! more faults (`Faults::was_pruned` says what is missing because of a fault), but must not run.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::fault::{Fault, Faults};
pub use super::interpolate::Env;
use super::interpolate::Interpolation;
use super::merge::Merged;
use super::node::Node;
use super::origin::Origins;
use super::place::{File, Place};
use super::repair::decode;
use super::texts::Texts;
use super::{paths, permissions, short, yaml};
use crate::files::{self, cause, unreadable};
use crate::raw::{Config, Service};

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
    /// What they said.
    pub texts: Arc<Texts>,
}

impl Loaded {
    /// Tells whether two configurations were read from the same texts. It is no proof against somebody who wants it to fail.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.origins.files().iter().for_each(|file| file.hash_text(&mut hasher));
        format!("{:016x}", hasher.finish())
    }
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
    permissions::lint_folders(&main, folder, &mut loader.faults);
    for (rank, part) in loader.parts(&main, &folder.join("conf.d")).into_iter().enumerate() {
        let name = part.file_name().unwrap_or_default().to_string_lossy();
        loader.add_file(&File::new(rank + 1, &format!("conf.d/{name}")), &part);
    }
    let (loaded, mut faults) = loader.finish();
    if loaded.is_none() {
        faults.locate();
    }
    (loaded, faults)
}

impl Texts {
    /// The configuration that the texts were, with the environment of this process. Nothing is read anew.
    pub fn understand(&self) -> Option<Loaded> {
        let env = |name: &str| std::env::var(name).ok();
        let mut loader = Loader::new(&env);
        loader.texts.included = self.included.clone();
        for part in &self.parts {
            loader.add_text(&part.file, &part.text(), &part.folder);
        }
        loader.finish().0
    }
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

struct Loader<'e> {
    env: Env<'e>,
    merged: Merged,
    faults: Faults,
    files: Vec<PathBuf>,
    texts: Texts,
}

impl<'e> Loader<'e> {
    fn new(env: Env<'e>) -> Self {
        Loader { env, merged: Merged::default(), faults: Faults::default(), files: Vec::new(), texts: Texts::default() }
    }

    fn add_file(&mut self, file: &File, path: &Path) {
        self.files.push(path.into());
        permissions::lint_file(file, path, &mut self.faults);
        match read(path) {
            Ok(text) => self.add_text(&file.with_text(path, &text), &text, path.parent().unwrap_or(Path::new(""))),
            Err(why) => {
                let shown = File::new(file.rank(), &path.to_string_lossy());
                self.faults.add(Fault::saying(Place::file(&shown), why));
                self.merged.origins.incomplete = true;
            }
        }
    }

    fn add_text(&mut self, file: &File, text: &str, folder: &Path) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.texts.keep(file, folder, text);
        self.merged.origins.files.push(file.clone());
        let place = Place::file(file);
        let Some(mut node) = yaml::read(text, &place, &mut self.faults) else {
            self.merged.origins.incomplete = true;
            return;
        };
        if node == Node::Null && file.rank() == 0 {
            self.faults.add(
                Fault::saying(place, "the file is empty").with_hint("`gatekeeper config init` prints a good start"),
            );
            self.merged.origins.incomplete = true;
            return;
        }
        Interpolation::new(self.env, folder, &mut self.texts.included).fill(&mut node, &place, &mut self.faults);
        paths::resolve(&mut node, folder);
        self.merged.add(file, node, &mut self.faults);
    }

    /// The parts beside the main file, in the order of their names.
    fn parts(&mut self, main: &File, folder: &Path) -> Vec<PathBuf> {
        let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut parts: Vec<PathBuf> = match listed {
            Ok(parts) => parts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let why = unreadable("its folder conf.d", &error);
                self.faults.add(Fault::saying(Place::file(main), why));
                return Vec::new();
            }
        };
        parts.retain(|part| !part.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
        parts.sort();
        let (parts, others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.extension().is_some_and(|e| e == "yaml"));
        for other in others.iter().filter(|other| other.extension().is_some_and(|e| e == "yml")) {
            let shown = File::new(usize::MAX, &other.to_string_lossy());
            self.faults.warn(Fault::saying(Place::file(&shown), "not read: the names of parts end with .yaml"));
        }
        parts
    }

    fn finish(mut self) -> (Option<Loaded>, Faults) {
        short::expand(&mut self.merged.root);
        self.merged.note_secret_texts();
        self.merged.refuse_double_names(&mut self.faults);
        let Merged { root, mut origins } = self.merged;
        // A main file that could not be read has been reported; the parts are still looked at.
        let unread = origins.incomplete && root.get(VERSION).is_none();
        let mut root = Node::Map(root);
        self.faults.set_origins(Arc::new(origins.clone()));
        settle_version(&mut root, unread, &mut self.faults);
        let config = decode_sections(&mut root, &mut self.faults);
        origins.survey(&root, &Place::default());
        let origins = Arc::new(origins);
        self.faults.set_origins(origins.clone());
        let config = config.filter(|_| !unread);
        let texts = Arc::new(self.texts);
        (config.map(|config| Loaded { config, origins, files: self.files, texts }), self.faults)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let opened = files::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    opened.map_err(|error| cause(&error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("the file is over 64 MiB".into());
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("the file is UTF-16 text; save it as UTF-8".into());
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
    match root.insert(VERSION, Node::Unsigned(1)) {
        Some(Node::Unsigned(1) | Node::Gone(_)) => {}
        None if unread => {}
        None => faults.add(Fault::saying(place, "missing").with_hint("begin the file with `version: 1`")),
        Some(Node::Text(text)) if text.from.is_some() && text.text == "1" => {}
        Some(other) => faults.push(place, other.describe(), "1"),
    }
}

/// The long sections entry by entry, so that a fault costs no second look at all the others; then the rest.
fn decode_sections(root: &mut Node, faults: &mut Faults) -> Option<Config> {
    let mut services = take(root, "services", |node| matches!(node, Node::Map(_)));
    let mut routes = take(root, "routes", |node| matches!(node, Node::List(_)));
    let mut tests = take(root, "tests", |node| matches!(node, Node::List(_)));
    let named = services.as_mut().map(|node| named(node, faults));
    let listed = (
        routes.as_mut().map(|node| listed(node, &Place::new("routes"), faults)),
        tests.as_mut().map(|node| listed(node, &Place::new("tests"), faults)),
    );
    let mut config = decode::<Config>(root, &Place::default(), faults);
    if let Some(config) = &mut config {
        config.services = named.unwrap_or_default();
        config.routes = listed.0.unwrap_or_default();
        config.tests = listed.1.unwrap_or_default();
    }
    if let Node::Map(root) = root {
        for (name, section) in [("services", services), ("routes", routes), ("tests", tests)] {
            // A misspelt key may have left its trace in the place of what was taken out.
            section.map(|section| root.insert(name, section));
        }
    }
    config
}

/// Takes a section out that is what it should be.
fn take(root: &mut Node, section: &str, is_right: fn(&Node) -> bool) -> Option<Node> {
    let Node::Map(root) = root else { return None };
    if root.get(section).is_some_and(is_right) { root.remove(section) } else { None }
}

fn listed<T: DeserializeOwned>(node: &mut Node, place: &Place<'_>, faults: &mut Faults) -> Vec<T> {
    let Node::List(list) = node else { return Vec::new() };
    // As many as there are: growing would copy them all.
    let mut decoded = Vec::with_capacity(list.len());
    for (index, node) in list.iter_mut().enumerate() {
        decoded.extend(decode(node, &place.index(index), faults));
    }
    decoded
}

fn named(node: &mut Node, faults: &mut Faults) -> BTreeMap<String, Arc<Service>> {
    let Node::Map(map) = node else { return BTreeMap::new() };
    let place = Place::new("services");
    let decoded = map
        .iter_mut()
        .filter_map(|(name, node)| Some((name.into(), Arc::new(decode(node, &place.key(name), faults)?))));
    decoded.collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::{ANNOTATED_DEFAULT, show};

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn load_from(folder: &TempDir) -> (Option<Loaded>, Faults) {
        let env = |name: &str| (name == "API_KEY").then(|| "hidden-key".to_owned());
        load_with(&folder.path().join("gatekeeper.yaml"), &env)
    }

    #[test]
    fn parts_are_joined_in_the_order_of_their_names() {
        let folder = folder(&[
            (
                "gatekeeper.yaml",
                "version: 1\nservices: { a: { targets: [] } }\nroutes: [{ name: m, path_pattern: /m }]\naccess_log: { to: off }\n",
            ),
            ("conf.d/20.yaml", "routes: [{ name: z, path_pattern: /z }]\nthreads: 5\naccess_log: { queue: 1 }\n"),
            (
                "conf.d/10.yaml",
                "version: 1\nservices: { b: { targets: [\"${file:target}\"] } }\nroutes: [{ name: y, path_pattern: /y }]\n",
            ),
            ("conf.d/target", "http://b\n"),
            ("conf.d/30.yaml", "# all of it commented out\n"),
            ("conf.d/.swap.yaml", "nonsense"),
            ("conf.d/40.yml", "nonsense"),
        ]);
        let (loaded, faults) = load_from(&folder);
        assert_eq!(faults.to_string(), "");
        assert!(faults.lints()[0].to_string().ends_with("conf.d/40.yml: not read: the names of parts end with .yaml"));
        let loaded = loaded.unwrap();
        let names: Vec<_> = loaded.config.routes.iter().map(|route| route.name.as_str()).collect();
        assert_eq!((names, loaded.files.len()), (vec!["m", "y", "z"], 4));
        assert_eq!(loaded.config.services["b"].targets[0].url(), "http://b");
        assert_eq!((loaded.config.access_log.to.as_str(), loaded.config.access_log.queue), ("off", 1));
    }

    #[test]
    fn faults_name_the_file_and_the_number_in_it() {
        let folder = folder(&[
            (
                "gatekeeper.yaml",
                "version: 1\nacme_webroot: /a\nroutes: [{ name: a, path_pattern: 1 }, { name: b, path_pattern: /b }]\nservices: { s: { targets: [1, http://s] } }\n",
            ),
            (
                "conf.d/x.yaml",
                "acme_webroot: /b\nroutes: [{ name: b, path_pattern: /b }, { name: c, path_pattern: /c, hosts: x }]\nservices: { s: { targets: [] }, t: 1 }\n",
            ),
            ("conf.d/y.yaml", "rotes: []\npaths: 1\nroutes: { a: 1 }\n"),
        ]);
        let (loaded, mut faults) = load_from(&folder);
        let config = loaded.unwrap().config;
        assert_eq!(config.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        // As the plan's compiler would, in the numbers of the configuration.
        faults.push(Place::new("routes").index(1).key("path_pattern"), "x", "y");
        faults.push(Place::new("services").key("s").key("targets").index(0), "x", "y");
        faults.push(Place::new("admin").key("address"), "x", "y");
        let expected = "gatekeeper.yaml: admin.address: found x, allowed: y\n\
            gatekeeper.yaml: routes[0].path_pattern: found 1, allowed: a text; put it in quotes\n\
            gatekeeper.yaml: services.s.targets[0]: found 1, allowed: a text such as http://10.0.0.5:8003, or a map with url, weight, max_in_flight; put it in quotes\n\
            gatekeeper.yaml: services.s.targets[1]: found x, allowed: y\n\
            conf.d/x.yaml: acme_webroot: this is set twice; first at gatekeeper.yaml: acme_webroot\n\
            conf.d/x.yaml: routes[0].name: the route name \"b\" is used twice; first at gatekeeper.yaml: routes[1]\n\
            conf.d/x.yaml: routes[1].hosts: found \"x\", allowed: a list; write [x]\n\
            conf.d/x.yaml: routes[1].path_pattern: found x, allowed: y\n\
            conf.d/x.yaml: services.s: the service name \"s\" is used twice; first at gatekeeper.yaml: services.s\n\
            conf.d/x.yaml: services.t: found 1, allowed: a map with targets, protocol, tls, idle_timeout, load_balancing, slow_start, health_check, circuit_breaker, ejection, retry_budget, max_in_flight, queue, …\n\
            conf.d/y.yaml: paths: found 1, allowed: a map with merge_slashes\n\
            conf.d/y.yaml: rotes: unknown key; did you mean \"routes\"?\n\
            conf.d/y.yaml: routes: this is set twice; first at gatekeeper.yaml: routes\n";
        assert_eq!(faults.to_string(), expected);
        let pruned = |section, name| faults.was_pruned(&Place::new(section).key(name));
        assert!(pruned("services", "t") && pruned("routes", "a") && !pruned("services", "s") && !pruned("routes", "z"));
    }

    #[test]
    fn a_missing_section_or_part_hides_what_it_may_have_held() {
        let (loaded, faults) = parse("version: 1\nservics: { a: { targets: [] } }\n");
        assert!(loaded.is_some() && faults.was_pruned(&Place::new("services").key("a")));
        let folder = folder(&[("gatekeeper.yaml", "version: 1\n"), ("conf.d/a.yaml", "a: [")]);
        let (loaded, faults) = load_from(&folder);
        assert!(loaded.is_some() && faults.was_pruned(&Place::new("services").key("a")));
        assert_eq!(faults.to_string(), "conf.d/a.yaml:2:1: not valid YAML: did not find expected node content\n");
    }

    #[test]
    fn a_secret_is_never_found() {
        let text = "version: 1\nservices: { a: { targets: [\"http://x\", \"${API_KEY}\"] } }\nthreads: ${API_KEY}\nlog_level: ${API_KEY}\n\
                    drain:\n  grace: ${API_KEY}\nlisten: [{ address: x, h2c: \"${API_KEY}\" }]\ntrusted_proxies: ${API_KEY}\n";
        let (loaded, mut faults) = load_from(&folder(&[("gatekeeper.yaml", text)]));
        faults.push(Place::new("services").key("a").key("targets").index(1), "the host hidden", "another");
        faults.push(Place::new("services"), "the text \"hidden-key\"", "another");
        let shown = faults.to_string() + &show::effective(&loaded.unwrap());
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(shown.contains("threads: found *** (from ${API_KEY}), allowed: 1 to 1024\n"), "{shown}");
    }

    #[test]
    fn what_cannot_be_read_is_one_sentence() {
        let big = "#".repeat((64 << 20) + 1);
        let folder =
            folder(&[("empty.yaml", "\n# nothing\n"), ("big.yaml", &big), ("list.yaml", "- 1"), ("dir/x", "")]);
        fs::write(folder.path().join("latin.yaml"), b"version: 1\n# caf\xe9\n").unwrap();
        fs::write(folder.path().join("wide.yaml"), b"\xff\xfev\0").unwrap();
        let at = folder.path().display();
        let cases = [
            ("none.yaml", format!("{at}/none.yaml: No such file\n")),
            ("dir", format!("{at}/dir: it is a directory\n")),
            ("latin.yaml", format!("{at}/latin.yaml: the file is not UTF-8 text (line 2)\n")),
            ("wide.yaml", format!("{at}/wide.yaml: the file is UTF-16 text; save it as UTF-8\n")),
            ("big.yaml", format!("{at}/big.yaml: the file is over 64 MiB\n")),
            ("empty.yaml", "empty.yaml: the file is empty; `gatekeeper config init` prints a good start\n".into()),
        ];
        for (name, shown) in cases {
            let (loaded, faults) = load_with(&folder.path().join(name), &|_| None);
            assert!(loaded.is_none());
            assert_eq!(faults.to_string(), shown);
        }
        fs::write(folder.path().join("conf.d"), "").unwrap();
        fs::write(folder.path().join("g.yaml"), "version: 1").unwrap();
        let (_, faults) = load(&folder.path().join("g.yaml"));
        assert_eq!(faults.to_string(), "g.yaml: cannot read its folder conf.d: Not a directory\n");
    }

    #[test]
    fn ten_thousand_routes_are_read_fast_with_and_without_faults() {
        let route = |i: usize| {
            format!(
                "  - {{ name: r{i}, path_pattern: /api/v1/s{i}/*, target_service: s, methods: [GET, POST], timeout: 30s }}\n"
            )
        };
        let good = format!("version: 1\nroutes:\n{}", (0..10_000).map(route).collect::<String>());
        for (text, faulty) in [(good.clone(), 0), (good.replace("30s", "30x"), 100)] {
            let begun = Instant::now();
            let (_, faults) = parse(&text);
            println!("10,000 routes, {faulty} faults: {:?}", begun.elapsed());
            assert_eq!(faults.len(), faulty);
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }

    fn no_panic(text: &str) {
        let (loaded, faults) = parse(text);
        let _ = (loaded.map(|loaded| show::effective(&loaded)), faults.to_string());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn no_text_panics(text in "(version: 1\n)?([ ]{0,4}(- )?(routes|services|listen|name|a|\\$\\{A\\}|&x|\\*x|<<|!t|'|\"|\\[|\\{|\\}|\\]|,|[0-9]|é|~)(:| |\n){0,2}){0,30}") {
            no_panic(&text);
        }

        #[test]
        fn no_mutation_panics(cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..30, "[ \n\t:{}\\[\\]&*!#$-9a-c\"']{0,4}"), 1..6)) {
            let mut text: Vec<char> = ANNOTATED_DEFAULT.chars().collect();
            for (at, length, insert) in cuts {
                let at = at.index(text.len());
                let end = (at + length).min(text.len());
                text.splice(at..end, insert.chars());
            }
            no_panic(&text.into_iter().collect::<String>());
        }
    }
}
