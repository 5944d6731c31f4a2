//! Where the parts of a loaded configuration came from: which file, and which number in that file.
//!
//! A configuration is joined from several files, and what is faulty is left out of it; so the `routes[7]` of the
//! configuration may be `conf.d/shop.yaml: routes[2]`. Places are kept in the numbers of the configuration, and are
//! translated only when a fault is shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::map::Map;
use super::node::Node;
use super::place::{File, Place, Step};
use super::words::quoted;

/// Shorter secrets would be "found" in the middle of harmless words.
const SHORTEST_SECRET: usize = 4;

/// Where the parts of a loaded configuration came from.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    pub(super) files: Vec<File>,
    /// A top-level key is shown with the first file that has it.
    pub(super) sections: HashMap<String, File>,
    /// The entries of a top-level list: file, and number in that file.
    pub(super) lists: HashMap<String, Vec<(File, usize)>>,
    /// The keys of a top-level map.
    pub(super) keys: HashMap<String, HashMap<String, File>>,
    /// The names of the entries of a list that no file declares, by their numbers.
    made: HashMap<String, HashMap<usize, Box<str>>>,
    /// Something is missing that cannot be named: a file, or a route without a readable name.
    pub(super) incomplete: bool,
    /// For lists that lost entries: the original numbers of those that are left.
    kept: BTreeMap<Place<'static>, Vec<usize>>,
    pruned: BTreeSet<Place<'static>>,
    secrets: BTreeSet<Place<'static>>,
    /// Whole texts and their secret parts, with their lengths: the longest are looked for first.
    secret_texts: BTreeSet<(usize, String)>,
}

/// Who declared an object: the file in which it is written, or who else made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Arc<str>);

impl Origin {
    /// An object that no file declares.
    pub fn unknown() -> Origin {
        Origin("unknown".into())
    }

    fn of_file(file: &File) -> Origin {
        if file.is_of_objects() {
            return Origin("api".into());
        }
        Origin(format!("file:{}", file.name()).into())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Looks up who declared objects; objects of one file share its name.
pub struct Owners<'o> {
    origins: &'o Origins,
    files: Vec<(&'o File, Origin)>,
    unknown: Origin,
}

impl Owners<'_> {
    /// Who declared what is written at this place of the configuration.
    pub fn of(&self, place: &Place<'_>) -> Origin {
        let file = self.origins.file_of(place);
        let known = file.and_then(|file| self.files.iter().find(|(known, _)| *known == file));
        known.map_or(&self.unknown, |(_, origin)| origin).clone()
    }
}

impl Origins {
    /// The place of an object as the author of its file knows it.
    pub fn shown(&self, place: Place<'_>) -> String {
        self.translate(place.into_owned()).to_string()
    }

    /// Who declared which object.
    pub fn owners(&self) -> Owners<'_> {
        let files = self.files.iter().map(|file| (file, Origin::of_file(file))).collect();
        Owners { origins: self, files, unknown: Origin::unknown() }
    }

    /// An entry of a list that no file declares.
    pub(super) fn add_entry(&mut self, section: &str, index: usize, name: &str) {
        self.add_section(section);
        let objects = self.objects();
        self.lists.entry(section.into()).or_default().push((objects, index));
        self.made.entry(section.into()).or_default().insert(index, name.into());
    }

    /// A key of a map that no file declares.
    pub(super) fn add_key(&mut self, section: &str, key: &str) {
        self.add_section(section);
        let objects = self.objects();
        self.keys.entry(section.into()).or_default().insert(key.into(), objects);
    }

    /// A section, if no file declares it.
    pub(super) fn add_section(&mut self, section: &str) {
        let objects = self.objects();
        self.sections.entry(section.into()).or_insert(objects);
    }

