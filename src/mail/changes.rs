//! What a letter says of a report's difference to the one before.

use serde_json::Value;

use super::letter::Block;

/// What is new, gone and the same since the report before.
pub fn since(report: &Value) -> Vec<Block> {
    let Some(changes) = report.get("changes").filter(|changes| !changes.is_null()) else { return Vec::new() };
    let lines = |name: &str| -> Vec<String> {
        let lines = changes.get(name).and_then(Value::as_array).into_iter().flatten();
        lines.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    let (new, gone, same) = (lines("new"), lines("gone"), lines("same"));
    let mut blocks = vec![Block::Paragraph(format!(
        "Since the report {}: {} new, {} gone, {} the same.",
        changes.get("since").and_then(Value::as_str).unwrap_or_default(),
        new.len(),
        gone.len(),
        same.len()
    ))];
    for (title, lines) in [("New:", new), ("Gone:", gone)] {
        if !lines.is_empty() {
            blocks.extend([Block::Paragraph(title.to_owned()), Block::List(lines)]);
        }
    }
    blocks
}
