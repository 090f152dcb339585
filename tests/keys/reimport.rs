//! Importing the same material again: after it was lost, and as a drill that interrupts nothing.

use std::{sync::atomic::Ordering, time::Duration};

use aws_sdk_kms::{Client, primitives::Blob};
use chrono::{DateTime, TimeDelta, Utc};
use keyferry::{
    engine::{Actor, Standing},
    keys::import::{Algorithm, Opened},
    sandbox::{FaultKind, FaultRule},
    worker::{Clock as _, SystemClock},
};
use serde_json::{Value, json};

use super::imported::{Imported, KEY, stands_in};
use crate::support::import::{EAST, WEST, body, targets, upload, wrap};
use crate::support::patience::looks;

async fn encrypt(kms: &Client, key: &str) -> Blob {
    let call = kms.encrypt().key_id(key).plaintext(Blob::new(*b"kept since before"));
    call.send().await.unwrap().ciphertext_blob.unwrap()
}

async fn decrypts(kms: &Client, ciphertext: &Blob) -> bool {
    let opened = kms.decrypt().ciphertext_blob(ciphertext.clone()).send().await;
    opened.is_ok_and(|opened| opened.plaintext.is_some_and(|plain| plain.as_ref() == b"kept since before"))
}

fn first(opened: &Opened, algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    body(&opened.first.import_token, &wrap(&opened.first.public_key, algorithm, plain))
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_material_is_imported_again_other_bytes_are_refused_and_what_was_encrypted_before_is_read_again() {
    let it = Imported::new().await;
    let old = encrypt(&it.west, &it.keys[0]).await;
    it.west.delete_imported_key_material().key_id(&it.keys[0]).send().await.unwrap();
    assert!(!decrypts(&it.west, &old).await);
    let report = it.audit().await;
    assert_eq!(report["deviations"][0]["finding"], "material-gone");
    assert_eq!(report["deviations"][0]["arn"], it.keys[0].as_str());
    let lost_at = report["keys"].clone();

    let run = it.reimport(json!({ "reason": "it was deleted" })).await;
    let told = it.vendor.service.form_input(&run, "key-import").await.unwrap();
    assert_eq!((&told["reimport"]["outage"], &told["reimport"]["drill"]), (&json!(true), &json!(false)));
    assert_eq!(told["remaining"].as_array().unwrap().len(), 1, "the other region has its material: {told}");
    let desk = &it.vendor.production;
    let opened = it.request().await;
    assert_eq!(opened.remaining, [WEST]);
    let imports = it.vendor.imports();
    let differs = upload(desk, "dave", first(&opened, Algorithm::OaepSha1, &[9; 32])).await.unwrap_err();
    assert_eq!((differs.code, &differs.members["region"]), ("key-material-differs", &json!(WEST)));
    let short = upload(desk, "dave", first(&opened, Algorithm::OaepSha1, &KEY[..31])).await.unwrap_err();
    assert_eq!((short.code, &short.detail), (differs.code, &differs.detail));
    // What cannot be unwrapped has the one answer that it always has.
    let hash = upload(desk, "dave", first(&opened, Algorithm::OaepSha256, &KEY)).await.unwrap_err();
    let noise = upload(desk, "dave", body(&opened.first.import_token, &[1; 256])).await.unwrap_err();
    assert_eq!((hash.code, &hash), ("key-material-refused", &noise));
    assert_eq!(it.vendor.imports(), imports, "nothing was imported");
    let receipt = upload(desk, "dave", first(&opened, Algorithm::OaepSha1, &KEY)).await.unwrap();
    assert!(receipt.remaining.is_empty());
    it.ended(&run).await;
    assert!(decrypts(&it.west, &old).await);
    let proof = it.record("custody-drill", &it.keys[0]).await.unwrap();
    assert_eq!(proof["key_material_id"], receipt.first.key_material_id.as_str());
    assert_eq!((&proof["drill"], &proof["reason"]), (&json!(false), &json!("it was deleted")));
    let report = it.audit().await;
    assert_eq!(report["summary"]["conclusion"], "compliant", "{report:#}");
    assert_ne!(report["keys"], lost_at);
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_proves_custody_without_an_outage_and_the_report_says_when() {
    let it = Imported::new().await;
    let before = it.audit().await;
    let old = [encrypt(&it.west, &it.keys[0]).await, encrypt(&it.east, &it.keys[1]).await];
    let run = it.reimport(json!({ "drill": true })).await;
    let opened = it.request().await;
    assert_eq!(opened.remaining, [EAST, WEST]);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (west, east, watched) = (it.west.clone(), it.east.clone(), old.clone());
    // Somebody reads all the time.
    let reader = tokio::spawn(async move {
        let mut reads = 0_u32;
        while !*stopped.borrow() {
            assert!(decrypts(&west, &watched[0]).await && decrypts(&east, &watched[1]).await, "an outage");
            reads += 1;
            SystemClock.sleep(Duration::from_millis(1)).await;
        }
        reads
    });
    let differs = upload(&it.vendor.production, "dave", targets(&opened, &[9; 32])).await.unwrap_err();
    assert_eq!(differs.code, "key-material-differs");
    assert_eq!(it.record("custody-drill", &it.keys[0]).await, None);
    upload(&it.vendor.production, "dave", targets(&opened, &KEY)).await.unwrap();
    it.ended(&run).await;
    stop.send_replace(true);
    assert!(reader.await.unwrap() > 0);
    let report = it.audit().await;
    for (number, key) in it.keys.iter().enumerate() {
        let proof = it.record("custody-drill", key).await.unwrap();
        assert_eq!(proof["drill"], true);
        let of = |report: &Value| {
            let rows = report["keys"].as_array().unwrap().clone();
            let row = rows.into_iter().find(|row| row["arn"] == key.as_str()).unwrap();
            row["last_proven_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap()
        };
        let proven_at: DateTime<Utc> = proof["proven_at"].as_str().unwrap().parse().unwrap();
        assert!(of(&report) > of(&before), "key {number}");
        assert!((of(&report) - proven_at).abs() < TimeDelta::seconds(1), "key {number}");
    }
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_lost_in_a_drill_is_no_proof_and_the_same_upload_may_come_again() {
    let it = Imported::new().await;
    let run = it.reimport(json!({ "drill": true, "regions": [WEST] })).await;
    let opened = it.request().await;
    it.vendor.sandbox.faults().add(FaultRule {
        service: Some("kms".to_owned()),
        action: Some("ImportKeyMaterial".to_owned()),
        nth: None,
        // As often as the SDK tries.
        remaining: Some(3),
        kind: FaultKind::LostReply,
    });
    let upload_it = || upload(&it.vendor.production, "dave", first(&opened, Algorithm::OaepSha1, &KEY));
    assert_eq!(upload_it().await.unwrap_err().code, "kms-unavailable");
    assert!(stands_in(&it.vendor.service.run(&run).await.unwrap(), "key-import"));
    upload_it().await.unwrap();
    it.ended(&run).await;
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_on_a_schedule_opens_again_when_it_is_due_and_gives_way_to_a_newer_schedule() {
    let it = Imported::new().await;
    let every = |days: u64| json!({ "drill": true, "every_days": days, "agreed_with": "Dana of Dave" });
    let run = it.reimport(every(2)).await;
    let opened = it.request().await;
    upload(&it.vendor.production, "dave", targets(&opened, &KEY)).await.unwrap();
    it.vendor.until(&run, |view| view.waiting_for.iter().any(|wait| wait.state == "Until the next drill")).await;
    let schedule = it.record("custody-schedule", "current").await.unwrap();
    assert_eq!((&schedule["run"], &schedule["agreed_with"]), (&json!(run), &json!("Dana of Dave")));
    it.clock.0.fetch_add(2 * 86_400 + 1, Ordering::SeqCst);
    it.vendor.until(&run, |view| stands_in(view, "key-import")).await;
    let opened = it.request().await;
    assert_eq!(opened.remaining, [EAST, WEST], "what was proven two days ago is to be proven again");
    let newer = it.reimport(every(30)).await;
    // One import is proof for both.
    upload(&it.vendor.production, "dave", targets(&opened, &KEY)).await.unwrap();
    it.vendor.until(&run, |view| view.waiting_for.iter().any(|wait| wait.state == "Until the next drill")).await;
    it.clock.0.fetch_add(2 * 86_400 + 1, Ordering::SeqCst);
    let view = it.ended(&run).await;
    assert_eq!(view.output.unwrap()["superseded"], true);
    let schedule = it.record("custody-schedule", "current").await.unwrap();
    assert_eq!((&schedule["run"], &schedule["every_days"]), (&json!(newer), &json!(30)));
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_when_nothing_is_gone_and_an_input_that_cannot_be_meant_stands_in_attention() {
    let it = Imported::new().await;
    let run = it.start("reimport", json!({})).await;
    assert_eq!(it.ended(&run).await.output.unwrap()["any"], false);
    let engineer = Actor { name: "an engineer".to_owned(), role: "engineer".to_owned() };
    let elsewhere = format!("arn:aws:kms:{WEST}:127450652264:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1");
    for input in [
        json!({ "drills": true }),
        json!({ "keys": [elsewhere] }),
        json!({ "regions": ["eu-west-1"] }),
        json!({ "every_days": 30, "agreed_with": "Dana" }),
        json!({ "drill": true, "every_days": 30 }),
        json!({ "drill": true, "every_days": 0, "agreed_with": "Dana" }),
    ] {
        let run = it.start("reimport", input.clone()).await;
        let mut seen = None;
        for _ in looks() {
            let view = it.vendor.service.run(&run).await.unwrap();
            if view.status == Standing::Attention {
                seen = view.attention.first().map(|attention| attention.error.clone());
                break;
            }
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seen.as_deref(), Some("Keyferry.BadInput"), "{input}");
        it.vendor.service.cancel(&run, engineer.clone(), "the input is wrong").await.unwrap();
    }
    // The last one, cancelled and started with its input put right, asks for the keys.
    let run = it.start("reimport", json!({ "drill": true, "every_days": 30, "agreed_with": "Dana" })).await;
    it.vendor.until(&run, |view| view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some("key-import"))).await;
    it.vendor.stop().await;
}
