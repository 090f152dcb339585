//! Which letters a notice becomes: pure, from what is known of the run.
//!
//! | notice | letters |
//! |---|---|
//! | the form `key-arns` opens | the customer gets the key policies |
//! | the form `key-import` opens | the customer is told: at first, before and after tokens expire, once a week; not when they asked; of a re-import also why |
//! | a form opens again with findings | its role gets the findings, the engineer those of the customer too |
//! | another form opens | its role is asked, with what the form shows |
//! | a step tells that all keys have arrived | the customer and the engineer |
//! | a step tells that a master password's secret has another ARN | the engineer and the CSM |
//! | a step tells that systems are out of service and are put back, or still do not serve | the engineer and the CSM |
//! | a run of `put-back` has brought something back | the engineer and the CSM |
//! | a step tells that a key in use was lost, has changed, or is back | the customer and the engineer |
//! | attention | the engineer |
//! | a run that nobody started as a child ends | all, with the report; engineer and CSM when it did not succeed |

mod outage;
mod readers;
mod secrets;
mod undeliverable;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use readers::{reader, readers, support};

use super::{
    changes, keys,
    letter::{Attachment, Block, Letter, message_id},
};
use crate::{
    config::Config,
    engine::{Notice, Outcome},
    worker::{Enterprise, PUT_BACK, RunView, StoredRecord, Visit, next, shown},
};

pub use readers::engineer_of;
pub use undeliverable::undeliverable;

/// The form in which the customer hands over keys; its letter carries the key policies.
const KEY_ARNS: &str = "key-arns";
/// The form in which a list of deletions is approved.
const PURGE_APPROVAL: &str = "purge-approval";
/// The form that the key import answers; its `wait` says why it stands open anew.
const KEY_IMPORT: &str = "key-import";
/// What the review of an import tells: every key that was waited for has its material.
const KEYS_ARRIVED: &str = "keys-arrived";

/// The run of a lost key.
const KEY_LOSS: &str = "key-loss";

/// What mail has to know about a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormRole {
    /// `customer`, `csm` or `engineer`.
    pub role: String,
    pub title: String,
}

/// A notice with everything that its letters may say.
#[derive(Debug, Clone)]
pub struct Matter<'a> {
    pub config: &'a Config,
    pub enterprise: &'a Enterprise,
    pub run: &'a RunView,
    pub notice: &'a Notice,
    /// When the notice was written.
    pub at: DateTime<Utc>,
    /// Of the notice's form, if it is about one.
    pub form: Option<&'a FormRole>,
    /// Records of the collection `key-policy`, one a region.
    pub key_policies: &'a [StoredRecord],
    /// The run's report, once there is one.
    pub report: Option<&'a StoredRecord>,
}

/// The letters of one notice; none for notices that nobody has to read, such as a child run's end.
pub fn letters(matter: &Matter<'_>) -> Vec<Letter> {
    match matter.notice {
        Notice::FormOpened { form, input, .. } if form == KEY_IMPORT && import_notice(input) == Some("asked") => {
            Vec::new()
        }
        Notice::FormOpened { frame, visit, state, form, input } => {
            let place = Place { frame: *frame, visit: *visit, state };
            let asked = form_opened(matter, &place, form, input);
            let copy = copies::engineers(matter, &place, form, input);
            std::iter::once(asked).chain(copy).collect()
        }
        Notice::Attention { frame, visit, state, error, cause } => {
            vec![attention(matter, &Place { frame: *frame, visit: *visit, state }, error, cause)]
        }
        Notice::Told { frame, visit, letter, about } => {
            told(matter, &Place { frame: *frame, visit: *visit, state: "" }, letter, about)
        }
        Notice::Ended { .. } if matter.run.parent.is_some() => Vec::new(),
        Notice::Ended { outcome: Outcome::Succeeded { output } } if matter.run.workflow == PUT_BACK => {
            outage::all_serve(matter, output)
        }
        // Its letters have said what there was to say.
        Notice::Ended { outcome: Outcome::Succeeded { .. } } if matter.run.workflow == KEY_LOSS => Vec::new(),
        Notice::Ended { outcome } => ended(matter, outcome),
    }
}

struct Place<'a> {
    frame: u64,
    visit: u64,
    state: &'a str,
}

