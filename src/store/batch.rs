//! One batch as rows: what both databases share of a commit. Each asks its tables what [`Asked`] names, says what it
//! [`Found`], and runs its own statements over the rows of the [`Plan`].
//!
//! A group whose fence does not hold is left out and told so; the rest of the batch stands. Writes are judged in order by how
//! things stood before the batch and by what earlier writes of it took: a run moves once, a key starts once, work that was
//! given back is nobody's.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize, Serializer};

use super::{Say, Sealed, StoreError, Transition, WorkWord, Write, chain, micros};

pub(super) type Outcomes = Vec<Result<(), StoreError>>;

/// What a database must look up before a batch can be judged.
#[derive(Default)]
pub(super) struct Asked<'a> {
    /// Runs that turns move.
    pub(super) runs: Vec<&'a str>,
    /// Runs whose children get a word.
    pub(super) parents: Vec<&'a str>,
    /// Run and frame of the work that words and turns answer.
    pub(super) held: Vec<(&'a str, i64)>,
    pub(super) keys: Vec<&'a str>,
    /// Enterprises of new runs that only one may have open.
    pub(super) exclusive: Vec<&'a str>,
    pub(super) enterprises: Vec<&'a str>,
    /// How many runs may be new.
    pub(super) new: usize,
}

impl<'a> Asked<'a> {
    pub(super) fn of(batch: &'a [Write]) -> Self {
        let mut asked = Self::default();
        for write in batch {
            match write {
                Write::Turns(group) => group.iter().for_each(|turn| asked.turn(turn)),
                Write::Word(word) => asked.held.push((&word.run, word.frame)),
            }
        }
        asked
    }

    fn turn(&mut self, turn: &'a Sealed) {
        self.runs.push(&turn.run);
        if !turn.signals.is_empty() {
            self.parents.push(&turn.run);
        }
        self.held.extend(turn.answers.iter().map(|answer| (turn.run.as_str(), answer.frame)));
        self.keys.extend(turn.keys.iter().map(|key| key.key.as_str()));
        let Some(start) = &turn.start else { return };
        self.new += 1;
        self.enterprises.push(&turn.enterprise);
        self.keys.extend(start.idempotency.iter().map(|key| key.key.as_str()));
        if start.exclusive {
            self.exclusive.push(&turn.enterprise);
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    pub(super) n: i64,
    pub(super) revision: u64,
    pub(super) status: String,
    pub(super) head: Vec<u8>,
    /// Another run waits for its end.
    pub(super) is_child: bool,
}

/// A claim that stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding {
    /// The run's number.
    pub(super) n: i64,
    pub(super) visit: u64,
    pub(super) fence: u64,
}

/// What the database found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) runs: HashMap<String, Stand>,
    /// By run and frame: what a worker has.
    pub(super) held: HashMap<(String, i64), Holding>,
    /// Request and run by idempotency key.
    pub(super) keys: HashMap<String, (String, String)>,
    /// The open run that changes an enterprise's systems.
    pub(super) exclusive: HashMap<String, String>,
    pub(super) enterprises: HashSet<String>,
    /// Numbers for new runs, the one to take next last.
    pub(super) numbers: Vec<i64>,
}

impl Found {
    /// A key that was used before was used for this very request, or for another.
    fn unused(&self, key: &str, request: &str) -> Result<(), StoreError> {
        self.keys.get(key).map_or(Ok(()), |(found, run)| Err(used_before(key, request, found, run)))
    }

    fn fence(&self, run: &str, frame: i64, visit: u64, fence: u64) -> Result<Holding, StoreError> {
        match self.held.get(&(run.to_owned(), frame)) {
            Some(held) if (held.visit, held.fence) == (visit, fence) => Ok(*held),
            held => {
                let found = held.map(|held| held.fence);
                Err(StoreError::LeaseLost { run: run.to_owned(), frame, expected: fence, found })
            }
        }
    }
}

