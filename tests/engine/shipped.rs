//! The shipped definitions: they load, and their pictures in `docs/workflows/` are current.

use std::{env, fs, path::PathBuf};

use keyferry::engine::{Definition, DiagramFormat, Highlight, diagram};

/// Name and text of each definition in `workflows/`.
fn shipped() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("workflows");
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".asl.json")?.to_owned();
            Some((name, fs::read_to_string(path).unwrap()))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no definition is shipped");
    found
}

#[test]
fn every_shipped_definition_loads_without_a_warning() {
    for (name, text) in shipped() {
        let loaded = Definition::load(&text).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        assert_eq!(loaded.warnings, [], "{name}");
    }
}

#[test]
fn the_pictures_of_shipped_definitions_are_current() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/workflows");
    for (name, text) in shipped() {
        let definition = Definition::load(&text).unwrap().definition;
        let drawn = diagram(&definition, &Highlight::default(), DiagramFormat::Svg);
        let file = folder.join(format!("{name}.svg"));
        if env::var_os("KEYFERRY_DRAW").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &drawn).unwrap();
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        assert!(kept == drawn, "{} is not current: run the tests with KEYFERRY_DRAW=1 to draw it", file.display());
    }
}
