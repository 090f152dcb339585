//! A batch. Its writes are judged in order by how things stood before it, and by what earlier writes of the batch took: a run
//! moves once, a key starts once, work that was given back is nobody's. What holds is then written: first the words, then what
//! each turn says of its own run, then what the turns mean for other runs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Lease, Letter, Row, Run, Tables, Work};
use crate::store::{
    KeptKey, SIGNAL, Say, Sealed, Signal, StoreError, StoredRecord, Transition, WorkKind, WorkWord, Write,
    batch::hands_over, chain, micros, time,
};

/// What the writes of a batch have taken so far.
#[derive(Default)]
struct Taken {
    moved: BTreeSet<String>,
    /// By run and frame.
    given_back: BTreeSet<(String, i64)>,
    keys: Vec<(String, String, String)>,
    exclusive: Vec<(String, String)>,
}

impl Tables {
    pub(super) fn commit(&mut self, batch: &[Write]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut taken = Taken::default();
        let mut verdicts = Vec::with_capacity(batch.len());
        let mut words = Vec::new();
        let mut turns = Vec::new();
        for write in batch {
            verdicts.push(match write {
                Write::Word(word) => self.judge_word(word, &mut taken).map(|()| words.push(word)),
                Write::Turns(group) => self.judge_group(group, &mut taken).map(|()| turns.extend(group)),
            });
        }
        for turn in &turns {
            self.is_whole(turn)?;
        }
        for word in words {
            self.say(word);
        }
        for turn in &turns {
            self.write(turn)?;
        }
        for turn in &turns {
            for signal in &turn.signals {
                self.signal(turn, signal);
            }
        }
        for turn in &turns {
            self.wake_parent(turn);
        }
        Ok(verdicts)
    }

    /// Whether the work is held under this visit and fence.
    fn is_held(&self, taken: &Taken, run: &str, frame: i64, visit: u64, fence: u64) -> Result<(), StoreError> {
        let gone = taken.given_back.contains(&(run.to_owned(), frame));
        let work = self.run(run).and_then(|run| run.work.get(&frame)).filter(|work| work.lease.is_some() && !gone);
        match work {
            Some(work) if (work.visit, work.fence) == (visit, fence) => Ok(()),
            found => {
                let found = found.map(|work| work.fence);
                Err(StoreError::LeaseLost { run: run.to_owned(), frame, expected: fence, found })
            }
        }
    }

    fn judge_word(&self, word: &WorkWord, taken: &mut Taken) -> Result<(), StoreError> {
        self.is_held(taken, &word.run, word.frame, word.visit, word.fence)?;
        if word.say.gives_back() {
            taken.given_back.insert((word.run.clone(), word.frame));
        }
        Ok(())
    }

    fn judge_group(&self, group: &[Sealed], taken: &mut Taken) -> Result<(), StoreError> {
        for turn in group {
            let found = self.run(&turn.run).map_or(0, |run| run.revision);
            if found != turn.expected || taken.moved.contains(&turn.run) {
                return Err(StoreError::Conflict { run: turn.run.clone(), expected: turn.expected, found });
            }
            for answer in &turn.answers {
                self.is_held(taken, &turn.run, answer.frame, answer.visit, answer.fence)?;
            }
            for key in &turn.keys {
                self.is_new(taken, &key.key, &key.request)?;
            }
            self.may_start(group, turn, taken)?;
        }
        for turn in group {
            taken.moved.insert(turn.run.clone());
            for key in &turn.keys {
                taken.keys.push((key.key.clone(), key.request.clone(), turn.run.clone()));
            }
            let Some(start) = &turn.start else { continue };
            for key in &start.idempotency {
                taken.keys.push((key.key.clone(), key.request.clone(), turn.run.clone()));
            }
            if start.exclusive {
                taken.exclusive.push((turn.enterprise.clone(), turn.run.clone()));
            }
        }
        Ok(())
    }

    /// Whether neither the store nor the batch has used a key before.
    fn is_new(&self, taken: &Taken, key: &str, request: &str) -> Result<(), StoreError> {
        let of_batch = taken.keys.iter().find(|(taken, _, _)| taken == key);
        let of_batch = of_batch.map(|(_, request, run)| (request, run));
        let stored = self.keys.get(key).map(|found| (&found.request, &found.run));
        match stored.or(of_batch) {
            None => Ok(()),
            Some((found, run)) if found == request => Err(StoreError::AlreadyStarted { run: run.clone() }),
            Some(_) => Err(StoreError::KeyReused { key: key.to_owned() }),
        }
    }

