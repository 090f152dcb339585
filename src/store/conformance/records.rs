//! The laws of records that are written and deleted outside a run's turns.

use serde_json::json;

use super::at;
use crate::store::{Enterprise, RecordDelete, RecordPut, RecordsPage, Store, StoreError};

pub async fn a_record_is_written_on_the_version_that_was_read(store: &dyn Store) {
    let put = |enterprise: &str, key: &str, expected: u64, body: serde_json::Value| RecordPut {
        enterprise: enterprise.to_owned(),
        collection: "notes".to_owned(),
        key: key.to_owned(),
        expected,
        body,
        at: at(1),
    };
    let changed = |outcome| matches!(outcome, Err(StoreError::RecordChanged { .. }));
    store.put_records(vec![put("dave", "a", 0, json!(1)), put("erin", "b", 0, json!("\u{0}"))]).await.unwrap();
    assert!(changed(store.put_records(vec![put("dave", "a", 0, json!(2))]).await), "it is there already");
    assert!(changed(store.put_records(vec![put("dave", "c", 1, json!(2))]).await), "it is not there");
    assert!(changed(store.put_records(vec![put("nobody", "a", 0, json!(2))]).await), "there is no such enterprise");
    store.put_records(vec![put("dave", "a", 1, json!(2))]).await.unwrap();
    let stale = vec![put("erin", "b", 1, json!(9)), put("dave", "a", 1, json!(9))];
    assert!(changed(store.put_records(stale).await), "two writers read version 1");
    let found = store.find_record("notes", "a").await.unwrap().unwrap();
    assert_eq!((found.enterprise.as_str(), found.version, &found.body), ("dave", 2, &json!(2)));
    assert_eq!((found.run.as_str(), found.written_at), ("", at(1)));
    let whole = store.record("erin", "notes", "b").await.unwrap().unwrap();
    assert_eq!((whole.version, whole.body), (1, json!("\u{0}")), "what went with a stale write was taken back");
    assert_eq!(store.find_record("notes", "z").await.unwrap(), None);
}

pub async fn a_record_is_deleted_on_the_version_that_was_read_and_another_says_so(store: &dyn Store) {
    let put = |key: &str, expected: u64| RecordPut {
        enterprise: "dave".to_owned(),
        collection: "notes".to_owned(),
        key: key.to_owned(),
        expected,
        body: json!(expected),
        at: at(1),
    };
    let delete = |key: &str, expected: u64| RecordDelete {
        enterprise: "dave".to_owned(),
        collection: "notes".to_owned(),
        key: key.to_owned(),
        expected,
    };
    let changed = |outcome| matches!(outcome, Err(StoreError::RecordChanged { .. }));
    store.put_records(vec![put("a", 0), put("b", 0), put("c", 0)]).await.unwrap();
    store.put_records(vec![put("b", 1)]).await.unwrap();
    for stale in [delete("b", 1), delete("z", 1), delete("a", 1)] {
        let outcome = store.delete_records(vec![delete("a", 1), stale], put("note", 0)).await;
        assert!(changed(outcome), "one has changed, is not there, or is gone already");
    }
    let outcome = store.delete_records(vec![delete("a", 1)], put("c", 0)).await;
    assert!(changed(outcome), "what says so cannot be written");
    assert!(store.record("dave", "notes", "a").await.unwrap().is_some(), "none of that deleted anything");
    store.delete_records(vec![delete("a", 1), delete("b", 2)], put("note", 0)).await.unwrap();
    let asked = RecordsPage { enterprise: "dave".to_owned(), collection: "notes".to_owned(), limit: 9, cursor: None };
    let left: Vec<String> = store.records(asked).await.unwrap().items.into_iter().map(|record| record.key).collect();
    assert_eq!(left, ["c", "note"]);
    store.put_records(vec![put("a", 0)]).await.unwrap();
    assert_eq!(store.record("dave", "notes", "a").await.unwrap().unwrap().version, 1, "it begins anew");
}

pub async fn an_enterprise_is_changed_on_the_version_that_was_read_and_a_record_says_so(store: &dyn Store) {
    let before = store.enterprise("dave").await.unwrap().unwrap();
    assert_eq!((before.version, before.audit_emails.len()), (1, 0));
    let note = |key: &str| RecordPut {
        enterprise: "dave".to_owned(),
        collection: "enterprise-change".to_owned(),
        key: key.to_owned(),
        expected: 0,
        body: json!(key),
        at: at(1),
    };
    let changed = Enterprise {
        name: "D\0ve".to_owned(),
        customer_email: Some("new@dave.example".to_owned()),
        audit_emails: vec!["a@dave.example".to_owned(), "b@dave.example".to_owned()],
        partition: "other".to_owned(),
        ..before.clone()
    };
    store.change_enterprise(changed.clone(), 1, note("2")).await.unwrap();
    let after = store.enterprise("dave").await.unwrap().unwrap();
    let expected = Enterprise { partition: before.partition, version: 2, ..changed.clone() };
    assert_eq!(after, expected, "name and addresses change, nothing else does");
    assert_eq!(store.enterprises(9, None).await.unwrap().items[0], expected);
    let stale = store.change_enterprise(changed.clone(), 1, note("3")).await;
    assert_eq!(stale, Err(StoreError::EnterpriseChanged { enterprise: "dave".to_owned(), expected: 1 }));
    assert_eq!(store.record("dave", "enterprise-change", "3").await.unwrap(), None);
    let noted = Enterprise { name: "D".to_owned(), ..changed.clone() };
    let twice = store.change_enterprise(noted, 2, note("2")).await;
    assert!(matches!(twice, Err(StoreError::RecordChanged { .. })), "what says so cannot be written");
    assert_eq!(store.enterprise("dave").await.unwrap().unwrap(), expected, "and then nothing is");
    let nobody = Enterprise { id: "nobody".to_owned(), ..changed };
    let refused = store.change_enterprise(nobody, 1, note("4")).await;
    assert!(matches!(refused, Err(StoreError::EnterpriseChanged { .. })));
}
