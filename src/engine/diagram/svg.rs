//! SVG: boxes and arrows placed by [`super::layout`], with colours that follow the reader's light or dark setting.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    Highlight,
    edges::{Edge, caption, edges, ends, inner, source},
    layout::{Layout, Link, Size, layout},
};
use crate::engine::{Definition, definition::State};

const LINE_HEIGHT: f64 = 16.0;
const PADDING: f64 = 10.0;
const MARGIN: f64 = 16.0;
/// Characters of a name in one line of its box.
const NAME_CHARS: usize = 26;
const START: f64 = 12.0;

const STYLE: &str = "
  .back{fill:#ffffff}.box{fill:#f8fafc;stroke:#64748b;stroke-width:1.2}.group{fill:none;stroke:#94a3b8;stroke-width:1.2}
  .ends{stroke-width:3.5}.entered{stroke:#15803d;stroke-width:3}.current{stroke:#d97706;stroke-width:4}
  .dash{stroke:#94a3b8;stroke-dasharray:5 4}.line{fill:none;stroke:#475569;stroke-width:1.2}.catch{stroke-dasharray:4 3}
  .dot,.tip{fill:#475569}text{font:13px system-ui,sans-serif;fill:#0f172a;text-anchor:middle}
  .small{font-size:11px;fill:#475569}
  @media (prefers-color-scheme:dark){.back{fill:#0f172a}.box{fill:#1e293b;stroke:#94a3b8}.line{stroke:#94a3b8}
  .dot,.tip{fill:#94a3b8}text{fill:#f1f5f9}.small{fill:#cbd5e1}.entered{stroke:#4ade80}.current{stroke:#fbbf24}}
";

pub(super) fn draw(definition: &Definition, highlight: &Highlight) -> String {
    let source = source(definition);
    let picture = Picture { definition, highlight, source: &source };
    let machine = picture.machine(0);
    let (width, height) = (machine.layout.width + 2.0 * MARGIN, machine.layout.height + 2.0 * MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs><marker id=\"tip\" \
         viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path class=\"tip\" \
         d=\"M0 0L10 5L0 10z\"/></marker></defs>\n<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n",
        escaped(definition.comment.as_deref().unwrap_or("workflow definition"))
    );
    picture.paint(&machine, MARGIN, MARGIN, &mut text);
    text.push_str("</svg>\n");
    text
}

struct Picture<'a> {
    definition: &'a Definition,
    highlight: &'a Highlight,
    source: &'a Value,
}

/// A machine that has been laid out. Its first box is the dot of its start.
struct Machine<'a> {
    layout: Layout,
    nodes: Vec<Node<'a>>,
    links: Vec<(Link, Edge)>,
}

struct Node<'a> {
    state: &'a State,
    size: Size,
    name: Vec<String>,
    caption: String,
    inner: Vec<Machine<'a>>,
    /// Labels of transitions to itself.
    loops: Vec<String>,
}

impl<'a> Picture<'a> {
    fn machine(&self, number: usize) -> Machine<'a> {
        let machine = self.definition.machines.get(number);
        let names: Vec<&String> = machine.into_iter().flat_map(|machine| &machine.states).collect();
        let mut nodes = Vec::new();
        let mut links = Vec::new();
        let place = |name: &str| names.iter().position(|other| *other == name).map(|index| index.saturating_add(1));
        if let Some(start) = machine.and_then(|machine| place(&machine.start_at)) {
            let edge = Edge { target: String::new(), label: String::new(), is_catch: false };
            links.push((Link { from: 0, to: start, label: None }, edge));
        }
        for (index, state) in names.iter().filter_map(|name| self.definition.state(name)).enumerate() {
            let from = index.saturating_add(1);
            let (own, out): (Vec<Edge>, Vec<Edge>) =
                edges(self.source, state).into_iter().partition(|edge| edge.target == state.name);
            nodes.push(self.node(state, own));
            for edge in out {
                let Some(to) = place(&edge.target) else { continue };
                let label =
                    (!edge.label.is_empty()).then(|| Size { width: text_width(&edge.label, 6.4), height: LINE_HEIGHT });
                links.push((Link { from, to, label }, edge));
            }
        }
        let dot = Size { width: START, height: START };
        let sizes: Vec<Size> = std::iter::once(dot).chain(nodes.iter().map(Node::room)).collect();
        let bare: Vec<Link> = links.iter().map(|(link, _)| *link).collect();
        Machine { layout: layout(&sizes, &bare), nodes, links }
    }

    fn node(&self, state: &'a State, own: Vec<Edge>) -> Node<'a> {
        let inner: Vec<Machine<'a>> = inner(state).into_iter().map(|number| self.machine(number)).collect();
        let (name, caption) = (wrapped(&state.name), caption(state));
        let words = name.iter().map(|line| text_width(line, 7.6)).fold(text_width(&caption, 6.4), f64::max);
        let lines = name.iter().fold(LINE_HEIGHT, |height, _| height + LINE_HEIGHT);
        let inside = inner.iter().map(|machine| machine.layout.width + 2.0 * PADDING).sum::<f64>();
        let below = inner.iter().map(|machine| machine.layout.height + 2.0 * PADDING).fold(0.0, f64::max);
        let size = Size { width: (words + 2.0 * PADDING).max(inside).max(80.0), height: lines + PADDING + below };
        let loops =
            own.into_iter().map(|edge| if edge.label.is_empty() { "again".to_owned() } else { edge.label }).collect();
        Node { state, size, name, caption, inner, loops }
    }

    fn paint(&self, machine: &Machine<'_>, x: f64, y: f64, text: &mut String) {
        for ((_, edge), line) in machine.links.iter().zip(&machine.layout.lines) {
            let class = if edge.is_catch { "line catch" } else { "line" };
            let mut path = String::new();
            let mut last: Option<(f64, f64)> = None;
            for (px, py) in line.points.iter().map(|(px, py)| (px + x, py + y)) {
                let _ = match last {
                    None => write!(path, "M{px:.1} {py:.1}"),
                    Some((lx, _)) if (lx - px).abs() < 0.05 => write!(path, "L{px:.1} {py:.1}"),
                    Some((lx, ly)) => {
                        let middle = f64::midpoint(ly, py);
                        write!(path, "C{lx:.1} {middle:.1} {px:.1} {middle:.1} {px:.1} {py:.1}")
                    }
                };
                last = Some((px, py));
            }
            let _ = writeln!(text, "<path class=\"{class}\" marker-end=\"url(#tip)\" d=\"{path}\"/>");
        }
        for ((_, edge), line) in machine.links.iter().zip(&machine.layout.lines) {
            let Some((lx, ly)) = line.label else { continue };
            let width = text_width(&edge.label, 6.4);
            // The line runs behind its own label: a patch of background keeps it legible.
            let _ = writeln!(
                text,
                "<rect class=\"back\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{LINE_HEIGHT}\"/>",
                x + lx - width / 2.0,
                y + ly - LINE_HEIGHT / 2.0
            );
            words(text, "small", x + lx, y + ly + 4.0, &edge.label);
        }
        if let Some((dx, dy)) = machine.layout.boxes.first() {
            let radius = START / 2.0;
            let _ = writeln!(
                text,
                "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"/>",
                x + dx + radius,
                y + dy + radius
            );
        }
        for (node, (nx, ny)) in machine.nodes.iter().zip(machine.layout.boxes.iter().skip(1)) {
            self.paint_node(node, x + nx, y + ny, text);
        }
    }

    fn paint_node(&self, node: &Node<'_>, room_x: f64, y: f64, text: &mut String) {
        let x = room_x + (node.room().width - node.size.width) / 2.0;
        let mut class = if node.inner.is_empty() { "box".to_owned() } else { "group".to_owned() };
        if ends(node.state) {
            class.push_str(" ends");
        }
        if let Some(mark) = self.highlight.class(&node.state.name) {
            class.push(' ');
            class.push_str(mark);
        }
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>",
            node.size.width, node.size.height
        );
        let middle = x + node.size.width / 2.0;
        let mut baseline = y + LINE_HEIGHT;
        for line in &node.name {
            words(text, "", middle, baseline, line);
            baseline += LINE_HEIGHT;
        }
        words(text, "small", middle, baseline, &node.caption);
        let mut inner_x = x;
        for (index, machine) in node.inner.iter().enumerate() {
            if index > 0 {
                let _ = writeln!(
                    text,
                    "<path class=\"dash\" d=\"M{inner_x:.1} {:.1}L{inner_x:.1} {:.1}\"/>",
                    baseline + PADDING,
                    y + node.size.height - PADDING
                );
            }
            self.paint(machine, inner_x + PADDING, baseline + 1.5 * PADDING, text);
            inner_x += machine.layout.width + 2.0 * PADDING;
        }
        let edge = x + node.size.width;
        for (label, top) in node.loops.iter().zip(loop_tops(y)) {
            let _ = writeln!(
                text,
                "<path class=\"line\" marker-end=\"url(#tip)\" d=\"M{edge:.1} {:.1}c26 -2 26 16 0 14\"/>",
                top
            );
            words(text, "small", edge + 24.0 + text_width(label, 6.4) / 2.0, top + 11.0, label);
        }
    }
}

impl Node<'_> {
    /// The box, with the same room on both sides for transitions to itself, so that the box stays in the middle.
    fn room(&self) -> Size {
        let side = self.loops.iter().map(|label| 26.0 + text_width(label, 6.4)).fold(0.0, f64::max);
        let loops = self.loops.iter().zip(loop_tops(0.0)).map(|(_, top)| top + 18.0).fold(0.0, f64::max);
        Size { width: self.size.width + 2.0 * side, height: self.size.height.max(loops) }
    }
}

/// Where the transitions of a box to itself begin, one under the other.
fn loop_tops(y: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(y + 8.0), |top| Some(top + 20.0))
}

fn words(text: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(text, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(words));
}

/// An upper estimate: the fonts of readers differ, and a box too wide is better than a word outside it.
fn text_width(text: &str, each: f64) -> f64 {
    text.chars().map(|c| if c.is_ascii() { each } else { each * 1.9 }).sum::<f64>() + 6.0
}

/// A name in lines, broken at spaces, hyphens and underscores where it has them.
fn wrapped(name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut count = 0_usize;
    for word in name.split_inclusive([' ', '-', '_']) {
        let length = word.chars().count();
        if count > 0 && count.saturating_add(length) > NAME_CHARS {
            lines.push(std::mem::take(&mut line));
            count = 0;
        }
        for c in word.chars() {
            if count >= NAME_CHARS {
                lines.push(std::mem::take(&mut line));
                count = 0;
            }
            line.push(c);
            count = count.saturating_add(1);
        }
    }
    lines.push(line);
    lines
}

/// Text for XML, without the characters that XML cannot hold.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