/// What an idempotency key that is there already means for a request.
pub(super) fn used_before(key: &str, request: &str, found: &str, run: &str) -> StoreError {
    if found == request {
        StoreError::AlreadyStarted { run: run.to_owned() }
    } else {
        StoreError::KeyReused { key: key.to_owned() }
    }
}

/// The hash of a history row: 32 bytes; hexadecimal in JSON.
#[derive(Debug, Clone)]
pub(super) struct Hash(pub(super) Vec<u8>);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

/// Rows with named columns, which JSON has as arrays in the same order.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident { $($column:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        pub(super) struct $name<'a> { $(pub(super) $column: $type),* }

        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                ($(&self.$column,)*).serialize(serializer)
            }
        }
    )*};
}

rows! {
    RunRow {
        n: i64, id: &'a str, enterprise: &'a str, workflow: &'a str, definition: &'a str, parent: Option<&'a str>,
        parent_frame: Option<i64>, parent_visit: Option<i64>, exclusive: bool, revision: i64, status: &'a str,
        ended_at: Option<i64>, head: Hash, state: &'a str,
    }
    /// A run that moves.
    MoveRow { n: i64, expected: i64, revision: i64, head: Hash, state: &'a str }
    StatusRow { n: i64, status: &'a str, ended_at: Option<i64> }
    FrameRow { n: i64, frame: i64, revision: i64, body: &'a str }
    HistoryRow { n: i64, seq: i64, hash: Hash, event: &'a str, entered: &'a str }
    WorkRow {
        n: i64, frame: i64, visit: i64, kind: &'a str, name: &'a str, input: &'a str, due_at: Option<i64>, held: bool,
        fence: i64, attempt: i64, timeout_s: Option<i64>, heartbeat_s: Option<i64>, deadline: Option<i64>,
        owner: Option<&'a str>, lease_until: Option<i64>, since: i64,
    }
    /// A word to a run's children: to those of a frame up to a visit, or to all.
    SignalRow {
        parent: &'a str, frame: Option<i64>, visit: Option<i64>, word: &'a str, input: String, at: i64, fence: i64,
    }
    NoticeRow { n: i64, at: i64, notice: &'a str }
    /// versions: how often the batch writes the record.
    RecordRow {
        enterprise: &'a str, collection: &'a str, key: &'a str, run: &'a str, at: i64, body: String, versions: i64,
    }
    KeyRow { key: &'a str, request: &'a str, run: &'a str, answer: String }
    /// What is said of held work; what is `None` stays as it is.
    WordRow {
        n: i64, frame: i64, visit: i64, fence: i64, due_at: Option<i64>, free: bool, lease_until: Option<i64>,
        checkpoint: Option<String>, waiting_for: Option<&'a str>, progressed: bool,
    }
    BlobRow { hash: &'a str, body: &'a str }
}

/// The rows of a batch, by statement.
#[derive(Default)]
pub(super) struct Rows<'a> {
    pub(super) words: Vec<WordRow<'a>>,
    /// Work that words drop: run and frame.
    pub(super) dropped: Vec<(i64, i64)>,
    pub(super) blobs: Vec<BlobRow<'a>>,
    pub(super) new: Vec<RunRow<'a>>,
    pub(super) old: Vec<MoveRow<'a>>,
    pub(super) status: Vec<StatusRow<'a>>,
    pub(super) frames: Vec<FrameRow<'a>>,
    /// Run and frame.
    pub(super) no_frames: Vec<(i64, i64)>,
    pub(super) history: Vec<HistoryRow<'a>>,
    /// Run and frame of the work that turns drop.
    pub(super) no_work: Vec<(i64, i64)>,
    pub(super) ended: Vec<i64>,
    /// Child run and time of its end.
    pub(super) ended_at: Vec<(i64, i64)>,
    pub(super) work: Vec<WorkRow<'a>>,
    /// Run and whether its work is held.
    pub(super) hold: Vec<(i64, bool)>,
    pub(super) signals: Vec<SignalRow<'a>>,
    /// Runs whose open questions are withdrawn, and when.
    pub(super) withdrawn: Vec<(i64, i64)>,
    pub(super) outbox: Vec<NoticeRow<'a>>,
    pub(super) records: Vec<RecordRow<'a>>,
    pub(super) keys: Vec<KeyRow<'a>>,
}

impl Rows<'_> {
    /// Whether a run may take the place of one that ends in the same batch: the end has to be written first.
    pub(super) fn hand_over(&self) -> bool {
        !self.ended.is_empty() && self.new.iter().any(|row| row.exclusive)
    }
}

/// What becomes of a batch.
pub(super) struct Plan<'a> {
    /// For each write, in order.
    pub(super) outcomes: Outcomes,
    pub(super) rows: Rows<'a>,
}

/// A number as the databases have it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Judges a batch by what was found, and makes the rows of what holds.
///
/// # Errors
/// Turns that no caller of this crate seals: the whole batch is refused.
pub(super) fn plan<'a>(batch: &'a [Write], found: &mut Found) -> Result<Plan<'a>, StoreError> {
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut turns = Vec::new();
    let mut words = BTreeMap::new();
    let mut rows = Rows::default();
    let mut moved = HashSet::new();
    for write in batch {
        outcomes.push(match write {
            Write::Turns(group) => admit(group, found, &mut moved).map(|()| turns.extend(group)),
            Write::Word(word) => say(word, found, &mut words, &mut rows.dropped),
        });
    }
    rows.words.extend(words.into_values());
    for turn in turns {
        let stand =
            found.runs.get(&turn.run).ok_or_else(|| StoreError::NotFound { what: "run", id: turn.run.clone() })?;
        spread(turn, stand, &mut rows)?;
    }
    rows.records = merged(rows.records);
    // In one order everywhere, so that two processes that keep the same values do not wait for each other in a circle.
    rows.blobs.sort_by_key(|blob| blob.hash);
    rows.blobs.dedup_by_key(|blob| blob.hash);
    rows.keys.sort_by_key(|key| key.key);
    Ok(Plan { outcomes, rows })
}

