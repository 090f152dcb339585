//! Material that is gone is found and asked for by itself; and what may be open beside what.

use keyferry::{
    engine::{Actor, Notice},
    keys::import::{Looked, REIMPORT, start_reimport},
    worker::{Clock as _, ErrorKind, RecordPut, RunFilter, RunView, ServiceError, StartRun},
};
use serde_json::{Value, json};

use super::imported::{Imported, KEY, stands_in};
use crate::support::import::{EAST, Vendor, WEST, targets, upload};

async fn lose(it: &Imported, number: usize) {
    let kms = [&it.west, &it.east][number];
    kms.delete_imported_key_material().key_id(&it.keys[number]).send().await.unwrap();
}

async fn look(it: &Imported) -> Looked {
    it.vendor.production.look_for_losses().await.unwrap()
}

async fn reimports(it: &Imported) -> Vec<RunView> {
    let filter = RunFilter { workflow: Some(REIMPORT.to_owned()), ..RunFilter::default() };
    it.vendor.service.runs(filter).await.unwrap().items
}

fn start(input: Value, key: Option<&str>) -> StartRun {
    StartRun {
        enterprise: "dave".to_owned(),
        workflow: REIMPORT.to_owned(),
        input,
        actor: Actor { name: "an engineer".to_owned(), role: "engineer".to_owned() },
        idempotency_key: key.map(str::to_owned),
    }
}

/// As an engineer starts it.
async fn ask(it: &Imported, input: Value) -> Result<String, ServiceError> {
    Ok(start_reimport(&it.vendor.service, start(input, None)).await?.id)
}

async fn waits(it: &Imported, run: &str) {
    it.vendor.until(run, |view| stands_in(view, "key-import")).await;
}

