//! Where something stands: a file and the path inside it, such as `gatekeeper.yaml: routes[3].path_pattern`.
//!
//! A place borrows its keys and holds six steps without allocating, so one may be made for every route whether or not
//! a fault comes of it.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smallvec::SmallVec;

use super::files;
use super::words::quoted;

/// A file that was read: its rank in the order of reading, and its name as shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct File(Arc<Identity>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Identity {
    rank: usize,
    name: String,
    source: Option<Source>,
}

/// Where a text came from, and what it was.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Source {
    path: PathBuf,
    length: u64,
    digest: u64,
}

impl File {
    /// The file read as number `rank`.
    pub fn new(rank: usize, name: &str) -> Self {
        File(Arc::new(Identity { rank, name: name.into(), source: None }))
    }

    /// The same file, from whose path this text was read.
    pub(super) fn with_text(&self, path: &Path, text: &str) -> Self {
        let source = Source { path: path.into(), length: text.len() as u64, digest: digest(text) };
        File(Arc::new(Identity { rank: self.0.rank, name: self.0.name.clone(), source: Some(source) }))
    }

    /// Stands for the objects that no file declares.
    pub(super) fn of_objects() -> Self {
        File::new(usize::MAX, "API")
    }

    /// Whether it stands for the objects that no file declares.
    pub(super) fn is_of_objects(&self) -> bool {
        self.0.rank == usize::MAX && self.0.source.is_none() && self.0.name == "API"
    }

    pub(super) fn hash_text(&self, hasher: &mut impl Hasher) {
        let digest = self.0.source.as_ref().map(|source| source.digest);
        (&self.0.name, digest).hash(hasher);
    }

    /// Its name, as shown to people.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn rank(&self) -> usize {
        self.0.rank
    }

    /// Its text, if that is still the one that was read.
    pub(super) fn text(&self) -> Option<String> {
        let Source { path, length, digest: known } = self.0.source.as_ref()?;
        let mut text = String::new();
        files::open(path).ok()?.take(length + 1).read_to_string(&mut text).ok()?;
        (digest(&text) == *known).then_some(text)
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step<'a> {
    /// A line and a column of the file; only for what has no path yet.
    At(usize, usize),
    /// An entry of a list, counted from 0.
    Index(usize),
    /// A key of a map.
    Key(Cow<'a, str>),
}

/// A path in the configuration and, when known, its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place<'a> {
    pub(super) file: Option<File>,
    pub(super) steps: SmallVec<[Step<'a>; 6]>,
}

impl<'a> Place<'a> {
    /// The top-level key `section`; its file is found out when a fault is shown.
    pub fn new(section: &'a str) -> Self {
        Place::default().key(section)
    }

    /// A file as a whole.
    pub fn file(file: &File) -> Self {
        Place { file: Some(file.clone()), steps: SmallVec::new() }
    }

    /// The entry `index` of this list.
    pub fn index(&self, index: usize) -> Place<'a> {
        self.then(Step::Index(index))
    }

    /// The value at `key` of this map.
    pub fn key<'b>(&self, key: &'b str) -> Place<'b>
    where
        'a: 'b,
    {
        self.then(Step::Key(Cow::Borrowed(key)))
    }

    pub(super) fn line(&self, line: usize, column: usize) -> Place<'a> {
        self.then(Step::At(line, column))
    }

    pub(super) fn then<'b>(&self, step: Step<'b>) -> Place<'b>
    where
        'a: 'b,
    {
        let mut steps: SmallVec<[Step<'b>; 6]> = SmallVec::new();
        for step in &self.steps {
            steps.push(step.clone());
        }
        steps.push(step);
        Place { file: self.file.clone(), steps }
    }

    /// The same with keys of its own.
    pub fn into_owned(self) -> Place<'static> {
        let owned = |step| match step {
            Step::At(line, column) => Step::At(line, column),
            Step::Index(index) => Step::Index(index),
            Step::Key(key) => Step::Key(Cow::Owned(key.into_owned())),
        };
        Place { file: self.file, steps: self.steps.into_iter().map(owned).collect() }
    }
}