/// One statement cannot write a row twice: the last of a record's bodies stands, and counts for those before it.
fn merged(records: Vec<RecordRow<'_>>) -> Vec<RecordRow<'_>> {
    let mut last: BTreeMap<_, RecordRow<'_>> = BTreeMap::new();
    for mut row in records {
        let key = (row.enterprise, row.collection, row.key);
        row.versions += last.get(&key).map_or(0, |earlier| earlier.versions);
        last.insert(key, row);
    }
    last.into_values().collect()
}

/// Whether a group may be written, beside those of the batch before it. New runs get their numbers here.
fn admit(group: &[Sealed], found: &mut Found, moved: &mut HashSet<String>) -> Result<(), StoreError> {
    for turn in group {
        let stand = found.runs.get(&turn.run).map_or(0, |stand| stand.revision);
        if stand != turn.expected || moved.contains(&turn.run) {
            return Err(StoreError::Conflict { run: turn.run.clone(), expected: turn.expected, found: stand });
        }
        for answer in &turn.answers {
            found.fence(&turn.run, answer.frame, answer.visit, answer.fence)?;
        }
        for key in &turn.keys {
            found.unused(&key.key, &key.request)?;
        }
        let Some(start) = &turn.start else { continue };
        for key in &start.idempotency {
            found.unused(&key.key, &key.request)?;
        }
        if !found.enterprises.contains(&turn.enterprise) {
            return Err(StoreError::NotFound { what: "enterprise", id: turn.enterprise.clone() });
        }
        if start.exclusive
            && let Some(run) = found.exclusive.get(&turn.enterprise)
            && !hands_over(group, run)
        {
            return Err(StoreError::ExclusiveOpen { enterprise: turn.enterprise.clone(), run: run.clone() });
        }
    }
    for turn in group {
        moved.insert(turn.run.clone());
        for key in &turn.keys {
            found.keys.insert(key.key.clone(), (key.request.clone(), turn.run.clone()));
        }
        let Some(start) = &turn.start else { continue };
        let n = found.numbers.pop().ok_or_else(|| StoreError::corrupt("batch", "a new run has no number"))?;
        let stand = Stand { n, revision: 0, status: String::new(), head: Vec::new(), is_child: start.parent.is_some() };
        found.runs.insert(turn.run.clone(), stand);
        for key in &start.idempotency {
            found.keys.insert(key.key.clone(), (key.request.clone(), turn.run.clone()));
        }
        if start.exclusive {
            found.exclusive.insert(turn.enterprise.clone(), turn.run.clone());
        }
    }
    Ok(())
}

/// Whether a run ends in the group: one that begins in the same group may take its place.
pub(super) fn hands_over(group: &[Sealed], run: &str) -> bool {
    group.iter().any(|turn| turn.run == run && turn.ended_at.is_some())
}

/// Takes a word in. Words of a batch about the same work become one row: one statement would write only one of them.
fn say<'a>(
    word: &'a WorkWord,
    found: &mut Found,
    words: &mut BTreeMap<(i64, i64), WordRow<'a>>,
    dropped: &mut Vec<(i64, i64)>,
) -> Result<(), StoreError> {
    let held = found.fence(&word.run, word.frame, word.visit, word.fence)?;
    let key = (held.n, word.frame);
    let row = words.entry(key).or_insert_with(|| WordRow {
        n: held.n,
        frame: word.frame,
        visit: signed(word.visit),
        fence: signed(word.fence),
        due_at: None,
        free: false,
        lease_until: None,
        checkpoint: None,
        waiting_for: None,
        progressed: false,
    });
    match &word.say {
        Say::Renew { lease_until } => row.lease_until = Some(micros(*lease_until)),
        Say::Checkpoint { checkpoint } => row.checkpoint = Some(checkpoint.to_string()),
        Say::Pending { due_at, checkpoint, waiting_for } => {
            row.due_at = Some(micros(*due_at));
            row.checkpoint = Some(checkpoint.to_string());
            row.waiting_for = Some(waiting_for);
            row.free = true;
            row.progressed = true;
        }
        Say::Release { due_at } => {
            row.due_at = Some(micros(*due_at));
            row.free = true;
        }
        Say::Drop => {
            words.remove(&key);
            dropped.push(key);
        }
    }
    if word.say.gives_back() {
        found.held.remove(&(word.run.clone(), word.frame));
    }
    Ok(())
}

