use std::path::Path;

use serde_json::json;

use super::*;
use crate::engine::{Actor, Payload, Standing};

fn at() -> DateTime<Utc> {
    "2026-03-02T10:00:00Z".parse().expect("a time")
}

fn enterprise() -> Enterprise {
    Enterprise {
        id: "dave".to_owned(),
        name: "Dave & Sons".to_owned(),
        partition: "aws".to_owned(),
        customer_email: Some("security@dave.example".to_owned()),
        csm_email: None,
        engineer_email: Some("eve@replicon.example".to_owned()),
        audit_emails: Vec::new(),
        version: 1,
        created_at: at(),
    }
}

fn run() -> RunView {
    RunView {
        id: "run-7".to_owned(),
        enterprise: "dave".to_owned(),
        workflow: "customer-managed".to_owned(),
        definition: "0".repeat(64),
        status: Standing::Waiting,
        parent: None,
        children: Vec::new(),
        revision: 4,
        started_at: at(),
        started_by: Actor { name: "admin".to_owned(), role: "admin".to_owned() },
        ended_at: None,
        summary: String::new(),
        working_in: Vec::new(),
        waiting_for: Vec::new(),
        attention: Vec::new(),
        retrying: Vec::new(),
        undelivered: Vec::new(),
        out_of_service: Vec::new(),
        output: None,
        error: None,
        cause: None,
    }
}

fn record(collection: &str, key: &str, body: Value) -> StoredRecord {
    StoredRecord {
        enterprise: "dave".to_owned(),
        collection: collection.to_owned(),
        key: key.to_owned(),
        run: "run-7".to_owned(),
        written_at: at(),
        body,
        version: 1,
    }
}

fn opened(form: &str, input: Value) -> Notice {
    Notice::FormOpened {
        frame: 0,
        visit: 3,
        state: "AskKeys".to_owned(),
        form: form.to_owned(),
        input: Payload::from(input),
    }
}

/// Letters of `notice`, for the run and enterprise above.
fn write(
    notice: &Notice,
    form: Option<(&str, &str)>,
    change: impl FnOnce(&mut Enterprise, &mut RunView),
) -> Vec<Letter> {
    let config = Config::default();
    let (mut enterprise, mut run) = (enterprise(), run());
    change(&mut enterprise, &mut run);
    let form = form.map(|(role, title)| FormRole { role: role.to_owned(), title: title.to_owned() });
    let policies = [
        record("key-policy", "us-west-2", json!({"Version": "2012-10-17"})),
        record("key-policy", "us-east-1", json!({"Version": "2012-10-17"})),
    ];
    let report = record(
        "report",
        "run-7",
        json!({"summary": {"text": "All 3 data stores are encrypted as agreed.", "match": 3}, "deviations": [], "resources": []}),
    );
    letters(&Matter {
        config: &config,
        enterprise: &enterprise,
        run: &run,
        notice,
        at: at(),
        form: form.as_ref(),
        key_policies: &policies,
        report: Some(&report),
    })
}

