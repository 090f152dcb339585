//! A world: processes, a store, a cloud, people, and the faults that its seed brings over them.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    checker::{Checker, Law, Violation},
    cloud::Cloud,
    hub::{Event, Fate, Hub, Life, SECOND, To, Told, Weather},
    people::{self, Mood},
    plans,
    process::{Kit, Process},
    site::Site,
    wire::now,
};
use crate::{
    config::Config,
    engine::properties::generate::Dice,
    store::{Enterprise, Store as _, memory::MemoryStore},
};

/// A defect to put in, so that a law's check is seen to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// The store says that words are durable and writes none.
    AcknowledgesNothing,
    /// The store lets every fence hold.
    ForgesFences,
    /// The store changes what it has written.
    ForgesHistory,
    LosesHistory,
    /// The store writes events that no version reads.
    WritesWhatNobodyReads,
    ClaimsEarly,
    ClaimsTooMuch,
    ClaimsNothing,
    /// A step gives each attempt's object another name.
    NamesByAttempt,
    /// The steps that verify and purge do not look.
    SkipsVerification,
    /// The definition asks nobody before it deletes.
    AsksNobody,
    /// A step tells its input in its error.
    TellsSecrets,
    /// A step acts without a claim.
    ActsUnclaimed,
    /// There is no workflow that brings back what a run leaves out of service.
    PutsNothingBack,
}

/// What a seed came to.
pub(super) struct Played {
    pub(super) violations: Vec<Violation>,
    pub(super) hash: u64,
    pub(super) lines: Vec<String>,
    pub(super) met: BTreeMap<&'static str, u64>,
    pub(super) events: u64,
}

/// How long faults come.
const CHAOS: i64 = 120 * SECOND;
/// How long what is left may take once everything is whole.
const HEALING: i64 = 1_500 * SECOND;
/// Events after which a definition that goes round for ever has been seen enough of.
const ENOUGH: u64 = 450;
/// Events after which a world is running in a circle.
const MOST: u64 = 20_000;

struct Wanted {
    key: String,
    workflow: &'static str,
    input: Value,
    run: Option<String>,
}

struct World {
    hub: Arc<Hub>,
    dice: Dice,
    site: Site,
    kit: Arc<Kit>,
    processes: Vec<Process>,
    wanted: Vec<Wanted>,
    /// Chances in a thousand, at each call that arrives or is answered.
    crash: u64,
    halt: u64,
    crashes_left: u64,
    events: u64,
    /// Calls that arrived.
    calls: u64,
    /// Runs of random definitions, which may have no end of their own, are cancelled.
    enough: bool,
}

/// Plays the world of a seed to its end, or to the first law that it breaks.
pub(super) fn play(seed: u64, bug: Option<Bug>, traced: bool) -> Played {
    let mut world = World::new(seed, bug, traced);
    world.chaos();
    if world.site.checker.violations.is_empty() {
        world.heal();
    }
    if world.site.checker.violations.is_empty() {
        world.finish();
    }
    Played {
        violations: std::mem::take(&mut world.site.checker.violations),
        hash: world.hub.hash(),
        lines: world.hub.lines(),
        met: world.hub.met(),
        events: world.events,
    }
}

fn weather(dice: &Dice, calm: bool) -> Weather {
    if calm {
        return Weather { moods: 500, ..Weather::default() };
    }
    Weather {
        refused: dice.pick(&[0, 10, 60]),
        lost: dice.pick(&[0, 20, 80]),
        slow: dice.pick(&[0, 20, 100]),
        throttled: dice.pick(&[0, 50, 300]),
        cloud_lost: dice.pick(&[0, 50, 200]),
        moods: dice.pick(&[0, 300, 700]),
        outage: false,
    }
}

