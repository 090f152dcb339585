//! Keys, links, limits and the trail over a real store, on a clock that the test moves.

mod retention;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::{
    store::{PostgresStore, SqliteStore, Store, postgres::tests::Database},
    worker::{
        CheckContext, Definitions, Finding, FormBook, ManualClock, NewEnterprise, Registry, ServiceOptions, SystemClock,
    },
};

struct NoForms;

impl FormBook for NoForms {
    fn role(&self, _: &str) -> Option<String> {
        None
    }

    fn check(&self, _: &str, _: &serde_json::Value, _: CheckContext<'_>) -> Result<serde_json::Value, Vec<Finding>> {
        Err(Vec::new())
    }
}

struct World {
    access: Access,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

async fn world(change: impl FnOnce(&mut Config)) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("keyferry.db")).await.expect("a store");
    world_on(Arc::new(store), folder, change).await
}

async fn world_on(store: Arc<dyn Store>, folder: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::default();
    change(&mut config);
    let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH + TimeDelta::days(20_000)));
    let service = Service::open(ServiceOptions {
        store,
        definitions: Definitions::new(),
        steps: Registry::new(),
        forms: Arc::new(NoForms),
        clock: Arc::<ManualClock>::clone(&clock),
        config: Arc::new(config.clone()),
        poll: None,
    })
    .await
    .expect("a service");
    for id in ["dave", "erin"] {
        let new = NewEnterprise {
            id: id.to_owned(),
            name: id.to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
        };
        service.add_enterprise(new).await.expect("added");
    }
    let access = Access::new(service, Arc::<ManualClock>::clone(&clock), &config);
    World { access, clock, folder }
}

fn order(enterprise: &str, environment: Environment) -> KeyOrder {
    KeyOrder {
        enterprise: enterprise.to_owned(),
        environment,
        scope: KeyScope::Import,
        networks: Networks::default(),
        expires_at: None,
        replaces: None,
        by: "ellen".to_owned(),
        idempotency_key: None,
    }
}

fn attempt(key: &str) -> Attempt<'_> {
    Attempt {
        presented: Some(key),
        enterprise: "dave",
        environment: Environment::Production,
        scope: KeyScope::Import,
        address: "192.0.2.7".parse().expect("an address"),
        action: "PUT /x",
    }
}

impl World {
    async fn key(&self, environment: Environment) -> (KeyView, ApiKey) {
        self.access.create_key(order("dave", environment)).await.expect("made")
    }

    async fn refused(&self, attempt: Attempt<'_>) -> Refused {
        self.access.admit(attempt).await.expect_err("refused")
    }

