//! A played estate: time, applications that write, a process that lives and dies, and whatever else happens in it.

use std::{collections::BTreeMap, path::PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use keyferry::{
    engine::Standing,
    sandbox::{HoldingKind, WriteError, Writer},
    worker::{Clock as _, RunView},
};

use super::{
    acts::Act,
    build::{EAST, Estate, WEST},
    counts::Noted,
    drawn::{Dice, drawn},
    judge::Judge,
    life::{ClosingGroups, Death, Life, Setting},
    rogue::Rogue,
    wire::{Cut, Wire},
};

/// One seed's estate, and who acts in it.
pub struct Play {
    pub estate: Estate,
    pub judge: Judge,
    pub counts: BTreeMap<&'static str, u64>,
    /// What was done, for whoever looks at a seed that broke an invariant.
    pub lines: Vec<String>,
    pub(super) dice: Dice,
    pub(super) store: PathBuf,
    pub(super) keys: BTreeMap<&'static str, String>,
    pub(super) closing: ClosingGroups,
    /// Resource ids of the systems as they were found, by name.
    pub(super) originals: BTreeMap<String, String>,
    pub(super) acts: BTreeMap<(DateTime<Utc>, u64), Act>,
    pub(super) acted: u64,
    pub(super) run: Option<String>,
    pub(super) runs: usize,
    pub(super) verbs: usize,
    pub(super) lives: u64,
    /// Set once nothing is left to do but to see how things stand for a while.
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) next_write: DateTime<Utc>,
    pub(super) asked_again: DateTime<Utc>,
    pub(super) began: DateTime<Utc>,
    /// Whether anybody misbehaves.
    pub(super) trouble: bool,
    /// Over which keyferry speaks to the cloud, and where the next life ends.
    pub wire: Wire,
    pub cut: Option<Cut>,
    pub setting: Setting,
    /// How the run stands when the play ends, before its end.
    pub stops: Option<fn(&RunView) -> bool>,
    /// Guards that are taken out.
    pub rogues: Vec<Rogue>,
    /// What happens to the customer's keys just before the purge is approved, and in which regions.
    pub at_approval: Vec<Act>,
    /// The error of the first halt, and how the last run ended.
    pub halted: Option<String>,
    pub ending: Option<Standing>,
    /// What was said at each moment of a peaceful onboarding, and what there was.
    pub noted: Noted,
    /// What the last report says.
    pub conclusion: Option<String>,
}

impl Play {
    /// An estate as the seed wants it, and everybody misbehaves.
    pub async fn of_seed(seed: u64, folder: PathBuf) -> Self {
        let mut dice = Dice::new(seed);
        let estate = drawn(&mut dice).await;
        Self::new(estate, dice, folder, true).await
    }

    /// An estate in which nobody misbehaves.
    pub async fn in_peace(estate: Estate, folder: PathBuf) -> Self {
        Self::new(estate, Dice::new(1), folder, false).await
    }

    pub(super) async fn new(estate: Estate, dice: Dice, folder: PathBuf, trouble: bool) -> Self {
        let mut judge = Judge::default();
        let closing = estate.closing_groups().await;
        let mut originals = BTreeMap::new();
        let stock = estate.sandbox.stock().await.unwrap();
        judge.found(&stock);
        let noted = Noted { start: stock.clone(), ..Noted::default() };
        for holding in stock {
            if holding.kind == HoldingKind::Instance && holding.serving {
                judge.watch(&holding);
                originals.insert(holding.id.clone(), holding.resource_id.clone());
            }
        }
        let keys = BTreeMap::from([(WEST, estate.customers_key(WEST).await), (EAST, estate.customers_key(EAST).await)]);
        estate.sandbox.watch_deletions();
        let began = estate.clock.now();
        let mut play = Self {
            estate,
            judge,
            counts: BTreeMap::new(),
            lines: Vec::new(),
            dice,
            store: folder.join("keyferry.db"),
            keys,
            closing,
            originals,
            acts: BTreeMap::new(),
            acted: 0,
            run: None,
            runs: 0,
            verbs: 0,
            lives: 0,
            until: None,
            next_write: began,
            asked_again: began,
            began,
            trouble,
            wire: Wire::default(),
            cut: None,
            setting: Setting::default(),
            stops: None,
            rogues: Vec::new(),
            at_approval: Vec::new(),
            halted: None,
            ending: None,
            noted,
            conclusion: None,
        };
        play.plan(0, Act::Start);
        play
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn say(&mut self, what: impl Into<String>) {
        let at = self.estate.clock.now().format("%m-%d %H:%M:%S");
        self.lines.push(format!("{at} {}", what.into()));
    }

    pub(super) fn plan(&mut self, seconds: u64, act: Act) {
        let at = self.estate.clock.now() + TimeDelta::seconds(i64::try_from(seconds).unwrap());
        self.acted += 1;
        self.acts.insert((at, self.acted), act);
    }

    pub(super) fn planned(&self, which: impl Fn(&Act) -> bool) -> bool {
        self.acts.values().any(which)
    }

    pub(super) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.dice.below(to - from)
    }