impl World {
    fn new(seed: u64, bug: Option<Bug>, traced: bool) -> Self {
        let dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // One world in ten has no faults: there, lateness is bounded.
        let calm = seed % 10 == 9;
        let hub = Arc::new(Hub::new(dice.number(), weather(&dice, calm), traced));
        let workflows = dice.pick(&[
            &["onboarding"][..],
            &["onboarding", "family"],
            &["family"],
            &["random"],
            &["random", "onboarding"],
        ]);
        let random = workflows.contains(&"random").then_some(&dice);
        let definitions = plans::definitions(random, bug);
        let known = definitions.iter().map(|(_, found)| (found.hash.clone(), Arc::clone(found))).collect();
        let alone = dice.once_in(3);
        let many = if alone { 1 } else { 2 + usize::try_from(dice.below(2)).unwrap_or(0) };
        let mut config = Config::default();
        config.worker.concurrency = 2 + usize::try_from(dice.below(3)).unwrap_or(0);
        config.worker.lease_s = 20;
        let mut checker = Checker::new(Arc::clone(&hub), known);
        checker.concurrency = config.worker.concurrency * crate::worker::claims::WAITING;
        checker.calm = calm;
        checker.canary = format!("canary-{:016x}", dice.number());
        let canary = checker.canary.clone();
        let site = Site { store: MemoryStore::default(), cloud: Cloud::default(), checker, alone, bug };
        let poll = Duration::from_secs(4 + dice.below(4));
        let kit = Kit { hub: Arc::clone(&hub), definitions, config: Arc::new(config), poll, bug };
        let wanted = workflows.iter().enumerate().map(|(number, workflow)| Wanted {
            key: format!("key-{number}"),
            workflow,
            input: json!({ "n": 1, "items": [1, 2, 3], "secret": canary }),
            run: None,
        });
        let mut world = Self {
            hub,
            site,
            kit: Arc::new(kit),
            processes: (0..many).map(Process::new).collect(),
            wanted: wanted.collect(),
            crash: if calm { 0 } else { dice.pick(&[0, 4, 12]) },
            halt: if calm { 0 } else { dice.pick(&[0, 3, 6]) },
            crashes_left: 6,
            events: 0,
            calls: 0,
            enough: false,
            dice,
        };
        world.begin(calm);
        world
    }

    fn begin(&mut self, calm: bool) {
        let dave = Enterprise {
            id: "dave".to_owned(),
            name: "Dave".to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
            version: 1,
            created_at: chrono::DateTime::UNIX_EPOCH,
        };
        assert!(now(self.site.store.add_enterprise(dave)).unwrap());
        for process in 0..self.processes.len() {
            self.hub.post(self.within(2 * SECOND), Event::Start { process });
        }
        self.hub.post(SECOND, Event::People);
        self.hub.post(20 * SECOND, Event::Postman);
        if calm {
            return;
        }
        for _ in 0..self.dice.below(5) {
            let after = self.within(CHAOS);
            let process = usize::try_from(self.dice.below(self.processes.len() as u64)).unwrap_or(0);
            let event = match self.dice.below(6) {
                0 | 1 => Event::Drain { process },
                2 => Event::Jump { by: self.within(120 * SECOND) },
                3 if !self.site.alone => {
                    let by = self.within(20 * SECOND) - 10 * SECOND;
                    self.site.checker.tolerance += by.abs();
                    Event::Skew { process, by }
                }
                3 => Event::Drain { process },
                _ => {
                    self.hub.post(after + self.within(40 * SECOND), Event::Outage { on: false });
                    Event::Outage { on: true }
                }
            };
            self.hub.post(after, event);
        }
    }

    fn within(&self, bound: i64) -> i64 {
        i64::try_from(self.dice.below(bound.unsigned_abs())).unwrap_or(0)
    }

    /// Lets the next thing happen. False when a law is broken or nothing is left to happen.
    fn step(&mut self, mood: impl Fn(&Dice) -> Mood) -> bool {
        let Some(event) = self.hub.next() else { return false };
        self.events += 1;
        match event {
            Event::Arrive { from, to, kind, fate, act } => self.arrive(from, to, kind, fate, act),
            Event::Deliver { at, kind, deliver } => {
                if self.processes[at.process].is(at) && !self.struck(at, kind) {
                    self.hub.trace((at, kind), || format!("p{}.{} <- {kind}", at.process, at.number));
                    self.processes[at.process].deliver(deliver);
                }
            }
            // Nobody waits for it any more.
            Event::Timer { tell, .. } if tell.is_closed() => return true,
            Event::Timer { at, tell } => {
                if self.processes[at.process].is(at) {
                    self.hub.trace((at, "timer"), || format!("p{}.{} <- timer", at.process, at.number));
                    self.processes[at.process].deliver(Box::new(move || {
                        let _ = tell.send(());
                    }));
                }
            }
            Event::Start { process } => {
                if !self.processes[process].lives() {
                    self.note("start", process);
                    self.processes[process].start(&self.kit);
                }
            }
            Event::Continue { process } => {
                self.note("continue", process);
                self.processes[process].carry_on();
            }
            Event::Drain { process } => {
                if self.processes[process].lives() && !self.processes[process].halted {
                    self.note("drain", process);
                    self.processes[process].drain();
                }
            }
            Event::Jump { by } => {
                self.note("clock jump", 0);
                self.hub.jump(by);
            }
            Event::Skew { process, by } => {
                self.note("clock skew", process);
                self.processes[process].skew.fetch_add(by, Ordering::SeqCst);
            }
            Event::Outage { on } => {
                self.note(if on { "outage" } else { "outage over" }, 0);
                self.hub.set_weather(Weather { outage: on, ..self.hub.weather() });
            }
            Event::People => self.people(mood(&self.dice)),
            Event::Postman => {
                if let Some((process, service)) = self.reachable() {
                    let task = people::post(Arc::clone(&self.hub), service);
                    self.processes[process].request(task);
                }
                self.hub.post(20 * SECOND, Event::Postman);
            }
        }
        self.hear();
        if self.events > MOST {
            self.site.checker.broken(Law::Bounded, format!("{} events: the world runs in a circle", self.events));
        }
        self.site.checker.violations.is_empty()
    }

