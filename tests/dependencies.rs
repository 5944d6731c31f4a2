//! What the tree depends on, and which of its crates and modules may use which: the rules of `deny.toml`, and the walls of
//! ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::modules::{cycle, uses};

/// Which of our crates may use which. The binary may use all of them.
const WALLS: [(&str, &[&str]); 7] = [
    ("gatekeeper-model", &[]),
    ("gatekeeper-background", &[]),
    ("gatekeeper-store", &["gatekeeper-model"]),
    ("gatekeeper-core", &["gatekeeper-model"]),
    ("gatekeeper-client", &["gatekeeper-core", "gatekeeper-model"]),
    ("gatekeeper-plane", &["gatekeeper-background", "gatekeeper-core", "gatekeeper-model"]),
    (
        "gatekeeper-admin",
        &[
            "gatekeeper-background",
            "gatekeeper-client",
            "gatekeeper-core",
            "gatekeeper-model",
            "gatekeeper-plane",
            "gatekeeper-store",
        ],
    ),
];

/// The framework, which the data plane alone knows. What counts rates is a data structure of its.
const FRAMEWORK: [&str; 3] = ["pingora", "pingora-load-balancing", "pingora-proxy"];

fn metadata() -> Value {
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(arguments).args(platform).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn policy() -> toml::Table {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    std::fs::read_to_string(file).unwrap().parse().unwrap()
}

fn texts(list: &toml::Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The packages that are built, by their ids, and what each is made of beside its tests.
fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    let list = |value: &'static str| move |from: &Value| from[value].as_array().unwrap().clone();
    assert!(!list("packages")(metadata).is_empty());
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (package["id"].as_str().unwrap(), package)).collect()
}

/// What each package is made of, by ids; dependencies of tests are left out.
fn graph(metadata: &Value) -> BTreeMap<&str, Vec<&str>> {
    let is_built =
        |dependency: &&Value| dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev");
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
    nodes
        .map(|node| {
            let built = node["deps"].as_array().unwrap().iter().filter(is_built);
            (node["id"].as_str().unwrap(), built.map(|dependency| dependency["pkg"].as_str().unwrap()).collect())
        })
        .collect()
}

/// All that the gateway is made of.
fn made_of<'m>(root: &'m str, graph: &BTreeMap<&'m str, Vec<&'m str>>) -> BTreeSet<&'m str> {
    let (mut found, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(&graph[id]);
        }
    }
    found
}

#[test]
fn every_dependency_has_a_licence_a_source_and_no_ban() {
    let (metadata, policy) = (metadata(), policy());
    let (packages, graph) = (packages(&metadata), graph(&metadata));
    let root = metadata["resolve"]["root"].as_str().unwrap();
    let (allowed, banned) = (texts(&policy["licenses"]["allow"]), texts(&policy["bans"]["deny"]));
    let parts = made_of(root, &graph);
    assert!(parts.len() > 150, "{} packages", parts.len());
    for id in parts {
        let package = packages[id];
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} has no licence"));
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).unwrap();
        assert!(expression.evaluate(|wanted| allowed.contains(&*wanted.to_string())), "{name}: {licence}");
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source.starts_with("registry+")), "{name} comes from {source:?}");
        assert!(!banned.contains(name), "{name} is banned");
    }
}

#[test]
fn our_crates_keep_to_their_walls() {
    let metadata = metadata();
    let (packages, graph) = (packages(&metadata), graph(&metadata));
    let name = |id: &str| packages[id]["name"].as_str().unwrap();
    let walls = BTreeMap::from(WALLS);
    let members = metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap());
    for id in members.filter(|id| name(id) != "gatekeeper") {
        let of = name(id);
        let allowed = walls.get(of).unwrap_or_else(|| panic!("{of} has no wall: say in WALLS what it may use"));
        for used in graph[id].iter().map(|id| name(id)) {
            let ours = used.starts_with("gatekeeper");
            assert!(!ours || allowed.contains(&used), "{of} may not use {used}");
            assert!(!FRAMEWORK.contains(&used) || of == "gatekeeper-plane", "{of} may not know the framework: {used}");
        }
    }
}

#[test]
fn no_two_modules_of_a_crate_know_each_other() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path());
    let mut cycles = Vec::new();
    for folder in folders {
        let root = if folder.join("lib.rs").exists() { "lib.rs" } else { "main.rs" };
        let uses = uses(&folder, root);
        assert!(!uses.is_empty(), "{} has no modules", folder.display());
        cycles.extend(cycle(&uses).map(|cycle| format!("{}: {cycle}", folder.display())));
    }
    assert!(cycles.is_empty(), "{cycles:#?}");
}

#[test]
fn modules_that_know_each_other_are_found() {
    let found = |files: [&str; 3]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in ["lib.rs", "a.rs", "b.rs"].into_iter().zip(files) {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        cycle(&uses(folder.path(), "lib.rs"))
    };
    let root = "mod a;\npub mod b;\npub use b::{Exported, other};\n#[cfg(test)]\nmod tests;\n";
    let back = "fn back() -> crate::a::A {}\n";
    let circle = Some("a (in a) uses b (in b) uses a".to_owned());
    for forth in ["use super::b::B;", "use crate::{\n    x,\n    b::{B, c},\n};", "type B = crate::Exported;"] {
        assert_eq!(found([root, forth, back]), circle, "{forth}");
    }
    let tested = format!("#[cfg(test)]\nmod tests {{\n    {back}}}\n");
    for harmless in ["use super::Own;", "// crate::a::A\n", "use self::a::A;", &tested] {
        assert_eq!(found([root, "use super::b::B;", harmless]), None, "{harmless}");
    }
}