impl Place<'_> {
    /// What the reader is shown, for their verb to name.
    fn seen(&self, matter: &Matter<'_>) -> Visit {
        Visit::of(&matter.run.id, self.frame, self.visit)
    }

    fn id(&self, matter: &Matter<'_>, notice: &str, role: &str) -> String {
        let (frame, visit) = (self.frame.to_string(), self.visit.to_string());
        message_id(&[&matter.run.id, &frame, &visit, notice, role], &matter.config.mail.from)
    }
}

fn letter(matter: &Matter<'_>, message_id: String, role: &str, subject: String, mut blocks: Vec<Block>) -> Letter {
    let (to, stands_in) = reader(matter, role);
    if stands_in {
        let note = format!("{} has no address for its customer: please pass this on.", matter.enterprise.name);
        blocks.insert(0, Block::Paragraph(note));
    }
    let support = support(matter, role);
    blocks.push(Block::Paragraph(format!("Sent by keyferry for {}. Questions: {support}", matter.config.vendor.name)));
    Letter { message_id, reader: role.to_owned(), to, subject, blocks, attachments: Vec::new(), date: matter.at }
}

fn form_opened(matter: &Matter<'_>, place: &Place<'_>, form: &str, input: &Value) -> Letter {
    let role = matter.form.map_or("engineer", |form| form.role.as_str());
    let title = matter.form.map_or(form, |form| form.title.as_str());
    let findings = findings(input);
    let name = &matter.enterprise.name;
    let mut attachments = Vec::new();
    let (subject, mut blocks) = if !findings.is_empty() {
        let blocks = vec![
            Block::Paragraph(format!(
                "What was answered for {name} was checked and cannot be used yet. Nothing has been changed. This is what was found:"
            )),
            Block::List(findings),
            Block::Paragraph("Once it is put right, answer again; the check then starts over by itself.".to_owned()),
        ];
        (format!("{name}: please correct: {title}"), blocks)
    } else if form == KEY_ARNS {
        attachments = matter.key_policies.iter().map(policy_file).collect();
        (format!("{name}: create your encryption keys"), key_arns(matter))
    } else if form == KEY_IMPORT {
        key_import(matter, input)
    } else {
        let mut blocks = vec![Block::Paragraph(format!("The onboarding of {name} waits for an answer: {title}."))];
        let shown = shown(input);
        if !shown.is_empty() {
            blocks.push(Block::List(shown));
        }
        if form == PURGE_APPROVAL {
            let answer = json!({ "approve": true, "plan": input.get("plan"), "reason": "why it may go" });
            blocks.push(Block::Paragraph(
                "The answer names the list that it is about; nothing else is ever deleted under it:".to_owned(),
            ));
            blocks.push(Block::Code(answer.to_string()));
        }
        (format!("{name}: an answer is needed: {title}"), blocks)
    };
    if form != KEY_IMPORT {
        blocks.push(how_to_answer(matter, place, role, form));
    }
    blocks.push(facts(matter, place.state));
    let mut letter = letter(matter, place.id(matter, "form-opened", role), role, subject, blocks);
    letter.attachments = attachments;
    letter
}

fn key_arns(matter: &Matter<'_>) -> Vec<Block> {
    let regions: Vec<String> = matter.key_policies.iter().map(|record| record.key.clone()).collect();
    vec![
        Block::Paragraph(format!(
            "Your part in the onboarding of {} begins: please create one symmetric key in AWS KMS in each of these regions.",
            matter.enterprise.name
        )),
        Block::List(regions),
        Block::Paragraph(
            "Apply the attached key policy to the key of its region, unchanged. Then send the ARN of each key, in this form:"
                .to_owned(),
        ),
        Block::Code("arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1".replace(
            "arn:aws:",
            &format!("arn:{}:", matter.enterprise.partition),
        )),
        Block::Paragraph(
            "Keep the keys enabled for as long as your data is to be readable. Data under a key that is lost is lost with it."
                .to_owned(),
        ),
    ]
}

fn import_notice(input: &Value) -> Option<&str> {
    input.get("wait")?.get("notice")?.as_str()
}