impl Place<'_> {
    /// The path alone, without the file.
    pub fn path(&self) -> String {
        let steps = self.steps.iter().filter(|step| !matches!(step, Step::At(..)));
        Place { file: None, steps: steps.cloned().collect() }.to_string()
    }

    /// The place within an object that no file declares: what follows its section and its name.
    pub fn within(&self, section: &str, name: &str) -> Option<Place<'static>> {
        let is_object = self.file.as_ref().is_some_and(File::is_of_objects);
        match self.steps.as_slice() {
            [Step::Key(found), rest @ ..] if is_object && section == "cors" && found == section => Some(rest),
            [Step::Key(found), Step::Key(named), rest @ ..] if is_object && found == section && named == name => {
                Some(rest)
            }
            _ => None,
        }
        .map(|rest| Place { file: None, steps: rest.iter().cloned().collect() }.into_owned())
    }

    /// The line, of what has no path.
    pub(super) fn line_at(&self) -> Option<usize> {
        self.steps.iter().find_map(|step| if let Step::At(line, _) = step { Some(*line) } else { None })
    }

    /// The name of the service that it belongs to.
    pub(super) fn service(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [Step::Key(section), Step::Key(name), ..] if section == "services" => Some(name),
            _ => None,
        }
    }

    /// The path with the object it belongs to called by its name: `route "content" (routes[3]).methods`.
    pub(super) fn path_of(&self, name: Option<&str>) -> String {
        let (object, rest) = match (self.steps.as_slice(), self.service().or(name)) {
            ([_, Step::Key(_), rest @ ..], Some(name)) => (format!("service {}", quoted(name)), rest),
            ([Step::Key(section), entry @ Step::Index(_), rest @ ..], Some(name)) => {
                let kind = kind(section);
                (format!("{kind} {} ({section}{})", quoted(name), Shown(entry)), rest)
            }
            _ => return self.path(),
        };
        rest.iter().fold(object, |shown, step| match step {
            Step::Key(_) => format!("{shown}.{}", Shown(step)),
            _ => format!("{shown}{}", Shown(step)),
        })
    }
}

/// What the entries of a list are called.
fn kind(section: &str) -> &str {
    match section {
        "routes" => "route",
        "rate_limits" => "rate limit",
        "tests" => "test",
        "listen" => "listener",
        other => other,
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map_or("", |file| file.name());
        f.write_str(file)?;
        for (position, step) in self.steps.iter().enumerate() {
            match (position, step) {
                (_, Step::At(line, column)) => write!(f, ":{line}:{column}")?,
                (0, _) if !file.is_empty() => write!(f, ": {}", Shown(step))?,
                (1.., Step::Key(_)) => write!(f, ".{}", Shown(step))?,
                _ => write!(f, "{}", Shown(step))?,
            }
        }
        Ok(())
    }
}

struct Shown<'s>(&'s Step<'s>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Step::Key(key) if is_plain(key) => f.write_str(key),
            Step::Key(key) => write!(f, "{}", quoted(key)),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::At(line, column) => write!(f, "{line}:{column}"),
        }
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.len() <= 64 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_like_its_path() {
        let file = File::new(0, "gatekeeper.yaml");
        let cases = [
            (Place::new("routes").index(3).key("path_pattern"), "routes[3].path_pattern"),
            (
                Place::file(&file).key("services").key("content").key("targets").index(0),
                "gatekeeper.yaml: services.content.targets[0]",
            ),
            (Place::file(&file), "gatekeeper.yaml"),
            (Place::file(&file).line(7, 3), "gatekeeper.yaml:7:3"),
            (Place::new("headers").key("a.b\n"), "headers.\"a.b\\n\""),
            (Place::default(), ""),
        ];
        for (place, shown) in cases {
            assert_eq!(place.to_string(), shown);
        }
    }

    #[test]
    fn places_sort_by_file_then_by_number() {
        let (first, second) = (File::new(0, "z.yaml"), File::new(1, "a.yaml"));
        let mut places = [
            Place::file(&second).key("a"),
            Place::file(&first).key("routes").index(10),
            Place::file(&first).key("routes").index(9).key("z"),
        ];
        places.sort();
        assert_eq!(places.map(|p| p.to_string()), ["z.yaml: routes[9].z", "z.yaml: routes[10]", "a.yaml: a"]);
    }
}
