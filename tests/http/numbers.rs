//! Every number that a request may hold, at the ends of its range and beyond: an answer that names it, never a change that
//! nobody can undo and never a server that fails.

use std::collections::BTreeSet;

use keyferry::access::KeyScope;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, start};

/// A member, where it is sent, and what stands beside it. `{key}` is a live API key.
const MEMBERS: [(&str, &str, &str, &str); 6] = [
    ("CreateApiKey", "expires_in_days", "/api-keys", r#"{"environment": "test"}"#),
    ("RotateApiKey", "expires_in_days", "/api-keys/{key}/rotation", "{}"),
    ("RotateApiKey", "old_expires_in_hours", "/api-keys/{key}/rotation", "{}"),
    ("HandOver", "key_expires_in_days", "/handovers", r#"{"environment": "test"}"#),
    ("HandOver", "valid_hours", "/handovers", r#"{"environment": "test"}"#),
    ("PacketWithLinks", "valid_hours", "/packet", "{}"),
];

async fn document(server: &Server) -> Value {
    server.open(Method::GET, "/openapi.json").send().await.unwrap().json().await.unwrap()
}

/// An enterprise of its own, with a live key, so that no answer depends on the one before.
async fn enterprise(server: &Server, id: &str) -> String {
    let new = json!({ "id": id, "name": id });
    assert_eq!(server.ask(Method::POST, "/api/v1/enterprises").json(&new).send().await.unwrap().status(), 201);
    let path = format!("/api/v1/enterprises/{id}/api-keys");
    let body = json!({ "environment": "production", "scope": KeyScope::Import });
    let made: Value = server.ask(Method::POST, &path).json(&body).send().await.unwrap().json().await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_number_of_a_request_has_a_range_that_holds() {
    let server = start().await;
    let document = document(&server).await;
    let mut number = 0;
    for (schema, member, path, beside) in MEMBERS {
        let range = &document["components"]["schemas"][schema]["properties"][member];
        let (least, most) = (range["minimum"].as_i64().unwrap(), range["maximum"].as_i64().unwrap());
        let taken = [json!(least), json!(most), Value::Null];
        let refused = [
            json!(least - 1),
            json!(most + 1),
            json!(-1),
            json!(i64::from(u32::MAX)),
            json!(i64::from(u32::MAX) + 1),
            json!(1_u64 << 53),
            json!(u64::MAX),
            json!(1.5),
            json!("1"),
        ];
        let all = taken.iter().map(|value| (value, true)).chain(refused.iter().map(|value| (value, false)));
        for (value, is_taken) in all {
            number += 1;
            let id = format!("customer-{number}");
            let key = enterprise(&server, &id).await;
            let mut body: Value = serde_json::from_str(beside).unwrap();
            body[member] = value.clone();
            let path = format!("/api/v1/enterprises/{id}{}", path.replace("{key}", &key));
            let response = server.ask(Method::POST, &path).json(&body).send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            assert_eq!(status < 300, is_taken, "{path} {body}: {status} {text}");
            if !is_taken {
                assert_eq!(status, 422, "{path} {body}: {text}");
                assert!(value.is_string() || text.contains(member), "{path} {body} does not name the member: {text}");
            }
        }
    }
}

#[tokio::test]
async fn the_numbers_that_are_tried_are_all_that_the_document_has() {
    let document = document(&start().await).await;
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let asked = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let asked = asked.filter_map(|operation| operation["requestBody"]["content"]["application/json"].get("schema"));
    let mut found = BTreeSet::new();
    for schema in asked {
        let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or("inline");
        let members = schemas.get(name).unwrap_or(schema)["properties"].as_object().cloned().unwrap_or_default();
        for (member, of) in members {
            if of["type"] == "integer" || of["type"] == json!(["integer", "null"]) {
                assert!(of["minimum"].is_i64() && of["maximum"].is_i64(), "{name}.{member} has no range");
                found.insert((name.to_owned(), member));
            }
        }
    }
    let tried = MEMBERS.map(|(schema, member, ..)| (schema.to_owned(), member.to_owned()));
    // The packet's and the link's key live as long; an audit's days are tried where audits are.
    let elsewhere = [("PacketWithLinks", "key_expires_in_days"), ("inline", "every_days")];
    let elsewhere = elsewhere.map(|(schema, member)| (schema.to_owned(), member.to_owned()));
    assert_eq!(found, tried.into_iter().chain(elsewhere).collect());
}