/// What the customer is told of an import that is open.
fn key_import(matter: &Matter<'_>, input: &Value) -> (String, Vec<Block>) {
    let name = &matter.enterprise.name;
    let again = input.get("reimport");
    let (subject, said) = import_said(name, input);
    let lines = input.get("remaining").and_then(Value::as_array).into_iter().flatten().map(target_of);
    let path = format!(
        "{}{}/enterprises/{}/cmk",
        matter.config.customer.public_url, matter.config.vendor.customer_api_prefix, matter.enterprise.id
    );
    let mut blocks = vec![Block::Paragraph(said)];
    if let Some(reason) = again.and_then(|again| again.get("reason")?.as_str()) {
        blocks.push(Block::Facts(vec![("reason".to_owned(), reason.to_owned())]));
    }
    if again.is_some() {
        blocks.push(Block::Paragraph(
            "Use your protected copy of the very key that you imported into the region at first. Any other is refused with the \
             code key-material-differs and changes nothing; you may then try again."
                .to_owned(),
        ));
    }
    blocks.extend([
        Block::Paragraph("These wait for their key material:".to_owned()),
        Block::List(lines.collect()),
        Block::Code(format!("PUT {path}/import-key-request\nPOST {path}/import-key")),
        Block::Paragraph(
            "Your information packet has scripts that do it. Keep a protected copy of the key: it cannot be read back, and if it \
             is ever lost in AWS, only you can import it again."
                .to_owned(),
        ),
    ]);
    (format!("{name}: {subject}"), blocks)
}

/// Its subject and first paragraph.
fn import_said(name: &str, input: &Value) -> (&'static str, String) {
    let until = input.get("wait").and_then(|wait| wait.get("until")?.as_str()).unwrap_or("an unknown time");
    let again = input.get("reimport");
    match import_notice(input) {
        Some("expiring") => (
            "your import tokens expire soon",
            format!(
                "The import tokens that were asked for expire at {until}. Upload the wrapped keys before that, or ask for new tokens."
            ),
        ),
        Some("expired") => (
            "your import tokens have expired",
            format!(
                "The import tokens that were asked for expired at {until}. Nothing is lost: ask for new tokens and wrap the same keys again."
            ),
        ),
        Some("reminder") => (
            "your encryption keys are still to be imported",
            match again {
                Some(_) => "Your encryption keys are still to be imported again; no import is on its way.".to_owned(),
                None => "The onboarding waits for your encryption keys; no import is on its way.".to_owned(),
            },
        ),
        Some(_) | None => match again {
            Some(again) => reimport(name, again),
            None => (
                "import your encryption keys",
                format!(
                    "Your part in the onboarding of {name} begins: please import your encryption key into each of these regions."
                ),
            ),
        },
    }
}

/// The first letter of an import of the same material.
fn reimport(name: &str, again: &Value) -> (&'static str, String) {
    let says = |member: &str| again.get(member).and_then(Value::as_bool).unwrap_or(false);
    if says("outage") {
        let said = format!(
            "AWS holds the material of an encryption key of {name} no longer. Nothing that is encrypted under it can be read \
             until you have imported the same key again."
        );
        ("import your encryption keys again: data cannot be read", said)
    } else if says("drill") {
        let said = format!(
            "This is a custody drill for {name}: import your encryption keys once more, to show that you could if they were \
             lost in AWS. The keys stay in use all the time."
        );
        ("custody drill: show that you have your encryption keys", said)
    } else {
        let said = format!("Please import the encryption keys of {name} once more. The keys stay in use all the time.");
        ("import your encryption keys again", said)
    }
}

/// What a step tells: the roles that read it (`audit` is everybody who gets the audit's letters), its subject, what it says. One
/// that this version has no words for goes to the engineer as it is.
fn told(matter: &Matter<'_>, place: &Place<'_>, name: &str, about: &Value) -> Vec<Letter> {
    let enterprise = &matter.enterprise.name;
    let both = &["customer", "engineer"][..];
    let (roles, subject, mut blocks) = match name {
        KEYS_ARRIVED => (both, format!("{enterprise}: all encryption keys have arrived"), keys_arrived(matter, about)),
        keys::STATE => (both, keys::state_subject(enterprise, about), keys::state(enterprise, about)),
        keys::BACK => (both, format!("{enterprise}: an encryption key can be used again"), keys::back(about)),
        secrets::SECRET_MOVED => {
            let system = member(about, "system");
            let subject = format!("{enterprise}: the master password's secret of {system} has another ARN");
            (&["engineer", "csm"][..], subject, secrets::moved(matter, about))
        }
        outage::OUTAGE => {
            let (subject, blocks) = outage::written(matter, about);
            (&["engineer", "csm"][..], subject, blocks)
        }
        _ => (&["engineer"][..], format!("{enterprise}: {name}"), vec![Block::Code(pretty(about))]),
    };
    blocks.push(Block::Facts(run_facts(matter)));
    let written = |role: &String| letter(matter, place.id(matter, name, role), role, subject.clone(), blocks.clone());
    readers(matter, roles).iter().map(written).collect()
}

