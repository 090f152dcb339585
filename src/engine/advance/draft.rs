//! The turn while it is made: changes laid over the snapshot, and the queue of moves that are still to be made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::{Entered, Rejected, Turn};
use crate::engine::{
    Command, Definition, Event, Frame, FrameId, Header, Notice, Outcome, Payload, Phase, Snapshot,
    definition::State,
    language::{Chance, Context, Failure, Scope},
};

/// Transitions that one frame may make in one turn: more is a loop that waits for nothing.
const MAX_TRANSITIONS: u32 = 1_000;
/// Moves of all frames together in one turn.
const MAX_MOVES: u32 = 1_000_000;
/// Frames that one turn may open: nested Maps multiply.
const MAX_OPENED: usize = 1_000_000;

/// What is still to be done within the turn.
#[derive(Debug)]
pub(super) enum Move {
    Enter {
        frame: FrameId,
        state: String,
        input: Payload,
    },
    /// A branch or item ended with this output.
    End {
        frame: FrameId,
        output: Payload,
    },
}

pub(super) struct Draft<'a> {
    pub definition: &'a Definition,
    base: Option<&'a Snapshot>,
    pub header: Header,
    pub at: DateTime<Utc>,
    chance: Chance,
    changed: BTreeMap<FrameId, Frame>,
    removed: BTreeSet<FrameId>,
    pub commands: Vec<Command>,
    entered: Vec<Entered>,
    moves: VecDeque<Move>,
    moves_made: u32,
    opened: usize,
    transitions: BTreeMap<FrameId, u32>,
}

impl<'a> Draft<'a> {
    pub fn new(definition: &'a Definition, snapshot: &'a Snapshot, event: &Event) -> Self {
        let mut draft = Self::fresh(definition, snapshot.header.clone(), event);
        draft.base = Some(snapshot);
        draft
    }

    pub fn fresh(definition: &'a Definition, header: Header, event: &Event) -> Self {
        Self {
            definition,
            base: None,
            header,
            at: event.at,
            chance: Chance::new(event.chance),
            changed: BTreeMap::new(),
            removed: BTreeSet::new(),
            commands: Vec::new(),
            entered: Vec::new(),
            moves: VecDeque::new(),
            moves_made: 0,
            opened: 0,
            transitions: BTreeMap::new(),
        }
    }

    pub fn chance(&self) -> &Chance {
        &self.chance
    }

    pub fn later(&self, seconds: u64) -> Option<DateTime<Utc>> {
        self.at.checked_add_signed(TimeDelta::try_seconds(i64::try_from(seconds).ok()?)?)
    }

    pub fn frame(&self, id: FrameId) -> Option<&Frame> {
        if self.removed.contains(&id) {
            return None;
        }
        self.changed.get(&id).or_else(|| self.base.and_then(|base| base.frames.get(&id)))
    }

    /// The frame for changing; `None` if it is gone.
    pub fn frame_mut(&mut self, id: FrameId) -> Option<&mut Frame> {
        if !self.changed.contains_key(&id) {
            let copy = self.frame(id)?.clone();
            self.changed.insert(id, copy);
        }
        self.changed.get_mut(&id)
    }

    /// The frame that opened this one. Children are newer than their parents, so that every walk outwards ends, also in
    /// a snapshot that was damaged.
    pub fn parent(&self, id: FrameId) -> Option<FrameId> {
        self.frame(id)?.parent.filter(|parent| *parent < id)
    }

    /// The children of a frame that joins, in order: those that exist, however many its counters claim.
    pub fn children(&self, id: FrameId) -> Vec<FrameId> {
        let Some(Phase::Joining(join)) = self.frame(id).map(|frame| &frame.phase) else { return Vec::new() };
        let range = join.children();
        if range.start <= id {
            return Vec::new();
        }
        let mut found: BTreeSet<FrameId> = self.changed.range(range.clone()).map(|(id, _)| *id).collect();
        if let Some(base) = self.base {
            found.extend(base.frames.range(range).map(|(id, _)| *id).filter(|id| !self.removed.contains(id)));
        }
        found.into_iter().filter(|child| self.parent(*child) == Some(id)).collect()
    }

