//! The one queue of everything that will happen: calls on their way, answers on their way back, timers, faults and people.
//!
//! Nothing happens outside an event. Time is virtual and stands still while code runs, every chance is drawn from the seed,
//! and a process only runs when an event has reached it, until all of its tasks wait again: the same seed is the same world.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use super::site::Site;
use crate::{engine::properties::generate::Dice, worker::core::lock};

/// Microseconds.
pub(super) const MILLISECOND: i64 = 1_000;
pub(super) const SECOND: i64 = 1_000_000;

/// One life of a process: it ends with a crash, and the next has another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Life {
    pub(super) process: usize,
    pub(super) number: u32,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Answered,
    /// It never arrives; the caller hears of a failure.
    Refused,
    /// It is done, and the caller hears of a failure.
    Lost,
}

pub(super) type Deliver = Box<dyn FnOnce() + Send>;
pub(super) type Do = Box<dyn FnOnce(Fate, &mut Site) -> Deliver + Send>;

/// Who a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum To {
    Store,
    Cloud,
}

pub(super) enum Event {
    Arrive {
        from: Life,
        to: To,
        kind: &'static str,
        fate: Fate,
        act: Do,
    },
    Deliver {
        at: Life,
        kind: &'static str,
        deliver: Deliver,
    },
    Timer {
        at: Life,
        tell: oneshot::Sender<()>,
    },
    Start {
        process: usize,
    },
    /// A process that was halted, as by SIGSTOP, goes on.
    Continue {
        process: usize,
    },
    /// The process is asked to drain.
    Drain {
        process: usize,
    },
    /// All clocks jump.
    Jump {
        by: i64,
    },
    /// The clock of one process jumps.
    Skew {
        process: usize,
        by: i64,
    },
    Outage {
        on: bool,
    },
    People,
    Postman,
}

/// How bad it is: chances in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) slow: u64,
    pub(super) throttled: u64,
    pub(super) cloud_lost: u64,
    pub(super) moods: u64,
    /// The store refuses everything.
    pub(super) outage: bool,
}

/// Something that somebody was told is so.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    /// A run was started under an idempotency key.
    Started {
        key: String,
        run: String,
    },
    /// What a person did carries this mark in its reason or answer.
    Acted {
        run: String,
        mark: String,
    },
    /// A step's checkpoint, which counts those of its visit.
    Saved {
        run: String,
        frame: u64,
        visit: u64,
        count: u64,
    },
    /// A text that a person or a log could see.
    Shown {
        text: String,
    },
    /// As many steps run at once in a process.
    Running {
        process: usize,
        now: usize,
    },
    Drained {
        process: usize,
    },
}

pub(super) struct Hub {
    state: Mutex<State>,
}

