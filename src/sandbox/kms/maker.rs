//! Where RSA key pairs are made: a few at a time, behind everything else that the process does, in turns between those who ask,
//! and some ahead. Each takes up to seconds of a core, and whoever asks for many must not keep others from theirs.

use std::{
    collections::{HashMap, VecDeque},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;

use super::pairs::Pair;
use crate::sandbox::AwsError;

type Made = Result<Option<Pair>, AwsError>;

/// Pairs that are kept of each spec that was asked for.
const AHEAD: usize = 4;
/// Added to the niceness of the threads that make pairs.
const NICER: i32 = 10;

static MAKER: LazyLock<Maker> =
    LazyLock::new(|| Maker::new(thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))));

/// A pair of `spec` for `who`, made now or before; none for a spec that has none. Whoever stops waiting has none made.
pub async fn pair(spec: &str, who: &str) -> Made {
    MAKER.pair(spec, who).await
}

struct Maker {
    most: usize,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    /// Threads at work.
    threads: usize,
    /// Who waits, in the order of their turns, and for what.
    waiting: VecDeque<(String, VecDeque<Order>)>,
    ahead: HashMap<String, Vec<Pair>>,
}

struct Order {
    spec: String,
    made: oneshot::Sender<Made>,
}

impl Work {
    fn order(&mut self, who: &str, order: Order) {
        match self.waiting.iter_mut().find(|(waiting, _)| waiting == who) {
            Some((_, orders)) => orders.push_back(order),
            None => self.waiting.push_back((who.to_owned(), VecDeque::from([order]))),
        }
    }

    /// The next order of whose turn it is, of those who still wait.
    fn next(&mut self) -> Option<Order> {
        while let Some((who, mut orders)) = self.waiting.pop_front() {
            while orders.front().is_some_and(|order| order.made.is_closed()) {
                orders.pop_front();
            }
            if let Some(order) = orders.pop_front() {
                self.waiting.push_back((who, orders));
                return Some(order);
            }
        }
        None
    }

    /// A spec of which too few are there.
    fn lacking(&self) -> Option<String> {
        self.ahead.iter().find(|(_, pairs)| pairs.len() < AHEAD).map(|(spec, _)| spec.clone())
    }

    fn keep(&mut self, spec: &str, made: Made) {
        if let (Some(pairs), Ok(Some(pair))) = (self.ahead.get_mut(spec), made)
            && pairs.len() < AHEAD
        {
            pairs.push(pair);
        }
    }
}

impl Maker {
    fn new(most: usize) -> Self {
        Self { most, work: Mutex::default() }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pair(&'static self, spec: &str, who: &str) -> Made {
        if !spec.starts_with("RSA_") {
            return Pair::generate(spec);
        }
        let (made, coming) = oneshot::channel();
        let ready = {
            let mut work = self.work();
            let ready = work.ahead.entry(spec.to_owned()).or_default().pop();
            if ready.is_none() {
                work.order(who, Order { spec: spec.to_owned(), made });
            }
            if work.threads < self.most {
                work.threads += 1;
                thread::spawn(|| self.make());
            }
            ready
        };
        match ready {
            Some(pair) => Ok(Some(pair)),
            None => coming.await.unwrap_or_else(|_| Err(super::errors::internal("no key pair could be made"))),
        }
    }

    /// Makes what was ordered, then what is lacking, and ends.
    fn make(&self) {
        // Where the system does not grant it, pairs are made beside the rest.
        rustix::process::nice(NICER).ok();
        loop {
            let mut work = self.work();
            let order = work.next();
            let Some(spec) = order.as_ref().map(|order| order.spec.clone()).or_else(|| work.lacking()) else {
                work.threads -= 1;
                return;
            };
            drop(work);
            let made = Pair::generate(&spec);
            let unwanted = match order {
                None => made,
                Some(order) => match order.made.send(made) {
                    Ok(()) => continue,
                    Err(made) => made,
                },
            };
            let failed = unwanted.is_err();
            let mut work = self.work();
            work.keep(&spec, unwanted);
            if failed {
                // The next order tries again; nobody waits for what is made ahead.
                work.ahead.remove(&spec);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(work: &mut Work, who: &str, spec: &str) -> oneshot::Receiver<Made> {
        let (made, coming) = oneshot::channel();
        work.order(who, Order { spec: spec.to_owned(), made });
        coming
    }

    #[test]
    fn who_asks_for_many_takes_turns_with_the_others_and_who_has_gone_has_none() {
        let mut work = Work::default();
        let _many: Vec<_> = (0..3).map(|number| order(&mut work, "many", &format!("many {number}"))).collect();
        let _one = order(&mut work, "one", "one");
        drop(order(&mut work, "gone", "gone"));
        drop(order(&mut work, "one", "one gone"));
        let _last = order(&mut work, "one", "one last");
        let turns: Vec<String> = std::iter::from_fn(|| work.next()).map(|order| order.spec).collect();
        assert_eq!(turns, ["many 0", "one", "many 1", "one last", "many 2"]);
    }

    #[tokio::test]
    async fn pairs_that_nobody_waits_for_are_kept_for_the_next_but_not_without_bound() {
        static ONE: LazyLock<Maker> = LazyLock::new(|| Maker::new(1));
        let first = ONE.pair("RSA_2048", "one").await.expect("made").expect("a pair");
        let is_at_work = || ONE.work().threads > 0;
        while is_at_work() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ONE.work().ahead["RSA_2048"].len(), AHEAD);
        let second = ONE.pair("RSA_2048", "two").await.expect("made").expect("a pair");
        assert_ne!(first.public_spki, second.public_spki, "a pair is given out once");
        assert_eq!(ONE.pair("SM2", "one").await.expect("no failure").map(|pair| pair.public_spki), None);
    }
}
