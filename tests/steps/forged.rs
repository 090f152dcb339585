//! Somebody who may start runs, retry and skip tries to have something deleted or taken out of service that no person has
//! approved in that run: by the input of a retry, by the output of a skip, and by a definition of their own.

use std::sync::atomic::Ordering;

use keyferry::{
    engine::Standing,
    systems::purge::PurgePlan,
    worker::{Clock as _, NewEnterprise, RunFilter, RunView},
};
use serde_json::{Value, json};

use super::{
    flow::Stage,
    outage::WINDOW,
    put_back::{House, Way, actor},
    world::{EAST, WEST, World},
};

/// Every step that copies data, takes something out of service, puts it in a place or deletes it, one after the other, with
/// the input that its author gives it. What each fails with is kept.
fn heist(steps: &[(String, &str)]) -> String {
    let mut states = serde_json::Map::new();
    for (number, (name, step)) in steps.iter().enumerate() {
        let next = steps.get(number + 1).map_or("Over", |(next, _)| next);
        states.insert(
            name.clone(),
            json!({
                "Type": "Task", "Resource": format!("urn:keyferry:step:{step}"), "InputPath": format!("$.asked.{name}"),
                "ResultPath": format!("$.done.{name}"), "Next": next,
                "Catch": [{ "ErrorEquals": ["States.ALL"], "ResultPath": format!("$.refused.{name}"), "Next": next }],
            }),
        );
    }
    states.insert("Over".to_owned(), json!({ "Type": "Succeed" }));
    json!({ "StartAt": steps[0].0, "States": states }).to_string()
}

/// What is tried with a step, and the error that has to come of it.
type Tried = (String, &'static str, &'static str);

const NO_PLAN: &str = "Keyferry.NoPlan";

fn tried() -> Vec<Tried> {
    let one = |name: &str, step, error| (name.to_owned(), step, error);
    let mut all = vec![
        one("another_runs_list", "purge-resource", "Keyferry.NotApproved"),
        one("its_check", "check-purge", "Keyferry.NotApproved"),
        one("a_resource", "purge-resource", "Keyferry.BadInput"),
        one("a_left_over", "remove-left-over", "Keyferry.BadInput"),
        one("another_runs_left_overs", "remove-left-over", "Keyferry.NotApproved"),
        one("an_outage", "put-back-system", "Keyferry.BadInput"),
        one("a_replaced_original", "thaw-system", NO_PLAN),
        one("a_move", "thaw-system", "Keyferry.Missing"),
        one("a_list", "plan-purge", NO_PLAN),
        one("an_empty_one", "provision-system", NO_PLAN),
        one("a_replica", "create-replica", NO_PLAN),
        one("keys_of_ones_own", "take-inventory", NO_PLAN),
        one("a_report", "audit", NO_PLAN),
        one("a_custody", "write-custody", NO_PLAN),
    ];
    for step in ["pre-copy-system", "copy-for-recovery", "replicate-backups"].into_iter().chain(WINDOW) {
        all.push((step.replace('-', "_"), step, NO_PLAN));
    }
    all
}

/// With an inventory of their own: the systems are known, and still nobody has agreed on a window or approved anything.
const WINDOW_MADE_UP: &str = r#"{"StartAt":"Hand over keys","States":{
    "Hand over keys":{"Type":"Task","Resource":"urn:keyferry:form:key-arns","Parameters":{"regions.$":"$.plan.regions",
        "aws_account.$":"$.plan.aws_account"},"ResultPath":null,"Next":"Inventory"},
    "Inventory":{"Type":"Task","Resource":"urn:keyferry:step:take-inventory","Parameters":{"plan.$":"$.plan","keys.$":"$.keys"},
        "ResultPath":"$.inventory","Next":"Plan"},
    "Plan":{"Type":"Task","Resource":"urn:keyferry:step:plan-outage","Parameters":{"system.$":"$.inventory.all[0]","keys.$":"$.keys",
        "plan.$":"$.plan","generation.$":"$.inventory.generation","attempt":1,"window.$":"$.window"},"ResultPath":null,
        "Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":"$.refused","Next":"Over"}],"Next":"Over"},
    "Over":{"Type":"Succeed"}}}"#;

