//! Letters that somebody gets a copy of.

use serde_json::Value;

use super::{Block, Letter, Matter, Place, facts, findings, letter, reader};

/// What a customer is told to put right, for the engineer who helps: nobody else sees it otherwise.
pub(super) fn engineers(matter: &Matter<'_>, place: &Place<'_>, form: &str, input: &Value) -> Option<Letter> {
    let findings = findings(input);
    let title = matter.form.filter(|form| form.role == "customer").map(|form| form.title.as_str())?;
    // An engineer who stands in for the customer has the letter already.
    if findings.is_empty() || reader(matter, "customer").1 {
        return None;
    }
    let name = &matter.enterprise.name;
    let blocks = vec![
        Block::Paragraph(format!(
            "The customer was told that this has to be put right in {form} before {name} can go on:"
        )),
        Block::List(findings),
        facts(matter, place.state),
    ];
    let subject = format!("{name}: the customer has to correct: {title}");
    Some(letter(matter, place.id(matter, "form-opened", "engineer"), "engineer", subject, blocks))
}
