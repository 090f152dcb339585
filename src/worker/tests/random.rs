//! Random runs through the real store: whatever happens, folding the history gives the stored snapshot.

use super::*;

/// A small generator: the seed says everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn everything() -> Value {
    let mut moody = task("moody", None);
    moody["Retry"] = json!([{ "ErrorEquals": ["Once"], "IntervalSeconds": 5, "MaxAttempts": 2 }]);
    let mut caught = task("moody", Some("Nap"));
    caught["Catch"] = json!([{ "ErrorEquals": ["Once"], "Next": "Nap" }]);
    json!({ "StartAt": "Each", "States": {
        "Each": { "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 3, "ResultPath": "$.results", "Next": "Both",
            "ItemProcessor": { "StartAt": "Item", "States": { "Item": moody } } },
        "Both": { "Type": "Parallel", "ResultPath": null, "Next": "Ask", "Branches": [
            { "StartAt": "Caught", "States": { "Caught": caught, "Nap": { "Type": "Wait", "Seconds": 20, "End": true } } },
            { "StartAt": "Sub", "States": { "Sub": { "Type": "Task", "Resource": "urn:keyferry:workflow:child", "End": true } } } ] },
        "Ask": { "Type": "Task", "Resource": "urn:keyferry:form:ask-csm", "End": true } } })
}

async fn meddle(house: &House, run: &str, dice: &mut Dice) {
    let service = &house.service;
    let view = service.run(run).await.unwrap();
    let guess = Visit::of(run, dice.roll(4), dice.roll(6));
    let broken = view.attention.first().map_or(&guess, |first| &first.visit);
    let form = view.waiting_for.iter().find(|wait| wait.form.is_some()).map_or(&guess, |wait| &wait.visit);
    // Most of these do not fit most of the time, and say so; what matters is what is stored.
    let _ = match dice.roll(12) {
        0 => service.pause(run, actor(), "because").await,
        1 | 2 => service.resume(run, actor(), "because").await,
        3 | 4 => service.retry(run, broken, None, actor(), "because").await,
        5 => service.skip(run, broken, Some(json!({ "skipped": true })), actor(), "because").await,
        6 if dice.roll(6) == 0 => service.cancel(run, actor(), "because").await,
        7 | 8 => service.answer(run, "ask-csm", form, json!({ "yes": dice.roll(100) }), actor()).await,
        _ => {
            house.pass(Duration::from_secs(dice.roll(30))).await;
            service.run(run).await
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_random_runs_folds_to_their_snapshots() {
    let mut ended = 0;
    let mut rows = 0;
    for seed in 1..=12_u64 {
        let (_folder, path) = place();
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (moody, _) = code("moody", move |_: &StepContext, input: &Value, nth| {
            match Dice(seed * 7_919 + nth * 104_729).roll(5) {
                0 => Err(StepError::new("Once", "a mood")),
                1 if nth % 4 == 0 => Err(StepError::new("Other", "nothing catches it")),
                2 => Ok(Progress::Pending {
                    poll_after: Duration::from_secs(3),
                    checkpoint: json!(nth),
                    waiting_for: "a mood".to_owned(),
                }),
                _ => Ok(Progress::done(json!({ "input": input, "nth": nth }))),
            }
        });
        let child = json!({ "StartAt": "In", "States": { "In": { "Type": "Wait", "Seconds": 7, "Next": "Do" }, "Do": task("moody", None) } });
        let clock = ManualClock::new(start_of_time());
        let house =
            House::open(&path, clock, Registry::new().with(moody), &[("all", everything()), ("child", child)]).await;
        let run = house.start("all", json!({ "items": [1, 2, 3, 4, 5, 6, 7], "big": "y".repeat(6_000) })).await;
        for _ in 0..400 {
            meddle(&house, &run, &mut dice).await;
            if dice.roll(10) == 0 {
                house.holds(&run).await;
            }
            if house.service.run(&run).await.unwrap().ended_at.is_some() {
                ended += 1;
                break;
            }
        }
        let view = house.service.run(&run).await.unwrap();
        rows += house.service.verify(&run).await.unwrap().rows;
        for member in view.children.iter().chain([&run]) {
            house.holds(member).await;
        }
        house.drain().await;
    }
    assert!(ended >= 6 && rows > 200, "{ended} runs ended, {rows} rows: the test does not test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_history_is_named_by_its_first_bad_row() {
    use sqlx::Connection as _;
    let (_folder, path) = place();
    let definition = json!({ "StartAt": "A", "States": { "A": task("echo", Some("B")), "B": task("echo", Some("C")), "C": task("echo", None) } });
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("abc", definition)])
            .await;
    let run = house.start("abc", json!("honest")).await;
    house.until_ended(&run).await;
    let mut raw = sqlx::SqliteConnection::connect(&path.to_string_lossy()).await.unwrap();
    for statement in [
        "DROP TRIGGER history_is_never_changed",
        "UPDATE history SET event = replace(event, 'honest', 'forged') WHERE seq IN (2, 3)",
    ] {
        sqlx::query(statement).execute(&mut raw).await.unwrap();
    }
    let found = house.service.verify(&run).await.unwrap();
    assert!(!found.ok);
    assert_eq!(found.first_bad, Some(2), "{:?}", found.findings);
    for statement in ["DROP TRIGGER history_is_never_deleted", "DELETE FROM history WHERE seq = 4"] {
        sqlx::query(statement).execute(&mut raw).await.unwrap();
    }
    let found = house.service.verify(&run).await.unwrap();
    assert!(found.findings.iter().any(|finding| finding.contains("3 rows are there")), "{:?}", found.findings);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_last_row_with_a_hash_that_fits_is_found() {
    use sqlx::{Connection as _, Row as _};
    let (_folder, path) = place();
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("one", one("echo"))])
            .await;
    let run = house.start("one", json!("honest")).await;
    house.until_ended(&run).await;
    let mut raw = sqlx::SqliteConnection::connect(&path.to_string_lossy()).await.unwrap();
    let rows = sqlx::query("SELECT hash, event, entered FROM history ORDER BY seq").fetch_all(&mut raw).await.unwrap();
    let event = rows[1].get::<String, _>("event").replace("honest", "forged");
    let hash = crate::store::chain(&rows[0].get::<Vec<u8>, _>("hash"), &event, &rows[1].get::<String, _>("entered"));
    sqlx::query("DROP TRIGGER history_is_never_changed").execute(&mut raw).await.unwrap();
    sqlx::query("UPDATE history SET event = ?1, hash = ?2 WHERE seq = 2")
        .bind(event)
        .bind(hash)
        .execute(&mut raw)
        .await
        .unwrap();
    let found = house.service.verify(&run).await.unwrap();
    assert_eq!((found.ok, found.first_bad), (false, Some(2)), "{:?}", found.findings);
    house.drain().await;
}