    fn note(&self, what: &'static str, process: usize) {
        self.hub.meet(what);
        self.hub.trace((what, process), || format!("{what} p{process}"));
    }

    fn arrive(&mut self, from: Life, to: To, kind: &'static str, fate: Fate, act: super::hub::Do) {
        let lives = self.processes[from.process].is(from);
        // What a process asked of a store inside of it dies with it; what is on its way to another machine arrives.
        if !lives && self.site.alone && to == To::Store {
            return;
        }
        if !lives {
            self.hub.meet("arrived after its sender's death");
        }
        self.calls += 1;
        let deliver = act(fate, &mut self.site);
        self.hub
            .trace((from, to, kind, fate), || format!("p{}.{} -> {to:?} {kind} {fate:?}", from.process, from.number));
        if lives && !self.struck(from, kind) {
            let after = self.hub.way();
            // Who lost an answer waits for it in vain for a while.
            let after = if fate == Fate::Lost { after + 2 * SECOND } else { after };
            self.hub.post(after, Event::Deliver { at: from, kind, deliver });
        }
    }

    /// Whether lightning strikes a process just here.
    fn struck(&mut self, life: Life, kind: &'static str) -> bool {
        if self.crash + self.halt == 0 {
            return false;
        }
        let rolled = self.dice.below(1_000);
        if rolled < self.crash && self.crashes_left > 0 {
            self.crashes_left -= 1;
            self.kill(
                life.process,
                match kind {
                    "commit" => "crash at a commit",
                    "claim" => "crash at a claim",
                    "create" | "delete" | "verify" => "crash at an effect",
                    _ => "crash",
                },
            );
            return true;
        }
        if rolled < self.crash + self.halt && !self.processes[life.process].halted {
            self.note("halt", life.process);
            self.processes[life.process].halted = true;
            let process = life.process;
            self.hub.post(SECOND + self.within(60 * SECOND), Event::Continue { process });
        }
        false
    }

    fn kill(&mut self, process: usize, what: &'static str) {
        if self.processes[process].lives() {
            self.note(what, process);
            self.processes[process].crash();
            self.hub.post(self.within(15 * SECOND), Event::Start { process });
        }
    }

    fn hear(&mut self) {
        let told = self.hub.told();
        if told.is_empty() {
            return;
        }
        for told in &told {
            match told {
                Told::Started { key, run } => {
                    self.hub.meet("started");
                    let wanted = self.wanted.iter_mut().filter(|wanted| wanted.key == *key);
                    wanted.for_each(|wanted| wanted.run = Some(run.clone()));
                }
                Told::Drained { process } => {
                    self.note("drained", *process);
                    self.processes[*process].crash();
                    self.hub.post(self.within(5 * SECOND), Event::Start { process: *process });
                }
                Told::Acted { .. } | Told::Saved { .. } | Told::Shown { .. } | Told::Running { .. } => {}
            }
        }
        self.site.checker.told(&self.site.store.tables(), told);
    }

    /// A process that people can reach.
    fn reachable(&self) -> Option<(usize, crate::worker::Service)> {
        let all: Vec<usize> = (0..self.processes.len()).filter(|one| !self.processes[*one].halted).collect();
        let open: Vec<usize> = all.into_iter().filter(|one| self.processes[*one].service().is_some()).collect();
        let process = if open.is_empty() { return None } else { self.dice.pick(&open) };
        Some((process, self.processes[process].service()?))
    }

