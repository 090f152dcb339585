//! The arrows between the folders of `src/` point one way, as ARCHITECTURE.md draws them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each room may import from the rest of the crate. A room that is missing here fails the test.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("customer", &[]),
    ("sandbox", &[]),
    ("shell", &[]),
    ("store", &["engine"]),
    ("forms", &["aws", "config", "keys", "schedule", "store", "systems", "worker"]),
    ("worker", &["config", "engine", "store", "telemetry"]),
    ("access", &["config", "worker"]),
    ("packet", &["access", "config", "worker"]),
    ("aws", &["config", "sandbox", "telemetry", "worker"]),
    ("keys", &["aws", "config", "engine", "worker"]),
    ("systems", &["aws", "config", "keys", "worker"]),
    ("schedule", &["config", "worker"]),
    ("audit", &["config", "engine", "keys", "schedule", "shell", "systems", "worker"]),
    ("steps", &["audit", "aws", "config", "forms", "keys", "schedule", "systems", "worker"]),
    ("mail", &["config", "engine", "shell", "store", "telemetry", "worker"]),
    ("http", &["access", "audit", "config", "engine", "forms", "keys", "packet", "store", "telemetry", "worker"]),
    (
        "cli",
        &[
            "access",
            "audit",
            "aws",
            "config",
            "customer",
            "engine",
            "forms",
            "http",
            "keys",
            "mail",
            "sandbox",
            "schedule",
            "shell",
            "steps",
            "store",
            "systems",
            "telemetry",
            "worker",
        ],
    ),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The part of a file that ships: everything before its test module, without comments.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms named behind `crate::` in `code`, in plain paths and in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => name.clear(),
                    ':' if depth == 0 && !name.is_empty() => {
                        rooms.insert(std::mem::take(&mut name));
                    }
                    letter if depth == 0 && (letter.is_alphanumeric() || letter == '_') => name.push(letter),
                    _ => {}
                }
            }
        } else {
            rooms.insert(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect());
        }
    }
    rooms
}

fn arrows() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let rooms: BTreeSet<String> = files.iter().map(|file| room_of(&source, file)).collect();
    let mut arrows: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for file in files {
        let from = room_of(&source, &file);
        if matches!(from.as_str(), "main" | "lib") || file.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let seen = arrows.entry(from.clone()).or_default();
        for to in imports(&shipped(&fs::read_to_string(&file).expect("a source file is readable"))) {
            if to != from && rooms.contains(&to) {
                seen.entry(to).or_insert_with(|| file.clone());
            }
        }
    }
    arrows
}

fn room_of(source: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(source).expect("the file is under src");
    let first = inside.iter().next().expect("a path has a part").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn rooms_import_only_what_they_may() {
    let arrows = arrows();
    assert!(arrows.values().map(BTreeMap::len).sum::<usize>() > 20, "the scan found no arrows: it is broken");
    let mut wrong = Vec::new();
    for (from, targets) in &arrows {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(room, _)| room == from) else {
            wrong.push(format!("src/{from} stands in no row of the table"));
            continue;
        };
        for (to, file) in targets {
            if !allowed.contains(&to.as_str()) {
                wrong.push(format!("{from} -> {to} in {}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that should not be:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_of_arrows_has_no_cycle() {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let ready: Vec<&str> = MAY_IMPORT
            .iter()
            .filter(|(room, targets)| !done.contains(room) && targets.iter().all(|target| done.contains(target)))
            .map(|(room, _)| *room)
            .collect();
        if ready.is_empty() {
            break;
        }
        done.extend(ready);
    }
    let stuck: Vec<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).filter(|room| !done.contains(room)).collect();
    assert!(stuck.is_empty(), "these rooms import each other in a circle: {stuck:?}");
}

#[test]
fn braces_and_plain_paths_are_both_seen() {
    let code = "use crate::{\n    engine::{Event, Frame},\n    store::Store,\n};\nlet x = crate::worker::Step;";
    let found: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(found, ["engine", "store", "worker"]);
}
