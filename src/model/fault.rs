//! What is wrong with a configuration: every fault of one run, each with its place, what was found, what is allowed,
//! and what was probably meant.
//!
//! Rules: a secret never appears in `found`, nor a password of a URL anywhere; `MOST` faults are kept and shown, the rest counted.
//! A fault of the configuration as a whole is dropped if something below its place was left out: it may only follow from
//! that. Lines and names are looked up (`locate`) once all faults are known. Known inaccuracy: a secret shorter than four
//! characters is recognised by its place only.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::lines::{self, Asked, Spot};
use super::mask::mask_passwords;
use super::origin::Origins;
use super::place::{File, Place};
use super::words::{bare_variable, did_you_mean, escaped, is_unprintable};

const MOST: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place<'static>,
    /// What stands there; a whole statement when `allowed` is empty.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
    /// What was probably meant, or how to go on.
    pub hint: String,
    spot: Option<Spot>,
    /// What it contradicts.
    first: Option<Box<Place<'static>>>,
    /// Its key is written twice, and the second one is meant.
    second: bool,
}

/// A warning: it has the shape of a fault, but the configuration is usable.
pub type Lint = Fault;

impl Fault {
    /// `found` stands at `place` where only `allowed` may.
    pub fn new(place: Place<'_>, found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Fault {
            place: place.into_owned(),
            found: found.into(),
            allowed: allowed.into(),
            hint: String::new(),
            spot: None,
            first: None,
            second: false,
        }
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

    /// The same, contradicting what stands at another place.
    pub(super) fn after(mut self, first: Place<'static>) -> Self {
        self.hint = format!("first at {first}");
        self.first = Some(Box::new(first));
        self
    }

    /// The same, of the second of two keys that are alike.
    pub(super) fn of_second(mut self) -> Self {
        self.second = true;
        self
    }

    /// The name of its file.
    pub fn file(&self) -> Option<&str> {
        self.place.file.as_ref().map(File::name).filter(|name| !name.is_empty())
    }

    /// Its line in the file, if it is known.
    pub fn line(&self) -> Option<usize> {
        self.spot.as_ref().map(|spot| spot.line).or(self.place.line_at())
    }

    /// The name of the route, service, rate limit, test or listener that it belongs to, if it is known.
    pub fn name(&self) -> Option<&str> {
        let of_entry = self.spot.as_ref().and_then(|spot| spot.name.as_deref());
        of_entry.or_else(|| self.place.service())
    }

    fn asked(&self) -> Asked {
        Asked { place: self.place.clone(), second: self.second }
    }

    fn asked_of_first(&self) -> Option<Asked> {
        self.first.as_deref().map(|place| Asked { place: place.clone(), second: false })
    }

    fn settle(&mut self, spots: &HashMap<Asked, Spot>) {
        self.spot = spots.get(&self.asked()).cloned();
        if let Some(first) = self.asked_of_first()
            && let (Some(spot), Some(file)) = (spots.get(&first), &first.place.file)
        {
            self.hint = format!("first at {}:{}", file.name(), spot.line);
        }
        // A number is shown as it is written: 3600s, not 1h.
        let written = self.spot.as_ref().and_then(|spot| spot.written.as_deref());
        if let Some(written) = written.filter(|written| is_amount(written) && is_amount(&self.found)) {
            self.found = written.to_owned();
        }
    }
}

/// A number, perhaps with a unit.
fn is_amount(text: &str) -> bool {
    text.len() <= 40
        && text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "")
    }
}

/// A fault that is shown as a warning.
struct AsWarning<'f>(&'f Fault);

impl fmt::Display for AsWarning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "warning: ")
    }
}

impl Fault {
    /// The same, shown as a warning: `gatekeeper.yaml:3: warning: …`.
    pub fn as_warning(&self) -> impl fmt::Display {
        AsWarning(self)
    }