/// The columns of a sealed transition's work, in the order of `upsert_work.sql`.
#[derive(Deserialize)]
struct WorkColumns<'a>(
    i64,
    i64,
    &'a str,
    &'a str,
    &'a str,
    Option<i64>,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<&'a str>,
    Option<i64>,
    i64,
);

impl<'a> WorkColumns<'a> {
    fn of(self, n: i64) -> WorkRow<'a> {
        WorkRow {
            n,
            frame: self.0,
            visit: self.1,
            kind: self.2,
            name: self.3,
            input: self.4,
            due_at: self.5,
            held: self.6 != 0,
            fence: self.7,
            attempt: self.8,
            timeout_s: self.9,
            heartbeat_s: self.10,
            deadline: self.11,
            owner: self.12,
            lease_until: self.13,
            since: self.14,
        }
    }
}

fn spread<'a>(turn: &'a Sealed, stand: &Stand, rows: &mut Rows<'a>) -> Result<(), StoreError> {
    let n = stand.n;
    let mut head = stand.head.clone();
    for (offset, (event, entered)) in turn.history.iter().enumerate() {
        head = chain(&head, event, entered);
        let seq = signed(turn.expected + 1 + u64::try_from(offset).unwrap_or(u64::MAX));
        rows.history.push(HistoryRow { n, seq, hash: Hash(head.clone()), event, entered });
    }
    if turn.expected + u64::try_from(turn.history.len()).unwrap_or(u64::MAX) != turn.revision {
        let reason = format!("{} events do not lead from {} to {}", turn.history.len(), turn.expected, turn.revision);
        return Err(StoreError::corrupt("turn", reason));
    }
    spread_run(turn, stand, Hash(head), rows);
    rows.blobs.extend(turn.blobs.iter().map(|(hash, body)| BlobRow { hash, body }));
    let revision = signed(turn.revision);
    rows.frames.extend(turn.frames.iter().map(|(frame, body)| FrameRow { n, frame: signed(*frame), revision, body }));
    rows.no_frames.extend(turn.removed.iter().map(|frame| (n, signed(*frame))));
    rows.no_work.extend(turn.dropped.iter().map(|frame| (n, *frame)));
    for columns in &turn.work {
        let columns = WorkColumns::deserialize(columns).map_err(|error| StoreError::corrupt("turn", error))?;
        rows.work.push(columns.of(n));
    }
    rows.hold.extend(turn.hold.map(|held| (n, held)));
    if let Some(at) = turn.ended_at {
        rows.ended.push(n);
        rows.ended_at.extend(stand.is_child.then_some((n, at)));
    }
    rows.signals.extend(turn.signals.iter().map(|signal| {
        let (frame, visit) = signal.frame.map(|(frame, visit)| (signed(frame), signed(visit))).unzip();
        let input = serde_json::json!({ "is": signal.body }).to_string();
        let fence = signed(Transition::first_fence(turn.revision));
        SignalRow { parent: &turn.run, frame, visit, word: signal.word.word(), input, at: turn.at, fence }
    }));
    rows.withdrawn.extend(turn.withdraws.then_some((n, turn.at)));
    rows.outbox.extend(turn.notices.iter().map(|notice| NoticeRow { n, at: turn.at, notice }));
    rows.records.extend(turn.records.iter().map(|record| RecordRow {
        enterprise: &turn.enterprise,
        collection: &record.collection,
        key: &record.key,
        run: &turn.run,
        at: turn.at,
        body: record.body.to_string(),
        versions: 1,
    }));
    Ok(())
}