struct State {
    now: i64,
    number: u64,
    queue: BTreeMap<(i64, u64), Event>,
    dice: Dice,
    weather: Weather,
    told: Vec<Told>,
    met: BTreeMap<&'static str, u64>,
    hash: DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Hub {
    pub(super) fn new(seed: u64, weather: Weather, traced: bool) -> Self {
        let state = State {
            now: 1_700_000_000 * SECOND,
            number: 0,
            queue: BTreeMap::new(),
            dice: Dice::new(seed),
            weather,
            told: Vec::new(),
            met: BTreeMap::new(),
            hash: DefaultHasher::new(),
            lines: traced.then(Vec::new),
        };
        Self { state: Mutex::new(state) }
    }

    pub(super) fn now(&self) -> i64 {
        lock(&self.state).now
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        lock(&self.state).dice.below(bound.max(1))
    }

    pub(super) fn number(&self) -> u64 {
        lock(&self.state).dice.number()
    }

    pub(super) fn weather(&self) -> Weather {
        lock(&self.state).weather
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        lock(&self.state).weather = weather;
    }

    pub(super) fn post(&self, after: i64, event: Event) {
        let mut state = lock(&self.state);
        state.number += 1;
        let key = (state.now + after.max(0), state.number);
        state.queue.insert(key, event);
    }

    /// The next event; the clock moves to its time.
    pub(super) fn next(&self) -> Option<Event> {
        let mut state = lock(&self.state);
        let ((at, number), event) = state.queue.pop_first()?;
        state.now = state.now.max(at);
        (at, number).hash(&mut state.hash);
        Some(event)
    }

    pub(super) fn jump(&self, by: i64) {
        lock(&self.state).now += by;
    }

    pub(super) fn tell(&self, told: Told) {
        lock(&self.state).told.push(told);
    }

    pub(super) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut lock(&self.state).told)
    }

    /// Counts something that a world should meet.
    pub(super) fn meet(&self, what: &'static str) {
        *lock(&self.state).met.entry(what).or_default() += 1;
    }

    pub(super) fn met(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.state).met.clone()
    }

    /// Notes what happened: in the hash of the trace always, as a line when somebody reads it.
    pub(super) fn trace(&self, mark: impl std::hash::Hash, line: impl FnOnce() -> String) {
        let mut state = lock(&self.state);
        mark.hash(&mut state.hash);
        let now = state.now;
        if let Some(lines) = &mut state.lines {
            let seconds = now - 1_700_000_000 * SECOND;
            lines.push(format!("{:>12.6} {}", seconds as f64 / 1e6, line()));
        }
    }

    pub(super) fn hash(&self) -> u64 {
        lock(&self.state).hash.finish()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        lock(&self.state).lines.clone().unwrap_or_default()
    }

    /// Time on the way, one way.
    pub(super) fn way(&self) -> i64 {
        let state = lock(&self.state);
        let slow = state.dice.below(1_000) < state.weather.slow;
        let most = if slow { 8_000 } else { 12 };
        i64::try_from(state.dice.below(most) + 1).unwrap_or(1) * MILLISECOND / 2
    }

    fn fate(&self, to: To, kind: &'static str) -> Fate {
        let state = lock(&self.state);
        let weather = state.weather;
        let rolled = state.dice.below(1_000);
        let (refused, lost) = match to {
            To::Store if weather.outage => (1_000, 0),
            To::Store => (weather.refused, weather.lost),
            To::Cloud => (weather.throttled, weather.cloud_lost),
        };
        drop(state);
        if rolled < refused {
            self.meet(if to == To::Store { "store refused" } else { "throttled" });
            Fate::Refused
        } else if rolled < refused + lost {
            self.meet(match (to, kind) {
                (To::Store, "commit") => "commit reply lost",
                (To::Store, _) => "store reply lost",
                (To::Cloud, _) => "cloud reply lost",
            });
            Fate::Lost
        } else {
            Fate::Answered
        }
    }

    /// Sends a call and waits for its answer. Once sent it goes its way, whatever becomes of the caller.
    pub(super) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        from: Life,
        to: To,
        kind: &'static str,
        act: impl FnOnce(&mut Site) -> T + Send + 'static,
        failed: impl FnOnce(Fate) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = oneshot::channel();
        let act: Do = Box::new(move |fate, site| {
            let answer = match fate {
                Fate::Answered => act(site),
                Fate::Refused => failed(fate),
                Fate::Lost => {
                    let _ = act(site);
                    failed(fate)
                }
            };
            Box::new(move || {
                let _ = tell.send(answer);
            })
        });
        let fate = self.fate(to, kind);
        self.post(self.way(), Event::Arrive { from, to, kind, fate, act });
        match told.await {
            Ok(answer) => answer,
            // Only a process that has ended is never answered.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns after a time.
    pub(super) async fn sleep(self: &Arc<Self>, at: Life, after: i64) {
        let (tell, told) = oneshot::channel::<()>();
        self.post(after, Event::Timer { at, tell });
        if told.await.is_err() {
            std::future::pending().await
        }
    }
}
