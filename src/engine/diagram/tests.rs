use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    DiagramFormat, Highlight, diagram,
    layout::{Layout, Link, Size, layout},
};
use crate::engine::Definition;

fn definition() -> Definition {
    let text = json!({
        "Comment": "A <test> & more",
        "StartAt": "Ask the customer: \"which\" regions?",
        "States": {
            "Ask the customer: \"which\" regions?": {
                "Type": "Task", "Resource": "urn:keyferry:form:regions", "Next": "Many",
                "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Lost"}],
            },
            "Many": {
                "Type": "Parallel", "Next": "Enough",
                "Branches": [
                    {"StartAt": "Left", "States": {"Left": {"Type": "Task", "Resource": "urn:keyferry:step:left", "End": true}}},
                    {"StartAt": "Each", "States": {"Each": {"Type": "Map", "End": true, "ItemProcessor":
                        {"StartAt": "One", "States": {"One": {"Type": "Wait", "Seconds": 5, "End": true}}}}}},
                ],
            },
            "Enough": {
                "Type": "Choice", "Default": "Ask the customer: \"which\" regions?",
                "Choices": [
                    {"And": [{"Variable": "$.n", "NumericGreaterThan": 3}, {"Variable": "$.ok", "BooleanEquals": true}], "Next": "Good"},
                    {"Variable": "$.n", "IsPresent": false, "Next": "Enough"},
                ],
            },
            "Good": {"Type": "Succeed"},
            "Lost": {"Type": "Fail", "Error": "Lost"},
        }
    });
    Definition::load(&text.to_string()).unwrap().definition
}

fn marked(entered: &[&str], current: &[&str]) -> Highlight {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Highlight::of(owned(entered), owned(current))
}

#[test]
fn mermaid_shows_states_transitions_and_nesting() {
    let text = diagram(&definition(), &marked(&["Left"], &["One"]), DiagramFormat::Mermaid);
    for line in [
        "stateDiagram-v2",
        "    [*] --> s0",
        "    state \"Ask the customer: 'which' regions?<br/>form regions\" as s0",
        "    s0 --> s1",
        "    s0 --> s4 : catch States.Timeout",
        "    state \"Many<br/>Parallel\" as s1 {",
        "        --",
        "    s2 --> s3 : $.n › 3 and $.ok = true",
        "    s2 --> s2 : $.n is not present",
        "    s2 --> s0 : otherwise",
        "    s3 --> [*]",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in\n{text}");
    }
    let id = |name: &str| {
        let line = text.lines().find(|line| line.contains(&format!("state \"{name}<br/>"))).unwrap();
        line.split(" as ").nth(1).unwrap().trim_end_matches(" {").to_owned()
    };
    assert!(text.contains(&format!("class {} entered", id("Left"))), "{text}");
    assert!(text.contains(&format!("class {} current", id("One"))), "{text}");
}

#[test]
fn svg_is_well_formed_and_shows_every_name_and_label() {
    let svg = diagram(&definition(), &marked(&["Left"], &["One"]), DiagramFormat::Svg);
    let mut reader = quick_xml::Reader::from_str(&svg);
    let mut words = Vec::new();
    let mut classes = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Text(text) => words.push((*text).to_owned()),
            quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                if let Some(class) = tag.try_get_attribute("class").unwrap() {
                    classes.push(class.value.into_owned());
                }
            }
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    let text = words.join("|");
    for word in ["Many", "Left", "step left", "Map: each item", "One", "otherwise", "catch States.Timeout", "Good"] {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
    assert!(classes.iter().any(|class| class == "box ends entered"), "{classes:?}");
    assert!(classes.iter().any(|class| class == "box ends current"), "{classes:?}");
    assert_eq!(svg, diagram(&definition(), &marked(&["Left"], &["One"]), DiagramFormat::Svg));
}

/// The rectangles that must not lie over each other: boxes, and labels around their middles.
fn rectangles(sizes: &[Size], links: &[Link], found: &Layout) -> Vec<(f64, f64, f64, f64)> {
    let boxes = sizes.iter().zip(&found.boxes).map(|(size, (x, y))| (*x, *y, size.width, size.height));
    let labels = links.iter().zip(&found.lines).filter_map(|(link, line)| {
        let (size, (x, y)) = link.label.zip(line.label)?;
        Some((x - size.width / 2.0, y - size.height / 2.0, size.width, size.height))
    });
    boxes.chain(labels).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_box_or_label_lies_over_another_and_no_line_crosses_a_box(
        sizes in prop::collection::vec((20.0..300.0_f64, 12.0..200.0_f64), 1..12),
        pairs in prop::collection::vec((0..12_usize, 0..12_usize, any::<bool>()), 0..24),
    ) {
        let sizes: Vec<Size> = sizes.into_iter().map(|(width, height)| Size { width, height }).collect();
        let label = |wanted: bool| wanted.then_some(Size { width: 90.0, height: 16.0 });
        let links: Vec<Link> = pairs.iter()
            .map(|(from, to, wanted)| Link { from: from % sizes.len(), to: to % sizes.len(), label: label(*wanted) })
            .filter(|link| link.from != link.to)
            .collect();
        let found = layout(&sizes, &links);
        let all = rectangles(&sizes, &links, &found);
        let labelled = links.iter().filter(|link| link.label.is_some()).count();
        prop_assert_eq!(all.len(), sizes.len() + labelled, "a label has no place");
        for (index, a) in all.iter().enumerate() {
            prop_assert!(a.0 > -0.01 && a.0 + a.2 < found.width + 0.01 && a.1 + a.3 < found.height + 0.01);
            for b in &all[index + 1..] {
                let apart = a.0 + a.2 <= b.0 + 0.01 || b.0 + b.2 <= a.0 + 0.01 || a.1 + a.3 <= b.1 + 0.01 || b.1 + b.3 <= a.1 + 0.01;
                prop_assert!(apart, "{:?} over {:?}", a, b);
            }
        }
        for line in &found.lines {
            for pair in line.points.windows(2) {
                let (x1, x2) = (pair[0].0.min(pair[1].0), pair[0].0.max(pair[1].0));
                let (y1, y2) = (pair[0].1.min(pair[1].1), pair[0].1.max(pair[1].1));
                for (number, (x, y)) in found.boxes.iter().enumerate() {
                    let crosses = x1 < x + sizes[number].width - 0.01 && x2 > x + 0.01
                        && y1 < y + sizes[number].height - 0.01 && y2 > y + 0.01;
                    prop_assert!(!crosses, "a line crosses box {}", number);
                }
            }
        }
    }
}

#[test]
fn a_long_chain_is_laid_out_without_recursion() {
    let mut states = serde_json::Map::new();
    for number in 0..3_000 {
        let next = if number == 2_999 {
            json!({"Type": "Succeed"})
        } else {
            json!({"Type": "Pass", "Next": format!("S{}", number + 1)})
        };
        states.insert(format!("S{number}"), next);
    }
    let text = json!({ "StartAt": "S0", "States": Value::Object(states) }).to_string();
    let definition = Definition::load(&text).unwrap().definition;
    assert!(diagram(&definition, &Highlight::default(), DiagramFormat::Svg).contains(">S2999<"));
}
