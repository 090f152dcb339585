//! How long the trail is kept, on both databases.

use super::*;

impl World {
    /// Deletes what is too old, while time passes.
    async fn prune(&self) -> u64 {
        let mut pruning = std::pin::pin!(self.access.prune_trails());
        loop {
            tokio::select! {
                removed = &mut pruning => return removed.expect("pruned"),
                () = tokio::task::yield_now() => self.clock.advance(Duration::from_millis(1)),
            }
        }
    }
}

#[tokio::test]
async fn the_trail_is_kept_for_as_long_as_the_configuration_says_and_its_end_is_written_down() {
    let thirty = |config: &mut Config| config.customer.trail_days = 30;
    ends_after_thirty_days(world(thirty).await).await;
    if let Some(database) = Database::make().await {
        let store = PostgresStore::open(database.url()).await.expect("a store");
        ends_after_thirty_days(world_on(Arc::new(store), tempfile::tempdir().expect("a folder"), thirty).await).await;
    }
}

async fn ends_after_thirty_days(world: World) {
    let (_, key) = world.key(Environment::Production).await;
    let used = async |uses: usize| {
        for _ in 0..uses {
            world.pass(1);
            world.access.admit(attempt(key.reveal())).await.expect("admitted");
        }
    };
    // More than one batch.
    used(230).await;
    let kept = || world.access.service.record("dave", "trail-retention", "current");
    world.pass(29 * 86_400);
    assert_eq!(world.prune().await, 0, "nothing is too old");
    assert_eq!(kept().await.expect("read"), None);
    used(3).await;
    world.pass(86_400);
    let before = world.now() - TimeDelta::days(30);
    assert_eq!(world.prune().await, 230);
    let page = world.access.trail("dave", 200, None).await.expect("a trail");
    assert_eq!((page.items.len(), page.next), (3, None));
    let said = kept().await.expect("read").expect("a record");
    assert_eq!((said.body, said.version), (serde_json::json!({ "removed": 230, "before": before }), 2));
    world.pass(30 * 86_400);
    let (a, b) = tokio::join!(world.prune(), world.prune());
    assert_eq!(a + b, 3, "two that look at once count each entry once");
    assert_eq!(kept().await.expect("read").expect("a record").body["removed"], 233);
    assert!(world.outcomes("dave").await.is_empty());
}

#[tokio::test]
async fn a_trail_that_is_kept_for_ever_is() {
    let world = world(|config| config.customer.trail_days = 0).await;
    let (_, key) = world.key(Environment::Production).await;
    world.access.admit(attempt(key.reveal())).await.expect("admitted");
    world.pass(4_000 * 86_400);
    assert_eq!((world.prune().await, world.outcomes("dave").await.len()), (0, 1));
}