    fn may_start(&self, group: &[Sealed], turn: &Sealed, taken: &Taken) -> Result<(), StoreError> {
        let Some(start) = &turn.start else { return Ok(()) };
        for key in &start.idempotency {
            self.is_new(taken, &key.key, &key.request)?;
        }
        if !self.enterprises.contains_key(&turn.enterprise) {
            return Err(StoreError::NotFound { what: "enterprise", id: turn.enterprise.clone() });
        }
        if !start.exclusive {
            return Ok(());
        }
        let open = self
            .runs
            .iter()
            .find(|run| run.start.exclusive && run.ended_at.is_none() && run.enterprise == turn.enterprise)
            .filter(|run| !hands_over(group, &run.id));
        let of_batch = taken.exclusive.iter().find(|(enterprise, _)| *enterprise == turn.enterprise);
        // A place that the batch has handed over is held by who took it, though the tables show the one before still.
        match of_batch.map(|(_, run)| run).or(open.map(|run| &run.id)) {
            Some(run) => Err(StoreError::ExclusiveOpen { enterprise: turn.enterprise.clone(), run: run.clone() }),
            None => Ok(()),
        }
    }

    /// What no caller of this crate sends fails the whole batch.
    fn is_whole(&self, turn: &Sealed) -> Result<(), StoreError> {
        let many = u64::try_from(turn.history.len()).unwrap_or(u64::MAX);
        if turn.expected + many != turn.revision {
            let reason = format!("{many} events do not lead from {} to {}", turn.expected, turn.revision);
            return Err(StoreError::corrupt("turn", reason));
        }
        if turn.start.is_some() && !self.definitions.contains_key(&turn.definition) {
            return Err(StoreError::corrupt("row", "a run of a definition that is not kept"));
        }
        if turn.start.is_none() && self.run(&turn.run).is_none() {
            return Err(StoreError::NotFound { what: "run", id: turn.run.clone() });
        }
        Ok(())
    }

    fn say(&mut self, word: &WorkWord) {
        let Some(run) = self.run_mut(&word.run) else { return };
        let Some(work) = run.work.get_mut(&word.frame) else { return };
        match &word.say {
            Say::Renew { lease_until } => {
                if let Some(lease) = &mut work.lease {
                    lease.until = micros(*lease_until);
                }
            }
            Say::Checkpoint { checkpoint } => work.checkpoint = Some(checkpoint.clone()),
            Say::Pending { due_at, checkpoint, waiting_for } => {
                work.lease = None;
                work.due_at = Some(micros(*due_at));
                work.checkpoint = Some(checkpoint.clone());
                work.waiting_for = Some(waiting_for.clone());
                // What came that far has not crashed.
                work.crashes = 0;
            }
            Say::Release { due_at } => {
                work.lease = None;
                work.due_at = Some(micros(*due_at));
            }
            Say::Drop => drop(run.work.remove(&word.frame)),
        }
    }

    /// What a turn says of its own run.
    fn write(&mut self, turn: &Sealed) -> Result<(), StoreError> {
        self.payloads.extend(turn.blobs.iter().cloned());
        if let Some(start) = &turn.start {
            self.runs.push(Run {
                id: turn.run.clone(),
                enterprise: turn.enterprise.clone(),
                workflow: turn.workflow.clone(),
                definition: turn.definition.clone(),
                start: start.clone(),
                revision: 0,
                status: turn.status,
                ended_at: None,
                head: Vec::new(),
                state: String::new(),
                frames: Default::default(),
                history: Vec::new(),
                work: Default::default(),
            });
            for key in &start.idempotency {
                let (request, run) = (key.request.clone(), turn.run.clone());
                self.keys.insert(key.key.clone(), KeptKey { request, run, answer: Value::Null });
            }
        }
        for key in &turn.keys {
            self.use_key(Some(key.clone()), &turn.run);
        }
        let Some(run) = self.run_mut(&turn.run) else { return Ok(()) };
        for (event, entered) in &turn.history {
            run.head = chain(&run.head, event, entered);
            run.history.push(Row { hash: run.head.clone(), event: event.clone(), entered: entered.clone() });
        }
        run.revision = turn.revision;
        run.status = turn.status;
        run.ended_at = turn.ended_at;
        run.state.clone_from(&turn.state);
        run.frames.extend(turn.frames.iter().cloned());
        run.frames.retain(|frame, _| !turn.removed.contains(frame));
        run.work.retain(|frame, _| !turn.dropped.contains(frame));
        if turn.ended_at.is_some() {
            run.work.clear();
        }
        if let Some(held) = turn.hold {
            // A word from the parent reaches a run that is paused too.
            run.work.iter_mut().filter(|(frame, _)| **frame != SIGNAL).for_each(|(_, work)| work.held = held);
        }
        for columns in &turn.work {
            let (frame, work) = ordered(columns)?;
            run.work.insert(frame, work);
        }
        if turn.withdraws {
            self.withdraw(&turn.run, turn.at);
        }
        for notice in &turn.notices {
            let (run, created_at) = (turn.run.clone(), turn.at);
            let letter = Letter { run, created_at, notice: notice.clone(), due_at: Some(turn.at), attempts: 0 };
            self.outbox.push(letter);
        }
        for record in &turn.records {
            let key = (turn.enterprise.clone(), record.collection.clone(), record.key.clone());
            let version = self.records.get(&key).map_or(1, |found| found.version + 1);
            let stored = StoredRecord {
                enterprise: turn.enterprise.clone(),
                collection: record.collection.clone(),
                key: record.key.clone(),
                run: turn.run.clone(),
                written_at: time(turn.at),
                body: record.body.clone(),
                version,
            };
            self.records.insert(key, stored);
        }
        Ok(())
    }

