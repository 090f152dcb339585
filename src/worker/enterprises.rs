//! Enterprises as people add and change them: one check of what is written, and a history of each change.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Act, By, Enterprise, ErrorKind, NewEnterprise, Once, Page, RecordPut, Service, ServiceError};
use crate::{
    config::{Config, mail_address},
    engine::Actor,
    store::{RecordsPage, StoreError},
};

/// The records that tell what was changed, one a version.
const NOTES: &str = "enterprise-change";
/// What fits on a line of a letter and in a listing.
const LONGEST_NAME: usize = 200;
/// Readers of the audit beside customer, CSM and engineer.
const MOST_AUDIT_READERS: usize = 20;

/// What is to be changed of an enterprise. `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EnterpriseChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Some(None)` takes the address away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csm_email: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engineer_email: Option<Option<String>>,
    /// All of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_emails: Option<Vec<String>>,
}

/// One change of an enterprise: who, when, what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnterpriseNote {
    /// The version that it led to.
    pub version: u64,
    pub at: DateTime<Utc>,
    pub actor: Actor,
    pub changes: Vec<FieldChange>,
}

/// A field before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    pub field: String,
    pub from: Value,
    pub to: Value,
}

impl EnterpriseChange {
    fn of(self, before: &Enterprise) -> Enterprise {
        let kept = before.clone();
        Enterprise {
            name: self.name.unwrap_or(kept.name),
            customer_email: self.customer_email.unwrap_or(kept.customer_email),
            csm_email: self.csm_email.unwrap_or(kept.csm_email),
            engineer_email: self.engineer_email.unwrap_or(kept.engineer_email),
            audit_emails: self.audit_emails.unwrap_or(kept.audit_emails),
            version: kept.version + 1,
            id: kept.id,
            partition: kept.partition,
            created_at: kept.created_at,
        }
    }
}

impl Service {
    /// Changes name and addresses of an enterprise. `known` are the versions that the caller has seen, `None` for whatever is
    /// there. A change that changes nothing is not written. Letters that wait go to the new addresses.
    ///
    /// # Errors
    /// `enterprise-invalid` (the findings are the details); `enterprise-changed`: it is at none of the versions known;
    /// `wrong-role`; an idempotency key that was used for another request.
    pub async fn change_enterprise(
        &self,
        id: &str,
        known: Option<&[u64]>,
        change: EnterpriseChange,
        by: impl Into<By>,
    ) -> Result<Enterprise, ServiceError> {
        let by = by.into();
        self.authorize(&by.actor, Act::Correct)?;
        let once = by.once(&json!(["change-enterprise", id, change]));
        if let Some(done) = self.done_before(once.as_ref()).await? {
            return as_changed(done.answer);
        }
        let before = self.enterprise(id).await?;
        if known.is_some_and(|known| !known.contains(&before.version)) {
            let message = format!(
                "enterprise {id} has been changed since: it is at version {}; look at it again before changing it",
                before.version
            );
            let details = json!({ "version": before.version });
            return Err(ServiceError::new(ErrorKind::Conflict, "enterprise-changed", message).with(details));
        }
        let after = change.of(&before);
        refuse(findings(&Checked::of(&after)), "the enterprise cannot be changed to this")?;
        let changes = differences(&before, &after);
        if changes.is_empty() {
            if let Some(once) = once {
                self.keep_key(once.kept(json!(before))).await?;
            }
            return Ok(before);
        }
        let at = self.core.clock.now();
        let note = EnterpriseNote { version: after.version, at, actor: by.actor, changes };
        let put = RecordPut {
            enterprise: id.to_owned(),
            collection: NOTES.to_owned(),
            // As text the keys have the order of the numbers.
            key: format!("{:010}", after.version),
            expected: 0,
            body: json!(note),
            at,
        };
        if let Some(done) = self.write_change((&after, before.version), put, once).await? {
            return Ok(done);
        }
        tracing::info!(enterprise = %id, enterprise.version = after.version, "an enterprise was changed");
        Ok(after)
    }