fn keys_arrived(matter: &Matter<'_>, about: &Value) -> Vec<Block> {
    let name = &matter.enterprise.name;
    let materials = about.get("materials").and_then(Value::as_array).into_iter().flatten();
    let lines = materials.map(|material| (target_of(material), member(material, "key_material_id").to_owned()));
    let next = match about.get("reimport").filter(|reimport| !reimport.is_null()) {
        None => {
            "Next, each key is tried. Then the data systems are prepared, and a maintenance window is agreed: until then \
             nothing is asked of the customer."
        }
        Some(_) => {
            "Next, each key is tried. When all of them work, the audit report says that the customer has shown to have them: \
             nothing else is asked of the customer."
        }
    };
    vec![
        Block::Paragraph(format!("Every key of {name} that was waited for has its key material. These are its KeyMaterialIds:")),
        Block::Facts(lines.collect()),
        Block::Paragraph(
            "Keep this letter with the protected copy of the key: by its KeyMaterialId it is known later that the same key \
             is imported again."
                .to_owned(),
        ),
        Block::Paragraph(next.to_owned()),
    ]
}

fn member<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The region of a key, and the instance if it is one's own.
fn target_of(target: &Value) -> String {
    let region = member(target, "region");
    match member(target, "instance") {
        "" => region.to_owned(),
        own => format!("{region}, the instance {own}"),
    }
}

fn policy_file(record: &StoredRecord) -> Attachment {
    Attachment { name: format!("key-policy-{}.json", record.key), json: pretty(&record.body) }
}

fn how_to_answer(matter: &Matter<'_>, place: &Place<'_>, role: &str, form: &str) -> Block {
    match role {
        "customer" => {
            let (engineer, _) = reader(matter, "engineer");
            Block::Paragraph(format!("Send your answer to your onboarding engineer: {engineer}"))
        }
        _ => Block::Code(next::answer(&matter.run.id, form, &place.seen(matter))),
    }
}

fn attention(matter: &Matter<'_>, place: &Place<'_>, error: &str, cause: &str) -> Letter {
    let [retry, skip] = next::mend(&matter.run.id, &place.seen(matter));
    let commands = [retry, skip, next::cancel(matter.run)];
    let blocks = vec![
        Block::Paragraph(format!(
            "A run for {} stands still: the state {} ended in an error that nothing catches.",
            matter.enterprise.name, place.state
        )),
        Block::Facts(vec![("error".to_owned(), error.to_owned()), ("cause".to_owned(), cause.to_owned())]),
        Block::Paragraph("Once the cause is gone, one of these lets it go on:".to_owned()),
        Block::Code(commands.join("\n")),
        facts(matter, place.state),
    ];
    let subject = format!("{}: attention: {error} in {}", matter.enterprise.name, place.state);
    letter(matter, place.id(matter, "attention", "engineer"), "engineer", subject, blocks)
}

fn ended(matter: &Matter<'_>, outcome: &Outcome) -> Vec<Letter> {
    let name = &matter.enterprise.name;
    let workflow = &matter.run.workflow;
    let (roles, subject, mut blocks): (&[&str], String, Vec<Block>) = match outcome {
        Outcome::Succeeded { .. } => (
            &["customer", "csm", "engineer"],
            format!("{name}: {workflow} is complete"),
            vec![Block::Paragraph(format!("The run {workflow} for {name} has ended well."))],
        ),
        Outcome::Failed { error, cause } => {
            let of = if error.is_empty() { String::new() } else { format!(": {error}") };
            let facts = [("error", error), ("cause", cause)].into_iter().filter(|(_, text)| !text.is_empty());
            let facts: Vec<(String, String)> = facts.map(|(name, text)| (name.to_owned(), text.clone())).collect();
            let mut blocks =
                vec![Block::Paragraph(format!("The run {workflow} for {name} has ended without success."))];
            if !facts.is_empty() {
                blocks.push(Block::Facts(facts));
            }
            (&["csm", "engineer"], format!("{name}: {workflow} failed{of}"), blocks)
        }
        Outcome::Cancelled { reason } => (
            &["csm", "engineer"],
            format!("{name}: {workflow} was cancelled"),
            vec![
                Block::Paragraph(format!("The run {workflow} for {name} was cancelled.")),
                Block::Facts(vec![("reason".to_owned(), reason.clone())]),
            ],
        ),
    };
    let mut attachments = Vec::new();
    if let Some(report) = matter.report {
        blocks.extend(report_summary(&report.body));
        attachments.push(Attachment { name: format!("audit-report-{}.json", report.key), json: pretty(&report.body) });
    }
    blocks.push(Block::Facts(run_facts(matter)));
    readers(matter, roles)
        .iter()
        .map(|role| {
            // A run ends once: its identity needs no visit.
            let id = message_id(&[&matter.run.id, "ended", role], &matter.config.mail.from);
            let mut letter = letter(matter, id, role, subject.clone(), blocks.clone());
            letter.attachments.clone_from(&attachments);
            letter
        })
        .collect()
}

