//! What is told of systems that are out of service.

use serde_json::Value;

use super::{Matter, letter, member, run_facts};
use crate::mail::letter::{Block, Letter, message_id};

/// What the steps call it.
pub(super) const OUTAGE: &str = "outage";

/// Its subject and what it says: what is down, since when, why, what happens next.
pub(super) fn written(matter: &Matter<'_>, about: &Value) -> (String, Vec<Block>) {
    let name = &matter.enterprise.name;
    let systems: Vec<&Value> = about.get("systems").and_then(Value::as_array).into_iter().flatten().collect();
    let names: Vec<&str> = systems.iter().map(|system| member(system, "system")).collect();
    let overdue = about.get("overdue") == Some(&Value::Bool(true));
    let (subject, said) = if overdue {
        let said = format!(
            "The maintenance window of {name} is over, and not everything serves again. This letter comes every 15 minutes until \
             it does."
        );
        (format!("{name}: OUTAGE: {} out of service after the window", names.join(", ")), said)
    } else {
        let said = format!("Systems of {name} were taken out of service and are now put back by keyferry itself.");
        (format!("{name}: put back into service: {}", names.join(", ")), said)
    };
    let lines = systems.into_iter().map(|system| {
        format!(
            "{} in {}: out of service since {}, to serve by {}; its original is the instance {}",
            member(system, "system"),
            member(system, "region"),
            member(system, "since"),
            member(system, "end"),
            member(system, "old")
        )
    });
    let blocks = vec![
        Block::Paragraph(said),
        Block::Facts(vec![("reason".to_owned(), member(about, "cause").to_owned())]),
        Block::List(lines.collect()),
        Block::Paragraph("What it waits for, and whether an engineer is needed, is shown by:".to_owned()),
        Block::Code(format!("keyferry run show {}", matter.run.id)),
    ];
    (subject, blocks)
}

/// What is told when all that was out of service serves again; nothing when nothing was.
pub(super) fn all_serve(matter: &Matter<'_>, output: &Value) -> Vec<Letter> {
    let systems: Vec<&Value> = output.get("systems").and_then(Value::as_array).into_iter().flatten().collect();
    if systems.is_empty() {
        return Vec::new();
    }
    let name = &matter.enterprise.name;
    let lines = systems.iter().map(|system| {
        let which = match member(system, "outcome") {
            "migrated" => "its successor serves, under the new key; the original is kept until a purge is approved",
            _ => "the original serves, as before the window",
        };
        format!("{} in {}: {which}", member(system, "system"), member(system, "region"))
    });
    let blocks = vec![
        Block::Paragraph(format!("Everything of {name} that was out of service serves again.")),
        Block::List(lines.collect()),
        Block::Facts(run_facts(matter)),
    ];
    let written = |role: &str| {
        let id = message_id(&[&matter.run.id, "ended", role], &matter.config.mail.from);
        letter(matter, id, role, format!("{name}: back in service"), blocks.clone())
    };
    ["engineer", "csm"].into_iter().map(written).collect()
}
