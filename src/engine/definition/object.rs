//! Reading an object's members one by one, so that what nobody asked for can be refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::engine::language::{Problem, ReferencePath, pointer_to};

use super::{Amount, Percentage};

/// An object of a definition while it is read.
pub(super) struct Object<'a> {
    pub members: &'a Map<String, Value>,
    pub pointer: String,
    asked: BTreeSet<&'static str>,
}

impl<'a> Object<'a> {
    /// The object at `pointer`, or a problem if it is none.
    pub fn new(value: &'a Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        match value.as_object() {
            Some(members) => Some(Self { members, pointer: pointer.to_owned(), asked: BTreeSet::new() }),
            None => {
                problems.push(Problem::new(pointer, "it must be an object"));
                None
            }
        }
    }

    pub fn at(&self, name: &str) -> String {
        pointer_to(&self.pointer, name)
    }

    pub fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.insert(name);
        self.members.get(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A member that must be a string if it is there.
    pub fn text(&mut self, name: &'static str, problems: &mut Vec<Problem>) -> Option<&'a str> {
        let value = self.take(name)?;
        let text = value.as_str();
        if text.is_none() {
            problems.push(Problem::new(self.at(name), "it must be a string"));
        }
        text
    }

    /// A whole number from `least` to `most`.
    pub fn whole(&mut self, name: &'static str, least: u64, most: u64, problems: &mut Vec<Problem>) -> Option<u64> {
        let value = self.take(name)?;
        let number = value.as_u64().or_else(|| exact(value.as_f64()?)).filter(|number| (least..=most).contains(number));
        if number.is_none() {
            problems.push(Problem::new(self.at(name), format!("it must be a whole number from {least} to {most}")));
        }
        number
    }

    /// `name`, or its sibling `name` + `Path`: one of them, not both.
    pub fn amount(
        &mut self,
        name: &'static str,
        by_path: &'static str,
        (least, most): (u64, u64),
        problems: &mut Vec<Problem>,
    ) -> Option<Amount> {
        if self.has(name) && self.has(by_path) {
            problems.push(Problem::new(self.at(by_path), format!("{name} and {by_path} cannot stand together")));
        }
        let fixed = self.whole(name, least, most, problems).map(Amount::Fixed);
        let path = self.reference(by_path, problems).map(Amount::Path);
        fixed.or(path)
    }

    /// A number from 0 to 100, fractions allowed, or its sibling by path: one of them, not both.
    pub fn percentage(
        &mut self,
        name: &'static str,
        by_path: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Percentage> {
        if self.has(name) && self.has(by_path) {
            problems.push(Problem::new(self.at(by_path), format!("{name} and {by_path} cannot stand together")));
        }
        let fixed = self.take(name).map(|value| value.as_f64().filter(|number| (0.0..=100.0).contains(number)));
        if fixed == Some(None) {
            problems.push(Problem::new(self.at(name), "it must be a number from 0 to 100"));
        }
        let path = self.reference(by_path, problems).map(Percentage::Path);
        fixed.flatten().map(Percentage::Fixed).or(path)
    }

    pub fn reference(&mut self, name: &'static str, problems: &mut Vec<Problem>) -> Option<ReferencePath> {
        let text = self.text(name, problems)?;
        ReferencePath::parse(text).map_err(|reason| problems.push(Problem::new(self.at(name), reason))).ok()
    }

    /// Refuses every member that nobody asked for.
    pub fn finish(self, what: &str, problems: &mut Vec<Problem>) {
        for name in self.members.keys().filter(|name| !self.asked.contains(name.as_str())) {
            problems.push(Problem::new(
                self.at(name),
                match unsupported(name) {
                    Some(reason) => reason.to_owned(),
                    None => format!("{what} has no field `{name}`"),
                },
            ));
        }
    }
}

fn exact(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number))
        .then(|| format!("{number:.0}").parse().ok())
        .flatten()
}

/// Fields that AWS has and keyferry refuses, with the reason.
fn unsupported(name: &str) -> Option<&'static str> {
    match name {
        "ItemReader" | "ItemBatcher" | "ResultWriter" | "Label" => {
            Some("it belongs to the distributed Map, which is not supported: use an inline Map")
        }
        "Arguments" | "Output" | "Items" => {
            Some("it belongs to JSONata, which is not supported: use the JSONPath dialect")
        }
        _ => None,
    }
}
