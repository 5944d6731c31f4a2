//! The lines of places in their files, found by reading the files once more: as long as nothing is wrong, no line is kept.
//!
//! Rules: all places of a file are found in one pass, which ends with the last of them. A place that is not written (a key
//! that is missing, or that came with an alias) has the line of what it belongs in. A file that has changed since it was
//! loaded has no lines.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, StrInput};

use super::place::{File, Place, Step};

/// What the text of its file tells of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// Its line, counted from 1.
    pub line: usize,
    /// The name of the route, rule, test or listener that it belongs to.
    pub name: Option<String>,
    /// Its value as it is written, if that is no list and no map.
    pub written: Option<String>,
}

/// A place whose line is asked for; of a key that is written twice, the line of the second one if `second`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub place: Place<'static>,
    pub second: bool,
}

/// The spots of places in files; those that are not found are left out.
pub fn find_all(asked: impl IntoIterator<Item = Asked>) -> HashMap<Asked, Spot> {
    let mut files: BTreeMap<File, Vec<Asked>> = BTreeMap::new();
    for asked in asked {
        if let (Some(file), [Step::Key(_), ..]) = (&asked.place.file, asked.place.steps.as_slice()) {
            files.entry(file.clone()).or_default().push(asked);
        }
    }
    let spots = files.into_iter().filter_map(|(file, asked)| Some((file.text()?, asked)));
    spots.flat_map(|(text, asked)| find(&text, asked)).collect()
}

/// The keys by which the entries of a list are known.
fn naming_keys(section: &str) -> &'static [&'static str] {
    match section {
        "routes" => &["name", "path_pattern"],
        "rate_limits" => &["rule_name"],
        "tests" => &["request"],
        "listen" => &["name", "address"],
        _ => &[],
    }
}

fn find(text: &str, asked: Vec<Asked>) -> Vec<(Asked, Spot)> {
    let mut search = Search { wanted: vec![Wanted::default()] };
    let mut found = Vec::with_capacity(asked.len());
    for asked in asked {
        let way = search.want(&asked.place.steps, asked.second);
        let names = match asked.place.steps.as_slice() {
            [Step::Key(section), entry @ Step::Index(_), ..] => search.want_names(section, entry),
            _ => Vec::new(),
        };
        found.push((asked, way, names));
    }
    let mut events = Events(Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)));
    // The search ends early when all is found, or where the text is not understood.
    let _ = events.content().and_then(|(event, _)| search.walk(&mut events, event, 0));
    let spots = found.into_iter().filter_map(|(asked, way, names)| Some((asked, search.spot(&way, &names)?)));
    spots.collect()
}

/// A place on the way to what is asked for.
#[derive(Default)]
struct Wanted {
    parent: usize,
    below: HashMap<Step<'static>, usize>,
    second: bool,
    settled: bool,
    /// 0 as long as it is not found.
    line: usize,
    written: Option<String>,
}

struct Search {
    /// The first one is the file as a whole.
    wanted: Vec<Wanted>,
}

