use std::time::Duration;

use keyferry::{
    aws::failure,
    engine::Standing,
    sandbox::{FaultKind, FaultRule},
    worker::{Clock as _, SystemClock},
};

use super::{Server, page::Page};

/// A scrape of a server that has done something of everything.
pub async fn busy() -> (Server, Page) {
    let server = Server::start().await;
    server.run("works", Standing::Succeeded).await;
    server.run("works", Standing::Succeeded).await;
    server.run("fails", Standing::Attention).await;
    // The branch that does not fail may still run.
    server.until_idle().await;
    let (status, _) = server.get("/readyz").await;
    assert_eq!(status, 200);
    // The first scrape counts among the requests of the second.
    server.scrape().await;
    let page = server.scrape().await;
    (server, page)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_as_prometheus_has_it() {
    let (_server, page) = busy().await;
    assert!(page.0.len() >= 35, "{:?}", page.0.keys());
    assert_eq!(page.lint(), Vec::<String>::new());
    let series: usize = page.0.values().map(|family| family.samples.len()).sum();
    assert!(series < 2_000, "{series} series");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_counted() {
    let (_server, page) = busy().await;
    for (name, labels, wanted) in [
        ("keyferry_step_outcomes_total", &[("step", "works"), ("outcome", "done"), ("error", "")] as &[_], 3.0),
        (
            "keyferry_step_outcomes_total",
            &[("step", "fails"), ("outcome", "failed"), ("error", "Keyferry.Foreign")],
            1.0,
        ),
        ("keyferry_step_duration_seconds_count", &[("step", "works")], 3.0),
        ("keyferry_step_duration_seconds_bucket", &[("step", "fails"), ("le", "300")], 1.0),
        ("keyferry_runs_started_total", &[("workflow", "works")], 2.0),
        ("keyferry_runs_ended_total", &[("workflow", "works"), ("status", "succeeded")], 2.0),
        ("keyferry_runs_open", &[("status", "attention")], 1.0),
        ("keyferry_runs_open", &[("status", "working")], 0.0),
        ("keyferry_attention", &[("error", "Keyferry.Foreign")], 1.0),
        ("keyferry_work_delay_seconds_count", &[], 4.0),
        ("keyferry_leases", &[], 0.0),
        ("keyferry_leases_lost_total", &[("reason", "taken")], 0.0),
        ("keyferry_work_overdue_seconds", &[], 0.0),
        // Two ended, one calls for an engineer; nobody delivers here.
        ("keyferry_outbox_pending", &[], 3.0),
        ("keyferry_store_up", &[], 1.0),
        ("keyferry_store_writable", &[], 1.0),
        ("keyferry_http_requests_total", &[("route", "/readyz"), ("status", "200")], 1.0),
        ("keyferry_http_request_duration_seconds_count", &[("route", "/metrics")], 1.0),
        ("keyferry_pool_connections_max", &[("pool", "writer")], 1.0),
    ] {
        let found = page.value(name, labels);
        assert!((found - wanted).abs() < 1e-9, "{name}{labels:?} is {found}, not {wanted}");
    }
    let claims = &page.0["keyferry_claims_total"].samples;
    assert!((claims.iter().map(|sample| sample.value).sum::<f64>() - 4.0).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_is_measured() {
    let (_server, page) = busy().await;
    for (name, labels) in [
        ("keyferry_store_duration_seconds_count", &[("operation", "commit")] as &[_]),
        ("keyferry_store_duration_seconds_sum", &[("operation", "commit")]),
        ("keyferry_store_duration_seconds_count", &[("operation", "probe")]),
        ("keyferry_commit_writes_count", &[]),
        ("keyferry_pool_lent_total", &[("pool", "writer")]),
        ("keyferry_pool_lent_total", &[("pool", "readers")]),
        ("keyferry_store_file_bytes", &[("file", "database")]),
        ("keyferry_store_file_bytes", &[("file", "wal")]),
        ("keyferry_outbox_age_seconds", &[]),
        ("keyferry_step_slots_free", &[]),
        ("process_resident_memory_bytes", &[]),
        ("process_open_fds", &[]),
    ] {
        assert!(page.value(name, labels) > 0.0, "{name}{labels:?} is nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_region_is_on_the_page_and_is_not_asked_again_and_again() {
    let server = Server::start().await;
    let faults = server.sandbox.faults();
    faults.add(FaultRule {
        service: Some("kms".to_owned()),
        action: Some("ListKeys".to_owned()),
        nth: None,
        remaining: None,
        kind: FaultKind::LostReply,
    });
    let kms = server.aws.kms("us-west-2").await.unwrap();
    let silent =
        async || server.scrape().await.value("keyferry_aws_silent", &[("service", "KMS"), ("region", "us-west-2")]);
    assert!(silent().await.abs() < f64::EPSILON);
    let first = failure("list keys", &kms.list_keys().send().await.unwrap_err());
    assert!(first.lost() && first.cause.contains("no answer from AWS"), "{}", first.cause);
    let second = failure("list keys", &kms.list_keys().send().await.unwrap_err());
    assert!(
        second.lost() && second.cause.contains("AWS was not asked: KMS in us-west-2 has not answered since"),
        "{}",
        second.cause
    );
    assert!((silent().await - 1.0).abs() < f64::EPSILON);
    // Another region answers meanwhile.
    server.aws.kms("us-east-1").await.unwrap().list_aliases().send().await.unwrap();
    faults.clear();
    for _ in crate::support::patience::looks() {
        if kms.list_keys().send().await.is_ok() {
            assert!(silent().await.abs() < f64::EPSILON);
            return;
        }
        SystemClock.sleep(Duration::from_millis(200)).await;
    }
    panic!("it is never asked again");
}
