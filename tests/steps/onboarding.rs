//! The shipped definitions, driven by the engine against the sandbox: a person answers the forms, nothing else helps.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
};

use serde_json::{Value, json};

use super::{
    flow::Stage,
    world::{EAST, WEST, World},
};
use keyferry::{
    config::Config,
    engine::{Actor, ChildEnd, Command, Definition, Event, EventKind, Outcome, Payload, Snapshot, advance},
    forms::{FormContext, Forms},
    worker::{Enterprise, StepHost},
};

const DEFINITIONS: [(&str, &str); 5] = [
    ("customer-managed", include_str!("../../workflows/customer-managed.asl.json")),
    ("final-steps", include_str!("../../workflows/final-steps.asl.json")),
    ("compliance-audit", include_str!("../../workflows/compliance-audit.asl.json")),
    ("vendor-managed", include_str!("../../workflows/vendor-managed.asl.json")),
    ("left-overs", include_str!("../../workflows/left-overs.asl.json")),
];

fn definition(name: &str) -> Definition {
    let (_, source) = DEFINITIONS.iter().find(|(known, _)| *known == name).unwrap();
    Definition::load(source).unwrap_or_else(|problems| panic!("{name}: {problems:?}")).definition
}

/// Answers by form, in order; the last answer of a form is given again and again.
pub type Answers = BTreeMap<&'static str, VecDeque<Value>>;

pub struct Runner<'a> {
    world: &'a World,
    answers: Answers,
    pub entered: Vec<String>,
    pub forms: Vec<(String, Value)>,
    /// Looks at each form before it is answered.
    pub on_form: Option<OnForm<'a>>,
    /// Does what is said of an error, in attention and in the form `migration-review`.
    pub hand: Option<Hand<'a>>,
    /// What stood in attention, before the cure was done as it was printed.
    pub halts: Vec<(String, String)>,
    answered: u64,
}

type OnForm<'a> = Box<dyn FnMut(&str, &Value) + 'a>;
pub type Hand<'a> = Box<dyn FnMut(String, String) -> Pin<Box<dyn Future<Output = ()> + 'a>> + 'a>;

impl<'a> Runner<'a> {
    pub fn new(world: &'a World, answers: Answers) -> Self {
        let (entered, forms, halts) = (Vec::new(), Vec::new(), Vec::new());
        Self { world, answers, entered, forms, on_form: None, hand: None, halts, answered: 0 }
    }

    /// Does what is said of each system that could not be migrated.
    async fn review(&mut self, form: &str, input: &Value) {
        let Some(hand) = self.hand.as_mut().filter(|_| form == "migration-review") else { return };
        for kept in input["kept"].as_array().into_iter().flatten() {
            // As the preflight says it, or as the review does.
            let text =
                |outer: &str, inner: &str| kept["error"][inner].as_str().or(kept[outer].as_str()).unwrap().to_owned();
            let (error, cause) = (text("error", "Error"), text("cause", "Cause"));
            hand(error.clone(), cause.clone()).await;
            self.halts.push((error, cause));
        }
    }

    fn answer(&mut self, form: &str, input: &Value) -> Value {
        if let Some(look) = &mut self.on_form {
            look(form, input);
        }
        let answers = self.answers.get_mut(form).unwrap_or_else(|| panic!("nobody answers {form}: {input:#}"));
        let mut answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
        if form == "purge-approval" && answer["approve"] == true {
            answer["plan"] = input["plan"].clone();
        }
        if form == "left-overs" {
            answer["list"] = input["list"].clone();
        }
        let now = self.world.memory.now();
        let enterprise = Enterprise {
            id: "dave".to_owned(),
            name: "Dave".to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
            version: 1,
            created_at: now,
        };
        let context = FormContext { config: &Config::default(), input, now, enterprise: &enterprise };
        self.forms.push((form.to_owned(), input.clone()));
        let answer = Forms::shipped().unwrap().get(form).unwrap().check(&answer, &context).unwrap();
        self.answered += 1;
        // Time passes between two answers of a person.
        self.world.pass(60);
        if Forms::shipped().unwrap().get(form).is_some_and(|form| form.schema["x-keyferry-keeps"] == true) {
            self.world.answered(form, self.answered, &answer);
        }
        answer
    }

