//! What people ask of audits: a report by its name, a decision about a doubt, and whether there is anything to audit.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::report::{Decision, Doubt, Report};
use crate::worker::{Act, By, ErrorKind, Page, RecordPut, Service, ServiceError, StoredRecord};

/// The collection in which runs leave their reports, by run; `latest` is the newest one again.
pub const REPORTS: &str = "report";
/// What engineers have decided, by the doubt's id.
pub const DECISIONS: &str = "audit-decision";
/// The workflow that audits.
pub const WORKFLOW: &str = "compliance-audit";
const LATEST: &str = "latest";
const PAGE: u32 = 200;

/// Whether the enterprise has keys to compare with. An audit of one that was never onboarded would wait for ever.
///
/// # Errors
/// `no-custody`: it has not.
pub async fn require_custody(service: &Service, enterprise: &str) -> Result<(), ServiceError> {
    service.enterprise(enterprise).await?;
    if service.record(enterprise, "custody", "current").await?.is_some() {
        return Ok(());
    }
    let message = format!(
        "{enterprise} was never onboarded to its end, so nothing says which keys to expect: there is nothing to audit. Onboard it \
         first: keyferry run start {enterprise} --workflow customer-managed (or vendor-managed)"
    );
    Err(ServiceError::new(ErrorKind::Refused, "no-custody", message))
}

/// A page of reports, each once.
///
/// # Errors
/// No such enterprise.
pub async fn reports(
    service: &Service,
    enterprise: &str,
    limit: u32,
    cursor: Option<String>,
) -> Result<Page<StoredRecord>, ServiceError> {
    let mut page = service.records(enterprise, REPORTS, limit, cursor).await?;
    page.items.retain(|record| record.key != LATEST);
    Ok(page)
}

/// A report by its name, by the run that made it, or `latest`; none if there is none.
///
/// # Errors
/// No such enterprise.
pub async fn find(service: &Service, enterprise: &str, wanted: &str) -> Result<Option<StoredRecord>, ServiceError> {
    if let Some(record) = service.record(enterprise, REPORTS, wanted).await? {
        return Ok(Some(record));
    }
    let mut cursor = None;
    loop {
        let page = reports(service, enterprise, PAGE, cursor).await?;
        let named = |record: &StoredRecord| record.body.get("name").and_then(Value::as_str) == Some(wanted);
        if let Some(found) = page.items.into_iter().find(named) {
            return Ok(Some(found));
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(None);
        }
    }
}

/// Decides that a doubt of the newest report is nothing. The same decision again answers with the first.
///
/// # Errors
/// `doubt-not-found`: the newest report has no such doubt; `not-decidable`: it is about what AWS did not answer;
/// `reason-missing`; `wrong-role`; an idempotency key that was used for another request.
pub async fn decide(
    service: &Service,
    enterprise: &str,
    doubt: &str,
    reason: &str,
    (by, at): (&By, DateTime<Utc>),
) -> Result<Decision, ServiceError> {
    service.authorize(&by.actor, Act::Administer)?;
    let once = by.once(&json!(["audit-decision", enterprise, doubt, reason]));
    if let Some(done) = service.done_before(once.as_ref()).await? {
        return read(&done.answer);
    }
    service.enterprise(enterprise).await?;
    let refused = |code: &'static str, message: String| Err(ServiceError::new(ErrorKind::Refused, code, message));
    if reason.trim().is_empty() {
        return refused("reason-missing", "say why it is nothing: the reason stands in every report".to_owned());
    }
    if let Some(known) = service.record(enterprise, DECISIONS, doubt).await? {
        if let Some(once) = once {
            service.keep_key(once.kept(known.body.clone())).await?;
        }
        return read(&known.body);
    }
    let found = doubted(service, enterprise, doubt).await?;
    if !found.decidable {
        return refused("not-decidable", format!("this cannot be decided: {}. {}", found.why, found.cure));
    }
    let decision = Decision {
        doubt: found.id,
        why: found.why,
        reason: reason.trim().to_owned(),
        by: format!("{} ({})", by.actor.name, by.actor.role),
        at,
    };
    let body = serde_json::to_value(&decision).map_err(|error| unreadable(&error))?;
    let put = RecordPut {
        enterprise: enterprise.to_owned(),
        collection: DECISIONS.to_owned(),
        key: doubt.to_owned(),
        expected: 0,
        body,
        at,
    };
    let key = once.map(|once| once.kept(put.body.clone()));
    match service.put_records_once(vec![put], key).await {
        // The same request came twice at once, or another decided it: that was the first.
        Err(error) if ["record-changed", "already-started"].contains(&error.code) => {
            match service.record(enterprise, DECISIONS, doubt).await? {
                Some(known) => read(&known.body),
                None => Err(error),
            }
        }
        outcome => outcome.map(|()| decision),
    }
}

/// A doubt of the newest report.
async fn doubted(service: &Service, enterprise: &str, doubt: &str) -> Result<Doubt, ServiceError> {
    let latest = service.record(enterprise, REPORTS, LATEST).await?;
    let latest: Option<Report> = latest.and_then(|record| serde_json::from_value(record.body).ok());
    let found = latest.and_then(|report| report.not_proven.into_iter().find(|found| found.id == doubt));
    found.ok_or_else(|| {
        let message = format!(
            "the newest report of {enterprise} has no doubt {doubt}: keyferry audit show {enterprise} lists them with their ids"
        );
        ServiceError::new(ErrorKind::NotFound, "doubt-not-found", message)
    })
}

fn read(body: &Value) -> Result<Decision, ServiceError> {
    serde_json::from_value(body.clone()).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> ServiceError {
    ServiceError::new(ErrorKind::Unavailable, "store-corrupt", format!("a decision cannot be read: {error}"))
}
