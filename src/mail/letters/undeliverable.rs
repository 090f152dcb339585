//! The letter about a letter: it could not be delivered, and an engineer can do something about it.

use super::{Matter, letter, run_facts};
use crate::{
    engine::Notice,
    mail::letter::{Block, Letter, message_id},
    shell::quoted,
    worker::{Enterprise, LetterRow},
};

/// What the engineer is told of a dead letter.
pub fn undeliverable(matter: &Matter<'_>, dead: &LetterRow) -> Letter {
    let enterprise = &matter.enterprise;
    let address = dead.address.as_deref().unwrap_or("no address");
    let blocks = vec![
        Block::Paragraph(format!("A letter for {} could not be delivered and is not tried any more.", enterprise.name)),
        Block::Facts(vec![
            ("letter".to_owned(), dead.id.to_string()),
            ("to".to_owned(), format!("{} ({address})", dead.reader)),
            ("about".to_owned(), about(matter.notice)),
            ("reason".to_owned(), dead.error.clone().unwrap_or_default()),
        ]),
        Block::Paragraph(
            "If the address is wrong, correct it. Then send the letter again; it goes to the address that stands then:"
                .to_owned(),
        ),
        Block::Code(format!("{}\nkeyferry mail resend {}", correction(enterprise, &dead.reader), dead.id)),
        Block::Facts(run_facts(matter)),
    ];
    let subject = format!("{}: a letter to {address} could not be delivered", enterprise.name);
    let id = message_id(&["undeliverable", &dead.run, &dead.id.to_string()], &matter.config.mail.from);
    letter(matter, id, "engineer", subject, blocks)
}

fn about(notice: &Notice) -> String {
    match notice {
        Notice::FormOpened { form, .. } => format!("the form {form} is open"),
        Notice::Attention { error, state, .. } => format!("attention: {error} in {state}"),
        Notice::Told { letter, .. } => letter.clone(),
        Notice::Ended { .. } => "the end of the run".to_owned(),
    }
}

/// The command that corrects a reader's address. The audit's readers are given as a whole, so the others are named again.
fn correction(enterprise: &Enterprise, reader: &str) -> String {
    let options = match reader {
        "customer" => "--customer-email ADDRESS".to_owned(),
        "csm" => "--csm-email ADDRESS".to_owned(),
        "engineer" => "--engineer-email ADDRESS".to_owned(),
        other => {
            let dead = other.strip_prefix("audit:").unwrap_or(other);
            let others = enterprise.audit_emails.iter().map(String::as_str).filter(|address| *address != dead);
            let all = others.chain(["ADDRESS"]).map(|address| format!("--audit-email {}", quoted(address)));
            all.collect::<Vec<_>>().join(" ")
        }
    };
    format!("keyferry enterprise change {} {options}", enterprise.id)
}
