//! From a request for tokens to a run that goes on, and everything that can be wrong on the way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use keyferry::{
    keys::import::{Algorithm, Asked, Opened, Refusal},
    sandbox::{FaultKind, FaultRule},
    worker::{Clock as _, ManualClock, SteeredClock, SystemClock},
};

use crate::support::{
    import::{EAST, FLOOR, Vendor, WEST, another_test_environment, asked, body, targets, upload, wrap},
    patience::looks,
    time::{Computing, let_time_pass},
};

const KEY: [u8; 32] = *b"thirty-two bytes of a customer's";

fn code<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> &'static str {
    outcome.expect_err("a refusal").code
}

fn first(opened: &Opened, plain: &[u8]) -> Vec<u8> {
    body(&opened.first.import_token, &wrap(&opened.first.public_key, opened.first.algorithm, plain))
}

fn lose(vendor: &Vendor, action: &str) {
    vendor.sandbox.faults().add(FaultRule {
        service: Some("kms".to_owned()),
        action: Some(action.to_owned()),
        nth: None,
        // As often as the SDK tries.
        remaining: Some(3),
        kind: FaultKind::LostReply,
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn region_by_region_or_all_in_one_round_an_import_lets_the_run_go_on() {
    let vendor = Vendor::new().await;
    let run = vendor.waiting(&[]).await;
    let opened = vendor.production.request(asked(None)).await.unwrap();
    assert_eq!(opened.first.region, WEST);
    assert_eq!(opened.remaining, [WEST, EAST]);
    assert_eq!(opened.targets.iter().map(|target| target.region.as_str()).collect::<Vec<_>>(), [WEST, EAST]);
    let receipt = upload(&vendor.production, "dave", first(&opened, &KEY)).await.unwrap();
    assert_eq!((receipt.first.region.as_str(), receipt.remaining.as_slice()), (WEST, [EAST.to_owned()].as_slice()));
    let evidence = vendor.service.record("dave", "key-material", &receipt.first.key_id).await.unwrap().unwrap().body;
    assert_eq!(evidence["key_material_id"], receipt.first.key_material_id.as_str());
    // The next request is for the next region by itself.
    let next = vendor.production.request(asked(None)).await.unwrap();
    assert_eq!(next.first.region, EAST);
    let receipt = upload(&vendor.production, "dave", targets(&next, &KEY)).await.unwrap();
    assert!(receipt.remaining.is_empty());
    vendor.until(&run, |view| view.waiting_for.iter().any(|wait| wait.state == "Verify key")).await;
    assert_eq!(vendor.imports(), 2);
    assert_eq!(code(vendor.production.request(asked(None)).await), "import-not-open");
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_uploads_with_one_token_import_once() {
    let vendor = Vendor::new().await;
    vendor.waiting(&[]).await;
    let opened = vendor.production.request(asked(Some(WEST))).await.unwrap();
    let same = first(&opened, &KEY);
    let uploads = (0..40_u8).map(|number| {
        // Half of them are the same upload, half are others.
        let body = if number % 2 == 0 { same.clone() } else { first(&opened, &[number; 32]) };
        let desk = vendor.production.clone();
        tokio::spawn(async move { upload(&desk, "dave", body).await })
    });
    let mut accepted = 0;
    for outcome in futures_util::future::join_all(uploads).await {
        match outcome.unwrap() {
            Ok(_) => accepted += 1,
            Err(refusal) => {
                assert!(["import-in-progress", "import-token-used"].contains(&refusal.code), "{refusal:?}");
            }
        }
    }
    assert_eq!((accepted, vendor.imports()), (1, 1));
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_has_its_answer_and_consumes_nothing() {
    let vendor = Vendor::new().await;
    assert_eq!(code(vendor.production.request(asked(None)).await), "import-not-open");
    vendor.waiting(&[]).await;
    let desk = &vendor.production;
    let opened = desk.request(asked(None)).await.unwrap();
    let token = &opened.first.import_token;
    assert_eq!(code(desk.request(asked(Some("eu-west-1"))).await), "region-not-in-plan");
    assert_eq!(code(upload(desk, "dave", body("kfi_live_nonsense", &[1; 256])).await), "import-token-unknown");
    assert_eq!(code(upload(desk, "dave", body("nonsense", &[1; 256])).await), "import-token-unknown");
    assert_eq!(code(upload(desk, "erin", first(&opened, &KEY)).await), "import-token-unknown");
    assert_eq!(code(upload(desk, "dave", body(token, &[1; 512])).await), "key-material-wrong-length");
    assert_eq!(code(upload(desk, "dave", body(token, &KEY)).await), "key-material-not-wrapped");
    let text = String::from_utf8(first(&opened, &KEY)).unwrap();
    let elsewhere = text.replacen('{', &format!(r#"{{"region":"{EAST}","#), 1).into_bytes();
    assert_eq!(code(upload(desk, "dave", elsewhere).await), "import-token-of-another-region");
    let test = vendor.test.request(asked(None)).await.unwrap();
    assert_eq!(code(upload(desk, "dave", first(&test, &KEY)).await), "import-token-of-test");
    assert_eq!(code(upload(&vendor.test, "dave", first(&opened, &KEY)).await), "import-token-of-production");
    assert_eq!(vendor.imports(), 0);
    let receipt = upload(desk, "dave", first(&opened, &KEY)).await.unwrap();
    let again = upload(desk, "dave", first(&opened, &KEY)).await.unwrap_err();
    assert_eq!((again.code, &again.members["sameUpload"]), ("import-token-used", &serde_json::json!(false)));
    assert_eq!(again.members["keyMaterialId"], receipt.first.key_material_id.as_str());
    assert_eq!(code(desk.request(asked(Some(WEST))).await), "region-has-material");
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_kms_finds_wrong_is_one_answer_after_the_same_time_and_five_of_them_lock_the_token() {
    let vendor = Vendor::new().await;
    vendor.waiting(&[]).await;
    let desk = &vendor.production;
    let opened = desk.request(asked(None)).await.unwrap();
    let (token, public_key) = (&opened.first.import_token, &opened.first.public_key);
    let other_region = &opened.targets[1].public_key;
    let wrong = [
        vec![1; 256],
        wrap(public_key, Algorithm::OaepSha256, &KEY),
        wrap(other_region, Algorithm::OaepSha1, &KEY),
        wrap(public_key, Algorithm::OaepSha1, &KEY[..31]),
        wrap(public_key, Algorithm::OaepSha1, &[7; 64]),
    ];
    let mut seen = Vec::new();
    for material in &wrong {
        let began = Instant::now();
        let refusal = upload(desk, "dave", body(token, material)).await.unwrap_err();
        assert!(began.elapsed() >= FLOOR, "{:?}", began.elapsed());
        seen.push(refusal);
    }
    assert_eq!(seen[0].code, "key-material-refused");
    assert!(seen.iter().all(|refusal| *refusal == seen[0]), "{seen:#?}");
    assert!(seen[0].cure.iter().any(|cure| cure.contains("oaep_md:sha1")), "{:?}", seen[0].cure);
    assert!(seen[0].cure.iter().any(|cure| cure.contains("RSAES_OAEP_SHA_256")), "{:?}", seen[0].cure);
    assert_eq!(code(upload(desk, "dave", first(&opened, &KEY)).await), "import-token-locked");
    // Another token is as good as ever.
    let fresh = desk.request(asked(Some(WEST))).await.unwrap();
    upload(desk, "dave", first(&fresh, &KEY)).await.unwrap();
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sha_256_is_used_when_it_is_asked_for() {
    let vendor = Vendor::new().await;
    vendor.waiting(&[]).await;
    let wish = Asked { algorithm: Algorithm::OaepSha256, ..asked(Some(WEST)) };
    let opened = vendor.production.request(wish).await.unwrap();
    let wrong = wrap(&opened.first.public_key, Algorithm::OaepSha1, &KEY);
    let refused = upload(&vendor.production, "dave", body(&opened.first.import_token, &wrong)).await;
    assert_eq!(code(refused), "key-material-refused");
    upload(&vendor.production, "dave", first(&opened, &KEY)).await.unwrap();
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_of_kms_is_found_to_have_imported() {
    let vendor = Vendor::new().await;
    vendor.waiting(&[]).await;
    let opened = vendor.production.request(asked(Some(WEST))).await.unwrap();
    lose(&vendor, "ImportKeyMaterial");
    let receipt = upload(&vendor.production, "dave", first(&opened, &KEY)).await.unwrap();
    assert!(!receipt.first.key_material_id.is_empty());
    assert_eq!(receipt.remaining, [EAST]);
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kms_is_asked_for_one_public_key_in_four_seconds_and_whoever_is_too_far_behind_is_told_when() {
    let vendor = Vendor::new().await;
    vendor.waiting(&[]).await;
    let began = Instant::now();
    let requests = (0..5).map(|_| {
        let desk = vendor.production.clone();
        tokio::spawn(async move { desk.request(asked(Some(WEST))).await })
    });
    let mut given = 0;
    for outcome in futures_util::future::join_all(requests).await {
        match outcome.unwrap() {
            Ok(_) => given += 1,
            Err(refusal) => {
                assert_eq!(refusal.code, "too-many-import-requests");
                assert!((1..=10).contains(&refusal.retry_after.unwrap()), "{refusal:?}");
            }
        }
    }
    // At 0, 4 and 8 seconds; 12 and 16 are too far away.
    assert_eq!(given, 3);
    assert!(began.elapsed().as_secs() >= 8, "{:?}", began.elapsed());
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_environment_takes_imports_without_a_run_and_again_and_again() {
    let vendor = Vendor::new().await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let opened = vendor.test.request(asked(None)).await.unwrap();
        assert_eq!(opened.remaining.len(), 2);
        let receipt = upload(&vendor.test, "dave", targets(&opened, &KEY)).await.unwrap();
        assert!(receipt.remaining.is_empty());
        keys.extend(receipt.results.into_iter().map(|result| result.key_id));
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4, "the second round has fresh keys");
    assert!(vendor.sandbox.ledger().is_empty(), "production's cloud was touched");
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_environment_that_is_gone_is_begun_anew_when_none_of_its_tokens_is_good() {
    let clock = SteeredClock::default();
    let vendor = Vendor::open(&tempfile::tempdir().unwrap().keep(), Arc::new(clock.clone()), 1.0).await;
    vendor.test.request(asked(None)).await.unwrap();
    let other = another_test_environment(&vendor.service, Arc::new(clock.clone())).await;
    for hours in [0, 23] {
        clock.steer(TimeDelta::hours(hours));
        assert_eq!(code(other.request(asked(None)).await), "test-environment-elsewhere", "after {hours} hours");
    }
    clock.steer(TimeDelta::hours(25));
    let opened = other.request(asked(None)).await.unwrap();
    let receipt = upload(&other, "dave", targets(&opened, &KEY)).await.unwrap();
    assert!(receipt.remaining.is_empty());
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_with_keys_of_their_own_are_targets_of_their_own() {
    let vendor = Vendor::new().await;
    vendor.waiting(&["sandbox"]).await;
    let wish = Asked { instance: Some("sandbox".to_owned()), ..asked(Some(WEST)) };
    let opened = vendor.production.request(wish).await.unwrap();
    assert_eq!(opened.first.instance.as_deref(), Some("sandbox"));
    let receipt = upload(&vendor.production, "dave", first(&opened, &[9; 32])).await.unwrap();
    assert_eq!(receipt.first.instance.as_deref(), Some("sandbox"));
    assert_eq!(receipt.remaining, [WEST, EAST], "the region's own key lacks material still");
    vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_wakes_before_and_after_tokens_expire_and_an_expired_one_imports_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(SystemClock.now());
    let vendor = Vendor::open(folder.path(), Arc::new(clock.clone()), 1.0).await;
    let time =
        tokio::spawn(let_time_pass(vendor.service.clone(), clock, Duration::from_secs(60), Computing::default()));
    let run = vendor.waiting(&[]).await;
    let mut seen = vec!["opened".to_owned()];
    let opened = vendor.production.request(asked(None)).await.unwrap();
    for _ in looks() {
        // While the keys are looked at the form is not open.
        if let Ok(input) = vendor.service.form_input(&run, "key-import").await {
            let notice = input["wait"]["notice"].as_str().unwrap().to_owned();
            if seen.last() != Some(&notice) {
                seen.push(notice);
            }
        }
        if seen.last().is_some_and(|last| last == "expired") {
            break;
        }
        SystemClock.sleep(Duration::from_millis(1)).await;
    }
    time.abort();
    assert_eq!(seen, ["opened", "asked", "expiring", "expired"]);
    assert_eq!(code(upload(&vendor.production, "dave", first(&opened, &KEY)).await), "import-token-expired");
    assert_eq!(vendor.imports(), 0);
    vendor.stop().await;
}
