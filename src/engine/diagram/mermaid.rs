//! Mermaid's `stateDiagram-v2`.
//!
//! States are written under identifiers of their own, because a name in ASL may hold anything and one in Mermaid may not.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::{
    Highlight,
    edges::{caption, edges, ends, inner, source},
};
use crate::engine::Definition;

pub(super) fn draw(definition: &Definition, highlight: &Highlight) -> String {
    let ids: BTreeMap<&str, String> =
        definition.states().enumerate().map(|(number, state)| (state.name.as_str(), format!("s{number}"))).collect();
    let source = source(definition);
    let mut drawing = Drawing { definition, ids: &ids, source: &source, text: "stateDiagram-v2\n".to_owned() };
    drawing.machine(0, 1);
    let mut text = drawing.text;
    for class in ["entered", "current"] {
        // Mermaid cannot apply a class to a state that has others inside.
        let marked: Vec<&str> = definition
            .states()
            .filter(|state| highlight.class(&state.name) == Some(class) && inner(state).is_empty())
            .filter_map(|state| ids.get(state.name.as_str()).map(String::as_str))
            .collect();
        if !marked.is_empty() {
            let style =
                if class == "current" { "stroke:#d97706,stroke-width:4px" } else { "stroke:#15803d,stroke-width:3px" };
            line(&mut text, 1, &format!("classDef {class} {style}"));
            line(&mut text, 1, &format!("class {} {class}", marked.join(",")));
        }
    }
    text
}

struct Drawing<'a> {
    definition: &'a Definition,
    ids: &'a BTreeMap<&'a str, String>,
    source: &'a Value,
    text: String,
}

impl Drawing<'_> {
    fn id(&self, name: &str) -> &str {
        self.ids.get(name).map_or("", String::as_str)
    }

    fn machine(&mut self, number: usize, depth: usize) {
        let Some(machine) = self.definition.machines.get(number) else { return };
        let start = format!("[*] --> {}", self.id(&machine.start_at));
        line(&mut self.text, depth, &start);
        for state in machine.states.iter().filter_map(|name| self.definition.state(name)) {
            let id = self.id(&state.name).to_owned();
            let title = format!("state \"{}<br/>{}\" as {id}", quoted(&state.name), quoted(&caption(state)));
            let machines = inner(state);
            if machines.is_empty() {
                line(&mut self.text, depth, &title);
            } else {
                line(&mut self.text, depth, &format!("{title} {{"));
                for (position, inner) in machines.into_iter().enumerate() {
                    if position > 0 {
                        line(&mut self.text, depth.saturating_add(1), "--");
                    }
                    self.machine(inner, depth.saturating_add(1));
                }
                line(&mut self.text, depth, "}");
            }
            for edge in edges(self.source, state) {
                let label = if edge.label.is_empty() { String::new() } else { format!(" : {}", plain(&edge.label)) };
                let arrow = format!("{id} --> {}{label}", self.id(&edge.target));
                line(&mut self.text, depth, &arrow);
            }
            if ends(state) {
                line(&mut self.text, depth, &format!("{id} --> [*]"));
            }
        }
    }
}

fn line(text: &mut String, depth: usize, words: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{:indent$}{words}", "", indent = depth.saturating_mul(4));
}

/// Text between quotes.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            '<' => '‹',
            '>' => '›',
            '#' => '＃',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

/// A label after a colon: it ends at the next colon, semicolon or line.
fn plain(text: &str) -> String {
    quoted(text).replace(':', "꞉").replace(';', ",")
}