/// Compares with the snapshot `name` beside this file; with `UPDATE_SNAPSHOTS` set it is written anew.
fn same_as_snapshot(name: &str, letter: &Letter) {
    let files: Vec<&str> = letter.attachments.iter().map(|attachment| attachment.name.as_str()).collect();
    let found = format!(
        "To: {}\nSubject: {}\nMessage-ID: {}\nAttached: {}\n\n{}\n{}\n{}",
        letter.to,
        letter.subject,
        letter.message_id,
        files.join(" "),
        letter.text(),
        "-".repeat(40),
        letter.html()
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mail/letters/snapshots").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder can be made");
        std::fs::write(&path, &found).expect("the snapshot can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == found, "{} differs; found:\n{found}", path.display());
}

#[test]
fn the_customer_gets_the_key_policies_when_their_part_begins() {
    let letters = write(&opened("key-arns", json!({})), Some(("customer", "Key ARNs")), |_, _| {});
    assert_eq!(letters.len(), 1);
    same_as_snapshot("key-arns", &letters[0]);
    let policy: Value = serde_json::from_str(&letters[0].attachments[0].json).expect("the policy is JSON");
    assert_eq!(policy, json!({"Version": "2012-10-17"}));
}

#[test]
fn the_customer_gets_the_findings_when_a_key_fails() {
    let input = json!({"plan": {"regions": ["us-west-2"]}, "verification": {"findings": [
        {"region": "us-west-2", "findings": [
            {"probe": "key-metadata", "code": "key-disabled", "message": "key K is disabled", "change": "enable the key"},
            {"probe": "re-encrypt", "message": "the key cannot be used", "change": ""}
        ]},
        "A <second> finding"
    ]}});
    let letters = write(&opened("key-arns", input), Some(("customer", "Key ARNs")), |_, _| {});
    same_as_snapshot("findings", &letters[0]);
    assert_eq!(letters[1].to, "eve@replicon.example");
    assert!(letters[1].text().contains("key K is disabled: enable the key"), "{}", letters[1].text());
    assert!(letters[0].attachments.is_empty());
}

#[test]
fn the_csm_is_asked_for_the_window_and_the_engineer_for_the_purge() {
    let window = write(&opened("window", json!({})), Some(("csm", "Maintenance window")), |_, _| {});
    same_as_snapshot("window", &window[0]);
    let list = json!({ "plan": "ab".repeat(32), "shown": ["goes: instance old in us-west-2, 500 GB", "stays: snapshot tax-2019"] });
    let purge = write(&opened("purge-approval", list), Some(("engineer", "Purge approval")), |_, _| {});
    same_as_snapshot("purge-approval", &purge[0]);
}

#[test]
fn the_engineer_sees_why_systems_were_kept() {
    let kept = json!({ "kept": [{ "system": "dave-extra", "region": "us-west-2", "error": "Keyferry.Mismatch", "cause": "it is smaller" }] });
    let letters = write(&opened("migration-review", kept), Some(("engineer", "Review")), |_, _| {});
    let text = letters[0].text();
    assert!(text.contains("dave-extra in us-west-2: Keyferry.Mismatch: it is smaller"), "{text}");
}

#[test]
fn the_engineer_hears_of_attention() {
    let notice = Notice::Attention {
        frame: 2,
        visit: 5,
        state: "CopySnapshot".to_owned(),
        error: "Keyferry.Throttled".to_owned(),
        cause: "RDS in us-east-1 answered Throttling 9 times.".to_owned(),
    };
    same_as_snapshot("attention", &write(&notice, None, |_, _| {})[0]);
}

#[test]
fn everybody_hears_of_the_end_with_the_report() {
    let notice = Notice::Ended { outcome: Outcome::Succeeded { output: Payload::from(json!({})) } };
    let letters = write(&notice, None, |_, _| {});
    let readers: Vec<&str> = letters.iter().map(|letter| letter.to.as_str()).collect();
    assert_eq!(readers, ["security@dave.example", "customer-success@replicon.example", "eve@replicon.example"]);
    same_as_snapshot("succeeded", &letters[0]);
    assert_ne!(letters[0].message_id, letters[1].message_id);
}

#[test]
fn a_failure_and_a_cancellation_stay_inside_the_vendor() {
    let failed =
        Notice::Ended { outcome: Outcome::Failed { error: "Refused".to_owned(), cause: "No data.".to_owned() } };
    let letters = write(&failed, None, |_, _| {});
    assert!(letters.iter().all(|letter| letter.to.ends_with("@replicon.example")), "{letters:?}");
    same_as_snapshot("failed", &letters[0]);
    let cancelled = Notice::Ended { outcome: Outcome::Cancelled { reason: "Wrong regions".to_owned() } };
    same_as_snapshot("cancelled", &write(&cancelled, None, |_, _| {})[1]);
}

#[test]
fn a_child_runs_end_is_nobodys_letter() {
    let notice = Notice::Ended { outcome: Outcome::Succeeded { output: Payload::from(json!({})) } };
    assert_eq!(write(&notice, None, |_, run| run.parent = Some("run-6".to_owned())), Vec::new());
}

#[test]
fn an_engineer_stands_in_for_a_customer_without_an_address() {
    let letters = write(&opened("key-arns", json!({})), Some(("customer", "Key ARNs")), |enterprise, _| {
        enterprise.customer_email = None;
    });
    assert_eq!(letters[0].to, "eve@replicon.example");
    assert!(letters[0].text().contains("please pass this on"), "{}", letters[0].text());
}

#[test]
fn the_message_id_is_stable_and_differs_by_visit() {
    let first = write(&opened("window", json!({})), None, |_, _| {});
    assert_eq!(first[0].message_id, write(&opened("window", json!({})), None, |_, _| {})[0].message_id);
    let Notice::FormOpened { frame, state, form, input, .. } = opened("window", json!({})) else {
        panic!("a form was opened");
    };
    let later = Notice::FormOpened { frame, visit: 4, state, form, input };
    assert_ne!(first[0].message_id, write(&later, None, |_, _| {})[0].message_id);
}

#[test]
fn a_name_cannot_begin_a_header() {
    let notice = opened("window", json!({}));
    let letters = write(&notice, Some(("csm", "Window\r\nBcc: thief@example.com")), |enterprise, _| {
        enterprise.name = "Dave\r\nX-Evil: yes".to_owned();
    });
    let message = letters[0].message("keyferry@replicon.example", "Repli\r\ncon").expect("composed").formatted();
    let text = String::from_utf8(message).expect("ASCII");
    let head = text.split("\r\n\r\n").next().expect("a message has a head");
    let headers: Vec<&str> = head
        .split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert!(headers.contains(&"Subject") && headers.contains(&"Message-ID"), "{head}");
    assert!(!headers.contains(&"Bcc") && !headers.contains(&"X-Evil"), "{head}");
}

#[test]
fn a_reader_that_is_no_address_is_an_error_not_a_header() {
    let letters = write(&opened("window", json!({})), Some(("csm", "Window")), |enterprise, _| {
        enterprise.csm_email = Some("a@b.example\r\nBcc: thief@example.com".to_owned());
    });
    let error = letters[0].message("keyferry@replicon.example", "Replicon").expect_err("refused").to_string();
    assert!(error.contains("is not a mail address") && !error.contains('\n'), "{error}");
}

#[test]
fn the_customer_is_told_of_an_import_at_first_and_around_the_expiry_of_tokens_and_not_when_they_asked() {
    let input = |notice: &str| {
        json!({
            "remaining": [{ "region": "us-west-2" }, { "region": "us-east-1", "instance": "sandbox" }],
            "wait": { "notice": notice, "seconds": 60, "until": "2026-03-03T10:00:00Z" },
        })
    };
    for notice in ["opened", "expiring", "expired", "reminder"] {
        let letters = write(&opened("key-import", input(notice)), Some(("customer", "Import")), |_, _| {});
        assert_eq!(letters.len(), 1, "{notice}");
        same_as_snapshot(&format!("key-import-{notice}"), &letters[0]);
    }
    let why = [("outage", false, true), ("drill", true, false), ("again", false, false)];
    for (name, drill, outage) in why {
        let mut again = input("opened");
        again["reimport"] =
            json!({ "since": "2026-03-02T10:00:00Z", "drill": drill, "outage": outage, "reason": "agreed" });
        let letters = write(&opened("key-import", again), Some(("customer", "Import")), |_, _| {});
        same_as_snapshot(&format!("reimport-{name}"), &letters[0]);
    }
    assert!(write(&opened("key-import", input("asked")), Some(("customer", "Import")), |_, _| {}).is_empty());
}

#[test]
fn customer_and_engineer_are_told_which_material_has_arrived_and_what_comes_next() {
    let told = |letter: &str, reimport: Value| Notice::Told {
        frame: 0,
        visit: 5,
        letter: letter.to_owned(),
        about: Payload::from(json!({
            "materials": [
                { "region": "us-west-2", "arn": "arn:1", "key_material_id": "1a".repeat(32) },
                { "region": "us-west-2", "instance": "sandbox", "arn": "arn:2", "key_material_id": "2b".repeat(32) },
            ],
            "reimport": reimport,
        })),
    };
    let letters = write(&told("keys-arrived", Value::Null), None, |_, _| {});
    let readers: Vec<&str> = letters.iter().map(|letter| letter.to.as_str()).collect();
    assert_eq!(readers, ["security@dave.example", "eve@replicon.example"]);
    assert_ne!(letters[0].message_id, letters[1].message_id);
    same_as_snapshot("keys-arrived", &letters[0]);
    let again = write(&told("keys-arrived", json!({ "since": "2026-03-02T10:00:00Z" })), None, |_, _| {});
    same_as_snapshot("keys-arrived-again", &again[0]);
    let unknown = write(&told("of-another-version", Value::Null), None, |_, _| {});
    assert_eq!(unknown.len(), 1);
    assert!(unknown[0].to == "eve@replicon.example" && unknown[0].text().contains("us-west-2"), "{unknown:?}");
}

#[test]
fn engineer_and_csm_are_told_which_secret_holds_the_master_password_now() {
    let about = json!({
        "system": "dave-production", "region": "us-west-2",
        "before": "arn:aws:secretsmanager:us-west-2:127450652264:secret:rds!db-1", "now": "arn:aws:secretsmanager:us-west-2:127450652264:secret:rds!db-2",
    });
    let notice = Notice::Told { frame: 0, visit: 3, letter: "secret-moved".to_owned(), about: Payload::from(about) };
    let letters = write(&notice, None, |_, _| {});
    assert_eq!(letters.len(), 2);
    same_as_snapshot("secret-moved", &letters[0]);
}

#[test]
fn engineer_and_csm_are_told_what_is_out_of_service_and_when_it_serves_again() {
    let about = |overdue: bool| {
        Payload::from(json!({
            "cause": "the run run-7 was cancelled: wrong day", "overdue": overdue,
            "systems": [{ "system": "dave-production", "region": "us-west-2", "old": "byok-dave-old",
                "since": "2026-03-02T10:00:00Z", "end": "2026-03-02T18:00:00Z" }],
        }))
    };
    let told = |overdue| Notice::Told { frame: 0, visit: 5, letter: "outage".to_owned(), about: about(overdue) };
    let begun = write(&told(false), None, |_, _| {});
    assert_eq!(begun.len(), 2);
    let says =
        ["dave-production in us-west-2", "since 2026-03-02T10:00:00Z", "by 2026-03-02T18:00:00Z", "byok-dave-old"];
    for said in says.into_iter().chain(["run show run-7", "was cancelled: wrong day"]) {
        assert!(begun[0].text().contains(said), "{said}: {}", begun[0].text());
    }
    let overdue = write(&told(true), None, |_, _| {});
    assert!(overdue[0].subject.contains("OUTAGE: dave-production"), "{}", overdue[0].subject);
    assert!(overdue[0].text().contains("every 15 minutes"), "{}", overdue[0].text());
    let ended = |systems: Value| Notice::Ended {
        outcome: Outcome::Succeeded { output: Payload::from(json!({ "systems": systems })) },
    };
    let kept = json!([{ "system": "dave-production", "region": "us-west-2", "outcome": "kept" }]);
    let back = write(&ended(kept), None, |_, run| run.workflow = "put-back".to_owned());
    assert_eq!(back.len(), 2);
    assert!(back[0].text().contains("dave-production in us-west-2: the original serves"), "{}", back[0].text());
    assert!(write(&ended(json!([])), None, |_, run| run.workflow = "put-back".to_owned()).is_empty());
}

fn told(letter: &str, about: Value) -> Notice {
    Notice::Told { frame: 0, visit: 2, letter: letter.to_owned(), about: Payload::from(about) }
}

#[test]
fn a_lost_key_is_told_to_customer_and_engineer_with_what_stops_and_how_it_comes_back() {
    let about = json!({
        "key": "arn:aws:kms:us-west-2:123456789012:key/k", "region": "us-west-2", "state": "pending-deletion",
        "says": "is going to be deleted", "since": "2026-11-24T12:00:00Z", "under": ["dave-production in us-west-2: available"],
        "stopped": [{ "id": "dave-sandbox", "since": "2026-11-24T12:30:00Z", "until": "2026-12-01T12:30:00Z" }],
    });
    let letters = write(&told("key-state", about), None, |_, _| {});
    let readers: Vec<&str> = letters.iter().map(|letter| letter.to.as_str()).collect();
    assert_eq!(readers.len(), 2, "{readers:?}");
    assert_ne!(letters[0].message_id, letters[1].message_id);
    assert!(letters[0].subject.ends_with("an encryption key is going to be deleted"), "{}", letters[0].subject);
    let text = letters[0].text();
    for part in
        ["dave-production", "can be brought back until 2026-12-01T12:30:00Z", "aws kms cancel-key-deletion", "7 days"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let back = json!({ "key": "k", "region": "us-west-2", "serving": ["dave-production in us-west-2"], "lost": ["dave-old in us-west-2"] });
    let letters = write(&told("systems-back", back), None, |_, _| {});
    let text = letters[0].text();
    assert!(text.contains("serve again") && text.contains("restored from their last backup"), "{text}");
    let ended = Notice::Ended { outcome: Outcome::Succeeded { output: Payload::from(json!({})) } };
    assert!(
        write(&ended, None, |_, run| run.workflow = "key-loss".to_owned()).is_empty(),
        "its letters have said it all"
    );
}

#[test]
fn a_report_is_told_with_what_is_new_gone_and_the_same_and_that_it_proves_nothing() {
    let report = json!({
        "summary": { "conclusion": "not-proven" }, "deviations": [], "not_proven": [{}, {}],
        "changes": { "since": "dave-2026-08-01-120000", "new": ["not proven: x"], "gone": ["wrong-key: instance y"], "same": ["z"] },
    });
    let text = Letter {
        message_id: String::new(),
        reader: String::new(),
        to: String::new(),
        subject: String::new(),
        blocks: report_summary(&report),
        attachments: Vec::new(),
        date: at(),
    }
    .text();
    for part in [
        "Since the report dave-2026-08-01-120000: 1 new, 1 gone, 1 the same",
        "- not proven: x",
        "- wrong-key: instance y",
        "Compliance is not proven: 2 of what",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_correction_of_one_audit_reader_names_the_others_again() {
    let (config, mut enterprise, run) = (Config::default(), enterprise(), run());
    enterprise.audit_emails = ["a@dave.example", "b@dave.example", "o'c@dave.example"].map(str::to_owned).into();
    let notice = Notice::Ended { outcome: Outcome::Cancelled { reason: String::new() } };
    let matter = Matter {
        config: &config,
        enterprise: &enterprise,
        run: &run,
        notice: &notice,
        at: at(),
        form: None,
        key_policies: &[],
        report: None,
    };
    let dead = crate::worker::LetterRow {
        id: 7,
        enterprise: "dave".to_owned(),
        run: "run-7".to_owned(),
        noticed_at: at(),
        notice: notice.clone(),
        reader: "audit:b@dave.example".to_owned(),
        about: None,
        state: crate::worker::LetterState::Dead,
        due_at: None,
        attempts: 1,
        failing_since: None,
        address: Some("b@dave.example".to_owned()),
        error: Some("550".to_owned()),
        ended_at: Some(at()),
    };
    let said = format!("{:?}", undeliverable(&matter, &dead));
    let change = "keyferry enterprise change dave --audit-email a@dave.example --audit-email 'o'\\\\''c@dave.example' \
                  --audit-email ADDRESS\\nkeyferry mail resend 7";
    assert!(said.contains(change), "{said}");
}
