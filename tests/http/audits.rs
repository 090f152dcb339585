//! Audits over HTTP: refused where there is nothing to audit, found by their name, and doubts that are decided.

use keyferry::{
    audit::{Conclusion, Doubt, DoubtKind, Report, Scope, Summary},
    keys::watch::HEALTH,
    worker::{NewEnterprise, RecordPut, Service},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, code, is, problem, service, start_over};

async fn put(service: &Service, collection: &str, key: &str, body: Value) {
    let at = "2026-11-24T12:00:00Z".parse().expect("a time");
    let known = service.record("dave", collection, key).await.expect("readable").map_or(0, |record| record.version);
    let (enterprise, collection, key) = ("dave".to_owned(), collection.to_owned(), key.to_owned());
    let put = RecordPut { enterprise, collection, key, expected: known, body, at };
    service.put_records(vec![put]).await.expect("written");
}

async fn served() -> (Server, Service) {
    let service = service().await;
    let dave = NewEnterprise {
        id: "dave".to_owned(),
        name: "Dave".to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
    };
    service.add_enterprise(dave).await.expect("an enterprise");
    (start_over(service.clone()).await, service)
}

fn doubt(id: &str, decidable: bool) -> Doubt {
    Doubt {
        id: id.to_owned(),
        kind: DoubtKind::NearMiss,
        region: "us-west-2".to_owned(),
        arn: None,
        why: "orders looks like the enterprise's".to_owned(),
        cure: "look".to_owned(),
        decidable,
    }
}

pub fn report() -> Report {
    Report {
        version: 3,
        name: "dave-2026-11-24-120000".to_owned(),
        enterprise: "dave".to_owned(),
        generation: 1,
        generated_at: "2026-11-24T12:00:00Z".to_owned(),
        summary: Summary { conclusion: Conclusion::NotProven, counts: [].into(), sentences: Vec::new() },
        changes: None,
        deviations: Vec::new(),
        not_proven: vec![doubt("aaaa", true), doubt("bbbb", false)],
        decisions: Vec::new(),
        resources: Vec::new(),
        keys: Vec::new(),
        residency: [].into(),
        scope: Scope {
            account: String::new(),
            partition: "aws".to_owned(),
            regions: Vec::new(),
            apis: Vec::new(),
            pages: [].into(),
            tag: String::new(),
            kinds: Vec::new(),
        },
    }
}

#[tokio::test]
async fn an_enterprise_that_was_never_onboarded_is_not_audited() {
    let (server, service) = served().await;
    let audit = || server.ask(Method::POST, "/api/v1/enterprises/dave/audits");
    let run = || {
        let post = server.ask(Method::POST, "/api/v1/enterprises/dave/runs");
        post.header("content-type", "application/json").body(r#"{"workflow": "compliance-audit"}"#)
    };
    let (status, refusal, body) = problem(audit()).await;
    assert_eq!((status, refusal.as_str()), (409, "no-custody"));
    assert!(body["detail"].as_str().expect("a detail").contains("keyferry run start dave"), "{body}");
    assert_eq!(code(run()).await, is(409, "no-custody"));
    assert_eq!(code(server.ask(Method::POST, "/api/v1/enterprises/nobody/audits")).await.0, 404);
    put(&service, "custody", "current", json!({})).await;
    // This installation of the test has no such workflow, which is what is said next.
    assert_eq!(code(audit()).await, is(404, "workflow-not-found"));
    assert_eq!(code(run()).await, is(404, "workflow-not-found"));
}

#[tokio::test]
async fn a_report_is_found_by_its_name_and_a_doubt_of_the_newest_is_decided_once() {
    let (server, service) = served().await;
    for key in ["r-1", "latest"] {
        put(&service, "report", key, json!(report())).await;
    }
    let get = async |path: &str| -> Value {
        let asked = server.ask(Method::GET, &format!("/api/v1/enterprises/dave/{path}"));
        asked.send().await.expect("answered").json().await.expect("JSON")
    };
    assert_eq!(get("audits").await["items"].as_array().expect("items").len(), 1, "the newest is not listed twice");
    assert_eq!(get("audits/dave-2026-11-24-120000").await["key"], "r-1");
    assert_eq!(get("audits/r-1").await["body"]["name"], "dave-2026-11-24-120000");
    assert_eq!(get("audits/dave-2026-11-25").await["code"], "not-found");

    let decide = |doubt: &str, reason: &str| {
        let post = server.ask(Method::POST, "/api/v1/enterprises/dave/audit-decisions");
        post.header("keyferry-actor", "engineer; Eve").json(&json!({ "doubt": doubt, "reason": reason }))
    };
    assert_eq!(code(decide("cccc", "why not")).await, is(404, "doubt-not-found"));
    assert_eq!(code(decide("bbbb", "AWS is down")).await, is(409, "not-decidable"));
    assert_eq!(code(decide("aaaa", " ")).await, is(409, "reason-missing"));
    let decided: Value = decide("aaaa", "another's").send().await.expect("answered").json().await.expect("JSON");
    assert_eq!((&decided["reason"], &decided["by"]), (&json!("another's"), &json!("admin for Eve (engineer)")));
    let again: Value = decide("aaaa", "second thoughts").send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(again, decided, "the first decision stands");
    assert_eq!(get("audit-decisions").await["items"][0]["body"], decided);
}

#[tokio::test]
async fn nothing_is_moved_while_a_key_in_use_is_lost() {
    let (server, service) = served().await;
    let arn = "arn:aws:kms:us-west-2:123456789012:key/1f2d0b34-0000-4000-8000-000000000001";
    put(&service, "custody", "current", json!({ "keys": { "us-west-2": arn }, "instances": {} })).await;
    let start = |workflow: &str| {
        let post = server.ask(Method::POST, "/api/v1/enterprises/dave/runs");
        post.json(&json!({ "workflow": workflow }))
    };
    // This installation of the test has no such workflow, which is said of a key that can be used.
    assert_eq!(code(start("customer-managed")).await, is(404, "workflow-not-found"));
    let body = json!({
        "region": "us-west-2", "arn": arn, "state": "disabled", "since": "2026-11-24T12:00:00Z", "normal": "usable",
    });
    put(&service, HEALTH, arn, body).await;
    for workflow in ["customer-managed", "vendor-managed"] {
        let (status, refusal, body) = problem(start(workflow)).await;
        assert_eq!((status, refusal.as_str()), (409, "key-lost"));
        let detail = body["detail"].as_str().expect("a detail");
        assert!(detail.contains(arn) && detail.contains("2026-11-24T12:00:00Z"), "{detail}");
    }
    assert_eq!(start("noop").send().await.expect("answered").status(), 201, "others are not refused by that");
}
