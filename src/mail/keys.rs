//! The letters about keys in use: one was lost or has changed, and one can be used again.

use serde_json::Value;

use super::letter::Block;

/// What `tell-key-state` tells.
pub const STATE: &str = "key-state";
/// What `start-lost-systems` tells.
pub const BACK: &str = "systems-back";

fn text<'a>(about: &'a Value, name: &str) -> &'a str {
    about.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn lines(about: &Value, name: &str) -> Vec<String> {
    let lines = about.get(name).and_then(Value::as_array).into_iter().flatten();
    lines.filter_map(Value::as_str).map(str::to_owned).collect()
}

pub fn state_subject(enterprise: &str, about: &Value) -> String {
    format!("{enterprise}: an encryption key {}", text(about, "says"))
}

/// A key that cannot be used: what stops, when, and how it comes back.
pub fn state(enterprise: &str, about: &Value) -> Vec<Block> {
    let mut blocks = vec![
        Block::Paragraph(format!("An encryption key of {enterprise} {}.", text(about, "says"))),
        Block::Facts(vec![
            ("key".to_owned(), text(about, "key").to_owned()),
            ("region".to_owned(), text(about, "region").to_owned()),
            ("seen since".to_owned(), text(about, "since").to_owned()),
        ]),
        Block::Paragraph("These data systems are under it:".to_owned()),
        Block::List(lines(about, "under")),
        Block::Paragraph(
            "AWS stops a system when it next needs the key: at once, or hours later, at the latest when it is started, \
             modified or backed up. A stopped system can be brought back for 7 days; we count them from when we first see it \
             stopped, AWS may count from a little earlier. After that it can only be restored from a backup, for which the key \
             is needed too."
                .to_owned(),
        ),
    ];
    let stopped = about.get("stopped").and_then(Value::as_array).into_iter().flatten();
    let stopped: Vec<String> = stopped
        .map(|system| {
            let (id, since, until) = (text(system, "id"), text(system, "since"), text(system, "until"));
            format!("{id}: first seen stopped {since}, can be brought back until {until}")
        })
        .collect();
    if !stopped.is_empty() {
        blocks.extend([Block::Paragraph("Stopped so far:".to_owned()), Block::List(stopped)]);
    }
    let (said, commands) = cure(text(about, "state"), (text(about, "key"), text(about, "region")));
    blocks.push(Block::Paragraph(format!("To come back: {said}")));
    if !commands.is_empty() {
        blocks.push(Block::Code(commands.join("\n")));
    }
    blocks.push(Block::Paragraph(
        "As soon as the key can be used again, what the loss stopped is started and looked at by itself, and you are told. \
         If you have taken the key away on purpose, nothing else has to be done: what is encrypted under it cannot be read."
            .to_owned(),
    ));
    blocks
}

/// What brings a key back, and the commands that do it: in the key's region, which need not be the one that a shell is set to.
fn cure(state: &str, (key, region): (&str, &str)) -> (String, Vec<String>) {
    let kms = |verb: &str| format!("aws kms {verb} --key-id {key} --region {region}");
    match state {
        "disabled" => ("enable the key:".to_owned(), vec![kms("enable-key")]),
        "pending-deletion" => {
            let commands = vec![kms("cancel-key-deletion"), kms("enable-key")];
            ("cancel the deletion of the key, and enable it:".to_owned(), commands)
        }
        "without-material" => (format!("import the same key material into {key} again"), Vec::new()),
        "denied" => (format!("put the key policy that you were given back on {key}, unchanged"), Vec::new()),
        _ => (format!("make {key} available again; this says what it lacks:"), vec![kms("describe-key")]),
    }
}

/// A key that can be used again.
pub fn back(about: &Value) -> Vec<Block> {
    let mut blocks = vec![
        Block::Paragraph("The encryption key can be used again.".to_owned()),
        Block::Facts(vec![
            ("key".to_owned(), text(about, "key").to_owned()),
            ("region".to_owned(), text(about, "region").to_owned()),
        ]),
    ];
    for (title, name) in [
        ("These systems, which its loss had stopped, serve again:", "serving"),
        ("These do not come back by themselves; they have to be restored from their last backup:", "lost"),
    ] {
        let lines = lines(about, name);
        if !lines.is_empty() {
            blocks.extend([Block::Paragraph(title.to_owned()), Block::List(lines)]);
        }
    }
    blocks.push(Block::Paragraph("What people had stopped before is left as it was.".to_owned()));
    blocks
}