    async fn outcomes(&self, enterprise: &str) -> Vec<String> {
        let page = self.access.trail(enterprise, 200, None).await.expect("a trail");
        page.items.into_iter().map(|entry| entry.outcome.unwrap_or_else(|| "open".to_owned())).collect()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

#[tokio::test]
async fn a_good_key_is_admitted_as_its_enterprise_and_stands_in_the_trail() {
    let world = world(|_| {}).await;
    let (view, key) = world.key(Environment::Production).await;
    let admitted = world.access.admit(attempt(key.reveal())).await.expect("admitted");
    assert_eq!(admitted.caller.enterprise, "dave");
    assert_eq!((admitted.caller.key_id.as_str(), admitted.caller.environment), (view.id.as_str(), view.environment));
    assert_eq!(world.outcomes("dave").await, ["open"], "the use is written before anything is done");
    world.access.complete(admitted, "import-token-used", 409).await.expect("written");
    assert_eq!(world.outcomes("dave").await, ["import-token-used"]);
    let entry = world.access.trail("dave", 1, None).await.expect("a trail").items.remove(0);
    assert_eq!((entry.who, entry.status), (format!("api-key {}", view.id), Some(409)));
}

#[tokio::test]
async fn an_unknown_id_and_a_wrong_secret_are_the_same_answer() {
    let world = world(|_| {}).await;
    let (_, key) = world.key(Environment::Production).await;
    let stranger = ApiKey::generate(Environment::Production).expect("random bits");
    let forged = forged(&key);
    assert_eq!(world.refused(attempt(stranger.reveal())).await, Refused::Unknown);
    assert_eq!(world.refused(attempt(&forged)).await, Refused::Unknown);
    for _ in 0..1_000 {
        if !world.outcomes("dave").await.is_empty() {
            break;
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.outcomes("dave").await, ["api-key-unknown"], "the id that exists ties it to its enterprise");
}

/// A key with the id of another and a right checksum.
fn forged(key: &ApiKey) -> String {
    let other = ApiKey::generate(key.environment()).expect("random bits");
    let body = other.reveal().replace(other.id(), key.id());
    let stem = &body[..body.len() - 6];
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(stem.as_bytes());
    let mut checksum = [b'0'; 6];
    for digit in checksum.iter_mut().rev() {
        *digit = digits[usize::try_from(rest % 62).expect("small")];
        rest /= 62;
    }
    let forged = format!("{stem}{}", String::from_utf8_lossy(&checksum));
    assert!(ApiKey::parse(&forged).is_ok(), "the checksum is right");
    forged
}

#[tokio::test]
async fn mistyped_and_missing_keys_are_told_apart_without_the_store() {
    let world = world(|_| {}).await;
    let (_, key) = world.key(Environment::Production).await;
    assert_eq!(world.refused(attempt(&key.reveal()[..69])).await, Refused::Mistyped);
    assert_eq!(world.refused(Attempt { presented: None, ..attempt("") }).await, Refused::NoKey);
    assert!(world.outcomes("dave").await.is_empty());
}

#[tokio::test]
async fn a_key_opens_neither_another_enterprise_nor_the_other_environment_and_the_trail_says_so() {
    let world = world(|_| {}).await;
    let (_, live) = world.key(Environment::Production).await;
    let (_, test) = world.key(Environment::Test).await;
    let elsewhere = Attempt { enterprise: "erin", ..attempt(live.reveal()) };
    assert_eq!(world.refused(elsewhere).await, Refused::Enterprise);
    let nowhere = Attempt { enterprise: "nobody", ..attempt(live.reveal()) };
    assert_eq!(world.refused(nowhere).await, Refused::Enterprise, "one that is not there is the same answer");
    let (production, testing) = (Environment::Production, Environment::Test);
    let reverse = Attempt { environment: testing, ..attempt(live.reveal()) };
    assert_eq!(world.refused(attempt(test.reveal())).await, Refused::Environment { key: testing, path: production });
    assert_eq!(world.refused(reverse).await, Refused::Environment { key: production, path: testing });
    let mut outcomes = world.outcomes("dave").await;
    outcomes.sort();
    let expected = ["enterprise-not-found", "enterprise-not-found", "wrong-environment", "wrong-environment"];
    assert_eq!(outcomes, expected);
    assert!(world.outcomes("erin").await.is_empty(), "nobody writes into another's trail");
}

#[tokio::test]
async fn expired_and_revoked_keys_are_refused_from_that_moment_on() {
    let world = world(|_| {}).await;
    let end = world.now() + TimeDelta::hours(1);
    let (_, short) = world
        .access
        .create_key(KeyOrder { expires_at: Some(end), ..order("dave", Environment::Production) })
        .await
        .expect("made");
    world.pass(3_599);
    assert!(world.access.admit(attempt(short.reveal())).await.is_ok());
    world.pass(1);
    assert_eq!(world.refused(attempt(short.reveal())).await, Refused::Expired { at: end });
    let (view, key) = world.key(Environment::Production).await;
    assert!(world.access.admit(attempt(key.reveal())).await.is_ok());
    let revoked = world.access.revoke_key("dave", &view.id, "left the company", "ellen").await.expect("revoked");
    assert_eq!(revoked.state, KeyState::Revoked);
    assert_eq!(world.refused(attempt(key.reveal())).await, Refused::Revoked);
    let again = world.access.revoke_key("dave", &view.id, "another reason", "else").await.expect("no error");
    assert_eq!(again.revoked, revoked.revoked, "the first reason stands");
    let forged = forged(&key);
    assert_eq!(world.refused(attempt(&forged)).await, Refused::Unknown, "a wrong secret learns nothing of it");
}

#[tokio::test]
async fn an_end_that_has_passed_and_one_out_of_sight_are_refused() {
    let world = world(|_| {}).await;
    for end in [world.now(), world.now() + TimeDelta::days(5_000)] {
        let asked = KeyOrder { expires_at: Some(end), ..order("dave", Environment::Test) };
        assert_eq!(world.access.create_key(asked).await.expect_err("refused").code, "expiry-invalid");
    }
    let unknown = world.access.create_key(order("nobody", Environment::Test)).await.expect_err("refused");
    assert_eq!(unknown.code, "enterprise-not-found");
}

#[tokio::test]
async fn a_key_works_from_its_networks_alone() {
    let world = world(|_| {}).await;
    let networks = Networks::parse(&["192.0.2.0/24", "2001:db8::/32"]).expect("networks");
    let asked = KeyOrder { networks, ..order("dave", Environment::Production) };
    let (_, key) = world.access.create_key(asked).await.expect("made");
    let from = |address: &str| Attempt { address: address.parse().expect("an address"), ..attempt(key.reveal()) };
    for inside in ["192.0.2.99", "::ffff:192.0.2.99", "2001:db8:1::5"] {
        assert!(world.access.admit(from(inside)).await.is_ok(), "{inside}");
    }
    let outside: IpAddr = "198.51.100.1".parse().expect("an address");
    assert_eq!(world.refused(from("198.51.100.1")).await, Refused::Network { address: outside });
    assert!(world.outcomes("dave").await.contains(&"network-not-allowed".to_owned()));
}

#[tokio::test]
async fn two_keys_of_an_environment_are_live_at_most_even_when_made_at_once() {
    let world = world(|_| {}).await;
    let made = (0..6).map(|_| {
        let access = world.access.clone();
        tokio::spawn(async move { access.create_key(order("dave", Environment::Test)).await })
    });
    let mut codes = Vec::new();
    for task in made.collect::<Vec<_>>() {
        codes.push(task.await.expect("no panic").map_or_else(|error| error.code, |_| "made"));
    }
    codes.sort_unstable();
    assert_eq!(codes[..2], ["made", "made"], "{codes:?}");
    assert!(codes[2..].iter().all(|code| *code == "two-api-keys-live"), "{codes:?}");
    world.key(Environment::Production).await;
    let live = world.access.keys("dave").await.expect("keys");
    let refused = world.access.create_key(order("dave", Environment::Test)).await.expect_err("refused");
    assert!(refused.message.contains("revoke"), "{}", refused.message);
    let first = live.iter().find(|key| key.environment == Environment::Test).expect("one");
    world.access.revoke_key("dave", &first.id, "rotation", "ellen").await.expect("revoked");
    world.key(Environment::Test).await;
}

#[tokio::test]
async fn a_rotation_leaves_the_old_key_live_until_the_time_that_was_asked_for() {
    let world = world(|_| {}).await;
    let networks = Networks::parse(&["192.0.2.0/24"]).expect("networks");
    let asked = KeyOrder { networks: networks.clone(), ..order("dave", Environment::Production) };
    let (old, old_key) = world.access.create_key(asked).await.expect("made");
    let rotation = Rotation {
        enterprise: "dave".to_owned(),
        id: old.id.clone(),
        expires_at: None,
        old_expires_at: Some(world.now() + TimeDelta::hours(24)),
        by: "ellen".to_owned(),
        idempotency_key: None,
    };
    let (new, new_key) = world.access.rotate_key(rotation.clone()).await.expect("rotated");
    assert_eq!((new.replaces.as_ref(), &new.networks), (Some(&old.id), &networks));
    assert!(world.access.admit(attempt(old_key.reveal())).await.is_ok());
    assert!(world.access.admit(attempt(new_key.reveal())).await.is_ok());
    let third = world.access.rotate_key(Rotation { id: new.id.clone(), ..rotation.clone() }).await;
    assert_eq!(third.expect_err("refused").code, "two-api-keys-live");
    world.pass(24 * 3_600);
    assert!(matches!(world.refused(attempt(old_key.reveal())).await, Refused::Expired { .. }));
    assert!(world.access.admit(attempt(new_key.reveal())).await.is_ok());
    let late = Rotation { old_expires_at: None, ..rotation };
    assert_eq!(world.access.rotate_key(late).await.expect_err("refused").code, "api-key-not-live");
}

#[tokio::test]
async fn one_idempotency_key_makes_one_api_key_and_says_which() {
    let world = world(|_| {}).await;
    let once = |key: &str, request: &str| Some(crate::worker::Once::new(key, &serde_json::json!(request)));
    let asked = || KeyOrder { idempotency_key: once("once", "dave"), ..order("dave", Environment::Production) };
    let made = (0..6).map(|_| {
        let (access, asked) = (world.access.clone(), asked());
        tokio::spawn(async move { access.create_key(asked).await })
    });
    let (mut ids, mut refused) = (Vec::new(), Vec::new());
    for task in made.collect::<Vec<_>>() {
        match task.await.expect("no panic") {
            Ok((view, _)) => ids.push(view.id),
            Err(error) => refused.push(error),
        }
    }
    assert_eq!((ids.len(), refused.len()), (1, 5));
    let said = |error: &ServiceError| (error.code, error.details.clone());
    let wanted = ("api-key-made-before", Some(serde_json::json!({ "id": ids[0] })));
    assert!(refused.iter().all(|error| said(error) == wanted), "{refused:?}");
    let rotation = Rotation {
        enterprise: "dave".to_owned(),
        id: ids[0].clone(),
        expires_at: None,
        old_expires_at: None,
        by: "ellen".to_owned(),
        idempotency_key: once("again", "rotate"),
    };
    let (next, _) = world.access.rotate_key(rotation.clone()).await.expect("rotated");
    let again = world.access.rotate_key(rotation).await.expect_err("refused");
    assert_eq!(said(&again), ("api-key-made-before", Some(serde_json::json!({ "id": next.id }))));
    world.access.revoke_key("dave", &ids[0], "over", "ellen").await.expect("revoked");
    let late = world.access.create_key(asked()).await.expect_err("refused");
    assert_eq!(late.code, "api-key-made-before", "a revoked key was made before too");
    let erin = || KeyOrder { enterprise: "erin".to_owned(), idempotency_key: once("once", "erin"), ..asked() };
    let other = world.access.create_key(erin()).await.expect_err("refused");
    assert_eq!(other.code, "idempotency-key-reused", "another request needs another key");
    assert!(world.access.keys("erin").await.expect("read").is_empty());
    let own = KeyOrder { idempotency_key: once("hers", "erin"), ..erin() };
    world.access.create_key(own).await.expect("made");
}

#[tokio::test]
async fn one_idempotency_key_makes_one_link_and_revokes_once() {
    let world = world(|_| {}).await;
    let once = |key: &str, request: &str| Some(crate::worker::Once::new(key, &serde_json::json!(request)));
    let asked = |key| HandoverOrder { idempotency_key: once(key, "link"), ..handover(Environment::Production) };
    let made = world.access.hand_over(asked("one")).await.expect("a link");
    let again = world.access.hand_over(asked("one")).await.expect_err("refused");
    let wanted = ("handover-made-before", Some(serde_json::json!({ "id": made.id })));
    assert_eq!((again.code, again.details), wanted);
    assert_ne!(world.access.hand_over(asked("two")).await.expect("another link").id, made.id);
    let (view, _) = world.key(Environment::Production).await;
    let revoke = async |key, reason: &'static str| {
        world.access.revoke_key_once("dave", &view.id, reason, "ellen", once(key, reason)).await
    };
    let first = revoke("three", "it was lost").await.expect("revoked");
    assert_eq!(revoke("three", "it was lost").await.expect("answered again"), first);
    assert_eq!(revoke("three", "another").await.expect_err("refused").code, "idempotency-key-reused");
    assert_eq!(revoke("one", "it was lost").await.expect_err("refused").code, "idempotency-key-reused");
}

#[tokio::test]
async fn the_last_use_is_shown_and_written_once_a_minute() {
    let world = world(|_| {}).await;
    let (view, key) = world.key(Environment::Production).await;
    assert_eq!(view.last_use, None);
    let first = world.now();
    for _ in 0..5 {
        world.access.admit(attempt(key.reveal())).await.expect("admitted");
        world.pass(10);
    }
    let version = |found: Option<crate::worker::StoredRecord>| found.expect("a key").version;
    let stored = || world.access.service.record("dave", "api-key", &view.id);
    assert_eq!(version(stored().await.expect("read")), 2, "five uses within a minute are one write of the key");
    let used = world.access.key("dave", &view.id).await.expect("a key").last_use.expect("used");
    assert_eq!((used.at, used.address.to_string()), (first, "192.0.2.7".to_owned()));
    world.pass(10);
    world.access.admit(attempt(key.reveal())).await.expect("admitted");
    assert_eq!(version(stored().await.expect("read")), 3);
    assert_eq!(world.outcomes("dave").await.len(), 6, "every use is in the trail");
}

#[tokio::test]
async fn uses_at_once_are_all_admitted_and_all_in_the_trail() {
    let world = world(|_| {}).await;
    let (_, key) = world.key(Environment::Production).await;
    let text = Arc::new(key.reveal().to_owned());
    let uses = (0..40).map(|_| {
        let (access, text) = (world.access.clone(), Arc::clone(&text));
        tokio::spawn(async move {
            let admitted = access.admit(attempt(&text)).await.expect("admitted");
            access.complete(admitted, "done", 200).await.expect("written");
        })
    });
    for task in uses.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    assert_eq!(world.outcomes("dave").await, vec!["done"; 40]);
}

#[tokio::test]
async fn a_key_and_failures_have_each_their_limit() {
    let world = world(|config| {
        config.customer.key_requests_per_minute = 3;
        config.customer.address_failures_per_minute = 2;
    })
    .await;
    let (_, key) = world.key(Environment::Production).await;
    for _ in 0..3 {
        world.access.admit(attempt(key.reveal())).await.expect("admitted");
    }
    assert_eq!(world.refused(attempt(key.reveal())).await, Refused::Limited { seconds: 20 }, "the key's");
    let wrong = attempt("kf_live_wrong");
    assert_eq!(world.refused(wrong).await, Refused::Mistyped);
    assert_eq!(world.refused(wrong).await, Refused::Mistyped);
    assert_eq!(world.refused(wrong).await, Refused::Limited { seconds: 30 }, "the failures'");
    world.pass(20);
    world.access.admit(attempt(key.reveal())).await.expect("a good key is not shut out by others' failures");
    for _ in 0..300 {
        drop(world.access.admit(wrong).await);
    }
    world.pass(20);
    world.access.admit(attempt(key.reveal())).await.expect("however many they are");
    let elsewhere = Attempt { address: "198.51.100.9".parse().expect("an address"), ..wrong };
    assert_eq!(world.refused(elsewhere).await, Refused::Mistyped, "another address has limits of its own");
    let link = world.access.hand_over(handover(Environment::Production)).await.expect("a link");
    world.access.burn(&link.id, link.code(), wrong.address).await.expect("a good link is not shut out either");
}

#[tokio::test]
async fn processes_over_one_store_grant_each_as_much_as_one() {
    let world = world(|config| config.customer.key_requests_per_minute = 3).await;
    let (_, key) = world.key(Environment::Production).await;
    let mut config = Config::default();
    config.customer.key_requests_per_minute = 3;
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&world.clock);
    let second = Access::new(world.access.service.clone(), clock, &config);
    let mut granted = 0;
    for access in [&world.access, &second].into_iter().cycle().take(20) {
        granted += usize::from(access.admit(attempt(key.reveal())).await.is_ok());
    }
    assert_eq!(granted, 2 * 3);
}

fn handover(environment: Environment) -> HandoverOrder {
    HandoverOrder {
        idempotency_key: None,
        enterprise: "dave".to_owned(),
        environment,
        networks: Networks::default(),
        key_days: Some(90),
        valid_hours: 24,
        by: "ellen".to_owned(),
    }
}

#[tokio::test]
async fn a_link_gives_one_key_once_and_says_afterwards_who_took_it() {
    let world = world(|_| {}).await;
    let address: IpAddr = "192.0.2.50".parse().expect("an address");
    let link = world.access.hand_over(handover(Environment::Production)).await.expect("a link");
    assert!(world.access.keys("dave").await.expect("keys").is_empty(), "no key is there before the link is used");
    let wrong = world.access.burn(&link.id, "wrong", address).await.expect_err("refused");
    assert_eq!(wrong, NotHandedOver::Unknown);
    assert_eq!(world.access.burn("nolink", link.code(), address).await.expect_err("refused"), NotHandedOver::Unknown);
    let (view, key) = world.access.burn(&link.id, link.code(), address).await.expect("a wrong code burns nothing");
    assert_eq!(view.expires_at, Some(world.now() + TimeDelta::days(90)));
    world.access.admit(attempt(key.reveal())).await.expect("the key is good");
    let again = world.access.burn(&link.id, link.code(), address).await.expect_err("refused");
    assert_eq!(again, NotHandedOver::Used(Burned { at: world.now(), address, key_id: view.id.clone() }));
    let page = world.access.trail("dave", 10, None).await.expect("a trail");
    assert!(page.items.iter().any(|entry| entry.action == format!("took the API key {}", view.id)), "{page:?}");
    assert_eq!(
        link.link("https://keys.example/"),
        format!("https://keys.example/handover/{}#{}", link.id, link.code()).into()
    );
}

#[tokio::test]
async fn of_many_that_open_a_link_at_once_one_gets_the_key() {
    let world = world(|_| {}).await;
    let link = Arc::new(world.access.hand_over(handover(Environment::Test)).await.expect("a link"));
    let tries = (0..8).map(|_| {
        let (access, link) = (world.access.clone(), Arc::clone(&link));
        let address: IpAddr = "192.0.2.50".parse().expect("an address");
        tokio::spawn(async move { access.burn(&link.id, link.code(), address).await.is_ok() })
    });
    let mut got = 0;
    for task in tries.collect::<Vec<_>>() {
        got += usize::from(task.await.expect("no panic"));
    }
    assert_eq!((got, world.access.keys("dave").await.expect("keys").len()), (1, 1));
}

#[tokio::test]
async fn a_link_expires_and_one_that_cannot_give_a_key_now_stays_good() {
    let world = world(|_| {}).await;
    let address: IpAddr = "192.0.2.50".parse().expect("an address");
    let early = world.access.hand_over(handover(Environment::Test)).await.expect("a link");
    let (first, _) = world.key(Environment::Test).await;
    world.key(Environment::Test).await;
    let full = world.access.burn(&early.id, early.code(), address).await.expect_err("refused");
    assert!(matches!(&full, NotHandedOver::Failed(error) if error.code == "two-api-keys-live"), "{full:?}");
    world.access.revoke_key("dave", &first.id, "room", "ellen").await.expect("revoked");
    world.access.burn(&early.id, early.code(), address).await.expect("the link stayed good");
    let late = world.access.hand_over(handover(Environment::Production)).await.expect("a link");
    world.pass(24 * 3_600);
    let refused = world.access.burn(&late.id, late.code(), address).await.expect_err("refused");
    assert!(matches!(refused, NotHandedOver::Expired { .. }), "{refused:?}");
}

#[tokio::test]
async fn no_secret_stands_in_the_database_or_its_log() {
    let world = world(|_| {}).await;
    let link = world.access.hand_over(handover(Environment::Production)).await.expect("a link");
    let (view, key) =
        world.access.burn(&link.id, link.code(), "::1".parse().expect("an address")).await.expect("a key");
    world.access.admit(attempt(key.reveal())).await.expect("admitted");
    drop(world.access.admit(attempt(&forged(&key))).await);
    let secret = &key.reveal()[21..64];
    let mut seen = false;
    let mut files = 0;
    for entry in std::fs::read_dir(world.folder.path()).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds(secret) && !holds(link.code()), "a secret is on the disk");
        seen |= holds(&view.id);
        files += 1;
    }
    assert!(seen && files >= 2, "the files that were searched hold the key's record");
}

#[tokio::test]
async fn a_key_of_one_scope_opens_nothing_of_the_other_and_each_has_its_two() {
    let world = world(|_| ()).await;
    let audits = KeyOrder { scope: KeyScope::Audits, ..order("dave", Environment::Production) };
    let (view, reading) = world.access.create_key(audits.clone()).await.expect("made");
    let (_, importing) = world.key(Environment::Production).await;
    assert_eq!(view.scope, KeyScope::Audits);
    let for_audits = |key| Attempt { scope: KeyScope::Audits, ..attempt(key) };
    world.access.admit(for_audits(reading.reveal())).await.expect("its own scope");
    let refused = world.refused(attempt(reading.reveal())).await;
    assert_eq!(refused, Refused::Scope { key: KeyScope::Audits, path: KeyScope::Import });
    let refused = world.refused(for_audits(importing.reveal())).await;
    assert_eq!(
        (refused.code(), &refused),
        ("wrong-scope", &Refused::Scope { key: KeyScope::Import, path: KeyScope::Audits })
    );
    world.access.create_key(audits.clone()).await.expect("a successor");
    world.key(Environment::Production).await;
    assert_eq!(world.access.create_key(audits).await.expect_err("two are live").code, "two-api-keys-live");
}