fn harm(house: &House) -> Vec<String> {
    let ledger = house.sandbox.ledger();
    let done = ledger.iter().filter(|entry| {
        !entry.resource.contains("canary")
            && ["Delete", "ModifyDB", "RestoreDB", "CopyDB", "CreateDB"]
                .iter()
                .any(|verb| entry.action.starts_with(verb))
    });
    done.map(|entry| format!("{} {}", entry.action, entry.resource)).collect()
}

fn stands(view: &RunView, state: &str) -> bool {
    view.status == Standing::Attention && view.attention.iter().any(|frame| frame.state == state)
}

fn asks(view: &RunView, form: &str) -> bool {
    view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some(form))
}

struct Theft<'a> {
    house: &'a House,
    run: String,
}

impl<'a> Theft<'a> {
    async fn begin(house: &'a House, enterprise: &str, workflow: &str, input: &Value) -> Self {
        Self { house, run: house.begin(enterprise, workflow, input).await.unwrap().id }
    }

    async fn stands(&self, state: &str) -> RunView {
        self.house.until(12, state, &self.run, |view| stands(view, state)).await
    }

    async fn refused(&self, state: &str, error: &str) {
        let view = self.stands(state).await;
        assert_eq!(view.attention[0].error, error, "{:#?}", view.attention);
    }

    async fn retry(&self, state: &str, input: Value, error: &str) {
        let visit = self.stands(state).await.attention[0].visit.clone();
        self.house.service.retry(&self.run, &visit, Some(input), actor(), "try").await.unwrap();
        let moved = |view: &RunView| stands(view, state) && view.attention[0].visit != visit;
        let view = self.house.until(12, error, &self.run, moved).await;
        assert_eq!(view.attention[0].error, error, "{:#?}", view.attention);
    }

    async fn skip(&self, state: &str, output: Value) {
        let visit = self.stands(state).await.attention[0].visit.clone();
        self.house.service.skip(&self.run, &visit, Some(output), actor(), "try").await.unwrap();
    }

    /// Says yes to what is shown, which is answered.
    async fn approve(&self) -> Value {
        self.house.until(60, "the approval", &self.run, |view| asks(view, "purge-approval")).await;
        let open = self.house.service.open_form(&self.run, "purge-approval").await.unwrap();
        let answer = json!({ "approve": true, "plan": open.input["plan"], "reason": "because" });
        self.house.service.answer(&self.run, "purge-approval", &open.visit, answer, actor()).await.unwrap();
        open.input
    }

    async fn over(&self) -> RunView {
        self.house.until(12, "the end", &self.run, |view| view.ended_at.is_some()).await
    }
}

/// A list of one line, which says that the serving system goes, and everything that the form of its approval wants.
async fn made_up(house: &House, real: &Value) -> Value {
    let rds = house.aws.rds(WEST).await.unwrap();
    let found = rds.describe_db_instances().db_instance_identifier("dave-production").send().await.unwrap();
    let serving = &found.db_instances()[0];
    let mut list = real["list"].clone();
    let mut line = list["lines"][0].clone();
    line["kind"] = json!("instance");
    line["id"] = json!("dave-production");
    line["arn"] = json!(serving.db_instance_arn());
    line["resource_id"] = json!(serving.dbi_resource_id());
    line["successor"] = Value::Null;
    line["copies"] = json!([]);
    list["lines"] = json!([line]);
    let plan = PurgePlan::read(&list).unwrap();
    let at = house.clock.now();
    json!({
        "plan": plan.hash(), "count": 1, "list": list, "kept": [], "made_at": at, "shown": plan.shown(&[], at), "notices": [],
    })
}

