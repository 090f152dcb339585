//! The cures of errors of steps, on runs that then go on to their end.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use aws_sdk_rds::types::Tag;
use keyferry::sandbox::{FaultKind, FaultRule, Faults};
use serde_json::json;

use super::{
    super::{
        flow::Stage,
        onboarding::{Runner, answers},
        world::WEST,
    },
    Shell, Who, commands,
};

fn fault(action: &str, code: &str, message: &str) -> FaultRule {
    FaultRule {
        service: Some("rds".to_owned()),
        action: Some(action.to_owned()),
        nth: None,
        remaining: None,
        kind: FaultKind::Error { code: code.to_owned(), message: message.to_owned(), status: 400 },
    }
}

/// What AWS refuses until people have changed something outside of keyferry: a role's permissions, a quota, a group.
const REFUSALS: [(&str, &str, &str); 3] = [
    ("Keyferry.AccessDenied", "AccessDenied", "User is not authorized to perform: rds:CreateDBSnapshot"),
    ("Keyferry.QuotaExceeded", "SnapshotQuotaExceeded", "Cannot create more than 100 manual snapshots"),
    ("Keyferry.NotFound", "DBSubnetGroupNotFoundFault", "DB subnet group 'private' does not exist"),
];

/// Refuses by the first of what is left, or by nothing any more.
fn refuse(faults: &Faults, left: &[(&str, &str, &str)]) {
    faults.clear();
    if let Some((_, code, message)) = left.first() {
        faults.add(fault("CreateDBSnapshot", code, message));
    }
}

#[tokio::test]
async fn what_keeps_a_run_from_going_on_is_put_right_as_its_cause_says_and_the_run_comes_to_its_end() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let Some(shell) = Shell::open(world).await else { return };
    let rds = world.aws.rds(WEST).await.unwrap();
    for id in ["dave-full", "dave-plain"] {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let call =
            rds.create_db_instance().db_instance_identifier(id).engine("postgres").db_instance_class("db.m6g.large");
        let call = call.allocated_storage(20).master_username("admin_user").master_user_password("long-enough-for-RDS");
        call.tags(tag("keyferry:enterprise", "dave")).tags(tag("keyferry:instance", id)).send().await.unwrap();
    }
    world.pass(3600);
    // A class that waits for its window, a stopped system, a full one, and a key that is disabled.
    let change = rds.modify_db_instance().db_instance_identifier("dave-production").db_instance_class("db.m6g.xlarge");
    change.send().await.unwrap();
    rds.stop_db_instance().db_instance_identifier("dave-sandbox").send().await.unwrap();
    let found = rds.describe_db_instances().db_instance_identifier("dave-full").send().await.unwrap();
    let full = found.db_instances()[0].db_instance_arn().unwrap().to_owned();
    assert!(world.sandbox.arrange(|state, _| state.fill_storage(&full)).await.unwrap());
    world.pass(3600);
    let key = stage.keys["keys"][WEST].as_str().unwrap();
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let faults = world.sandbox.faults();
    let customer = world.customer(WEST).await;
    let left = Rc::new(RefCell::new(REFUSALS.to_vec()));
    let (refusals, of_window) = (Rc::clone(&left), world.sandbox.faults());
    runner.on_form = Some(Box::new(move |form, _| {
        if form == "window" && refusals.borrow().len() == REFUSALS.len() {
            refuse(&of_window, &refusals.borrow());
        }
    }));
    let shell = &shell;
    runner.hand = Some(Box::new(move |error, cause| {
        let (faults, left, customer) = (faults.clone(), Rc::clone(&left), customer.clone());
        Box::pin(async move {
            let refused = left.borrow().first().copied();
            if let Some((_, _, message)) = refused.filter(|(name, ..)| *name == error) {
                assert!(
                    cause.contains(message) && cause.contains("snapshot"),
                    "what was tried and what AWS said: {cause}"
                );
                left.borrow_mut().remove(0);
                refuse(&faults, &left.borrow());
                if left.borrow().is_empty() {
                    // The next thing: the customer disables the key before the window.
                    customer.disable_key().key_id(key).send().await.unwrap();
                }
                return;
            }
            if error == "Keyferry.KeyNotUsable" {
                // The customer's act: the cause names the key and what to do with it.
                let at = cause.find("arn:aws:kms:").unwrap_or_else(|| panic!("it names no key: {cause}"));
                let arn = cause[at..].split([' ', ']']).next().unwrap().trim_end_matches(':');
                customer.enable_key().key_id(arn).send().await.unwrap();
            } else {
                let lines = commands(&cause);
                assert!(!lines.is_empty(), "{error}: nothing can be done: {cause}");
                shell.give(Who::Vendor, &lines).await;
            }
            world.pass(3600);
        })
    }));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let halts: BTreeSet<&str> = runner.halts.iter().map(|(error, _)| error.as_str()).collect();
    let expected = ["AccessDenied", "KeyNotUsable", "NotFound", "QuotaExceeded", "SystemBroken", "Unsupported"];
    assert_eq!(
        halts,
        expected.map(|name| format!("Keyferry.{name}")).iter().map(String::as_str).collect(),
        "{:#?}",
        runner.halts
    );
}

#[tokio::test]
async fn a_system_that_is_missing_is_found_again_under_its_name_or_left_out_by_another_run() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let system = stage.inventory().await["systems"][1].clone();
    let rds = world.aws.rds(WEST).await.unwrap();
    let rename = async |from: &str, to: &str| {
        let change = rds.modify_db_instance().db_instance_identifier(from).new_db_instance_identifier(to);
        change.apply_immediately(true).send().await.unwrap();
        world.pass(3600);
    };
    // Renamed by somebody: it is given its name back, and the same state goes on.
    rename("dave-sandbox", "dave-moved").await;
    let halt = world.to_its_end("pre-copy-system", &stage.item(&system, 1)).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.Missing");
    assert!(halt.cause.contains("instance dave-sandbox") && halt.cause.contains("give it its name back"), "{halt}");
    rename("dave-moved", "dave-sandbox").await;
    world.run("pre-copy-system", &stage.item(&system, 1)).await.unwrap();
    // Deleted: another run takes stock of what there is, and asks of the snapshots that are left.
    world.begin("run-2");
    stage.inventory().await;
    let gone = rds.delete_db_instance().db_instance_identifier("dave-sandbox").delete_automated_backups(true);
    gone.final_db_snapshot_identifier("sandbox-last").send().await.unwrap();
    world.pass(3600);
    let halt = world.to_its_end("pre-copy-system", &stage.item(&system, 1)).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.Missing");
    assert!(halt.cause.contains("cancel this run and start another"), "{halt}");
    world.begin("run-3");
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let output = runner.drive("customer-managed", json!({})).await;
    assert!(runner.halts.iter().all(|(error, _)| error == "Keyferry.DataExists"), "{:#?}", runner.halts);
    assert_eq!(world.names(WEST).await, ["dave-production"]);
    assert!(output["deviations"].to_string().contains("sandbox-last"), "what is left is named: {output:#}");
}