    fn people(&mut self, mood: Mood) {
        let after = if self.enough { SECOND / 10 } else { SECOND + self.within(9 * SECOND) };
        self.hub.post(after, Event::People);
        let Some((process, service)) = self.reachable() else { return };
        let hub = Arc::clone(&self.hub);
        let unstarted: Vec<usize> = (0..self.wanted.len()).filter(|one| self.wanted[*one].run.is_none()).collect();
        if !unstarted.is_empty() && self.dice.once_in(2) {
            let wanted = &self.wanted[self.dice.pick(&unstarted)];
            let task = people::start(hub, service, wanted.key.clone(), wanted.workflow, wanted.input.clone());
            self.processes[process].request(task);
            return;
        }
        let open = self.open();
        if !open.is_empty() {
            let (run, workflow) = self.dice.pick(&open);
            let mood = if self.enough && workflow == "random" { Mood::Cancel } else { mood };
            self.processes[process].request(people::act(hub, service, run, mood));
        }
    }

    /// Open runs, each with its workflow.
    fn open(&self) -> Vec<(String, String)> {
        let tables = self.site.store.tables();
        let open = tables.runs.iter().filter(|run| run.ended_at.is_none());
        open.map(|run| (run.id.clone(), run.workflow.clone())).collect()
    }

    fn is_over(&self) -> bool {
        self.wanted.iter().all(|wanted| wanted.run.is_some()) && self.open().is_empty()
    }

    /// Faults come, for a time.
    fn chaos(&mut self) {
        let end = self.hub.now() + CHAOS;
        let mood = |dice: &Dice| match dice.below(20) {
            0 => Mood::Pause,
            1 if dice.once_in(4) => Mood::Cancel,
            2 | 3 => Mood::Meddle,
            _ => Mood::Tend,
        };
        while self.hub.now() < end && self.events < ENOUGH && !self.is_over() {
            if !self.step(mood) {
                return;
            }
        }
    }

    /// Everything is whole again. What is open must come to its end, helped by people who only help.
    fn heal(&mut self) {
        self.crash = 0;
        self.halt = 0;
        self.hub.set_weather(Weather::default());
        for process in 0..self.processes.len() {
            if self.processes[process].halted {
                self.processes[process].carry_on();
            }
            self.hub.post(0, Event::Start { process });
        }
        self.hub.meet("healed");
        let begun = self.events;
        let end = self.hub.now() + HEALING;
        while self.hub.now() < end && !self.is_over() {
            let goes_round = self.open().iter().any(|(_, workflow)| workflow == "random");
            self.enough = goes_round && self.events - begun > ENOUGH / 2;
            if !self.step(|_| Mood::Tend) {
                return;
            }
            // A fault that was on its way comes no more.
            if self.hub.weather().outage {
                self.hub.set_weather(Weather::default());
            }
        }
        if !self.is_over() {
            self.stuck();
        }
    }

    fn stuck(&mut self) {
        let mut texts: Vec<String> = self
            .wanted
            .iter()
            .filter(|wanted| wanted.run.is_none())
            .map(|wanted| format!("{} was never started", wanted.key))
            .collect();
        {
            let tables = self.site.store.tables();
            for run in tables.runs.iter().filter(|run| run.ended_at.is_none()) {
                texts.push(format!("{} of {} is {}: {:#?}", run.id, run.workflow, run.status, run.work));
            }
        }
        self.site.checker.broken(Law::Liveness, texts.join("; "));
    }

    /// Nothing is left to do: the processes are quiet, the world has been told, and everything is read again as a whole.
    fn finish(&mut self) {
        let end = self.hub.now() + 600 * SECOND;
        while self.hub.now() < end && self.site.store.tables().outbox.iter().any(|letter| letter.due_at.is_some()) {
            if !self.step(|_| Mood::Tend) {
                return;
            }
        }
        let begun = self.calls;
        let end = self.hub.now() + 60 * SECOND;
        while self.hub.now() < end {
            if !self.step(|_| Mood::Tend) {
                return;
            }
        }
        // Each process looks for due work, people look for letters, and a process that starts keeps its definitions.
        let looks = 60 / self.kit.poll.as_secs().max(1) + 2;
        let most = looks * 2 * self.processes.len() as u64 + 50;
        if self.calls - begun > most {
            let text = format!("{} calls in a minute in which nothing was to do", self.calls - begun);
            self.site.checker.broken(Law::Bounded, text);
        }
        let tables = self.site.store.tables();
        if tables.outbox.iter().any(|letter| letter.due_at.is_some()) {
            self.site.checker.broken(Law::Liveness, "the world has not been told of everything");
        }
        self.site.checker.finish(&tables, &self.site.cloud);
    }
}