/// A system as an inventory gives it, under another name if there is one.
async fn system(house: &House, name: &str) -> Value {
    let rds = house.aws.rds(WEST).await.unwrap();
    let found = rds.describe_db_instances().db_instance_identifier("dave-production").send().await.unwrap();
    let mut system = json!(keyferry::systems::System::of(&found.db_instances()[0], WEST, "keyferry:instance"));
    system["id"] = json!(name);
    system["recovery"] = json!(true);
    system
}

/// What each of [`tried`] is given.
async fn asked(house: &House, list: &str, left_overs: &str) -> Value {
    let now = house.clock.now();
    let window = json!({
        "start": now, "end": now + chrono::TimeDelta::days(365), "cutoff": now + chrono::TimeDelta::days(364), "duration_hours": 8760,
    });
    let item = |system: Value| {
        let mut item = json!({ "system": system, "generation": 1, "attempt": 1, "window": window });
        item.as_object_mut().unwrap().extend(house.input.as_object().unwrap().clone());
        item
    };
    let serving = system(house, "dave-production").await;
    let mut original = serving.clone();
    original["resource_id"] = json!(house.original);
    let mut replica = item(serving.clone());
    replica["source"] = json!("dave-production");
    replica["source_region"] = json!(WEST);
    let mut purge = house.input.clone();
    purge["generation"] = json!(1);
    let rows = json!({ "id": "byok", "arn": "arn", "region": WEST, "removable": true });
    let mut asked = json!({
        "another_runs_list": { "plan": list, "number": 0 },
        "its_check": { "plan": list },
        "a_resource": { "resource": serving, "approval": { "approve": true, "plan": list, "reason": "x" } },
        "a_left_over": { "left_over": rows, "approval": { "approve": true } },
        "another_runs_left_overs": { "list": left_overs, "number": 0, "approval": { "approve": true, "list": left_overs } },
        "an_outage": { "resource": serving["resource_id"], "not_before": now },
        "a_replaced_original": item(original),
        "a_move": item(system(house, "dave-moved").await),
        "a_list": purge,
        "an_empty_one": {
            "fresh": { "id": "dave-empty", "instance": "production", "region": WEST }, "keys": house.input["keys"],
            "template": { "engine": "postgres", "class": "db.m6g.large", "storage_gb": 100, "retention_days": 14 },
        },
        "a_replica": replica,
        "keys_of_ones_own": house.input,
        "a_report": purge,
        "a_custody": purge,
    });
    for (name, step, _) in tried() {
        if asked.get(&name).is_none() && step != "purge-resource" {
            asked[name] = item(serving.clone());
        }
    }
    json!({ "asked": asked, "done": {}, "refused": {}, "window": window, "plan": house.input["plan"], "keys": house.input["keys"] })
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_forges_an_approval_a_plan_or_a_window() {
    let steps: Vec<(String, &str)> = tried().into_iter().map(|(name, step, _)| (name, step)).collect();
    let further = [
        ("heist", heist(&steps)),
        ("window-made-up", WINDOW_MADE_UP.to_owned()),
        ("left-overs", include_str!("../../workflows/left-overs.asl.json").to_owned()),
    ];
    let further: Vec<(&str, &str)> = further.iter().map(|(name, source)| (*name, source.as_str())).collect();
    let house = House::holding(&[("check-purge", Way::Fails), ("plan-purge", Way::Fails)], &further).await;
    let hold = |step: &str, on: bool| house.holds[step].store(on, Ordering::SeqCst);
    hold("plan-purge", false);
    // A run whose list is approved, and which goes no further.
    let first = Theft::begin(&house, "dave", "onboarding", &house.input).await;
    let real = first.approve().await;
    first.stands("Check purge").await;
    let before = harm(&house);
    assert!(before.iter().any(|done| done.starts_with("RestoreDB")), "something was migrated: {before:?}");
    let serving = house.serving().await.unwrap();
    assert!(serving != house.original);
    // Meanwhile no other run of whatever definition may change anything.
    let busy = house.begin("dave", "heist", &json!({})).await.unwrap_err();
    assert_eq!(busy.code, "enterprise-has-open-run");
    house.service.cancel(&first.run, actor(), "not now").await.unwrap();
    for open in house.service.runs(RunFilter::default()).await.unwrap().items {
        house.until(12, "the end", &open.id, |view| view.ended_at.is_some()).await;
    }
    hold("check-purge", false);
    let left_overs = left_overs_are_approved_by_their_hash(&house).await;
    by_a_definition_of_ones_own(&house, real["plan"].as_str().unwrap(), &left_overs).await;
    assert_eq!(harm(&house), before, "nothing was deleted, moved or made");
    hold("plan-purge", true);
    by_what_a_skip_and_a_retry_say(&house, &real).await;
    let ledger = house.service.records("dave", "purge-ledger", 10, None).await.unwrap().items;
    assert_eq!(ledger.len(), 0, "what was skipped is not in the ledger");
    assert_eq!(house.serving().await.as_deref(), Some(serving.as_str()));
    // And with nothing forged the same list goes.
    hold("plan-purge", false);
    let honest = Theft::begin(&house, "dave", "onboarding", &house.input).await;
    honest.approve().await;
    honest.over().await;
    assert!(harm(&house).iter().any(|done| done.starts_with("DeleteDBInstance")), "{:?}", harm(&house));
    assert_eq!(house.serving().await.as_deref(), Some(serving.as_str()));
    house.stop.send_replace(true);
}

/// The hash of a list that nobody has approved.
async fn left_overs_are_approved_by_their_hash(house: &House) -> String {
    let left = Theft::begin(house, "dave", "left-overs", &json!({})).await;
    house.until(2, "the list of what is left", &left.run, |view| asks(view, "left-overs")).await;
    let open = house.service.open_form(&left.run, "left-overs").await.unwrap();
    for answer in [
        json!({ "approve": true, "reason": "because" }),
        json!({ "approve": true, "reason": "because", "list": "0".repeat(64) }),
    ] {
        let refused = house.service.answer(&left.run, "left-overs", &open.visit, answer, actor()).await.unwrap_err();
        assert_eq!(refused.code, "answer-invalid");
    }
    house.service.cancel(&left.run, actor(), "not now").await.unwrap();
    left.over().await;
    open.input["list"].as_str().unwrap().to_owned()
}

async fn by_a_definition_of_ones_own(house: &House, approved: &str, left_overs: &str) {
    let asked = asked(house, approved, left_overs).await;
    house.service.add_enterprise(erin()).await.unwrap();
    for enterprise in ["dave", "erin"] {
        let output = Theft::begin(house, enterprise, "heist", &asked).await.over().await.output.unwrap();
        for (name, step, error) in tried() {
            assert_eq!(output["refused"][&name]["Error"], error, "{enterprise}: {name} ({step}): {output:#}");
        }
    }
    let output = Theft::begin(house, "dave", "window-made-up", &asked).await.over().await.output.unwrap();
    assert_eq!(output["refused"]["Error"], NO_PLAN, "{output:#}");
}

/// In the shipped definition. `real` is what another run had approved.
async fn by_what_a_skip_and_a_retry_say(house: &House, real: &Value) {
    let (approved, fake) = (&real["plan"], made_up(house, real).await);
    let theft = Theft::begin(house, "dave", "onboarding", &house.input).await;
    theft.stands("Plan purge").await;
    let before = harm(house);
    theft.skip("Plan purge", fake.clone()).await;
    theft.approve().await;
    theft.refused("Check purge", "Keyferry.NotApproved").await;
    let data = |plan: &Value| {
        let inventory = json!({ "generation": 1, "systems": [], "replicas": [], "moved": [] });
        let mut data = json!({ "purge": fake, "inventory": inventory, "approval": { "approve": true } });
        data["purge"]["plan"] = plan.clone();
        data.as_object_mut().unwrap().extend(house.input.as_object().unwrap().clone());
        data
    };
    theft.retry("Check purge", data(approved), "Keyferry.NotApproved").await;
    theft.retry("Check purge", data(&fake["plan"]), "Keyferry.NotApproved").await;
    theft.skip("Check purge", json!({ "verdict": "proven", "plan": approved })).await;
    let resource = "Purge resource";
    theft.refused(resource, "Keyferry.NotApproved").await;
    theft.retry(resource, json!({ "plan": approved, "number": 0 }), "Keyferry.NotApproved").await;
    let line = json!({
        "resource": fake["list"]["lines"][0], "plan": fake["plan"], "number": 0,
        "approval": { "approve": true, "plan": fake["plan"], "reason": "x" },
    });
    theft.retry(resource, line, "Keyferry.NotApproved").await;
    theft.skip(resource, json!({ "purged": fake["list"]["lines"][0]["arn"], "how": "deleted" })).await;
    let summary = theft.over().await.output.unwrap()["summary"].clone();
    assert_ne!(summary["conclusion"], "compliant", "{summary:#}");
    assert_eq!(harm(house), before, "nothing was deleted, moved or made");
}

fn erin() -> NewEnterprise {
    NewEnterprise {
        id: "erin".to_owned(),
        name: "Erin".to_owned(),
        partition: "aws".to_owned(),
        ..NewEnterprise::default()
    }
}

/// What replicates nothing is no replica, whatever the input says: its successor has taken writes.
#[tokio::test]
async fn a_migrated_system_is_not_replaced_as_a_replica_is() {
    let stage = Stage::set().await;
    let system = stage.inventory().await["systems"][0].clone();
    stage.migrate(&system).await;
    let names = stage.world.names(WEST).await;
    let mut item = stage.item(&system, 1);
    item["source"] = json!("dave-sandbox");
    item["source_region"] = json!(WEST);
    let error = stage.world.to_its_end("create-replica", &item).await.unwrap_err();
    assert_eq!(error.error, NO_PLAN, "{error}");
    assert_eq!(stage.world.names(WEST).await, names);
}

/// In the run itself, by the input of a retry: another system, another window, other keys, a try that has ended.
#[tokio::test]
async fn a_retry_with_another_input_does_nothing_that_was_not_planned() {
    let stage = Stage::set().await;
    let world: &World = &stage.world;
    let inventory = stage.inventory().await;
    let (one, other) = (&inventory["systems"][0], &inventory["systems"][1]);
    let item = stage.item(one, 1);
    let with = |member: &str, value: Value| {
        let mut changed = item.clone();
        *changed.pointer_mut(member).unwrap() = value;
        changed
    };
    let vendors = world.vendor_key(WEST).await;
    let key = format!("/keys/keys/{WEST}");
    let later = json!("2030-01-01T00:00:00Z");
    let changes = [
        with("/system/resource_id", other["resource_id"].clone()),
        with("/system/arn", other["arn"].clone()),
        with("/system/id", json!("dave-moved")),
        with("/window/end", later.clone()),
        with("/window/cutoff", later),
        with(&key, json!(vendors)),
        with("/generation", json!(7)),
    ];
    let effects = world.sandbox.ledger().len();
    let refused = async |step: &str, input: &Value| {
        let error = world.to_its_end(step, input).await.expect_err("refused");
        assert_eq!(error.error, NO_PLAN, "{step}: {input:#}: {error}");
    };
    for changed in &changes {
        refused("plan-outage", changed).await;
    }
    for elsewhere in [
        with(&key, json!(vendors)),
        with("/plan/disaster_recovery", json!("eu-west-1")),
        with("/system/id", json!("erin")),
    ] {
        refused("pre-copy-system", &elsewhere).await;
        refused("copy-for-recovery", &elsewhere).await;
        refused("replicate-backups", &elsewhere).await;
    }
    world.run("plan-outage", &item).await.unwrap();
    for step in [
        "freeze-system",
        "snapshot-system",
        "copy-snapshot",
        "restore-system",
        "verify-system",
        "swap-system",
        "confirm-cut-over",
    ] {
        for changed in &changes {
            refused(step, changed).await;
        }
        refused(step, &with("/attempt", json!(2))).await;
        refused(step, &with("/system", other.clone())).await;
    }
    assert_eq!(world.sandbox.ledger().len(), effects);
    // What puts back reads what to do from the record: another name in its input gives nothing that name.
    world.run("freeze-system", &item).await.unwrap();
    world.run("snapshot-system", &item).await.unwrap();
    world.run("thaw-system", &with("/system/id", json!("dave-moved"))).await.unwrap();
    assert_eq!(world.names(WEST).await, ["dave-production", "dave-sandbox"]);
    // The snapshot of a try that has ended is from before the system served again.
    refused("plan-outage", &item).await;
    // Nor do other keys come in by the inventory, or by what it is said to have found.
    let mut keys = stage.with(json!({ "generation": 1 }));
    let end = keys.clone();
    keys["keys"]["keys"][EAST] = json!(world.vendor_key(EAST).await);
    for step in ["take-inventory", "plan-purge", "audit", "write-custody"] {
        refused(step, &keys).await;
    }
    let mut elsewhere = end.clone();
    elsewhere["plan"]["disaster_recovery"] = json!("eu-west-1");
    for step in ["audit", "write-custody"] {
        refused(step, &elsewhere).await;
    }
    let mut subset = end.clone();
    subset["keys"]["keys"].as_object_mut().unwrap().remove(EAST);
    refused("take-inventory", &subset).await;
    // Which systems there are is read from the record.
    let mut fewer = end.clone();
    fewer["expected"] = json!([]);
    world.run("write-custody", &fewer).await.unwrap();
    let custody = world.record("custody", "current").unwrap();
    assert_eq!(custody["systems"].as_array().unwrap().len(), 2, "{custody:#}");
    // The last answer counts: a key that was handed over before is not theirs any more.
    let mut newer = stage.keys.clone();
    newer["keys"][WEST] = json!(world.key(WEST, None).await);
    world.pass(60);
    world.answered("key-arns", 901, &newer);
    refused("take-inventory", &stage.with(json!({}))).await;
}

/// Where the vendor holds the keys, those that the run has made for the customer's material are the enterprise's: no other of the
/// vendor's keys, no other place's, and none that another run has made.
#[tokio::test]
async fn a_vendors_key_that_was_made_for_no_import_is_nobodys() {
    let world = World::new().await;
    let mut made = Vec::new();
    for place in
        [json!({ "region": WEST }), json!({ "region": EAST }), json!({ "region": WEST, "instance": "sandbox" })]
    {
        made.push(world.run("create-import-key", &place).await.unwrap()["arn"].clone());
    }
    let [west, east, own] = &made[..] else { unreachable!("three") };
    let keys = |west: &Value, sandbox: Option<&Value>| {
        let instances = sandbox.map_or(json!({}), |own| json!({ "sandbox": { WEST: own } }));
        json!({ "plan": World::plan(), "keys": { "keys": { WEST: west, EAST: east }, "instances": instances } })
    };
    let refused = async |input: Value| {
        let error = world.to_its_end("take-inventory", &input).await.expect_err("refused");
        assert_eq!(error.error, NO_PLAN, "{input:#}: {error}");
    };
    world.run("take-inventory", &keys(west, Some(own))).await.unwrap();
    refused(keys(&json!(world.vendor_key(WEST).await), Some(own))).await;
    refused(keys(west, Some(west))).await;
    refused(keys(own, None)).await;
    refused(json!({ "plan": World::plan(), "keys": { "keys": {}, "instances": {} } })).await;
    world.begin("run-2");
    refused(keys(west, Some(own))).await;
}
