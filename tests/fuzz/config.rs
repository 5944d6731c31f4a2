//! The configuration: whatever stands in the file, every fault has its place, and what is good can be shown and read
//! again.

use std::fs;
use std::path::PathBuf;

use gatekeeper_model::{Faults, parse_with, show};
use gatekeeper_plane::observe::metrics::Metrics;
use gatekeeper_plane::plan::candidate::Candidate;

use super::Verdict;
use super::runner::outcome;
use crate::demand;

pub const WORDS: &[&str] = &[
    "version: 1\n",
    "routes:\n",
    "  - { name: a, path_pattern: /a/*, target_url: http://127.0.0.1:1 }\n",
    "services:\n",
    "  s: { targets: [http://127.0.0.1:1] }\n",
    "${A}",
    "${A:-b}",
    "${SECRET:-x}",
    "$$",
    "listen: [{ address: 127.0.0.1:0 }]\n",
    "targets: ",
    "name: ",
    "path_pattern: ",
    "methods: [GET]",
    "respond: { status: 200 }",
    "redirect: { to: /x }",
    "rewrite: /x{*}",
    "strip_prefix: /a",
    "split: { services: [] }",
    "headers: { x: { regex: a } }",
    "timeout: 5s",
    "0",
    "-1",
    "1e999",
    ".nan",
    "99999999999999999999",
    "true",
    "null",
    "~",
    "[]",
    "{}",
    "\"",
    "'",
    "|\n",
    ">\n",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "!x ",
    "---\n",
    "...\n",
    "? ",
    ": ",
    "- ",
    "#",
    "\t",
    "http://u:p@h/",
    "unix:/x",
    "[::1]:80",
    "*.example.org",
    "10.0.0.0/8",
    "250ms",
    "30d",
];

/// The annotated default, and the examples.
pub fn examples() -> Vec<Vec<u8>> {
    let conf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conf");
    let examples = fs::read_dir(conf.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let files = examples.filter(|path| path.is_file()).chain([conf.join("gatekeeper.yaml")]);
    files.map(|path| fs::read(path).unwrap()).collect()
}

fn variable(name: &str) -> Option<String> {
    match name {
        "A" => Some("a".into()),
        "PORT" => Some("8000".into()),
        "SECRET" => Some("hush-hush".into()),
        _ => None,
    }
}

pub fn check(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(0) };
    // No file is to be read, whatever its name turns out to be.
    if text.contains("${file") || text.contains("unix:") && text.contains("..") {
        return Ok(1);
    }
    let (loaded, faults) = parse_with(text, &variable);
    demand!(loaded.is_some() || !faults.is_empty(), "there is nothing, and no fault");
    let is_read = faults.is_empty();
    check_faults(&faults, text)?;
    let Some(loaded) = loaded else { return Ok(kinds(&faults)) };
    if is_read && !text.contains('$') {
        let shown = show::effective(&loaded);
        let (again, wrong) = parse_with(&shown, &variable);
        demand!(wrong.is_empty(), "what is shown is not read: {wrong}\n{shown}");
        let Some(again) = again else { return Err("what is shown is nothing".into()) };
        demand!(show::effective(&again) == shown, "it is shown differently\n{shown}");
        let is_same = format!("{:?}", again.config) == format!("{:?}", loaded.config);
        demand!(is_same || shown.contains("***"), "it became something else\n{shown}");
    }
    let metrics = Metrics::new("").map_err(|error| error.to_string())?;
    let before = faults.clone();
    let faults = match Candidate::of(loaded, before, "the fuzz test").judge(&metrics) {
        Ok(draft) => {
            demand!(draft.faults.is_empty(), "a plan with faults");
            draft.faults
        }
        Err(faults) => {
            demand!(!faults.is_empty(), "neither a plan nor faults");
            faults
        }
    };
    check_faults(&faults, text)?;
    Ok(kinds(&faults))
}

fn check_faults(faults: &Faults, text: &str) -> Result<(), String> {
    for fault in faults.faults().into_iter().chain(faults.lints()) {
        let shown = fault.to_string();
        demand!(!fault.found.is_empty() || !fault.allowed.is_empty(), "a fault says nothing: {shown:?}");
        demand!(!shown.chars().any(|c| c.is_control() && c != '\n'), "a fault holds control characters: {shown:?}");
        demand!(!shown.contains("hush-hush"), "a fault tells a secret: {shown:?}");
        let has_place = !fault.place.to_string().is_empty();
        demand!(has_place || !has_places(text), "a fault has no place: {shown:?}");
    }
    Ok(())
}

/// What is no map is faulty as a whole.
fn has_places(text: &str) -> bool {
    serde_yaml::from_str::<serde_yaml::Value>(text)
        .is_ok_and(|value| value.as_mapping().is_some_and(|map| !map.is_empty()))
}

/// What would be allowed where the first faults stand.
fn kinds(faults: &Faults) -> u64 {
    let depth = |place: String| place.matches(['.', '[']).count().min(4);
    let all = faults.faults().into_iter().take(3).map(|fault| (depth(fault.place.to_string()), fault.allowed.clone()));
    outcome(all.collect::<Vec<_>>())
}