fn spread_run<'a>(turn: &'a Sealed, stand: &Stand, head: Hash, rows: &mut Rows<'a>) {
    let n = stand.n;
    rows.keys.extend(turn.keys.iter().map(|key| KeyRow {
        key: &key.key,
        request: &key.request,
        run: &turn.run,
        answer: key.answer.to_string(),
    }));
    let Some(start) = &turn.start else {
        let (expected, revision) = (signed(turn.expected), signed(turn.revision));
        rows.old.push(MoveRow { n, expected, revision, head, state: &turn.state });
        if stand.status != turn.status {
            rows.status.push(StatusRow { n, status: turn.status, ended_at: turn.ended_at });
        }
        return;
    };
    let parent = start.parent.as_ref();
    rows.new.push(RunRow {
        n,
        id: &turn.run,
        enterprise: &turn.enterprise,
        workflow: &turn.workflow,
        definition: &turn.definition,
        parent: parent.map(|parent| parent.run.as_str()),
        parent_frame: parent.map(|parent| signed(parent.frame)),
        parent_visit: parent.map(|parent| signed(parent.visit)),
        exclusive: start.exclusive,
        revision: signed(turn.revision),
        status: turn.status,
        ended_at: turn.ended_at,
        head,
        state: &turn.state,
    });
    rows.keys.extend(start.idempotency.iter().map(|key| KeyRow {
        key: &key.key,
        request: &key.request,
        run: &turn.run,
        answer: "null".to_owned(),
    }));
}
