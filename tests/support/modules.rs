//! Which top-level modules of a crate use which, as its text says: what stands behind `crate::` and `super::`, outside of tests.
//!
//! Known inaccuracy: a name that is imported from the crate's root counts for the module that the root has it from; what the
//! root itself declares counts for none. A macro's body is read like any other code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// For each module those that it uses, and a file that does.
pub type Uses = BTreeMap<String, BTreeMap<String, String>>;

/// Which modules of the crate in this folder use which; `root` is its first file.
pub fn uses(folder: &Path, root: &str) -> Uses {
    let source = std::fs::read_to_string(folder.join(root)).unwrap();
    let declared = declared(&source);
    let from_root = imported(&source, &declared);
    let mut uses = Uses::new();
    for module in &declared {
        let mut files = Vec::new();
        collect(folder, std::slice::from_ref(module), &mut files);
        for (path, code) in files {
            let names = mentioned(&code, &path).into_iter();
            let tops = names.filter_map(|name| declared.get(&name).or_else(|| from_root.get(&name)).cloned());
            let others = tops.filter(|top| top != module).map(|top| (top, path.join("::")));
            uses.entry(module.clone()).or_default().extend(others);
        }
    }
    uses
}

/// A way from a module back to itself, with the files it leads through, if there is one.
pub fn cycle(uses: &Uses) -> Option<String> {
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| follow(uses, module, &mut Vec::new(), &mut done))
}

fn follow<'u>(
    uses: &'u Uses,
    module: &'u str,
    way: &mut Vec<(&'u str, &'u str)>,
    done: &mut BTreeSet<&'u str>,
) -> Option<String> {
    if let Some(start) = way.iter().position(|(passed, _)| *passed == module) {
        let steps = way[start..].iter().map(|(from, by)| format!("{from} (in {by}) uses "));
        return Some(steps.chain([module.to_owned()]).collect());
    }
    if done.contains(module) {
        return None;
    }
    let next = uses.get(module).into_iter().flatten();
    let found = next.into_iter().find_map(|(used, by)| {
        way.push((module, by));
        let found = follow(uses, used, way, done);
        way.pop();
        found
    });
    done.insert(module);
    found
}

/// The files of a module and of what is below it, with their paths in the crate; without tests.
fn collect(folder: &Path, path: &[String], files: &mut Vec<(Vec<String>, String)>) {
    let place = path.iter().fold(folder.to_owned(), |place, name| place.join(name));
    let own = [place.with_extension("rs"), place.join("mod.rs")].into_iter().find(|file| file.exists());
    let own = own.unwrap_or_else(|| panic!("there is no file for {}", path.join("::")));
    let source = std::fs::read_to_string(own).unwrap();
    for name in declared(&source) {
        collect(folder, &[path, &[name]].concat(), files);
    }
    files.push((path.to_vec(), without_tests(&source)));
}

/// The modules that a file declares for more than tests.
fn declared(source: &str) -> BTreeSet<String> {
    let code = without_tests(source);
    let declarations = code.lines().filter_map(|line| line.strip_suffix(';')?.split_once("mod "));
    let modules = declarations.filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
    modules.map(|(_, name)| name.to_owned()).collect()
}

/// What a crate's root has from its modules, and from which.
fn imported(source: &str, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let code = without_tests(source);
    let statements = code.split(';').filter_map(|statement| statement.trim().split_once("use "));
    let of_modules = statements.filter_map(|(_, path)| {
        let module = modules.get(path.split("::").next()?)?;
        Some(tokens(path).into_iter().skip(1).map(move |name| (name.to_owned(), module.clone())))
    });
    of_modules.flatten().collect()
}

/// A file's text without comments and what is there for tests alone.
fn without_tests(source: &str) -> String {
    let (mut kept, mut lines) = (String::new(), source.lines());
    while let Some(line) = lines.next() {
        match line.trim() {
            comment if comment.starts_with("//") => {}
            "#[cfg(test)]" => {
                let indent = &line[..line.len() - line.trim_start().len()];
                let is_block = lines.next().is_some_and(|first| first.ends_with('{'));
                let end = format!("{indent}}}");
                while is_block && lines.next().is_some_and(|line| line != end) {}
            }
            _ => kept.extend([line, "\n"]),
        }
    }
    kept
}

/// The names directly below the crate's root that the code of a module mentions.
fn mentioned(code: &str, path: &[String]) -> Vec<String> {
    let tokens = tokens(code);
    let mut names = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let supers = tokens[at..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
        let is_rooted = tokens[at..].starts_with(&["crate", "::"]) || supers > 0 && supers == path.len();
        at += if supers > 0 { 2 * supers } else { 1 + usize::from(is_rooted) };
        if is_rooted {
            names.extend(first_names(&tokens[at..]));
        }
    }
    names
}

/// The first name of a path, or of all those in its braces.
fn first_names(tokens: &[&str]) -> Vec<String> {
    if tokens.first() != Some(&"{") {
        return tokens.first().map(|name| (*name).to_owned()).into_iter().collect();
    }
    let (mut depth, mut names) = (0, Vec::new());
    for pair in tokens.windows(2) {
        match pair[0] {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(pair[0], "{" | ",") {
            names.push(pair[1].to_owned());
        }
    }
    names
}

/// Names, `::` and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let (mut tokens, mut rest) = (Vec::new(), code.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = match rest.find(|character| !is_name(character)).unwrap_or(rest.len()) {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            length => length,
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}
