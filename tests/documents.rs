//! What the README says of answers is all that there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gatekeeper_core::refusal::Kind;
use gatekeeper_core::wire::HeadFault;

type Codes = BTreeSet<(u16, String)>;

/// The table under `| answer | when |`: each code with the status before it.
fn told() -> Codes {
    let readme = include_str!("../README.md");
    let (_, table) = readme.split_once("| answer | when |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut codes = Codes::new();
    for row in rows {
        let answer = row.split('|').nth(1).unwrap();
        let mut status = None;
        for word in answer.split([' ', ',', ';']).filter(|word| !word.is_empty()) {
            match word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) {
                Some(code) => assert!(codes.insert((status.unwrap(), code.to_owned())), "{code} stands twice"),
                None => status = word.parse().ok().or(status),
            }
        }
    }
    codes
}

/// The texts in quotation marks that follow a beginning.
fn quoted_after(text: &str, beginning: &str) -> Vec<String> {
    let quoted = |rest: &str| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned());
    text.split(beginning).skip(1).filter_map(quoted).collect()
}

/// The faults of messages that are written out in a file: status and code.
fn written_faults(text: &str) -> Vec<(u16, String)> {
    let fault = |rest: &str| {
        let (status, rest) = rest.split_once(", code:")?;
        let (code, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some((status.trim().parse().ok()?, code.to_owned()))
    };
    text.split("HeadFault { status:").skip(1).filter_map(fault).collect()
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        match path.is_dir() {
            _ if is_test => {}
            true => sources(&path, found),
            false => found.push(fs::read_to_string(path).unwrap()),
        }
    }
}

/// Every code a client can get: kinds of refusals, faults of messages, and the reasons why a request is malformed.
fn existing() -> Codes {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    // What a test says is not said by the gateway.
    let files: Vec<&str> = files.iter().map(|file| file.split("#[cfg(test)]").next().unwrap()).collect();
    let reasons = files.iter().flat_map(|file| quoted_after(file, "malformed("));
    let written = files.iter().flat_map(|file| written_faults(file));
    let read = |name: &str| fs::read_to_string(source.join(name)).unwrap();
    let paths = quoted_after(&read("core/route/path.rs"), "=>").into_iter().filter(|text| text.starts_with("path_"));
    let hosts = quoted_after(&read("core/route/host.rs"), "=>").into_iter().filter(|text| text.starts_with("host_"));
    let kinds = Kind::ALL.iter().map(|kind| (kind.status, kind.code.to_owned()));
    let faults = HeadFault::ALL.iter().map(|fault| (fault.status, fault.code.to_owned()));
    let malformed = reasons.chain(paths).chain(hosts).map(|code| (400, code));
    let all: Codes = kinds.chain(faults).chain(written).chain(malformed).collect();
    assert!(all.len() > 80, "{all:?}");
    // Each has a reason of its own in its place.
    all.into_iter().filter(|(_, code)| code != Kind::BAD_REQUEST.code).collect()
}

#[test]
fn the_table_of_answers_is_complete() {
    let (told, existing) = (told(), existing());
    let missing: Vec<_> = existing.difference(&told).collect();
    assert!(missing.is_empty(), "not in the README's table of answers: {missing:?}");
    let gone: Vec<_> = told.difference(&existing).collect();
    assert!(gone.is_empty(), "in the README's table of answers, but never given: {gone:?}");
}