    /// Writes a change and the note of it. What came of the same request when it came twice at once and the other was first.
    async fn write_change(
        &self,
        (after, expected): (&Enterprise, u64),
        note: RecordPut,
        once: Option<Once>,
    ) -> Result<Option<Enterprise>, ServiceError> {
        let (store, written) = (std::sync::Arc::clone(&self.core.store), after.clone());
        let key = once.clone().map(|once| once.kept(json!(after)));
        let change = async move { store.change_enterprise_once(written, expected, note, key).await };
        match self.core.apart(change).await? {
            Ok(()) => Ok(None),
            Err(StoreError::AlreadyStarted { .. }) => {
                let done = self.done_before(once.as_ref()).await?;
                done.map(|done| as_changed(done.answer)).transpose()
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What was changed of an enterprise, oldest first, `limit` of 1 to 200 at a time.
    ///
    /// # Errors
    /// There is no such enterprise.
    pub async fn enterprise_changes(
        &self,
        id: &str,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Page<EnterpriseNote>, ServiceError> {
        self.enterprise(id).await?;
        let asked =
            RecordsPage { enterprise: id.to_owned(), collection: NOTES.to_owned(), limit: limit.clamp(1, 200), cursor };
        let page = self.core.store.records(asked).await?;
        let unreadable = |error: serde_json::Error| {
            ServiceError::new(ErrorKind::Unavailable, "store-corrupt", format!("a change of {id}: {error}"))
        };
        let items = page.items.into_iter().map(|record| serde_json::from_value(record.body).map_err(unreadable));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next: page.next })
    }
}

/// The enterprise as the same request has left it before.
fn as_changed(answer: Value) -> Result<Enterprise, ServiceError> {
    serde_json::from_value(answer).map_err(|error| {
        ServiceError::new(ErrorKind::Unavailable, "store-corrupt", format!("the answer of a request: {error}"))
    })
}

/// Whether an enterprise can be added as it is.
///
/// # Errors
/// `enterprise-invalid`; the findings name field and value.
pub(super) fn check(new: &NewEnterprise, config: &Config) -> Result<(), ServiceError> {
    let letters = new.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let first = new.id.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let mut found = Vec::new();
    if !letters || !first || new.id.len() > 40 {
        let message = "an identifier is 1 to 40 of a-z, 0-9 and -, beginning with a letter";
        found.push(json!({ "pointer": "/id", "message": message }));
    }
    if !config.aws.partitions.contains_key(&new.partition) {
        let known: Vec<&str> = config.aws.partitions.keys().map(String::as_str).collect();
        let message = format!("the partition is one of {}", known.join(", "));
        found.push(json!({ "pointer": "/partition", "message": message }));
    }
    found.extend(findings(&Checked {
        name: &new.name,
        customer_email: new.customer_email.as_deref(),
        csm_email: new.csm_email.as_deref(),
        engineer_email: new.engineer_email.as_deref(),
        audit_emails: &new.audit_emails,
    }));
    refuse(found, "the enterprise cannot be added as it is")
}

/// What can be given and changed.
struct Checked<'a> {
    name: &'a str,
    customer_email: Option<&'a str>,
    csm_email: Option<&'a str>,
    engineer_email: Option<&'a str>,
    audit_emails: &'a [String],
}

impl<'a> Checked<'a> {
    fn of(enterprise: &'a Enterprise) -> Self {
        Self {
            name: &enterprise.name,
            customer_email: enterprise.customer_email.as_deref(),
            csm_email: enterprise.csm_email.as_deref(),
            engineer_email: enterprise.engineer_email.as_deref(),
            audit_emails: &enterprise.audit_emails,
        }
    }
}

fn findings(checked: &Checked<'_>) -> Vec<Value> {
    let finding = |pointer: String, message: &str| json!({ "pointer": pointer, "message": message });
    let mut found = Vec::new();
    if checked.name.trim().is_empty() {
        found.push(finding("/name".to_owned(), "a name that people read is missing"));
    }
    if checked.name.chars().count() > LONGEST_NAME {
        found.push(finding("/name".to_owned(), &format!("a name has at most {LONGEST_NAME} characters")));
    }
    let addresses = [
        ("customer_email", checked.customer_email),
        ("csm_email", checked.csm_email),
        ("engineer_email", checked.engineer_email),
    ];
    for (field, address) in addresses {
        found.extend(address.and_then(|text| mail_address(text).err()).map(|why| finding(format!("/{field}"), &why)));
    }
    for (index, text) in checked.audit_emails.iter().enumerate() {
        let pointer = format!("/audit_emails/{index}");
        if checked.audit_emails.iter().take(index).any(|earlier| earlier == text) {
            found.push(finding(pointer, &format!("`{}` is there twice", text.escape_debug())));
        } else {
            found.extend(mail_address(text).err().map(|why| finding(pointer, &why)));
        }
    }
    if checked.audit_emails.len() > MOST_AUDIT_READERS {
        let message = format!("at most {MOST_AUDIT_READERS} addresses get the audit's letters; use a mailing list");
        found.push(finding("/audit_emails".to_owned(), &message));
    }
    found
}

fn refuse(found: Vec<Value>, message: &str) -> Result<(), ServiceError> {
    if found.is_empty() {
        return Ok(());
    }
    Err(ServiceError::new(ErrorKind::Invalid, "enterprise-invalid", message).with(Value::Array(found)))
}

fn differences(before: &Enterprise, after: &Enterprise) -> Vec<FieldChange> {
    let fields = [
        ("name", json!(before.name), json!(after.name)),
        ("customer_email", json!(before.customer_email), json!(after.customer_email)),
        ("csm_email", json!(before.csm_email), json!(after.csm_email)),
        ("engineer_email", json!(before.engineer_email), json!(after.engineer_email)),
        ("audit_emails", json!(before.audit_emails), json!(after.audit_emails)),
    ];
    let changed = fields.into_iter().filter(|(_, from, to)| from != to);
    changed.map(|(field, from, to)| FieldChange { field: field.to_owned(), from, to }).collect()
}