    /// A word to the run's open children: to those of a frame up to a visit, or to all.
    fn signal(&mut self, turn: &Sealed, signal: &Signal) {
        let first = Transition::first_fence(turn.revision);
        for child in self.runs.iter_mut().filter(|run| run.ended_at.is_none()) {
            let Some(link) = child.start.parent.as_ref().filter(|link| link.run == turn.run) else { continue };
            if signal.frame.is_some_and(|(frame, visit)| link.frame != frame || link.visit > visit) {
                continue;
            }
            let (name, input) = (signal.word.word().to_owned(), json!({ "is": signal.body }).to_string());
            match child.work.get_mut(&SIGNAL) {
                // Nothing less takes the place of a cancel.
                Some(work) if work.name == "cancel" => {}
                Some(work) => {
                    work.name = name;
                    work.input = input;
                    work.due_at = Some(turn.at);
                    work.lease = None;
                    work.fence = first.max(work.fence + 1);
                }
                None => {
                    let work = Work {
                        visit: 0,
                        kind: WorkKind::Signal,
                        name,
                        input,
                        due_at: Some(turn.at),
                        held: false,
                        fence: first,
                        attempt: 0,
                        crashes: 0,
                        timeout_s: None,
                        heartbeat_s: None,
                        deadline: None,
                        lease: None,
                        checkpoint: None,
                        waiting_for: None,
                        since: turn.at,
                    };
                    child.work.insert(SIGNAL, work);
                }
            }
        }
    }

    /// The end of a child makes the work of the frame that waits for it due.
    fn wake_parent(&mut self, turn: &Sealed) {
        let Some(ended_at) = turn.ended_at else { return };
        let Some(link) = self.run(&turn.run).and_then(|run| run.start.parent.clone()) else { return };
        let frame = i64::try_from(link.frame).unwrap_or(i64::MAX);
        let waiting = self.run_mut(&link.run).and_then(|parent| parent.work.get_mut(&frame));
        if let Some(work) = waiting.filter(|work| work.visit == link.visit && work.kind == WorkKind::Child) {
            work.due_at = Some(ended_at);
        }
    }
}

/// A piece of work from the columns that it was sealed into.
fn ordered(columns: &Value) -> Result<(i64, Work), StoreError> {
    let at = |index: usize| columns.get(index).unwrap_or(&Value::Null);
    let missing = |what: &str| StoreError::corrupt("work", format!("its {what} is missing"));
    let text = |index: usize, what: &str| at(index).as_str().map(str::to_owned).ok_or_else(|| missing(what));
    let number = |index: usize, what: &str| at(index).as_u64().ok_or_else(|| missing(what));
    let lease = match (at(12).as_str(), at(13).as_i64()) {
        (Some(owner), Some(until)) => Some(Lease { owner: owner.to_owned(), until }),
        _ => None,
    };
    let work = Work {
        visit: number(1, "visit")?,
        kind: WorkKind::parse(&text(2, "kind")?)?,
        name: text(3, "name")?,
        input: text(4, "input")?,
        due_at: at(5).as_i64(),
        held: number(6, "hold")? == 1,
        fence: number(7, "fence")?,
        attempt: u32::try_from(number(8, "attempt")?).map_err(|error| StoreError::corrupt("work", error))?,
        crashes: 0,
        timeout_s: at(9).as_u64(),
        heartbeat_s: at(10).as_u64(),
        deadline: at(11).as_i64(),
        lease,
        checkpoint: None,
        waiting_for: None,
        since: at(14).as_i64().ok_or_else(|| missing("time"))?,
    };
    Ok((at(0).as_i64().ok_or_else(|| missing("frame"))?, work))
}