impl Search {
    /// Adds a place; returns all that is on its way, itself last.
    fn want(&mut self, steps: &[Step<'static>], second: bool) -> Vec<usize> {
        let mut way = vec![0];
        for step in steps {
            let parent = way.last().copied().unwrap_or_default();
            let free = self.wanted.len();
            let Some(node) = self.wanted.get_mut(parent) else { break };
            let next = *node.below.entry(step.clone()).or_insert(free);
            if next == free {
                self.wanted.push(Wanted { parent, ..Wanted::default() });
            }
            way.push(next);
        }
        if let Some(node) = way.last().and_then(|last| self.wanted.get_mut(*last)) {
            node.second |= second;
        }
        way
    }

    /// Adds what an entry of a list may be known by.
    fn want_names(&mut self, section: &str, entry: &Step<'static>) -> Vec<usize> {
        let steps = |key: &str| [Step::Key(section.to_owned().into()), entry.clone(), Step::Key(key.to_owned().into())];
        let keys = naming_keys(section).iter();
        keys.filter_map(|key| self.want(&steps(key), false).last().copied()).collect()
    }

    fn spot(&self, way: &[usize], names: &[usize]) -> Option<Spot> {
        let node = |index: &usize| self.wanted.get(*index);
        let line = way.iter().rev().filter_map(node).map(|node| node.line).find(|line| *line > 0)?;
        let written = way.last().and_then(node).and_then(|node| node.written.clone());
        let name = names.iter().filter_map(node).find_map(|node| node.written.clone());
        Some(Spot { line, name, written })
    }

    /// Goes through a value that was asked for. `None` ends the search.
    fn walk(&mut self, events: &mut Events<'_>, event: Event<'_>, at: usize) -> Option<()> {
        match event {
            Event::MappingStart(..) => self.walk_map(events, at)?,
            Event::SequenceStart(..) => self.walk_list(events, at)?,
            Event::Scalar(text, ..) => self.wanted.get_mut(at)?.written = Some(text.into_owned()),
            _ => {}
        }
        self.settle(at)
    }

    fn walk_map(&mut self, events: &mut Events<'_>, at: usize) -> Option<()> {
        loop {
            let (key, line) = events.next()?;
            let key = match key {
                Event::MappingEnd => return Some(()),
                Event::Scalar(text, ..) => Some(Step::Key(text.into_owned().into())),
                other => {
                    events.skip(&other)?;
                    None
                }
            };
            let (value, _) = events.next()?;
            self.enter(events, value, line, key.and_then(|key| self.below(at, &key)))?;
        }
    }

    fn walk_list(&mut self, events: &mut Events<'_>, at: usize) -> Option<()> {
        for index in 0.. {
            let (value, line) = events.next()?;
            if value == Event::SequenceEnd {
                break;
            }
            self.enter(events, value, line, self.below(at, &Step::Index(index)))?;
        }
        Some(())
    }

    fn below(&self, at: usize, step: &Step<'static>) -> Option<usize> {
        self.wanted.get(at)?.below.get(step).copied()
    }

    fn enter(&mut self, events: &mut Events<'_>, value: Event<'_>, line: usize, wanted: Option<usize>) -> Option<()> {
        let Some(index) = wanted else { return events.skip(&value) };
        let node = self.wanted.get_mut(index)?;
        match (node.line, node.second) {
            (0, true) => {
                node.line = line;
                return events.skip(&value);
            }
            (0, false) => node.line = line,
            (_, true) => {
                node.line = line;
                node.second = false;
            }
            // The first one counts.
            (_, false) => return events.skip(&value),
        }
        self.walk(events, value, index)
    }

    /// Nothing more is to be found here. `None` if that holds for the whole text.
    fn settle(&mut self, at: usize) -> Option<()> {
        let mut at = at;
        loop {
            let node = self.wanted.get_mut(at)?;
            node.settled = true;
            if at == 0 {
                return None;
            }
            at = node.parent;
            let all =
                self.wanted.get(at)?.below.values().all(|below| self.wanted.get(*below).is_some_and(|b| b.settled));
            if !all {
                return Some(());
            }
        }
    }
}

struct Events<'t>(Parser<'t, StrInput<'t>>);

impl<'t> Events<'t> {
    /// The next event and the line it begins in.
    fn next(&mut self) -> Option<(Event<'t>, usize)> {
        let (event, span) = self.0.next_event()?.ok()?;
        Some((event, span.start.line()))
    }

    /// What the text begins with.
    fn content(&mut self) -> Option<(Event<'t>, usize)> {
        loop {
            match self.next()? {
                (Event::Nothing | Event::StreamStart | Event::DocumentStart(_), _) => {}
                content => return Some(content),
            }
        }
    }

