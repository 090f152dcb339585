//! Random calls. What is committed is what workers might send: turns that follow each other, and late or mistaken ones.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::calls::{Answer, Call};
use crate::{
    engine::{
        Actor, Event, EventKind, Frame, Header, Notice, Outcome, Payload, Phase, Standing, properties::generate::Dice,
    },
    store::{
        Answered, Blobs, Claim, ClaimAtOnce, ClaimedWork, Delivery, Enterprise, Happened, HistoryPage, Idempotency,
        KeyUse, LetterState, LettersPage, NewRecord, ParentLink, RUN_TIMER, RecordDelete, RecordPut, RecordsPage,
        RunsPage, SIGNAL, Say, Signal, Start, Store, Transition, Word, WorkKind, WorkOrder, WorkWord, Write, seal,
    },
};

const HASH: &str = "5f1d7a84db00d2fce00b31a7fc73224f";

/// Now and then a key, which may have been used before, for the same or another request.
fn key_use(dice: &Dice) -> Option<KeyUse> {
    let key = dice.once_in(6).then(|| dice.pick(&["t1", "t2", "t3", "t4", "t5", "k1"]).to_owned())?;
    Some(KeyUse { key, request: dice.pick(&["a", "a", "b"]).to_owned(), answer: json!(dice.below(9)) })
}

/// A run as the author believes that it stands.
#[derive(Debug, Clone)]
struct Known {
    header: Header,
    /// Children's frames and visits are drawn from here.
    frames: BTreeMap<u64, u64>,
}

#[derive(Default)]
pub(super) struct Author {
    runs: Vec<Known>,
    /// Claims that were answered, also such as are long lost.
    claims: Vec<ClaimedWork>,
    cursors: Vec<String>,
    /// Microseconds: no two times are the same, so that the order of what is due is never left open.
    now: i64,
    made: u64,
    /// What the last batch makes of the runs if the stores take it, by write.
    pending: Vec<Vec<Known>>,
}

fn actor() -> Actor {
    Actor { name: "eve".to_owned(), role: "engineer".to_owned() }
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_000_000 + micros).unwrap()
}

fn value(dice: &Dice) -> Payload {
    let big = |letter: &str| json!({ "big": letter.repeat(5_000), "at": "0".repeat(64) });
    Payload::from(dice.pick(&[json!(null), json!(1.5), json!({ "n": [1, "é\u{1}"] }), big("x"), big("y"), json!("t")]))
}

impl Author {
    pub(super) fn prepare(&self) -> Vec<Call> {
        let mut calls = vec![Call::KeepDefinition { hash: HASH.to_owned(), source: "{}".to_owned() }];
        calls.extend(["dave", "erin"].map(|id| Call::AddEnterprise(enterprise(id, 0))));
        calls
    }

    fn letters(&mut self, dice: &Dice, now: DateTime<Utc>) -> Call {
        let some = i64::try_from(dice.below(6)).unwrap();
        match dice.below(10) {
            0..=2 => {
                let all = ["csm", "engineer", "customer"].map(str::to_owned);
                let many = usize::try_from(dice.below(4)).unwrap();
                Call::OutboxSpread(some, all[..many].to_vec(), self.near(dice))
            }
            3 | 4 => Call::LettersHold(now, now + TimeDelta::seconds(2), dice.pick(&[1, 9])),
            // Now and then by the moment until which it is held.
            5 if dice.once_in(2) => Call::LetterKeep(some, self.near(dice), now + TimeDelta::seconds(3)),
            5 | 6 => self.letter_done(some, dice),
            7 => Call::LetterResend(some, self.near(dice)),
            8 => Call::Letters(LettersPage {
                enterprise: dice.pick(&[None, Some("dave".to_owned()), Some("nobody".to_owned())]),
                state: dice.pick(&[LetterState::Due, LetterState::Dead]),
                limit: 50,
                cursor: None,
            }),
            _ => dice.pick(&[Call::Letter(some), Call::LettersOf(vec![self.some_run(dice), self.some_run(dice)])]),
        }
    }

    fn letter_done(&mut self, some: i64, dice: &Dice) -> Call {
        let (address, error) = ("a@dave.example".to_owned(), "451".to_owned());
        let delivery = match dice.below(5) {
            0 => Delivery::Sent { address },
            1 => Delivery::Withdrawn { reason: error },
            2 => Delivery::Dead { address, error, tell: dice.once_in(2).then(|| "engineer".to_owned()) },
            _ => Delivery::Failed { address, error, retry_at: self.near(dice) },
        };
        Call::LetterDone(some, delivery, self.near(dice))
    }