    /// The state that a frame stands in.
    pub fn state_of(&self, id: FrameId) -> Option<&'a State> {
        self.definition.state(&self.frame(id)?.state)
    }

    /// Refuses an event whose frame is gone, at another visit, or does something else.
    pub fn expect(&self, id: FrameId, visit: u64, what: &str, fits: impl Fn(&Phase) -> bool) -> Result<(), Rejected> {
        let frame = self.frame(id).ok_or(Rejected::NoFrame { frame: id })?;
        if frame.visit != visit {
            return Err(Rejected::Stale { frame: id, event: visit, frame_at: frame.visit });
        }
        if !fits(&frame.phase) {
            return Err(Rejected::Illegal {
                reason: format!("frame {id} in state `{}` does not stand at {what}", frame.state),
            });
        }
        Ok(())
    }

    /// New frames with consecutive numbers, queued, each with its input and its item. Answers the first's number.
    pub fn open_frames(
        &mut self,
        parent: Option<FrameId>,
        inputs: Vec<Payload>,
        items: Option<Vec<Payload>>,
    ) -> Result<FrameId, Failure> {
        let first = self.header.next_frame;
        self.opened = self.opened.saturating_add(inputs.len());
        let last = u64::try_from(inputs.len()).ok().and_then(|count| first.checked_add(count));
        if self.opened > MAX_OPENED || last.is_none() {
            let cause = format!("more than {MAX_OPENED} branches and items would begin at once: split the work");
            return Err(Failure::new("States.DataLimitExceeded", cause));
        }
        let mut items = items.unwrap_or_default().into_iter();
        for (index, input) in (0_u64..).zip(inputs) {
            let id = first.saturating_add(index);
            self.changed.insert(
                id,
                Frame {
                    id,
                    parent,
                    index,
                    state: String::new(),
                    visit: 0,
                    entered_at: self.at,
                    input,
                    item: items.next(),
                    variables: Map::new(),
                    retries: Vec::new(),
                    failure: None,
                    phase: Phase::Queued,
                },
            );
            self.header.next_frame = id.saturating_add(1);
        }
        Ok(first)
    }

    pub fn remove(&mut self, id: FrameId) {
        if matches!(self.frame(id).map(|frame| &frame.phase), Some(Phase::Attention { .. })) {
            self.header.in_attention = self.header.in_attention.saturating_sub(1);
        }
        self.changed.remove(&id);
        self.removed.insert(id);
    }

    /// Puts a frame into another phase and keeps the count of those in attention.
    pub fn set_phase(&mut self, id: FrameId, phase: Phase) {
        let was = matches!(self.frame(id).map(|frame| &frame.phase), Some(Phase::Attention { .. }));
        let is = matches!(phase, Phase::Attention { .. });
        if let Some(frame) = self.frame_mut(id) {
            frame.phase = phase;
            match (was, is) {
                (false, true) => self.header.in_attention = self.header.in_attention.saturating_add(1),
                (true, false) => self.header.in_attention = self.header.in_attention.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
        }
    }

    pub fn enter(&mut self, frame: FrameId, state: String, input: Payload) {
        self.moves.push_back(Move::Enter { frame, state, input });
    }

    pub fn end_frame(&mut self, frame: FrameId, output: Payload) {
        self.moves.push_back(Move::End { frame, output });
    }

    /// Makes the moves that are queued, and those that they lead to.
    pub fn run(&mut self) {
        while let Some(next) = self.moves.pop_front() {
            if self.header.outcome.is_some() {
                return;
            }
            self.moves_made = self.moves_made.saturating_add(1);
            match next {
                Move::Enter { frame, state, input } => {
                    let at = self.at;
                    let Some(entering) = self.frame_mut(frame) else { continue };
                    entering.state.clone_from(&state);
                    entering.input = input;
                    entering.entered_at = at;
                    entering.retries.clear();
                    entering.failure = None;
                    self.entered.push(Entered { frame, state });
                    let count = self.transitions.entry(frame).or_default();
                    *count = count.saturating_add(1);
                    if *count > MAX_TRANSITIONS || self.moves_made > MAX_MOVES {
                        // The frame stands in the state that it was about to enter, so that a retry goes on from there.
                        let cause = format!(
                            "more than {MAX_TRANSITIONS} transitions without waiting for anything: is there a loop?"
                        );
                        self.attend(frame, "States.Runtime", &cause);
                        continue;
                    }
                    self.begin(frame);
                }
                Move::End { frame, output } => self.branch_ended(frame, output),
            }
        }
    }

    /// Evaluates something against the frame's scope: `$` is `input`.
    pub fn evaluate<T>(
        &self,
        id: FrameId,
        input: &Value,
        look: impl FnOnce(&Scope) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let reads_context = self.state_of(id).is_none_or(|state| state.reads_context);
        let context = if reads_context { self.context(id) } else { Context::default() };
        let variables = self.variables(id);
        look(&Scope { input, context: &context, variables: &variables, chance: &self.chance })
    }

    /// The run ends: nothing of it works any more.
    pub fn end(&mut self, outcome: Outcome) {
        let all: Vec<FrameId> =
            self.base.iter().flat_map(|base| base.frames.keys()).chain(self.changed.keys()).copied().collect();
        for id in all {
            self.remove(id);
        }
        self.commands.retain(|command| matches!(command, Command::Tell { .. }));
        self.commands.push(Command::Tell { notice: Notice::Ended { outcome: outcome.clone() } });
        self.moves.clear();
        self.header.in_attention = 0;
        self.header.outcome = Some(outcome);
        self.header.ended_at = Some(self.at);
    }

    /// The run's own TimeoutSeconds passed. Whoever says so has waited for it: a clock that was set back since must not
    /// lose the only timer that the run has.
    pub fn time_out(&mut self) -> Result<(), Rejected> {
        if self.definition.timeout_s.is_none() {
            return Err(Rejected::Illegal { reason: "the run's definition sets no TimeoutSeconds".to_owned() });
        }
        let cause = "the run's TimeoutSeconds passed".to_owned();
        self.end(Outcome::Failed { error: "States.Timeout".to_owned(), cause });
        Ok(())
    }

    /// Whether there is still what the world would be told of: a branch may have opened a form, or come to attention, before
    /// another branch's failure in the same turn swept it away.
    fn is_current(&self, command: &Command) -> bool {
        match command {
            Command::Tell {
                notice: Notice::FormOpened { frame, visit, .. } | Notice::Attention { frame, visit, .. },
            } => self.frame(*frame).is_some_and(|standing| standing.visit == *visit),
            Command::Tell { notice: Notice::Told { .. } | Notice::Ended { .. } }
            | Command::SetRunTimer { .. }
            | Command::RunStep { .. }
            | Command::SetTimer { .. }
            | Command::OpenForm { .. }
            | Command::StartChild { .. }
            | Command::Forget { .. } => true,
        }
    }

    /// Closes the turn: one command a frame is left, and work that nothing replaced is forgotten.
    pub fn seal(mut self) -> Turn {
        self.header.revision = self.header.revision.saturating_add(1);
        let mut kept: BTreeMap<FrameId, Command> = BTreeMap::new();
        let mut commands = Vec::new();
        for command in std::mem::take(&mut self.commands) {
            match command.frame() {
                Some(frame) => {
                    kept.insert(frame, command);
                }
                None if self.is_current(&command) => commands.push(command),
                None => {}
            }
        }
        kept.retain(|frame, _| !self.removed.contains(frame));
        for id in self.changed.keys().chain(&self.removed) {
            let had = self.base.and_then(|base| base.frames.get(id)).is_some_and(|frame| frame.phase.has_work());
            if had && !kept.contains_key(id) {
                kept.insert(*id, Command::Forget { frame: *id });
            }
        }
        let existed = |id: &FrameId| self.base.is_some_and(|base| base.frames.contains_key(id));
        Turn {
            header: self.header,
            removed: self.removed.iter().filter(|id| existed(id)).copied().collect(),
            changed: self.changed.into_values().collect(),
            commands: kept.into_values().chain(commands).collect(),
            entered: self.entered,
        }
    }
}