    /// Where an object is that no file declares.
    pub(super) fn of_object(&self, section: &str, name: &str) -> Place<'static> {
        let place = Place::file(&self.objects()).key(section).into_owned();
        if section == "cors" { place } else { place.key(name).into_owned() }
    }

    fn objects(&self) -> File {
        let known = self.files.last().filter(|file| file.is_of_objects());
        known.cloned().unwrap_or_else(File::of_objects)
    }

    /// From now on it is known that there are objects that no file declares.
    pub(super) fn take_objects_in(&mut self) {
        self.files.push(File::of_objects());
    }

    /// The files that were read, in order.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The file in which `place` is written, if it is known.
    pub fn file_of(&self, place: &Place<'_>) -> Option<&File> {
        match place.steps.as_slice() {
            [Step::Key(section), Step::Index(index), ..] => {
                self.lists.get(section.as_ref())?.get(*index).map(|at| &at.0)
            }
            [Step::Key(section), Step::Key(key), ..] => self
                .keys
                .get(section.as_ref())
                .and_then(|keys| keys.get(key.as_ref()))
                .or_else(|| self.section(section)),
            [Step::Key(section), ..] => self.section(section),
            _ => None,
        }
    }

    /// Places of values that are secret, in the numbers of the configuration.
    pub fn secrets(&self) -> impl Iterator<Item = &Place<'static>> {
        self.secrets.iter()
    }

    pub(super) fn is_secret(&self, place: &Place<'_>) -> bool {
        !self.secrets.is_empty() && ancestry(place).any(|place| self.secrets.contains(&place))
    }

    pub(super) fn without_secrets(&self, text: &str) -> String {
        self.secret_texts.iter().rev().fold(text.to_owned(), |text, (_, secret)| {
            let shown = quoted(secret);
            text.replace(secret.as_str(), "***").replace(shown.trim_matches('"'), "***")
        })
    }

    pub(super) fn was_pruned(&self, place: &Place<'_>) -> bool {
        self.incomplete || self.is_misnamed(place) || ancestry(place).any(|place| self.pruned.contains(&place))
    }

    /// Nobody wrote this section, but there is an unknown one, which may be meant.
    fn is_misnamed(&self, place: &Place<'_>) -> bool {
        let [Step::Key(section), ..] = place.steps.as_slice() else { return false };
        let is_section = |place: &Place<'_>| matches!(place.steps.as_slice(), [Step::Key(_)]);
        !self.sections.contains_key(section.as_ref()) && self.pruned.iter().any(is_section)
    }

    /// Whether what stood at a place, or something below it, was left out.
    pub(super) fn has_lost(&self, place: &Place<'_>) -> bool {
        if place.file.is_some() || place.steps.is_empty() || (self.pruned.is_empty() && self.kept.is_empty()) {
            return false;
        }
        let place = place.clone().into_owned();
        let pruned = self.pruned.range(&place..).next();
        let kept = self.kept.range(&place..).next().map(|(place, _)| place);
        [pruned, kept].into_iter().flatten().any(|lost| lost.steps.starts_with(&place.steps))
    }

    /// The place as the author of the file knows it.
    pub(super) fn translate(&self, place: Place<'static>) -> Place<'static> {
        if place.file.is_some() {
            return place;
        }
        let mut written = self.original_numbers(&place);
        written.file = self.file_of(&written).or_else(|| self.files.first()).cloned();
        if let [Step::Key(section), Step::Index(index), ..] = written.steps.as_mut_slice()
            && let Some((_, number)) = self.lists.get(section.as_ref()).and_then(|list| list.get(*index))
        {
            *index = *number;
        }
        if let [Step::Key(section), entry @ Step::Index(_), ..] = written.steps.as_mut_slice()
            && let Step::Index(index) = entry
            && let Some(name) = self.made.get(section.as_ref()).and_then(|made| made.get(index))
            && written.file.as_ref().is_some_and(File::is_of_objects)
        {
            *entry = Step::Key(name.to_string().into());
        }
        written
    }

    fn section(&self, section: &str) -> Option<&File> {
        self.sections.get(section)
    }

    fn original_numbers(&self, place: &Place<'static>) -> Place<'static> {
        let (mut walked, mut written) = (Place::default(), Place::default());
        for step in &place.steps {
            let original = match (step, self.kept.get(&walked)) {
                (Step::Index(index), Some(kept)) => Step::Index(kept.get(*index).copied().unwrap_or(*index)),
                _ => step.clone(),
            };
            written = written.then(original);
            walked = walked.then(step.clone());
        }
        written
    }

    /// Notes the secrets and what is gone, as the configuration made of this tree numbers it.
    pub(super) fn survey(&mut self, node: &Node, place: &Place<'_>) {
        match node {
            Node::Text(text) if text.is_secret() => {
                self.secrets.insert(place.clone().into_owned());
                let parts = text.from.iter().flat_map(|source| &source.secrets);
                let long = parts.chain([&text.text]).filter(|secret| secret.len() >= SHORTEST_SECRET);
                self.secret_texts.extend(long.map(|secret| (secret.len(), secret.clone())));
            }
            Node::Map(map) => self.survey_map(map, place),
            Node::List(list) => self.survey_list(list, place),
            Node::Gone(_) => {
                self.pruned.insert(place.clone().into_owned());
            }
            _ => {}
        }
    }

    fn survey_map(&mut self, map: &Map<Node>, place: &Place<'_>) {
        for (key, node) in map.iter() {
            self.survey(node, &place.key(key));
        }
    }

    fn survey_list(&mut self, list: &[Node], place: &Place<'_>) {
        let mut kept = Vec::with_capacity(list.len());
        for (index, node) in list.iter().enumerate() {
            match node {
                Node::Gone(Some(name)) => {
                    self.pruned.insert(place.key(name).into_owned());
                }
                Node::Gone(None) => self.incomplete |= place.steps.as_slice() == [Step::Key("routes".into())],
                node => {
                    self.survey(node, &place.index(kept.len()));
                    kept.push(index);
                }
            }
        }
        if kept.len() < list.len() {
            self.kept.insert(place.clone().into_owned(), kept);
        }
    }

    /// Notes only the texts that are secret.
    pub(super) fn note_secret_texts(&mut self, node: &Node) {
        let mut surveyed = Origins::default();
        surveyed.survey(node, &Place::default());
        self.secret_texts.extend(surveyed.secret_texts);
    }
}

fn ancestry<'p>(place: &'p Place<'_>) -> impl Iterator<Item = Place<'static>> + 'p {
    (1..=place.steps.len()).map(|length| {
        let steps = place.steps.iter().take(length).cloned().collect();
        Place { file: None, steps }.into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;

    #[test]
    fn every_object_knows_the_file_that_declares_it() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("gatekeeper.yaml");
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        std::fs::write(&main, "version: 1\nservices: { a: { targets: [\"http://127.0.0.1:1\"] } }\n").unwrap();
        let part = "services: { b: { targets: [\"http://127.0.0.1:2\"] } }\n\
                    routes: [{ name: r, path_pattern: /r, target_service: b }]\n";
        std::fs::write(folder.path().join("conf.d/shop.yaml"), part).unwrap();
        let loaded = load(&main).0.unwrap();
        let owners = loaded.origins.owners();
        let owner = |place: Place<'static>| owners.of(&place).to_string();
        assert_eq!(owner(Place::new("services").key("a").into_owned()), "file:gatekeeper.yaml");
        assert_eq!(owner(Place::new("services").key("b").into_owned()), "file:conf.d/shop.yaml");
        assert_eq!(owner(Place::new("routes").index(0).into_owned()), "file:conf.d/shop.yaml");
        assert_eq!(owner(Place::default()), "unknown");
    }
}
