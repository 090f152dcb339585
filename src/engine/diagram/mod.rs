//! Pictures of a definition: Mermaid text, and SVG with a layout of its own, so that a browser is all one needs.
//!
//! Both show the same: every state with its kind, every transition with the reason why it is taken, branches and items
//! inside the state that opens them; and with a run, the way that it took and where it stands.

mod edges;
mod layout;
mod mermaid;
mod svg;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::Definition;

/// What of a run is marked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Highlight {
    /// Names of the states that it has entered.
    pub entered: BTreeSet<String>,
    /// Names of the states in which its frames stand.
    pub current: BTreeSet<String>,
}

/// The two ways to draw a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiagramFormat {
    /// `stateDiagram-v2`.
    Mermaid,
    Svg,
}

/// Draws a definition. The same arguments give the same text.
pub fn diagram(definition: &Definition, highlight: &Highlight, format: DiagramFormat) -> String {
    match format {
        DiagramFormat::Mermaid => mermaid::draw(definition, highlight),
        DiagramFormat::Svg => svg::draw(definition, highlight),
    }
}

impl Highlight {
    /// Marks the states that a run has entered, and those in which it stands now.
    pub fn of(entered: impl IntoIterator<Item = String>, current: impl IntoIterator<Item = String>) -> Self {
        Self { entered: entered.into_iter().collect(), current: current.into_iter().collect() }
    }

    /// The class of a state: where the run stands matters more than that it came by.
    fn class(&self, state: &str) -> Option<&'static str> {
        if self.current.contains(state) {
            Some("current")
        } else if self.entered.contains(state) {
            Some("entered")
        } else {
            None
        }
    }
}