    /// Lives until the process dies or all is over; `true` when it is over.
    pub async fn live(&mut self) -> bool {
        let death = (self.trouble && self.lives < 12 && self.dice.percent(85)).then(|| Death {
            execution: u32::try_from(self.within(0, 50)).unwrap(),
            polls: u32::try_from(self.within(1, 40)).unwrap(),
        });
        self.lives += 1;
        let cloud = (&self.estate.sandbox, &self.estate.clock);
        self.wire.arm(self.cut.take(), &self.rogues);
        let guards = (death, self.rogues.as_slice());
        let open = self.rogues.contains(&Rogue::LeavesOpen);
        let closing = if open { ClosingGroups::new() } else { self.closing.clone() };
        let life = Life::begin(&self.store, cloud, closing, guards, (&self.wire, self.setting)).await;
        self.estate.aws = life.aws.clone();
        let mut stirs = true;
        loop {
            if stirs {
                life.quiet().await;
            }
            if life.is_dead() {
                self.count("kills");
                self.say("the process dies");
                // What was on its way may arrive.
                for _ in 0..self.dice.below(4) {
                    tokio::task::yield_now().await;
                }
                return false;
            }
            self.judge.look(&self.estate.sandbox).await;
            if self.is_over() || self.stops_here(&life).await {
                return true;
            }
            stirs = self.act(&life, stirs).await;
            if !stirs {
                let moment = self.next_moment();
                // Where nobody in the process wakes, nothing happens in it.
                stirs = self.estate.clock.next().is_some_and(|wakes| wakes <= moment);
                self.estate.clock.go_to(moment);
            }
        }
    }

    async fn stops_here(&self, life: &Life) -> bool {
        let (Some(stops), Some(run)) = (self.stops, &self.run) else { return false };
        stops(&life.service.run(run).await.unwrap())
    }

    /// When whatever is still out of service is so beyond every window that was agreed.
    pub(super) fn all_windows_over(&self) -> DateTime<Utc> {
        self.estate.clock.now().max(self.judge.last_deadline().unwrap_or(self.began)) + TimeDelta::hours(2)
    }

    pub(super) fn is_over(&self) -> bool {
        let now = self.estate.clock.now();
        self.until.is_some_and(|until| now >= until) || now - self.began > TimeDelta::days(30)
    }

    pub(super) fn next_moment(&self) -> DateTime<Utc> {
        let now = self.estate.clock.now();
        let moments = [
            self.estate.clock.next(),
            self.acts.first_key_value().map(|((at, _), _)| *at),
            self.judge.next_deadline(now),
            self.until,
            Some(self.next_write.max(now + TimeDelta::seconds(1))),
        ];
        moments.into_iter().flatten().min().unwrap_or(now).max(now + TimeDelta::seconds(1))
    }

    /// Does what is due; whether anything was done that keyferry may react to. Where nothing has `stirred`, no form is open that
    /// was not before.
    pub(super) async fn act(&mut self, life: &Life, stirred: bool) -> bool {
        let now = self.estate.clock.now();
        if now >= self.next_write {
            self.write().await;
            self.next_write = now + TimeDelta::seconds(i64::try_from(self.within(300, 1_500)).unwrap());
        }
        let due = self.acts.first_key_value().filter(|((at, _), _)| *at <= now).map(|(key, _)| *key);
        if let Some(act) = due.and_then(|due| self.acts.remove(&due)) {
            self.perform(life, act).await;
            return true;
        }
        stirred && self.answer(life).await
    }

    /// Every application writes through its endpoint and believes what it is told.
    pub(super) async fn write(&mut self) {
        for address in self.judge.names() {
            match self.estate.sandbox.write(&Writer::Endpoint(address.clone())).await {
                Ok(write) => {
                    self.judge.promised(&address, write, false);
                    self.count("writes");
                }
                Err(WriteError::Refused(_)) => self.count("writes refused"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
