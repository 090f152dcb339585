//! A letter: one reader, one matter, in text and in HTML, from the same blocks, so that the two cannot say different things.

use chrono::{DateTime, Utc};
use lettre::{
    Message,
    message::{
        Attachment as MailAttachment, Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use sha2::{Digest, Sha256};

/// One paragraph-like piece of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    Paragraph(String),
    /// Label and value, one a line.
    Facts(Vec<(String, String)>),
    /// What a person has to look at, one a line.
    List(Vec<String>),
    /// Something to copy exactly.
    Code(String),
}

/// A file that goes with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Letters, digits, `.`, `-` and `_`; anything else is replaced.
    pub name: String,
    /// `application/json` if it is JSON.
    pub json: String,
}

/// A letter to one reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Stable over resends, `<hash@domain>`.
    pub message_id: String,
    /// `customer`, `csm`, `engineer`, or `audit:ADDRESS`: one letter of a notice to each.
    pub reader: String,
    pub to: String,
    pub subject: String,
    pub blocks: Vec<Block>,
    pub attachments: Vec<Attachment>,
    pub date: DateTime<Utc>,
}

/// Why a letter could not be put into an envelope.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    #[error("`{address}` is not a mail address: {reason}")]
    Address { address: String, reason: String },
    #[error("the message could not be composed: {0}")]
    Compose(String),
}

/// The stable Message-ID of what `parts` identify, in the sender's domain.
pub fn message_id(parts: &[&str], from: &str) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let domain: String = from
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        .collect();
    let digest = hex::encode(hash.finalize());
    format!("<{}@{domain}>", digest.get(..32).unwrap_or(&digest))
}

/// A header's value has one line: whatever a person or a definition put into a name, it cannot begin another header.
pub fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 200 {
        line = line.chars().take(199).chain(['…']).collect();
    }
    line
}

impl Letter {
    /// The text that readers without HTML see.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for block in &self.blocks {
            if !out.is_empty() {
                out.push('\n');
            }
            match block {
                Block::Paragraph(text) => {
                    out.push_str(text);
                    out.push('\n');
                }
                Block::Facts(facts) => {
                    let width = facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
                    for (label, value) in facts {
                        out.push_str(&format!("  {label:<width$}  {value}\n"));
                    }
                }
                Block::List(items) => {
                    for item in items {
                        out.push_str(&format!("  - {item}\n"));
                    }
                }
                Block::Code(code) => {
                    for line in code.lines() {
                        out.push_str(&format!("    {line}\n"));
                    }
                }
            }
        }
        out
    }

    /// The same as HTML. Everything from outside is escaped.
    pub fn html(&self) -> String {
        let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>");
        out.push_str(&escape(&self.subject));
        out.push_str("</title></head>\n<body style=\"font-family: sans-serif; line-height: 1.4\">\n");
        for block in &self.blocks {
            match block {
                Block::Paragraph(text) => out.push_str(&format!("<p>{}</p>\n", escape(text))),
                Block::Facts(facts) => {
                    out.push_str("<table>\n");
                    for (label, value) in facts {
                        out.push_str(&format!(
                            "<tr><th align=\"left\">{}</th><td>{}</td></tr>\n",
                            escape(label),
                            escape(value)
                        ));
                    }
                    out.push_str("</table>\n");
                }
                Block::List(items) => {
                    out.push_str("<ul>\n");
                    for item in items {
                        out.push_str(&format!("<li>{}</li>\n", escape(item)));
                    }
                    out.push_str("</ul>\n");
                }
                Block::Code(code) => out.push_str(&format!("<pre>{}</pre>\n", escape(code))),
            }
        }
        out.push_str("</body>\n</html>\n");
        out
    }

    /// The letter as a message that a mail server takes.
    ///
    /// # Errors
    /// A sender or a reader that is no mail address.
    pub fn message(&self, from: &str, sender_name: &str) -> Result<Message, LetterError> {
        let mailbox = |name: Option<String>, address: &str| -> Result<Mailbox, LetterError> {
            let parsed = address.parse().map_err(|error: lettre::address::AddressError| LetterError::Address {
                address: one_line(address),
                reason: error.to_string(),
            })?;
            Ok(Mailbox::new(name, parsed))
        };
        let seed = self.message_id.trim_matches(['<', '>']).split('@').next().unwrap_or_default();
        let body = MultiPart::alternative()
            .boundary(format!("{seed}.body"))
            .singlepart(part(ContentType::TEXT_PLAIN, self.text()))
            .singlepart(part(ContentType::TEXT_HTML, self.html()));
        let builder = Message::builder()
            .from(mailbox(Some(one_line(sender_name)), from)?)
            .to(mailbox(None, &self.to)?)
            .subject(one_line(&self.subject))
            .message_id(Some(self.message_id.clone()))
            .date(self.date.into())
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        let composed = if self.attachments.is_empty() {
            builder.multipart(body)
        } else {
            let mut mixed = MultiPart::mixed().boundary(format!("{seed}.mixed")).multipart(body);
            for attachment in &self.attachments {
                mixed = mixed.singlepart(attached(attachment)?);
            }
            builder.multipart(mixed)
        };
        composed.map_err(|error| LetterError::Compose(error.to_string()))
    }
}

fn part(kind: ContentType, body: String) -> SinglePart {
    SinglePart::builder().header(kind).body(body)
}

fn attached(attachment: &Attachment) -> Result<SinglePart, LetterError> {
    let name: String = attachment
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .collect();
    let kind = ContentType::parse("application/json").map_err(|error| LetterError::Compose(error.to_string()))?;
    // Base64 brings the bytes through every relay unchanged: a policy must arrive as it was rendered.
    let body = Body::new_with_encoding(attachment.json.clone(), ContentTransferEncoding::Base64)
        .map_err(|_| LetterError::Compose(format!("{} cannot be encoded", attachment.name)))?;
    Ok(MailAttachment::new(name).body(body, kind))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}
