//! The letter about a letter: it could not be delivered, and an engineer can do something about it.

use super::{Matter, letter, run_facts};
use crate::{
    engine::Notice,
    mail::letter::{Block, Letter, message_id},
    worker::LetterRow,
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
        Block::Code(format!("{}\nkeyferry mail resend {}", correction(&enterprise.id, &dead.reader), dead.id)),
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

fn correction(enterprise: &str, reader: &str) -> String {
    let option = match reader {
        "customer" => "--customer-email",
        "csm" => "--csm-email",
        "engineer" => "--engineer-email",
        _ => "--audit-email",
    };
    format!("keyferry enterprise change {enterprise} {option} ADDRESS")
}