    pub fn drive<'b>(&'b mut self, name: &'b str, input: Value) -> Pin<Box<dyn Future<Output = Value> + 'b>> {
        Box::pin(async move {
            let definition = definition(name);
            let actor = || Actor { name: "test".to_owned(), role: "system".to_owned() };
            let started = EventKind::Started {
                run: self.world.run_id(),
                enterprise: "dave".to_owned(),
                workflow: name.to_owned(),
                definition: definition.hash.clone(),
                input: Payload::from(input),
                actor: actor(),
            };
            let mut chance = 0;
            let mut event = |world: &World, kind: EventKind| {
                chance += 1;
                Event { at: world.memory.now(), chance, kind }
            };
            let turn = advance(&definition, None, &event(self.world, started)).unwrap();
            let mut snapshot = Snapshot::begin(&turn);
            let mut work: VecDeque<Command> = turn.commands.into();
            self.entered.extend(turn.entered.into_iter().map(|entered| entered.state));
            loop {
                if let Some(outcome) = &snapshot.header.outcome {
                    let Outcome::Succeeded { output } = outcome else { panic!("{name}: {outcome:?}") };
                    return output.clone().into_value();
                }
                let kind =
                    match work.pop_front().unwrap_or_else(|| panic!("{name} stands still: {:#?}", snapshot.frames)) {
                        Command::RunStep { frame, visit, step, input, .. } => {
                            match self.world.to_its_end(&step, &input).await {
                                Ok(output) => EventKind::StepSucceeded { frame, visit, output: output.into() },
                                Err(error) => {
                                    EventKind::StepFailed { frame, visit, error: error.error, cause: error.cause }
                                }
                            }
                        }
                        Command::OpenForm { frame, visit, form, input, .. } => {
                            self.review(&form, &input).await;
                            let answer = self.answer(&form, &input).into();
                            EventKind::FormAnswered { frame, visit, answer, actor: actor() }
                        }
                        Command::StartChild { frame, visit, workflow, input, .. } => {
                            let output = self.drive(&workflow, input.into_value()).await.into();
                            EventKind::ChildEnded {
                                frame,
                                visit,
                                child: "run-2".to_owned(),
                                end: ChildEnd::Succeeded { output },
                            }
                        }
                        Command::SetTimer { frame, visit, due_at } => {
                            self.world.pass((due_at - self.world.memory.now()).num_seconds().max(0));
                            EventKind::TimerFired { frame, visit }
                        }
                        Command::Tell {
                            notice: keyferry::engine::Notice::Attention { frame, visit, state, error, cause, .. },
                        } => {
                            match &mut self.hand {
                                Some(hand) => hand(error.clone(), cause.clone()).await,
                                None => super::custody::cure(self.world, &state, &error, &cause).await,
                            }
                            self.halts.push((error, cause));
                            let (actor, reason) = (actor(), "done as the cause says".to_owned());
                            EventKind::Retried { frame, visit, input: None, actor, reason }
                        }
                        Command::Forget { .. } | Command::SetRunTimer { .. } | Command::Tell { .. } => continue,
                    };
                let turn = advance(&definition, Some(&snapshot), &event(self.world, kind)).unwrap();
                snapshot.apply(&turn);
                work.extend(turn.commands);
                self.entered.extend(turn.entered.into_iter().map(|entered| entered.state));
            }
        })
    }
}

pub fn answers(keys: Vec<Value>) -> Answers {
    BTreeMap::from([
        (
            "regions",
            VecDeque::from([
                json!({ "primary": WEST, "disaster_recovery": EAST, "aws_account": super::world::CUSTOMER }),
            ]),
        ),
        ("key-arns", keys.into()),
        ("window", VecDeque::from([json!({ "start": "now", "duration_hours": 8, "writers_stopped": true })])),
        ("migration-review", VecDeque::from([json!({ "reason": "the key was enabled again" })])),
        (
            "purge-approval",
            VecDeque::from([
                json!({ "approve": false, "reason": "not yet" }),
                json!({ "approve": true, "reason": "checked" }),
            ]),
        ),
    ])
}

#[test]
fn every_shipped_definition_loads_and_names_only_what_there_is() {
    let forms = Forms::shipped().unwrap();
    let mut resources = 0;
    for (name, source) in DEFINITIONS {
        let loaded = Definition::load(source).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        resources += loaded.definition.resources().count();
    }
    assert!(resources > 20 && forms.iter().count() == 8);
}

#[tokio::test]
async fn an_onboarding_runs_from_regions_to_a_clean_report() {
    let stage = Stage::set().await;
    let keys = &stage.keys["keys"];
    // Before it nothing says which keys to expect, and an audit says that an onboarding has to end first.
    let too_early = stage.world.to_its_end("audit", &json!({})).await.unwrap_err();
    assert_eq!(too_early.error, "Keyferry.NoCustody");
    assert!(too_early.cause.contains("Finish an onboarding first"), "{too_early}");
    let mut runner = Runner::new(&stage.world, answers(vec![json!({ "keys": keys })]));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    assert!(runner.entered.contains(&"Keep the way back".to_owned()));
    assert_eq!(stage.world.names(WEST).await, ["dave-production", "dave-sandbox"]);
    let audit = runner.drive("compliance-audit", json!({})).await;
    assert_eq!(audit["deviations"], json!([]));
}

#[tokio::test]
async fn a_bad_key_comes_back_to_the_customer_who_can_put_it_right() {
    let stage = Stage::set().await;
    let keys = stage.keys["keys"].clone();
    let disabled = stage.world.key(WEST, None).await;
    stage.world.customer(WEST).await.disable_key().key_id(&disabled).send().await.unwrap();
    let bad = json!({ "keys": { WEST: disabled, EAST: keys[EAST] } });
    let mut runner = Runner::new(&stage.world, answers(vec![bad, json!({ "keys": keys })]));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant");
    let asked: Vec<&Value> =
        runner.forms.iter().filter(|(form, _)| form == "key-arns").map(|(_, input)| input).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1]["findings"][0]["code"], "key-disabled");
}