/// What the report says in brief: its `summary`, text or members, and how many deviations it lists.
fn report_summary(report: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    match report.get("summary") {
        Some(Value::String(text)) => blocks.push(Block::Paragraph(text.clone())),
        Some(Value::Object(members)) => {
            if let Some(text) = members.get("text").and_then(Value::as_str) {
                blocks.push(Block::Paragraph(text.to_owned()));
            }
            let facts = members
                .iter()
                .filter(|(label, value)| *label != "text" && !value.is_object() && !value.is_array())
                .map(|(label, value)| (label.replace('_', " "), plain(value)))
                .collect();
            blocks.push(Block::Facts(facts));
        }
        _ => {}
    }
    blocks.extend(changes::since(report));
    if report.pointer("/summary/conclusion").and_then(Value::as_str) == Some("not-proven") {
        let open = report.get("not_proven").and_then(Value::as_array).map_or(0, Vec::len);
        blocks.push(Block::Paragraph(format!(
            "Compliance is not proven: {open} of what the attached report lists under not_proven has to be seen or decided first."
        )));
    }
    if let Some(deviations) = report.get("deviations").and_then(Value::as_array) {
        blocks.push(Block::Paragraph(match deviations.len() {
            0 => "No deviation from the expected encryption was found.".to_owned(),
            1 => "1 deviation from the expected encryption was found; the attached report begins with it.".to_owned(),
            n => {
                format!("{n} deviations from the expected encryption were found; the attached report begins with them.")
            }
        }));
    }
    blocks
}

/// The findings with which a form was opened again, one line each: everything under a member `findings` of its input,
/// however deep (a Map leaves one list for each key), as what was seen and what has to change.
fn findings(input: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    collect(input, None, false, &mut lines);
    lines
}

fn collect(value: &Value, region: Option<&str>, inside: bool, lines: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, region, inside, lines)),
        Value::Object(members) => {
            let member = |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
            let region = member("region").or(region);
            let said: Vec<&str> = ["message", "change"].into_iter().filter_map(member).collect();
            if !inside || said.is_empty() {
                for (name, value) in members.iter().filter(|(_, value)| value.is_array() || value.is_object()) {
                    collect(value, region, inside || name == "findings", lines);
                }
            } else {
                let place: Vec<&str> =
                    region.into_iter().chain(["probe", "pointer"].into_iter().filter_map(member)).collect();
                let place = if place.is_empty() { String::new() } else { format!("{}: ", place.join(", ")) };
                lines.push(format!("{place}{}", said.join(": ")));
            }
        }
        Value::String(text) if inside => lines.push(text.clone()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn facts(matter: &Matter<'_>, state: &str) -> Block {
    let mut facts = run_facts(matter);
    facts.push(("state".to_owned(), state.to_owned()));
    facts.push(("since".to_owned(), matter.at.to_rfc3339_opts(SecondsFormat::Secs, true)));
    Block::Facts(facts)
}

fn run_facts(matter: &Matter<'_>) -> Vec<(String, String)> {
    vec![
        ("enterprise".to_owned(), matter.enterprise.id.clone()),
        ("workflow".to_owned(), matter.run.workflow.clone()),
        ("run".to_owned(), matter.run.id.clone()),
    ]
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

mod copies;

#[cfg(test)]
mod tests;