    /// Passes over a value that begins with this event.
    fn skip(&mut self, first: &Event<'_>) -> Option<()> {
        let mut depth = depth_change(first);
        while depth > 0 {
            depth += depth_change(&self.next()?.0);
        }
        Some(())
    }
}

fn depth_change(event: &Event<'_>) -> i64 {
    match event {
        Event::MappingStart(..) | Event::SequenceStart(..) => 1,
        Event::MappingEnd | Event::SequenceEnd => -1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spots(text: &str, places: &[&str]) -> Vec<(usize, Option<String>)> {
        let asked = places.iter().map(|place| Asked { place: parsed(place), second: place.ends_with('!') });
        let asked: Vec<_> = asked.collect();
        let found: HashMap<_, _> = find(text, asked.clone()).into_iter().collect();
        asked.iter().map(|asked| found.get(asked).map(|s| (s.line, s.name.clone())).unwrap_or_default()).collect()
    }

    fn lines(text: &str, places: &[&str]) -> Vec<usize> {
        spots(text, places).into_iter().map(|(line, _)| line).collect()
    }

    /// A place from its parts between blanks.
    fn parsed(text: &str) -> Place<'static> {
        let steps = text.trim_end_matches('!').split(' ').filter(|step| !step.is_empty());
        let step = |step: &str| step.parse().map_or(Step::Key(step.to_owned().into()), Step::Index);
        steps.map(step).fold(Place::default(), |place, next| place.then(next).into_owned())
    }

    #[test]
    fn every_form_of_writing_has_its_lines() {
        let text = "# a comment\nversion: 1\nservices:\n  shop:\n    targets:\n      - http://a\n      - { url: http://b,\n          weight: 2 }\n\
                    \x20 'xy': &x { targets: [\n    http://c ] }\n  z: *x\nroutes:\n- name: a\n  \"path_pattern\": >\n    folded\n    text\n  \
                    methods: [GET,\n    POST]\n-\n  name: b\n";
        let places = [
            "version",
            "services shop targets 0",
            "services shop targets 1 weight",
            "services xy targets 0",
            "services z targets 0",
            "routes 0",
            "routes 0 path_pattern",
            "routes 0 methods 1",
            "routes 1 path_pattern",
            "routes 7",
            "listen 0 address",
        ];
        assert_eq!(lines(text, &places), [2, 6, 8, 10, 11, 13, 14, 18, 20, 12, 0]);
        assert_eq!(lines(text, &["services nothing"]), [3]);
        let twice = "a: 1\nb:\n  c: 1\n  c: 2\na: 3\n";
        assert_eq!(lines(twice, &["b c", "a"]), [3, 1]);
        assert_eq!(lines(twice, &["b c!", "a!"]), [4, 5]);
    }

    #[test]
    fn entries_of_lists_have_names() {
        let text = "routes:\n- { hosts: [a], name: one }\n- path_pattern: /two/{id}\n- { name: '${THREE}', path_pattern: /x }\n\
                    tests: [{ request: GET / }]\nlisten: [{ address: 127.0.0.1:1 }]\nrate_limits: [{ rule_name: r }]\nauth: { jwt: [{ issuer: i }] }\n";
        let named = [
            ("routes 0 hosts 0", (2, Some("one"))),
            ("routes 1 methods", (3, Some("/two/{id}"))),
            ("routes 2", (4, Some("${THREE}"))),
            ("tests 0 expect", (5, Some("GET /"))),
            ("listen 0", (6, Some("127.0.0.1:1"))),
            ("rate_limits 0 max", (7, Some("r"))),
            ("auth jwt 0", (8, None)),
        ];
        for (place, (line, name)) in named {
            assert_eq!(spots(text, &[place]), [(line, name.map(String::from))], "{place}");
        }
    }

    #[test]
    fn what_comes_after_the_last_place_is_not_read() {
        assert_eq!(lines("a: 1\nb: [\n", &["a"]), [1]);
        assert_eq!(lines("a: [1, 2]\nb: [\n", &["a 1"]), [1]);
        assert_eq!(lines("a: [1, 2]\nb: }\n c", &["b"]), [0]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(a|b|- |: |\n|  |[\\[{}\\],&*!#'\"|>?%@`]|\t|é|<<|\\.\\.\\.|---){0,40}") {
            lines(&text, &["a", "a b", "a 0", "b a!", "a 0 b"]);
        }
    }
}
