//! Enterprises over the API: what is written is checked, changes are fenced and kept, and every process sees them.

use std::sync::Arc;

use keyferry::store::SqliteStore;
use reqwest::Method;
use serde_json::{Value, json};

use super::{NOOP, Server, code, is, problem, service_over, start_over};

/// Two servers, each with a service of its own, over one store.
async fn fleet() -> (Server, Server) {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let store = Arc::new(SqliteStore::open(&folder.join("keyferry.db")).await.expect("a store"));
    let one = start_over(service_over(store.clone(), &[("noop", NOOP)]).await).await;
    (one, start_over(service_over(store, &[("noop", NOOP)]).await).await)
}

const DAVE: &str = "/api/v1/enterprises/dave";

async fn show(server: &Server) -> (String, Value) {
    let response = server.ask(Method::GET, DAVE).send().await.expect("answered");
    let etag = response.headers()["etag"].to_str().expect("ASCII").to_owned();
    (etag, response.json().await.expect("JSON"))
}

#[tokio::test]
async fn addresses_are_checked_when_they_are_given() {
    let (server, _) = fleet().await;
    let post = |body: Value| server.ask(Method::POST, "/api/v1/enterprises").json(&body);
    let wrong = json!({
        "id": "dave",
        "customer_email": "security@dave.example\r\nBcc: thief@example.com",
        "csm_email": "Carol <carol@replicon.example>",
        "engineer_email": "eve",
        "audit_emails": ["audit@dave.example", "a@dave.example, b@dave.example", "audit@dave.example"],
    });
    let (status, code, body) = problem(post(wrong)).await;
    assert_eq!((status, code.as_str()), (422, "enterprise-invalid"), "{body}");
    let found = body["findings"].as_array().expect("findings");
    let pointers: Vec<&str> = found.iter().map(|finding| finding["pointer"].as_str().expect("a pointer")).collect();
    assert_eq!(pointers, ["/customer_email", "/csm_email", "/engineer_email", "/audit_emails/1", "/audit_emails/2"]);
    for (finding, value) in found.iter().zip(["Bcc", "Carol", "`eve`", "b@dave.example", "twice"]) {
        assert!(finding["message"].as_str().expect("words").contains(value), "{finding}");
    }
    assert_eq!(code_of_show(&server).await, is(404, "enterprise-not-found"), "nothing of it was kept");
}

async fn code_of_show(server: &Server) -> (u16, String) {
    code(server.ask(Method::GET, DAVE)).await
}

#[tokio::test]
async fn a_change_is_fenced_kept_with_who_made_it_and_seen_by_every_process() {
    let (one, two) = fleet().await;
    let new = json!({ "id": "dave", "name": "Dave", "customer_email": "old@dave.example" });
    let added = one.ask(Method::POST, "/api/v1/enterprises").json(&new).send().await.expect("answered");
    assert_eq!((added.status().as_u16(), &added.headers()["etag"]), (201, &"\"1\"".parse().expect("a header")));
    // Both have read it once: what they remember must not outlive the change.
    let ((seen, _), (tag, _)) = (show(&one).await, show(&two).await);
    assert_eq!((seen.as_str(), tag.as_str()), ("\"1\"", "\"1\""));
    let patch = |server: &Server, body: Value| server.ask(Method::PATCH, DAVE).json(&body);
    assert_eq!(code(patch(&one, json!({ "name": "D" }))).await, is(428, "precondition-required"));
    let wrong = patch(&one, json!({ "engineer_email": "eve@" })).header("if-match", &tag);
    assert_eq!(code(wrong).await, is(422, "enterprise-invalid"));
    let unknown = patch(&one, json!({ "engineer": "eve@replicon.example" })).header("if-match", &tag);
    assert_eq!(code(unknown).await, is(422, "invalid-body"));
    let change = json!({ "customer_email": "new@dave.example", "audit_emails": ["audit@dave.example"] });
    let asked = patch(&one, change).header("if-match", &tag).header("keyferry-actor", "csm; Carol");
    let changed = asked.send().await.expect("answered");
    assert_eq!((changed.status().as_u16(), &changed.headers()["etag"]), (200, &"\"2\"".parse().expect("a header")));
    let (etag, body) = show(&two).await;
    assert_eq!((etag.as_str(), &body["customer_email"]), ("\"2\"", &json!("new@dave.example")));
    assert_eq!((&body["name"], &body["audit_emails"]), (&json!("Dave"), &json!(["audit@dave.example"])));
    // Who has seen the first version only changes nothing.
    let stale = patch(&two, json!({ "customer_email": null })).header("if-match", &tag);
    let (status, code, told) = problem(stale).await;
    assert_eq!((status, code.as_str(), &told["details"]["version"]), (412, "enterprise-changed", &json!(2)));
    let again = patch(&two, json!({ "customer_email": "new@dave.example" })).header("if-match", &etag);
    let same: Value = again.send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(same["version"], 2, "a change that changes nothing is none");
    let taken = patch(&two, json!({ "customer_email": null })).header("if-match", "*");
    assert_eq!(taken.send().await.expect("answered").status(), 200);
    let (_, body) = show(&one).await;
    assert_eq!((&body["customer_email"], &body["version"]), (&Value::Null, &json!(3)));
    let noted = one.ask(Method::GET, &format!("{DAVE}/changes")).send().await.expect("answered");
    let noted: Value = noted.json().await.expect("JSON");
    let notes = noted["items"].as_array().expect("items");
    assert_eq!(notes.len(), 2, "{noted}");
    assert_eq!(notes[0]["actor"], json!({ "name": "admin for Carol", "role": "csm" }));
    let first = json!({ "field": "customer_email", "from": "old@dave.example", "to": "new@dave.example" });
    let second = json!({ "field": "audit_emails", "from": [], "to": ["audit@dave.example"] });
    assert_eq!(notes[0]["changes"], json!([first, second]));
    assert!(notes[0]["at"].is_string() && notes[1]["version"] == 3, "{noted}");
}
