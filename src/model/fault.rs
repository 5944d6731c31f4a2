//! What is wrong with a configuration: every fault of one run, each with its place, what was found, what is allowed,
//! and what was probably meant.
//!
//! Rules: a secret never appears in `found`, nor a password of a URL anywhere; `MOST` faults are kept and shown, the rest counted. Known
//! inaccuracy: a secret shorter than four characters is recognised by its place only.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::mask::mask_passwords;
use super::origin::Origins;
use super::place::Place;
use super::words::{escaped, is_unprintable};

const MOST: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where it stands.
    #[serde(serialize_with = "as_text")]
    pub place: Place<'static>,
    /// What stands there; a whole statement when `allowed` is empty.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
    /// What was probably meant, or how to go on.
    pub hint: String,
}

/// A warning: it has the shape of a fault, but the configuration is usable.
pub type Lint = Fault;

impl Fault {
    /// `found` stands at `place` where only `allowed` may.
    pub fn new(place: Place<'_>, found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Fault { place: place.into_owned(), found: found.into(), allowed: allowed.into(), hint: String::new() }
    }

    /// A statement about `place`.
    pub fn saying(place: Place<'_>, statement: impl Into<String>) -> Self {
        Fault::new(place, statement, "")
    }

    /// The same with advice.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.to_string();
        let colon = if place.is_empty() { "" } else { ": " };
        match self.allowed.as_str() {
            "" => write!(f, "{place}{colon}{}", self.found)?,
            allowed => write!(f, "{place}{colon}found {}, allowed: {allowed}", self.found)?,
        }
        match self.hint.as_str() {
            "" => Ok(()),
            hint => write!(f, "; {hint}"),
        }
    }
}

fn as_text<S: Serializer>(place: &Place<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}

/// Collects the faults and lints of one run. Places without a file are translated by the origins of what was loaded.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    origins: Arc<Origins>,
    faults: Vec<Fault>,
    lints: Vec<Lint>,
    uncounted: usize,
    gave_up: bool,
}

impl Faults {
    /// `found` stands at `place` where only `allowed` may.
    pub fn push(&mut self, place: Place<'_>, found: impl Into<String>, allowed: impl Into<String>) {
        self.add(Fault::new(place, found, allowed));
    }

    /// Adds a fault.
    pub fn add(&mut self, fault: Fault) {
        let fault = self.presentable(fault);
        keep(&mut self.faults, fault, &mut self.uncounted);
    }

    /// Adds a lint; those past the first hundred are dropped.
    pub fn warn(&mut self, lint: Lint) {
        let lint = self.presentable(lint);
        keep(&mut self.lints, lint, &mut 0);
    }

    /// No fault so far (lints do not count).
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many faults there are, those that are not kept included.
    pub fn len(&self) -> usize {
        self.faults.len() + self.uncounted
    }

    /// No further fault would be shown.
    pub fn is_full(&self) -> bool {
        self.faults.len() >= MOST
    }

    /// The faults kept, in the order of their places.
    pub fn faults(&self) -> Vec<&Fault> {
        sorted(&self.faults)
    }

    /// The lints, in the order of their places.
    pub fn lints(&self) -> Vec<&Lint> {
        sorted(&self.lints)
    }

    /// Where the parts of the loaded configuration came from.
    pub fn origins(&self) -> &Arc<Origins> {
        &self.origins
    }

    /// Whether `place` (`services.content`, and `routes.NAME` for a route by its name) was written but is not in the
    /// configuration because of a fault that is already here: its absence then is not worth a fault of its own.
    pub fn was_pruned(&self, place: &Place<'_>) -> bool {
        self.origins.was_pruned(place)
    }

    pub(super) fn set_origins(&mut self, origins: Arc<Origins>) {
        self.origins = origins;
    }

    pub(super) fn give_up(&mut self) {
        self.gave_up = true;
    }

    fn presentable(&self, mut fault: Fault) -> Fault {
        fault.found = match self.origins.is_secret(&fault.place) && !fault.allowed.is_empty() {
            true => "***".into(),
            false => mask_passwords(&self.origins.without_secrets(&fault.found)).into_owned(),
        };
        for text in [&mut fault.allowed, &mut fault.hint] {
            *text = mask_passwords(text).into_owned();
        }
        for text in [&mut fault.found, &mut fault.allowed, &mut fault.hint] {
            if text.contains(is_unprintable) {
                *text = text.chars().flat_map(|c| escaped(c, is_unprintable(c))).collect();
            }
        }
        fault.place = self.origins.translate(fault.place);
        fault
    }
}

fn keep(list: &mut Vec<Fault>, fault: Fault, uncounted: &mut usize) {
    match list.len() < MOST {
        true => list.push(fault),
        false => *uncounted += 1,
    }
}

fn sorted(faults: &[Fault]) -> Vec<&Fault> {
    let mut sorted: Vec<_> = faults.iter().collect();
    sorted.sort();
    sorted
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in self.faults() {
            writeln!(f, "{fault}")?;
        }
        match (self.uncounted, self.gave_up) {
            (0, false) => Ok(()),
            (0, true) => writeln!(f, "and perhaps more: reading stopped at {MOST} faults"),
            (more, _) => writeln!(f, "and {more} more"),
        }
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::File;

    #[test]
    fn a_fault_reads_like_a_sentence() {
        let place = Place::new("listen").index(0).key("h2c");
        let cases = [
            (Fault::new(place.clone(), "\"x\"", "true or false"), "listen[0].h2c: found \"x\", allowed: true or false"),
            (Fault::saying(place.clone(), "unknown key"), "listen[0].h2c: unknown key"),
            (Fault::saying(place, "missing").with_hint("write it"), "listen[0].h2c: missing; write it"),
            (Fault::saying(Place::default(), "nothing"), "nothing"),
        ];
        for (fault, shown) in cases {
            assert_eq!(fault.to_string(), shown);
        }
    }

    #[test]
    fn as_json_a_fault_has_all_four_parts() {
        let fault = Fault::new(Place::file(&File::new(0, "g.yaml")).key("a"), "1", "2");
        let expected = serde_json::json!({"place": "g.yaml: a", "found": "1", "allowed": "2", "hint": ""});
        assert_eq!(serde_json::to_value(fault).unwrap(), expected);
    }

    #[test]
    fn a_hundred_are_shown_and_the_rest_is_counted() {
        let mut faults = Faults::default();
        (0..103).rev().for_each(|index| faults.push(Place::new("routes").index(index), "x", "y"));
        let shown = faults.to_string();
        assert_eq!((faults.len(), shown.lines().count()), (103, 101));
        assert!(shown.starts_with("routes[3]: ") && shown.ends_with("routes[102]: found x, allowed: y\nand 3 more\n"));
    }

    #[test]
    fn lints_are_no_faults_and_passwords_are_masked() {
        let mut faults = Faults::default();
        faults.warn(Fault::saying(Place::new("a"), "see http://u:pw@h/ and \"redis://:pw@h\""));
        assert!(faults.is_empty());
        assert_eq!(faults.lints()[0].to_string(), "a: see http://u:***@h/ and \"redis://:***@h\"");
    }
}