    fn tick(&mut self, dice: &Dice) -> DateTime<Utc> {
        self.now += 1 + i64::try_from(dice.below(if dice.once_in(6) { 90_000_000 } else { 2_000_000 })).unwrap();
        time(self.now)
    }

    /// A time near now that no other thing has.
    fn near(&mut self, dice: &Dice) -> DateTime<Utc> {
        self.made += 1;
        let around = i64::try_from(dice.below(40)).unwrap() * 1_000_000 - 10_000_000;
        time(self.now + around + i64::try_from(self.made).unwrap())
    }

    pub(super) async fn call(&mut self, seed: u64, index: u64, reference: &dyn Store) -> Call {
        let dice = &Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(index));
        let now = self.tick(dice);
        match dice.below(39) {
            0..=13 => self.batch(dice),
            14..=17 => self.claim(dice, now, reference).await,
            18 => Call::ExpireLeases,
            19 => Call::NextDue,
            20 | 21 => Call::See(self.some_run(dice)),
            22 => dice.pick(&[Call::Load(self.some_run(dice)), Call::Work(self.some_run(dice))]),
            23 => Call::Children(self.some_run(dice)),
            24 => Call::History(HistoryPage {
                run: self.some_run(dice),
                after: dice.below(3),
                limit: dice.pick(&[1, 2, 100]),
            }),
            25 => Call::Runs(RunsPage {
                enterprise: dice.pick(&[None, Some("dave".to_owned()), Some("nobody".to_owned())]),
                workflow: dice.pick(&[None, None, Some("work".to_owned()), Some("other".to_owned())]),
                status: dice.pick(&[None, None, Some("working".to_owned()), Some("succeeded".to_owned())]),
                limit: dice.pick(&[1, 2, 50]),
                cursor: dice.pick(&[None, None, None, Some("no cursor".to_owned())]),
            }),
            26 => dice.pick(&[
                Call::Outbox(now, 2),
                Call::Outbox(now, 100),
                Call::OutboxFailed(i64::try_from(dice.below(6)).unwrap(), self.near(dice)),
            ]),
            27 if dice.once_in(3) => Call::Tally(now),
            27 | 28 => Call::Record("dave".to_owned(), dice.pick(&["a", "b", "c"]).to_owned()),
            29 => Call::Records(RecordsPage {
                enterprise: "dave".to_owned(),
                collection: dice.pick(&["report", "custody"]).to_owned(),
                limit: dice.pick(&[1, 50]),
                cursor: self.cursor(dice),
            }),
            30 => Call::FindRecord(dice.pick(&["a", "b", "c"]).to_owned()),
            31 if dice.once_in(2) => self.deletes(dice, reference).await,
            31..=33 => Call::PutRecords(self.puts(dice), key_use(dice)),
            35..=38 => self.letters(dice, now),
            34 => Call::Key(dice.pick(&["k1", "k2", "t1", "t2", "t3", "none"]).to_owned()),
            _ => dice.pick(&[
                Call::AddEnterprise(enterprise(dice.pick(&["dave", "zoe", "mia"]), self.now)),
                Call::Enterprise("zoe".to_owned()),
                Call::Enterprises(dice.pick(&[1, 50]), self.cursor(dice)),
                Call::Definition(dice.pick(&[HASH, "none"]).to_owned()),
                Call::Probe,
            ]),
        }
    }

    /// Records of nobody's run, on versions that were read or guessed.
    fn puts(&mut self, dice: &Dice) -> Vec<RecordPut> {
        let mut puts = Vec::new();
        for _ in 0..=dice.below(2) {
            puts.push(RecordPut {
                enterprise: dice.pick(&["dave", "dave", "dave", "erin", "nobody"]).to_owned(),
                collection: dice.pick(&["report", "report", "custody"]).to_owned(),
                key: dice.pick(&["a", "b", "c"]).to_owned(),
                expected: dice.below(4),
                body: value(dice).into_value(),
                at: self.near(dice),
            });
        }
        puts
    }

    /// Records that are deleted, and the one that says so, on versions that were read or guessed.
    async fn deletes(&mut self, dice: &Dice, reference: &dyn Store) -> Call {
        let mut puts = self.puts(dice);
        for put in puts.iter_mut().filter(|_| !dice.once_in(4)) {
            let found = reference.record(&put.enterprise, &put.collection, &put.key).await.unwrap();
            put.expected = found.map_or(0, |record| record.version);
        }
        let note = puts.pop().unwrap();
        let delete = |put: RecordPut| {
            let RecordPut { enterprise, collection, key, expected, .. } = put;
            RecordDelete { enterprise, collection, key, expected }
        };
        Call::DeleteRecords(puts.into_iter().map(delete).collect(), note)
    }

    fn cursor(&self, dice: &Dice) -> Option<String> {
        let mut from: Vec<Option<String>> = self.cursors.iter().cloned().map(Some).collect();
        from.extend([None, None, Some("no cursor".to_owned())]);
        dice.pick(&from)
    }

    fn some_run(&self, dice: &Dice) -> String {
        let mut from: Vec<String> = self.runs.iter().map(|run| run.header.run.clone()).collect();
        from.push("r-none".to_owned());
        dice.pick(&from)
    }

    /// A claim, as large as may be where a smaller one would leave open what it takes.
    async fn claim(&self, dice: &Dice, now: DateTime<Utc>, reference: &dyn Store) -> Call {
        let mut free = BTreeSet::new();
        let mut open = false;
        for run in &self.runs {
            for work in reference.work(&run.header.run).await.unwrap() {
                open |= work.owner.is_some();
                open |= work.due_at.is_some_and(|due| !free.insert(due));
            }
        }
        let limit = if open { 1_000 } else { dice.pick(&[0, 1, 2, 1_000]) };
        let lease_until = now + TimeDelta::microseconds(i64::try_from(dice.below(60_000_000)).unwrap());
        Call::Claim(Claim { owner: dice.pick(&["w1", "w2"]).to_owned(), now, lease_until, limit })
    }

    fn batch(&mut self, dice: &Dice) -> Call {
        self.pending.clear();
        let mut writes = Vec::new();
        for _ in 0..=dice.below(4) {
            let (write, after) = match dice.below(5) {
                0 => self.start(dice),
                1 | 2 if !self.runs.is_empty() => self.turn(dice),
                _ if !self.claims.is_empty() => (self.word(dice), Vec::new()),
                _ => self.start(dice),
            };
            writes.push(write);
            self.pending.push(after);
        }
        Call::Commit(writes)
    }

    fn word(&mut self, dice: &Dice) -> Write {
        // The latest claims are most likely still held.
        let skipped = usize::try_from(dice.below(4)).unwrap();
        let claim = self.claims.iter().rev().nth(skipped).or(self.claims.last()).unwrap().clone();
        let say = match dice.below(7) {
            0 | 1 => Say::Renew { lease_until: self.near(dice) },
            2 | 3 => Say::Checkpoint { checkpoint: value(dice).into_value() },
            4 => Say::Pending {
                due_at: self.near(dice),
                checkpoint: json!({ "at": self.now }),
                waiting_for: "AWS".to_owned(),
            },
            5 => Say::Release { due_at: self.near(dice) },
            _ => Say::Drop,
        };
        let fence = if dice.once_in(8) { claim.fence.wrapping_add(dice.pick(&[1, u64::MAX])) } else { claim.fence };
        Write::Word(WorkWord { run: claim.run, frame: claim.frame, visit: claim.visit, fence, say })
    }

    /// A new run, now and then with children, with a key that was used, or for nobody.
    fn start(&mut self, dice: &Dice) -> (Write, Vec<Known>) {
        let (mut group, mut after) = (Vec::new(), Vec::new());
        let root = self.header(dice);
        let keys = ["k1", "k2"].into_iter().filter(|_| dice.once_in(5));
        let idempotency = keys
            .map(|key| Idempotency { key: key.to_owned(), request: dice.pick(&["a", "a", "b"]).to_owned() })
            .collect();
        let start = Start { parent: None, exclusive: dice.once_in(3), idempotency };
        let mut known = Known { header: root.clone(), frames: BTreeMap::from([(0, 1), (1, 1)]) };
        group.push(self.transition(dice, &mut known, Some(start)));
        after.push(known);
        for _ in 0..dice.below(3) {
            let header = Header { enterprise: root.enterprise.clone(), ..self.header(dice) };
            let link = ParentLink { run: root.run.clone(), frame: dice.below(3), visit: 1 + dice.below(2) };
            let start = Start { parent: Some(link), exclusive: false, idempotency: Vec::new() };
            let mut known = Known { header, frames: BTreeMap::from([(0, 1)]) };
            group.push(self.transition(dice, &mut known, Some(start)));
            after.push(known);
        }
        (sealed(group), after)
    }

    fn turn(&mut self, dice: &Dice) -> (Write, Vec<Known>) {
        let mut known = dice.pick(&self.runs);
        if known.header.outcome.is_some() && !dice.once_in(10) {
            return self.start(dice);
        }
        let mut transition = self.transition(dice, &mut known, None);
        if dice.once_in(8) {
            // Somebody who has not seen the last turn, or believes in one that never was.
            let by = dice.pick(&[1, u64::MAX]);
            transition.expected = transition.expected.wrapping_add(by);
            transition.header.revision = transition.header.revision.wrapping_add(by);
        }
        (sealed(vec![transition]), vec![known])
    }

    fn header(&mut self, dice: &Dice) -> Header {
        self.made += 1;
        Header {
            run: format!("r{}", self.made),
            enterprise: dice.pick(&["dave", "dave", "dave", "erin", "nobody"]).to_owned(),
            workflow: dice.pick(&["work", "other"]).to_owned(),
            definition: HASH.to_owned(),
            revision: 0,
            started_at: time(self.now),
            started_by: actor(),
            input: value(dice),
            next_frame: 4,
            in_attention: 0,
            paused: false,
            outcome: None,
            ended_at: None,
        }
    }

    fn transition(&mut self, dice: &Dice, known: &mut Known, start: Option<Start>) -> Transition {
        let at = time(self.now);
        let header = &mut known.header;
        let expected = header.revision;
        header.revision += 1 + dice.below(2);
        let (mut hold, mut signals) = (None, Vec::new());
        let body = json!({ "actor": actor(), "reason": "why" });
        if start.is_none() {
            match dice.below(8) {
                0 => header.outcome = Some(Outcome::Succeeded { output: value(dice) }),
                1 => {
                    header.paused = !header.paused;
                    hold = Some(header.paused);
                    let word = if header.paused { Word::Pause } else { Word::Resume };
                    signals.push(Signal { frame: None, word, body: body.clone() });
                }
                2 => signals.push(Signal {
                    frame: Some((dice.below(3), 1 + dice.below(2))),
                    word: Word::Cancel,
                    body: body.clone(),
                }),
                _ => {}
            }
            if dice.once_in(12) {
                signals.push(Signal { frame: None, word: dice.pick(&[Word::Pause, Word::Resume, Word::Cancel]), body });
            }
        }
        header.ended_at = header.outcome.as_ref().map(|_| at);
        let header = header.clone();
        let events = (expected..header.revision).map(|_| self.event(dice, at)).collect();
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for frame in 1..4 {
            match dice.below(4) {
                0 => changed.push(frame_of(dice, frame, header.revision)),
                1 if start.is_none() => removed.push(frame),
                _ => {}
            }
        }
        Transition {
            expected,
            root: Some(frame_of(dice, 0, header.revision)),
            status: if header.outcome.is_some() { Standing::Succeeded } else { Standing::Working },
            events,
            changed,
            removed,
            work: self.work(dice, &header, &mut known.frames),
            hold,
            signals,
            notices: (0..dice.below(2))
                .map(|_| Notice::Ended { outcome: Outcome::Succeeded { output: value(dice) } })
                .collect(),
            records: self.records(dice),
            keys: if start.is_none() { key_use(dice).into_iter().collect() } else { Vec::new() },
            answers: if start.is_none() { self.answers(dice, &header.run) } else { Vec::new() },
            start,
            header,
            at,
        }
    }

    fn event(&self, dice: &Dice, at: DateTime<Utc>) -> Happened {
        let kind = EventKind::StepSucceeded { frame: 0, visit: dice.below(9), output: value(dice) };
        let event = Event { at, chance: dice.number(), kind };
        Happened { event, entered: (0..dice.below(2)).map(|_| "Work".to_owned()).collect() }
    }

    fn records(&self, dice: &Dice) -> Vec<NewRecord> {
        let many = dice.below(3);
        let record = |_| NewRecord {
            collection: dice.pick(&["report", "report", "custody"]).to_owned(),
            key: dice.pick(&["a", "b", "c"]).to_owned(),
            body: value(dice).into_value(),
        };
        (0..many).map(record).collect()
    }

    fn answers(&self, dice: &Dice, run: &str) -> Vec<Answered> {
        if dice.once_in(2) {
            return Vec::new();
        }
        let claim = self.claims.iter().rev().find(|claim| claim.run == run);
        let answer = |claim: &ClaimedWork| Answered {
            frame: claim.frame,
            visit: claim.visit,
            fence: if dice.once_in(8) { claim.fence.wrapping_sub(1) } else { claim.fence },
        };
        claim.map(answer).into_iter().collect()
    }

    fn work(
        &mut self,
        dice: &Dice,
        header: &Header,
        frames: &mut BTreeMap<u64, u64>,
    ) -> BTreeMap<i64, Option<WorkOrder>> {
        let mut work = BTreeMap::new();
        for frame in [RUN_TIMER, SIGNAL, 0, 1, 2] {
            match dice.below(3) {
                0 => drop(work.insert(frame, None)),
                1 if frame != SIGNAL => {
                    let visit = u64::try_from(frame).map_or(0, |frame| {
                        let visit = frames.entry(frame).or_insert(0);
                        *visit = (*visit + 1).min(2);
                        *visit
                    });
                    let kinds = [WorkKind::Step, WorkKind::Step, WorkKind::Child, WorkKind::Form];
                    let kind = if frame == RUN_TIMER { WorkKind::RunTimer } else { dice.pick(&kinds) };
                    let due_at = match kind {
                        WorkKind::Child | WorkKind::Form if dice.once_in(2) => None,
                        _ => Some(self.near(dice)),
                    };
                    let claim = (kind == WorkKind::Step && !header.paused && dice.once_in(3))
                        .then(|| ClaimAtOnce { owner: "w1".to_owned(), lease_until: self.near(dice) });
                    let order = WorkOrder {
                        visit,
                        kind,
                        name: "work".to_owned(),
                        input: value(dice),
                        due_at,
                        timeout_s: dice.once_in(3).then_some(40),
                        heartbeat_s: dice.once_in(3).then_some(5),
                        claim,
                    };
                    work.insert(frame, Some(order));
                }
                _ => {}
            }
        }
        work
    }

    /// Takes in what came of a call.
    pub(super) fn learn(&mut self, call: &Call, answer: &Answer) {
        match answer {
            Answer::Committed(Ok(outcomes)) => {
                let pending = std::mem::take(&mut self.pending);
                for (after, outcome) in pending.into_iter().zip(outcomes) {
                    if outcome.is_err() {
                        continue;
                    }
                    for known in after {
                        self.runs.retain(|run| run.header.run != known.header.run);
                        self.runs.push(known);
                    }
                }
            }
            Answer::Claimed(claimed) => self.claims.extend(claimed.iter().cloned()),
            Answer::Page { next, .. } => self.cursors.extend(next.clone()),
            Answer::Committed(Err(error)) => panic!("{call:?}: {error}"),
            Answer::Text(_) => {}
        }
    }
}

fn sealed(group: Vec<Transition>) -> Write {
    Write::Turns(group.into_iter().map(|transition| seal(transition, &mut Blobs::default()).unwrap()).collect())
}

fn enterprise(id: &str, at: i64) -> Enterprise {
    Enterprise {
        id: id.to_owned(),
        name: id.to_uppercase(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: Some(format!("csm@{id}.example")),
        engineer_email: None,
        audit_emails: Vec::new(),
        version: 1,
        created_at: time(at),
    }
}

fn frame_of(dice: &Dice, id: u64, visit: u64) -> Frame {
    let mut variables = serde_json::Map::new();
    if dice.once_in(3) {
        variables.insert("v".to_owned(), Value::Null);
    }
    Frame {
        id,
        parent: (id > 0).then_some(0),
        index: 0,
        state: "Work".to_owned(),
        visit,
        entered_at: time(0),
        input: value(dice),
        item: dice.once_in(3).then(|| value(dice)),
        variables,
        retries: Vec::new(),
        failure: None,
        phase: dice.pick(&[Phase::Queued, Phase::Done { output: value(dice) }]),
    }
}