    /// The file and its line come first, as compilers write them.
    fn write(&self, f: &mut fmt::Formatter<'_>, kind: &str) -> fmt::Result {
        match (&self.spot, &self.place.file) {
            (Some(spot), Some(file)) => {
                write!(f, "{}:{}: {kind}{}: ", file.name(), spot.line, self.place.path_of(spot.name.as_deref()))?;
            }
            (None, Some(file)) if !kind.is_empty() && self.place.line_at().is_none() => {
                let path = self.place.path();
                let colon = if path.is_empty() { "" } else { ": " };
                write!(f, "{}: {kind}{path}{colon}", file.name())?;
            }
            _ if self.place == Place::default() => f.write_str(kind)?,
            _ => write!(f, "{kind}{}: ", self.place)?,
        }
        match self.allowed.as_str() {
            "" => write!(f, "{}", self.found)?,
            allowed => write!(f, "found {}, allowed: {allowed}", self.found)?,
        }
        match self.hint.as_str() {
            "" => Ok(()),
            hint => write!(f, "; {hint}"),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Fault", 8)?;
        fields.serialize_field("place", &self.place.to_string())?;
        fields.serialize_field("file", &self.file())?;
        fields.serialize_field("line", &self.line())?;
        fields.serialize_field("path", &self.place.path())?;
        fields.serialize_field("name", &self.name())?;
        fields.serialize_field("found", &self.found)?;
        fields.serialize_field("allowed", &self.allowed)?;
        fields.serialize_field("hint", &self.hint)?;
        fields.end()
    }
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

    /// Adds a fault, if it does not only follow from one that is here.
    pub fn add(&mut self, fault: Fault) {
        if self.origins.has_lost(&fault.place) {
            return;
        }
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

    /// The faults kept, in the order of their lines or places.
    pub fn faults(&self) -> Vec<&Fault> {
        sorted(&self.faults)
    }

    /// The lints, in the order of their lines or places.
    pub fn lints(&self) -> Vec<&Lint> {
        sorted(&self.lints)
    }

    /// Looks up the lines of all faults and lints in their files, and the names of the objects they belong to.
    pub fn locate(&mut self) {
        let all = || self.faults.iter().chain(&self.lints);
        let spots = lines::find_all(all().map(Fault::asked).chain(all().filter_map(Fault::asked_of_first)));
        self.faults.iter_mut().chain(&mut self.lints).for_each(|fault| fault.settle(&spots));
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
        if fault.hint.is_empty() {
            fault.hint = general_advice(&fault.found, &fault.allowed).unwrap_or_default();
        }
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

/// What to write instead, as far as what was found and what is allowed show it.
fn general_advice(found: &str, allowed: &str) -> Option<String> {
    let word = found.strip_prefix('"')?.split('"').next()?;
    if let Some(class @ '1'..='5') = word.to_ascii_lowercase().strip_suffix("xx").and_then(|class| class.parse().ok()) {
        return Some(match (allowed.contains("range"), class) {
            (true, _) => format!("write {class}00-{class}99"),
            (false, '5') => "list the statuses: 500, 502, 503, 504".into(),
            (false, _) => format!("list the statuses: {class}00, {class}01, …"),
        });
    }
    if let Some(variable) = bare_variable(word) {
        return Some(format!("a variable is written ${{{variable}}}"));
    }
    let words = allowed.split(", ").flat_map(|part| part.split(" or "));
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte));
    if found.len() == word.len() + 2 { did_you_mean(word, words.filter(is_word)) } else { None }
}

fn keep(list: &mut Vec<Fault>, fault: Fault, uncounted: &mut usize) {
    match list.len() < MOST {
        true => list.push(fault),
        false => *uncounted += 1,
    }
}

fn sorted(faults: &[Fault]) -> Vec<&Fault> {
    let mut sorted: Vec<_> = faults.iter().collect();
    let order = |fault: &Fault| (fault.place.file.clone(), fault.line());
    sorted.sort_by(|a, b| {
        order(a).cmp(&order(b)).then_with(|| (&a.place, &a.found, &a.allowed).cmp(&(&b.place, &b.found, &b.allowed)))
    });
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
    fn as_json_a_fault_has_all_its_parts() {
        let fault = Fault::new(Place::file(&File::new(0, "g.yaml")).key("services").key("a"), "1", "2");
        let expected = serde_json::json!({"place": "g.yaml: services.a", "file": "g.yaml", "line": null,
            "path": "services.a", "name": "a", "found": "1", "allowed": "2", "hint": ""});
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