async fn give(it: &Imported) {
    let opened = it.request().await;
    upload(&it.vendor.production, "dave", targets(&opened, &KEY)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_at_once_is_asked_for_by_one_run_and_said_once_and_once_more_when_it_is_back() {
    let it = Imported::new().await;
    assert_eq!(look(&it).await, Looked::default(), "every key has its material");
    lose(&it, 0).await;
    lose(&it, 1).await;
    let seen = look(&it).await;
    let [(_, run), (_, same)] = &seen.lost[..] else { panic!("two keys are lost: {seen:?}") };
    assert_eq!(run, same);
    assert!(seen.lost.iter().all(|(key, _)| it.keys.contains(key)) && seen.failed.is_empty(), "{seen:?}");
    waits(&it, run).await;
    for _ in 0..3 {
        assert_eq!(look(&it).await, Looked::default(), "it was said");
    }
    assert_eq!(reimports(&it).await.len(), 1);
    give(&it).await;
    it.ended(run).await;
    let mut back = look(&it).await.made_good;
    back.sort();
    let mut keys = it.keys.clone();
    keys.sort();
    assert_eq!(back, keys);
    assert_eq!(look(&it).await, Looked::default());
    // Another loss is another run; what an engineer cancels is not opened again.
    lose(&it, 0).await;
    let again = look(&it).await.lost;
    assert!(matches!(&again[..], [(key, other)] if *key == it.keys[0] && other != run), "{again:?}");
    it.vendor.service.cancel(&again[0].1, start(json!({}), None).actor, "the key is not needed").await.unwrap();
    assert_eq!(look(&it).await, Looked::default());
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_asked_for_already_opens_no_other_run_and_a_drill_does_not_hold_one_back() {
    let it = Imported::new().await;
    let drill = ask(&it, json!({ "drill": true })).await.unwrap();
    waits(&it, &drill).await;
    lose(&it, 0).await;
    let run = ask(&it, json!({})).await.unwrap();
    waits(&it, &run).await;
    assert_eq!(look(&it).await.lost, [(it.keys[0].clone(), run.clone())]);
    lose(&it, 1).await;
    let other = look(&it).await.lost;
    assert!(matches!(&other[..], [(key, id)] if *key == it.keys[1] && *id != run && *id != drill), "{other:?}");
    waits(&it, &other[0].1).await;
    // The customer is led to what is needed first, one after the other; the drill is passed by the same imports.
    give(&it).await;
    give(&it).await;
    for run in [&run, &other[0].1, &drill] {
        it.ended(run).await;
    }
    assert_eq!(look(&it).await.made_good.len(), 2);
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enterprise_that_cannot_be_looked_at_keeps_the_look_from_no_other_and_is_looked_at_again() {
    let it = Imported::new().await;
    let service = &it.vendor.service;
    it.vendor.add("aaron").await;
    let key = it.west.create_key().origin(aws_sdk_kms::types::OriginType::External).send().await.unwrap();
    let arn = key.key_metadata.unwrap().arn.unwrap();
    let evidence = |expected: u64, body: Value| RecordPut {
        enterprise: "aaron".to_owned(),
        collection: "key-material".to_owned(),
        key: arn.clone(),
        expected,
        body,
        at: it.clock.now(),
    };
    service.put_records(vec![evidence(0, json!("damage"))]).await.unwrap();
    lose(&it, 0).await;
    let seen = look(&it).await;
    assert_eq!(seen.failed, ["aaron"]);
    assert_eq!(seen.lost.len(), 1, "{seen:?}");
    assert_eq!(look(&it).await, Looked { failed: vec!["aaron".to_owned()], ..Looked::default() });
    let mut good = service.record("dave", "key-material", &it.keys[0]).await.unwrap().unwrap().body;
    good["arn"] = json!(arn);
    service.put_records(vec![evidence(1, good)]).await.unwrap();
    let seen = look(&it).await;
    assert!(matches!(&seen.lost[..], [(key, _)] if *key == arn) && seen.failed.is_empty(), "{seen:?}");
    assert_eq!(service.run(&seen.lost[0].1).await.unwrap().enterprise, "aaron");
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_re_imports_that_people_start_one_is_open_and_the_others_are_told_which() {
    let it = Imported::new().await;
    let started = futures_util::future::join_all((0..20).map(|_| {
        let service = it.vendor.service.clone();
        tokio::spawn(async move { start_reimport(&service, start(json!({ "all": true }), None)).await })
    }))
    .await;
    let (open, refused): (Vec<_>, Vec<_>) = started.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!((open.len(), refused.len()), (1, 19));
    let open = open.into_iter().next().unwrap().unwrap().id;
    waits(&it, &open).await;
    for input in [json!({}), json!({ "drill": true })] {
        let refusal = ask(&it, input).await.unwrap_err();
        assert_eq!((refusal.code, refusal.kind), ("reimport-open", ErrorKind::Conflict));
        assert!(refusal.message.contains(&open) && refusal.message.contains("run cancel"), "{}", refusal.message);
    }
    it.vendor.service.cancel(&open, start(json!({}), None).actor, "another way").await.unwrap();
    // The same request with the same key is the same run, whatever is open.
    let asked = start(json!({ "all": true }), Some("k"));
    let first = start_reimport(&it.vendor.service, asked.clone()).await.unwrap().id;
    assert_eq!(start_reimport(&it.vendor.service, asked).await.unwrap().id, first);
    assert_eq!(reimports(&it).await.len(), 2);
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_gives_way_to_need_and_a_schedule_to_a_newer_one() {
    let it = Imported::new().await;
    let every = |days: u64| json!({ "drill": true, "every_days": days, "agreed_with": "Dana of Dave" });
    let schedule = ask(&it, every(2)).await.unwrap();
    waits(&it, &schedule).await;
    let refusal = ask(&it, json!({ "drill": true })).await.unwrap_err();
    assert!(refusal.message.contains("a custody drill") && refusal.message.contains(&schedule), "{refusal}");
    let need = ask(&it, json!({ "regions": [WEST] })).await.unwrap();
    waits(&it, &need).await;
    assert_eq!(ask(&it, every(3)).await.unwrap_err().code, "reimport-open", "need comes first");
    give(&it).await;
    it.ended(&need).await;
    let newer = ask(&it, every(3)).await.unwrap();
    waits(&it, &newer).await;
    // One import lets both go on.
    give(&it).await;
    for run in [&schedule, &newer] {
        it.vendor.until(run, |view| view.waiting_for.iter().any(|wait| wait.state == "Until the next drill")).await;
    }
    // Asleep they stand in nobody's way.
    let drill = ask(&it, json!({ "drill": true, "regions": [EAST] })).await.unwrap();
    waits(&it, &drill).await;
    it.vendor.stop().await;
}

async fn arrivals(vendor: &Vendor, run: &str) -> Vec<Value> {
    let rows = vendor.service.next_mail(200).await.unwrap();
    let told = rows.into_iter().filter(|row| row.run == run).filter_map(|row| match row.notice {
        Notice::Told { letter, about, .. } if letter == "keys-arrived" => Some(serde_json::to_value(about).unwrap()),
        _ => None,
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn that_all_keys_have_arrived_is_told_once_by_each_run_with_the_id_of_each_material() {
    let it = Imported::new().await;
    let onboarding = it.vendor.service.runs(RunFilter::default()).await.unwrap().items.remove(0).id;
    let run = ask(&it, json!({ "drill": true })).await.unwrap();
    waits(&it, &run).await;
    assert_eq!(arrivals(&it.vendor, &run).await, Vec::<Value>::new());
    give(&it).await;
    it.ended(&run).await;
    for (run, again) in [(&onboarding, false), (&run, true)] {
        let told = arrivals(&it.vendor, run).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["reimport"].is_object(), again);
        for (number, region) in [WEST, EAST].into_iter().enumerate() {
            let evidence = it.record("key-material", &it.keys[number]).await.unwrap();
            let rows = told[0]["materials"].as_array().unwrap();
            let row = rows.iter().find(|row| row["region"] == region).unwrap();
            assert_eq!(row["key_material_id"], evidence["key_material_id"], "{region}");
        }
    }
    it.vendor.stop().await;
}
