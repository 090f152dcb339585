//! Faults that are asked for: what AWS does on a bad day, on demand, so that tests can prove that keyferry gets over it.
//!
//! Rules are looked at in the order they were added; the first that fits a call decides. They live in memory: a sandbox
//! that is opened again starts without.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The service's throttling error; no effect.
    Throttle,
    /// The effect happens, then the connection breaks before the answer.
    LostReply,
    /// Any error, for example `KMSInternalException`; no effect.
    Error { code: String, message: String, status: u16 },
    /// The call waits this many milliseconds of wall time, then goes on.
    Delay { milliseconds: u64 },
    /// HTTP 503; no effect.
    Unavailable,
}

/// When something goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule {
    /// `kms`, `rds` or `sts`; none: any.
    #[serde(default)]
    pub service: Option<String>,
    /// The operation's name; none: any.
    #[serde(default)]
    pub action: Option<String>,
    /// Only the n-th fitting call from now, counted from 1; none: every one.
    #[serde(default)]
    pub nth: Option<u32>,
    /// How many calls it may still spoil; none: without end.
    #[serde(default)]
    pub remaining: Option<u32>,
    #[serde(flatten)]
    pub kind: FaultKind,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each rule with how many calls have fitted it.
    rules: Vec<(FaultRule, u32)>,
    policy_delay: Duration,
}

/// A sandbox's faults; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Inner>>);

impl Faults {
    pub fn add(&self, rule: FaultRule) {
        self.lock().rules.push((rule, 0));
    }

    /// Drops all rules and the propagation delay.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// The rules that are left, in order.
    pub fn rules(&self) -> Vec<FaultRule> {
        self.lock().rules.iter().map(|(rule, _)| rule.clone()).collect()
    }

    /// Lets changed key policies take effect only after this much sandbox time, as they may in AWS.
    pub fn set_policy_delay(&self, delay: Duration) {
        self.lock().policy_delay = delay;
    }

    pub fn policy_delay(&self) -> Duration {
        self.lock().policy_delay
    }

    /// The fault that strikes this call, if any; it counts.
    pub(super) fn strike(&self, service: &str, action: &str) -> Option<FaultKind> {
        let mut inner = self.lock();
        let mut struck = None;
        for (rule, seen) in &mut inner.rules {
            let fits = rule.service.as_deref().is_none_or(|name| name == service)
                && rule.action.as_deref().is_none_or(|name| name == action);
            if !fits {
                continue;
            }
            *seen = seen.saturating_add(1);
            if rule.remaining == Some(0) || rule.nth.is_some_and(|nth| nth != *seen) {
                continue;
            }
            rule.remaining = rule.remaining.map(|left| left - 1);
            struck = Some(rule.kind.clone());
            break;
        }
        inner.rules.retain(|(rule, seen)| rule.remaining != Some(0) && rule.nth.is_none_or(|nth| *seen < nth));
        struck
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: &str, nth: Option<u32>, remaining: Option<u32>) -> FaultRule {
        FaultRule { service: None, action: Some(action.to_owned()), nth, remaining, kind: FaultKind::Throttle }
    }

    #[test]
    fn the_nth_rule_strikes_once_and_then_is_gone() {
        let faults = Faults::default();
        faults.add(rule("Encrypt", Some(2), None));
        let struck: Vec<bool> = (0..4).map(|_| faults.strike("kms", "Encrypt").is_some()).collect();
        assert_eq!(struck, [false, true, false, false]);
        assert!(faults.rules().is_empty());
    }

    #[test]
    fn a_limited_rule_strikes_as_often_as_it_may_and_only_its_action() {
        let faults = Faults::default();
        faults.add(rule("Encrypt", None, Some(2)));
        assert_eq!(faults.strike("kms", "Decrypt"), None);
        let struck: Vec<bool> = (0..3).map(|_| faults.strike("kms", "Encrypt").is_some()).collect();
        assert_eq!(struck, [true, true, false]);
    }
}
