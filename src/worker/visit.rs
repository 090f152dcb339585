//! The name of a visit: what a person saw of a run, and what their verb is about.
//!
//! It names run, frame and visit at once, so that what a person decided can reach nothing else: not the next state of the frame,
//! not another branch, not the run that waits for a child. It is short enough to be typed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::engine::FrameId;

/// A frame's stay at one place of one run, as `RUN-FRAME-VISIT`: `1f9c03ab-2-5`. RUN is the beginning of the SHA-256 of the run's
/// identifier, and is looked for among a run and those that it has started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Visit {
    run: String,
    frame: FrameId,
    number: u64,
}

/// A text that is not the name of a visit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a visit as `keyferry run show` prints it, for example 1f9c03ab-2-5")]
pub struct NoVisit(String);

fn short(run: &str) -> String {
    hex::encode(Sha256::digest(run.as_bytes()).iter().take(4).copied().collect::<Vec<u8>>())
}

impl Visit {
    pub fn of(run: &str, frame: FrameId, number: u64) -> Self {
        Self { run: short(run), frame, number }
    }

    /// Whether it is of this run.
    pub fn is_of(&self, run: &str) -> bool {
        self.run == short(run)
    }

    pub fn frame(&self) -> FrameId {
        self.frame
    }

    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.run, self.frame, self.number)
    }
}

impl FromStr for Visit {
    type Err = NoVisit;

    fn from_str(text: &str) -> Result<Self, NoVisit> {
        let parse = || {
            let (run, rest) = text.split_once('-')?;
            let (frame, number) = rest.split_once('-')?;
            let is_hash = run.len() == 8 && run.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !is_hash || !digits(frame) || !digits(number) {
                return None;
            }
            Some(Self { run: run.to_owned(), frame: frame.parse().ok()?, number: number.parse().ok()? })
        };
        parse().ok_or_else(|| NoVisit(text.to_owned()))
    }
}

impl TryFrom<String> for Visit {
    type Error = NoVisit;

    fn try_from(text: String) -> Result<Self, NoVisit> {
        text.parse()
    }
}

impl From<Visit> for String {
    fn from(visit: Visit) -> Self {
        visit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_read_as_it_is_written_and_is_of_one_run() {
        let visit = Visit::of("run-7", 2, 5);
        assert_eq!(visit.to_string().parse(), Ok(visit.clone()));
        assert!(visit.is_of("run-7") && !visit.is_of("run-8"));
        assert_eq!((visit.frame(), visit.number()), (2, 5));
        let json = serde_json::to_value(&visit).expect("it is text");
        assert_eq!(json, visit.to_string());
        assert_eq!(serde_json::from_value::<Visit>(json).expect("it is read"), visit);
    }

    #[test]
    fn what_is_no_visit_is_refused_with_an_example() {
        for wrong in
            ["", "5", "0-5", "1f9c03ab-2", "1f9c03ab-2-", "1f9c03ab-+2-5", "1F9C03AB-2-5", "1f9c03ab-2-5-6", "run-7-2"]
        {
            let refused = wrong.parse::<Visit>().expect_err(wrong);
            assert!(refused.to_string().contains("1f9c03ab-2-5"), "{refused}");
        }
    }
}
