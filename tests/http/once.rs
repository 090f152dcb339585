//! An idempotency key on every request that changes something: the first result again, and nobody else's request under it.

use keyferry::worker::{Delivery, NewEnterprise, RecordPut, Service};
use serde_json::json;

use super::{disorder::Scene, *};

/// A request that a route takes, by method and path of the document. A route that changes something and is not here fails the
/// test: it has to honour the header.
fn bodies() -> BTreeMap<&'static str, Value> {
    let visit = json!("01234567-0-1");
    let why = |more: Value| {
        let mut body = json!({ "reason": "why" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let one = "/api/v1/enterprises/{enterprise}";
    let run = "/api/v1/runs/{run}";
    let all = [
        ("post", "/api/v1/enterprises".to_owned(), json!({ "id": "erin" })),
        ("patch", one.to_owned(), json!({ "name": "Dave Ltd." })),
        ("post", format!("{one}/runs"), json!({ "workflow": "noop" })),
        ("post", format!("{one}/audits"), Value::Null),
        ("post", format!("{one}/audit-decisions"), json!({ "doubt": "aaaa", "reason": "why" })),
        ("post", format!("{one}/audit-schedule"), json!({ "every_days": 30 })),
        ("post", format!("{one}/api-keys"), json!({ "environment": "test" })),
        ("post", format!("{one}/api-keys/{{apiKey}}/rotation"), json!({})),
        ("post", format!("{one}/api-keys/{{apiKey}}/revocation"), why(json!({}))),
        ("post", format!("{one}/handovers"), json!({ "environment": "test" })),
        ("post", format!("{one}/packet"), json!({})),
        ("post", format!("{run}/forms/{{form}}"), json!({ "visit": visit, "answer": {} })),
        ("post", format!("{run}/retry"), why(json!({ "visit": visit }))),
        ("post", format!("{run}/skip"), why(json!({ "visit": visit }))),
        ("post", format!("{run}/pause"), why(json!({}))),
        ("post", format!("{run}/resume"), why(json!({}))),
        ("post", format!("{run}/cancel"), why(json!({}))),
        ("post", "/api/v1/letters/{letter}/resend".to_owned(), Value::Null),
    ];
    let leaked = |method: &str, path: &str| -> &'static str { Box::leak(format!("{method} {path}").into_boxed_str()) };
    all.into_iter().map(|(method, path, body)| (leaked(method, &path), body)).collect()
}

async fn put(service: &Service, collection: &str, key: &str, body: Value) {
    let at = "2026-11-24T12:00:00Z".parse().expect("a time");
    let (enterprise, collection, key) = ("dave".to_owned(), collection.to_owned(), key.to_owned());
    let put = RecordPut { enterprise, collection, key, expected: 0, body, at };
    service.put_records(vec![put]).await.expect("written");
}

fn to(server: &Server, method: &str, path: &str, key: &str, body: &Value) -> RequestBuilder {
    let method = if method == "patch" { Method::PATCH } else { Method::POST };
    let asked = server.ask(method, path).header("idempotency-key", key).header("if-match", "*");
    if body.is_null() { asked } else { asked.json(body) }
}

#[tokio::test]
async fn no_request_that_changes_something_is_done_under_another_requests_key() {
    let service = service().await;
    let dave = NewEnterprise {
        id: "dave".to_owned(),
        name: "Dave".to_owned(),
        partition: "aws".to_owned(),
        ..NewEnterprise::default()
    };
    service.add_enterprise(dave).await.expect("an enterprise");
    put(&service, "custody", "current", json!({})).await;
    let server = start_over(service.clone()).await;
    let mail = json!({ "id": "frank" });
    let first = to(&server, "post", "/api/v1/enterprises", "taken", &mail).send().await.expect("answered");
    assert_eq!(first.status().as_u16(), 201);
    let (_, run) =
        Scene::said(to(&server, "post", "/api/v1/enterprises/dave/runs", "run", &json!({ "workflow": "noop" }))).await;
    let run = run["id"].as_str().expect("a run");
    let document: Value =
        server.open(Method::GET, "/openapi.json").send().await.expect("answered").json().await.expect("JSON");
    let bodies = bodies();
    let mut walked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["post", "patch", "put", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            let body = bodies.get(format!("{method} {path}").as_str());
            let body =
                body.unwrap_or_else(|| panic!("{method} {path} changes something: how does it take the header?"));
            let named = operation["parameters"].to_string();
            assert!(named.contains("parameters/Idempotency-Key"), "{method} {path} is not documented with it");
            let mut path = path.clone();
            for (name, value) in
                [("enterprise", "dave"), ("run", run), ("form", "window"), ("apiKey", "none"), ("letter", "1")]
            {
                path = path.replace(&format!("{{{name}}}"), value);
            }
            let refused = code(to(&server, method, &path, "taken", body)).await;
            assert_eq!(refused, is(422, "idempotency-key-reused"), "{method} {path}");
            walked += 1;
        }
    }
    assert_eq!(walked, bodies.len());
    let shown = service.enterprise("dave").await.expect("dave");
    assert_eq!((shown.name.as_str(), shown.version), ("Dave", 1), "nothing was done");
    server.stop.send_replace(true);
}

/// A letter that could not be delivered.
async fn dead_letter(scene: &Scene) -> i64 {
    let run = Scene::said(scene.start("letters", &json!({ "workflow": "broken" }))).await.1;
    let notice = scene.service.next_mail(9).await.expect("mail").into_iter().find(|row| run["id"] == row.run.as_str());
    scene.service.spread_mail(notice.expect("a notice").id, vec!["engineer".to_owned()]).await.expect("spread");
    let letter = scene.service.hold_letters(9).await.expect("held")[0].0.id;
    let dead = Delivery::Dead { address: "a@dave.example".to_owned(), error: "550".to_owned(), tell: None };
    scene.service.letter_done(letter, dead).await.expect("kept");
    letter
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_under_a_key_is_changed_once_and_answered_as_at_first() {
    for scene in Scene::all().await {
        let (server, service) = (&scene.server, &scene.service);
        let letter = dead_letter(&scene).await;
        let report = super::audits::report();
        put(service, "report", "latest", json!(report)).await;
        let one = "/api/v1/enterprises/dave";
        let resend = format!("/api/v1/letters/{letter}/resend");
        let cases = [
            ("patch", one.to_owned(), json!({ "name": "Dave Ltd." }), json!({ "name": "Dave Inc." })),
            ("post", format!("{one}/audit-schedule"), json!({ "every_days": 30 }), json!({ "every_days": 7 })),
            (
                "post",
                format!("{one}/audit-decisions"),
                json!({ "doubt": "aaaa", "reason": "another's" }),
                json!({ "doubt": "aaaa", "reason": "second thoughts" }),
            ),
            ("post", resend.clone(), Value::Null, Value::Null),
        ];
        for (number, (method, path, body, other)) in cases.iter().enumerate() {
            let key = format!("k-{number}");
            let first = Scene::said(to(server, method, path, &key, body)).await;
            assert_eq!(first.0, 200, "{}: {path}: {}", scene.name, first.1);
            // Meanwhile somebody else changes it: what is sent again undoes nothing.
            let _ = Scene::said(to(server, method, path, &format!("o-{number}"), other)).await;
            if *path == resend {
                let dead = Delivery::Dead { address: "a@dave.example".to_owned(), error: "550".to_owned(), tell: None };
                service.letter_done(letter, dead).await.expect("kept");
            }
            let again = Scene::said(to(server, method, path, &key, body)).await;
            assert_eq!(again, first, "{}: {path}", scene.name);
            if !other.is_null() {
                let refused = code(to(server, method, path, &key, other)).await;
                assert_eq!(refused, is(422, "idempotency-key-reused"), "{}: {path}", scene.name);
            }
            let role = to(server, method, path, &format!("c-{number}"), body).header("keyferry-actor", "customer");
            assert_eq!(code(role).await, is(403, "wrong-role"), "{}: {path}", scene.name);
        }
        assert_eq!(service.enterprise("dave").await.expect("dave").name, "Dave Inc.", "{}", scene.name);
        let stands = service.letter_row(letter).await.expect("read").expect("a letter").state;
        assert_eq!(stands, keyferry::worker::LetterState::Dead, "{}: it was not sent once more", scene.name);
        let schedule = Scene::said(server.ask(Method::GET, &format!("{one}/audit-schedule"))).await.1;
        assert_eq!(schedule["every_days"], 7, "{}", scene.name);
        // A change that changes nothing is remembered too.
        let same = json!({ "name": "Dave Inc." });
        let first = Scene::said(to(server, "patch", one, "same", &same)).await;
        let _ = Scene::said(to(server, "patch", one, "later", &json!({ "name": "Dave & Co." }))).await;
        assert_eq!(Scene::said(to(server, "patch", one, "same", &same)).await, first, "{}", scene.name);
        assert_eq!(service.enterprise("dave").await.expect("dave").name, "Dave & Co.", "{}", scene.name);
    }
}
