//! The documents say what the code says: every error code, metric and field of the access log is in its table, every link leads
//! somewhere, and every example is a configuration that `check` accepts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatekeeper_core::refusal::Kind;
use gatekeeper_core::wire::HeadFault;

use crate::support::tls::{Authority, Files};

type Codes = BTreeSet<(u16, String)>;

/// The folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The first cells of all tables of a page that begin with this head.
fn first_cells<'p>(page: &'p str, head: &str) -> Vec<&'p str> {
    let tables = page.split(head).skip(1);
    let rows = tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')));
    let cells: Vec<_> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    assert!(!cells.is_empty(), "no table begins with {head}");
    cells
}

/// The codes in the tables of errors: each with the status before it.
fn told() -> Codes {
    let page = page("troubleshooting.md");
    let mut codes = Codes::new();
    for answer in first_cells(&page, "| answer | cause | what to do |") {
        let mut status = None;
        for word in answer.split([' ', ',']).filter(|word| !word.is_empty()) {
            match unquoted(word) {
                Some(code) => assert!(codes.insert((status.unwrap(), code.to_owned())), "{code} stands twice"),
                None => status = word.parse().ok().or(status),
            }
        }
    }
    codes
}

fn unquoted(word: &str) -> Option<&str> {
    word.strip_prefix('`')?.strip_suffix('`')
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

/// The source of the gateway, without its tests: what a test says is not said by the gateway.
fn source() -> Vec<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    files.iter().map(|file| file.split("#[cfg(test)]").next().unwrap().to_owned()).collect()
}

/// Every code a client can get: kinds of refusals, faults of messages, and the reasons why a request is malformed.
fn existing() -> Codes {
    let source = root().join("src");
    let files = self::source();
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
fn the_tables_of_errors_are_complete() {
    compare(&told(), &existing(), "docs/troubleshooting.md");
}

/// Nothing is missing from a document's table, and nothing is in it that does not exist.
fn compare<T: Ord + std::fmt::Debug>(documented: &BTreeSet<T>, existing: &BTreeSet<T>, document: &str) {
    let missing: Vec<_> = existing.difference(documented).collect();
    assert!(missing.is_empty(), "not in the table of {document}: {missing:?}");
    let gone: Vec<_> = documented.difference(existing).collect();
    assert!(gone.is_empty(), "in the table of {document}, but not in the code: {gone:?}");
}

/// The names in the first column of a table.
fn names(page: &str, head: &str) -> BTreeSet<String> {
    first_cells(page, head).into_iter().map(|cell| unquoted(cell).unwrap().to_owned()).collect()
}

#[test]
fn the_table_of_metrics_is_complete() {
    let is_metric = |text: &&str| ["gatekeeper_", "process_"].iter().any(|prefix| text.starts_with(prefix));
    let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let observing = ["src/plane", "src/admin"].map(|folder| root().join(folder));
    let mut files = Vec::new();
    observing.iter().for_each(|folder| sources(folder, &mut files));
    let files: Vec<&str> = files.iter().map(|file| file.split("#[cfg(test)]").next().unwrap()).collect();
    let quoted = files.iter().flat_map(|file| file.split('"'));
    let existing: BTreeSet<String> = quoted.filter(is_metric).filter(is_name).map(String::from).collect();
    assert!(existing.len() > 40, "{existing:?}");
    compare(
        &names(&page("observability.md"), "| metric | type | labels | meaning |"),
        &existing,
        "docs/observability.md",
    );
}

#[test]
fn the_table_of_the_logs_fields_is_complete() {
    let format = fs::read_to_string(root().join("src/plane/observe/format.rs")).unwrap();
    let format = format.split("#[cfg(test)]").next().unwrap();
    let written = quoted_after(format, "(out, ").into_iter();
    let existing = written.chain(["time", "truncated", "headers"].map(String::from)).collect();
    let page = page("observability.md");
    let fields = page.split_once("## Access log").unwrap().1;
    compare(&names(fields, "| field | meaning |"), &existing, "docs/observability.md");
}

/// The documents, by their path.
fn documents() -> Vec<(PathBuf, String)> {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let top = ["README.md", "SECURITY.md", "ARCHITECTURE.md"].map(|name| root().join(name));
    let mut paths: Vec<_> = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md")).chain(top).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    for (path, text) in documents() {
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            let exists = || anchors(&fs::read_to_string(&target).unwrap()).any(|anchor| anchor == heading);
            assert!(heading.is_empty() || exists(), "{}: {link} has no such heading", path.display());
        }
    }
}

/// The headings of a page, as links name them.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    let headings = page.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    headings.map(move |heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-"))
}

#[test]
fn every_page_is_in_the_index() {
    let index = page("README.md");
    for (path, _) in documents() {
        let Ok(name) = path.strip_prefix(root().join("docs")) else { continue };
        let name = name.to_str().unwrap();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "docs/README.md does not list {name}");
    }
}

/// The fenced blocks of a language: the line each begins at, and its text.
fn blocks<'d>(document: &'d str, language: &str) -> Vec<(usize, &'d str)> {
    let mut found = Vec::new();
    let fence = format!("```{language}\n");
    for (begin, _) in document.match_indices(&fence) {
        let (text, _) = document[begin + fence.len()..].split_once("\n```").unwrap();
        found.push((document[..begin].lines().count() + 1, text));
    }
    found
}

/// What examples name of another machine: certificates and keys, made for this test.
fn installed() -> Files {
    let files = Files::new();
    let authority = Authority::new();
    for name in ["site", "shops", "client"] {
        files.pair(name, &authority.issue(&format!("{name}.example.org")));
    }
    for name in ["clients.pem", "ca.pem"] {
        files.write(name, &authority.pem());
    }
    files
}

/// Examples are configurations. One without a `version` is a part of one.
#[test]
fn check_accepts_every_example() {
    let files = installed();
    let folder = files.path("");
    let folder = folder.trim_end_matches('/');
    let mut checked = 0;
    for (path, text) in documents() {
        for (line, block) in blocks(&text, "yaml") {
            let mut config = block.to_owned();
            if !config.contains("version: 1") {
                config = format!("version: 1\n{config}");
            }
            for place in ["/etc/gatekeeper/tls", "/etc/gatekeeper", "/var/lib/acme", "/var/lib/gatekeeper"] {
                config = config.replace(place, folder);
            }
            let file = files.write("gatekeeper.yaml", &config);
            let mut check = Command::new(env!("CARGO_BIN_EXE_gatekeeper"));
            let output = check.args(["check", "-c", &file]).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{}:{line}:\n{config}\n{said}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 40, "only {checked} examples were found");
}
