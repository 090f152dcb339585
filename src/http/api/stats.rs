//! What the store and the worker know, for Prometheus. What the store knows is read at each scrape and the same for every
//! process over one database: take the maximum over processes, not the sum.

use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::proto::MetricFamily;

use crate::{
    store::{Tally, Vitals},
    telemetry::Families,
    worker::Stats,
};

/// The classes of `store::AGES`.
const AGES: [&str; 6] = ["under-1s", "1s-10s", "10s-1m", "1m-10m", "10m-1h", "over-1h"];

/// The metrics of `stats`; of a store that could not be read, only that.
pub fn families(stats: Stats) -> Vec<MetricFamily> {
    let mut page = Families::default();
    let up = stats.tally.is_some();
    page.gauge("keyferry_store_up", "Whether the store could be read at this scrape", f64::from(u8::from(up)));
    page.gauge(
        "keyferry_store_writable",
        "Whether the store took a write at this scrape",
        f64::from(u8::from(stats.writable)),
    );
    page.gauge("keyferry_work_executing", "Pieces of work that this process executes", size(stats.executing));
    page.gauge("keyferry_step_slots", "Steps that this process may run at once", size(stats.slots));
    page.gauge("keyferry_step_slots_free", "How many more of them may begin now", size(stats.slots_free));
    vitals(&mut page, &stats.vitals);
    if let Some(tally) = &stats.tally {
        work(&mut page, tally, stats.now);
        runs(&mut page, tally);
    }
    let mut all = page.into_inner();
    all.extend(stats.counted);
    all
}

fn work(page: &mut Families, tally: &Tally, now: DateTime<Utc>) {
    let rows = AGES.into_iter().zip(tally.due).map(|(age, due)| ([age], count(due)));
    page.gauges("keyferry_work_due", "Pieces of work that are due and free, by how long they have been", ["age"], rows);
    page.gauge(
        "keyferry_work_overdue_seconds",
        "How long the free piece of work that is due longest has been",
        age(tally.oldest_due, now),
    );
    page.gauge("keyferry_leases", "Pieces of work under a lease", count(tally.leases));
    page.gauge(
        "keyferry_leases_passed",
        "Leases whose time has passed and whose work nobody has claimed again",
        count(tally.leases_passed),
    );
    page.gauge("keyferry_outbox_pending", "Notices and letters that are not delivered", count(tally.outbox));
    page.gauge(
        "keyferry_outbox_age_seconds",
        "How long ago the oldest of them was written",
        age(tally.oldest_outbox, now),
    );
    page.gauge(
        "keyferry_letters_dead",
        "Letters that could not be delivered and wait for somebody to resend them",
        count(tally.dead_letters),
    );
}

fn runs(page: &mut Families, tally: &Tally) {
    let rows = [
        (["working"], count(tally.working)),
        (["waiting"], count(tally.waiting)),
        (["attention"], count(tally.attention)),
        (["paused"], count(tally.paused)),
    ];
    page.gauges("keyferry_runs_open", "Open runs by the status of their last turn", ["status"], rows);
    // `none` keeps the metric there when all is well: a rule over one that comes and goes is never resolved.
    let mut rows: Vec<([String; 1], f64)> =
        tally.attention_by_error.iter().map(|(error, frames)| ([error.clone()], count(*frames))).collect();
    if rows.is_empty() {
        rows.push((["none".to_owned()], 0.0));
    }
    page.gauges_of("keyferry_attention", "Places in runs that wait for an engineer, by error", ["error"], rows);
}

fn vitals(page: &mut Families, vitals: &Vitals) {
    let pools = || vitals.pools.iter();
    page.gauges(
        "keyferry_pool_connections",
        "Connections to the store that a pool has, by what they do",
        ["pool", "state"],
        pools().flat_map(|pool| {
            let used = pool.size.saturating_sub(pool.idle);
            [([pool.name, "idle"], f64::from(pool.idle)), ([pool.name, "used"], f64::from(used))]
        }),
    );
    page.gauges(
        "keyferry_pool_connections_max",
        "Connections that a pool may have",
        ["pool"],
        pools().map(|pool| ([pool.name], f64::from(pool.most))),
    );
    page.counters(
        "keyferry_pool_lent_total",
        "Connections that a pool has lent",
        ["pool"],
        pools().map(|pool| ([pool.name], count(pool.lent))),
    );
    page.counters(
        "keyferry_pool_wait_seconds_total",
        "Seconds that users of a pool have waited for a connection, together",
        ["pool"],
        pools().map(|pool| ([pool.name], pool.waited.as_secs_f64())),
    );
    page.gauges(
        "keyferry_store_file_bytes",
        "Bytes of the files that this process keeps its store in",
        ["file"],
        vitals.files.iter().map(|(name, bytes)| ([*name], count(*bytes))),
    );
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floating; counts stay below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

fn size(number: usize) -> f64 {
    u64::try_from(number).map_or(f64::INFINITY, count)
}

/// 0 when there is nothing, or what there is lies ahead.
fn age(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> f64 {
    let age = since.and_then(|since| now.signed_duration_since(since).to_std().ok());
    age.map_or(0.0, |age: Duration| age.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(stats: Stats) -> String {
        prometheus::TextEncoder::new().encode_to_string(&families(stats)).unwrap()
    }

    fn stats(tally: Option<Tally>) -> Stats {
        Stats {
            tally,
            vitals: Vitals::default(),
            writable: true,
            claimed: 0,
            executing: 0,
            slots: 4,
            slots_free: 4,
            now: DateTime::from_timestamp(1_700_000_100, 0).unwrap(),
            counted: Vec::new(),
        }
    }

    #[test]
    fn ages_and_counts_are_told() {
        let tally = Tally {
            attention: 2,
            due: [1, 0, 0, 7, 0, 0],
            oldest_due: DateTime::from_timestamp(1_700_000_000, 0),
            oldest_outbox: DateTime::from_timestamp(1_700_000_200, 0),
            attention_by_error: vec![("Keyferry.\"Odd\"".to_owned(), 3)],
            ..Tally::default()
        };
        let text = text(stats(Some(tally)));
        for line in [
            "keyferry_store_up 1",
            "keyferry_runs_open{status=\"attention\"} 2",
            "keyferry_attention{error=\"Keyferry.\\\"Odd\\\"\"} 3",
            "keyferry_work_due{age=\"1m-10m\"} 7",
            "keyferry_work_overdue_seconds 100",
            "keyferry_outbox_age_seconds 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_store_that_cannot_be_read_is_told_and_nothing_is_made_up() {
        let text = text(stats(None));
        assert!(text.contains("keyferry_store_up 0"), "{text}");
        assert!(!text.contains("keyferry_work_due"), "{text}");
    }

    #[test]
    fn the_classes_of_age_are_those_that_the_store_counts() {
        let seconds = |text: &str| -> u64 {
            let (number, unit) = text.split_at(text.len() - 1);
            number.parse::<u64>().unwrap()
                * match unit {
                    "s" => 1,
                    "m" => 60,
                    "h" => 3_600,
                    _ => panic!("{text}"),
                }
        };
        let bounds: Vec<u64> = AGES[1..]
            .iter()
            .map(|class| {
                seconds(class.rsplit_once("over-").map_or_else(|| class.split('-').next().unwrap(), |(_, bound)| bound))
            })
            .collect();
        assert_eq!(bounds, crate::store::AGES);
    }
}
