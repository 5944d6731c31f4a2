//! Where something stands: a file and the path inside it, such as `gatekeeper.yaml: routes[3].path_pattern`.
//!
//! A place borrows its keys and holds six steps without allocating, so one may be made for every route whether or not
//! a fault comes of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::words::quoted;

/// A file that was read: its rank in the order of reading, and its name as shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct File {
    pub(super) rank: usize,
    pub(super) name: Arc<str>,
}

impl File {
    /// The file read as number `rank`.
    pub fn new(rank: usize, name: &str) -> Self {
        File { rank, name: name.into() }
    }

    /// Its name, as shown to people.
    pub fn name(&self) -> &str {
        &self.name
    }
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

    pub(super) fn into_owned(self) -> Place<'static> {
        let owned = |step| match step {
            Step::At(line, column) => Step::At(line, column),
            Step::Index(index) => Step::Index(index),
            Step::Key(key) => Step::Key(Cow::Owned(key.into_owned())),
        };
        Place { file: self.file, steps: self.steps.into_iter().map(owned).collect() }
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
