//! Letters in memory.

use super::{Tables, page};
use crate::store::{
    Delivery, KeyUse, LetterRow, LetterState, LettersPage, Page, StoreError, codec, row::LetterChange, time,
};

/// A letter; times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mail {
    pub(crate) notice: i64,
    pub(crate) run: String,
    pub(crate) reader: String,
    pub(crate) about: Option<i64>,
    pub(crate) state: &'static str,
    pub(crate) created_at: i64,
    pub(crate) due_at: Option<i64>,
    pub(crate) held_until: Option<i64>,
    pub(crate) attempts: u32,
    pub(crate) failing_since: Option<i64>,
    pub(crate) address: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) ended_at: Option<i64>,
}

fn index(id: i64) -> Option<usize> {
    usize::try_from(id).ok()?.checked_sub(1)
}

fn is_open(mail: &Mail) -> bool {
    matches!(mail.state, "due" | "dead")
}

/// Whether a notice asks people for something.
fn asks(notice: &str) -> bool {
    let read: serde_json::Value = serde_json::from_str(notice).unwrap_or_default();
    matches!(read["notice"].as_str(), Some("form-opened" | "attention"))
}

impl Tables {
    pub(super) fn unsent_letters(&self) -> impl Iterator<Item = i64> {
        self.letters.iter().filter(|mail| mail.due_at.is_some()).map(|mail| mail.created_at)
    }

    pub(super) fn dead_letters(&self) -> usize {
        self.letters.iter().filter(|mail| mail.state == "dead").count()
    }

    pub(super) fn spread(&mut self, id: i64, readers: &[String], at: i64) {
        let Some(notice) = self.letter(id).filter(|notice| notice.due_at.is_some()) else { return };
        notice.due_at = None;
        notice.attempts += 1;
        for reader in readers {
            self.add_letter(id, reader, None, at);
        }
    }

    fn add_letter(&mut self, notice: i64, reader: &str, about: Option<i64>, at: i64) {
        let same = |mail: &Mail| mail.notice == notice && mail.reader == reader && mail.about == about;
        if self.letters.iter().any(same) {
            return;
        }
        let Some(run) = self.letter(notice).map(|notice| notice.run.clone()) else { return };
        self.letters.push(Mail {
            notice,
            run,
            reader: reader.to_owned(),
            about,
            state: "due",
            created_at: at,
            due_at: Some(at),
            held_until: None,
            attempts: 0,
            failing_since: None,
            address: None,
            error: None,
            ended_at: None,
        });
    }

    fn enterprise_of(&self, mail: &Mail) -> &str {
        self.run(&mail.run).map_or("", |run| run.enterprise.as_str())
    }

    pub(super) fn hold_letters(&mut self, now: i64, held_until: i64, limit: u32) -> Result<Vec<LetterRow>, StoreError> {
        let held = |mail: &Mail| mail.held_until.is_some_and(|until| until > now);
        let waiting = || self.letters.iter().enumerate().filter(|(_, mail)| mail.due_at.is_some());
        let mut due: Vec<(i64, usize)> = waiting()
            .filter(|(_, mail)| mail.due_at.is_some_and(|due| due <= now) && !held(mail))
            .filter(|(place, mail)| {
                let of_reader =
                    |other: &Mail| other.reader == mail.reader && self.enterprise_of(other) == self.enterprise_of(mail);
                !waiting().any(|(other_place, other)| {
                    other_place != *place
                        && of_reader(other)
                        && (held(other) || (other.due_at, other_place) < (mail.due_at, *place))
                })
            })
            .filter_map(|(place, mail)| Some((mail.due_at?, place)))
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for (_, place) in &due {
            if let Some(mail) = self.letters.get_mut(*place) {
                mail.held_until = Some(held_until);
            }
        }
        due.into_iter().map(|(_, place)| self.read_mail(place)).collect()
    }

    pub(super) fn keep_letter(&mut self, id: i64, held_until: i64, until: i64) -> bool {
        let mail = index(id).and_then(|place| self.letters.get_mut(place));
        let held = mail.filter(|mail| mail.due_at.is_some() && mail.held_until == Some(held_until));
        held.map(|mail| mail.held_until = Some(until)).is_some()
    }

    pub(super) fn end_letter(&mut self, id: i64, delivery: Delivery, at: i64) {
        let change = LetterChange::of(delivery, at);
        let Some(mail) = index(id).and_then(|place| self.letters.get_mut(place)) else { return };
        if mail.state != "due" && (change.state != "sent" || mail.state == "sent") {
            return;
        }
        mail.state = change.state;
        mail.due_at = change.due_at;
        mail.held_until = None;
        if change.failed {
            mail.attempts += 1;
            mail.failing_since = mail.failing_since.or(Some(at));
        }
        mail.address = change.address.or_else(|| mail.address.take());
        mail.error = change.error;
        mail.ended_at = change.ended_at;
        let notice = mail.notice;
        if let Some(reader) = change.tell {
            self.add_letter(notice, &reader, Some(id), at);
        }
    }

    pub(super) fn resend_once(&mut self, id: i64, at: i64, key: Option<KeyUse>) -> Result<bool, StoreError> {
        let waits = index(id).and_then(|place| self.letters.get(place)).is_some_and(is_open);
        if waits {
            self.is_unused(key.as_ref())?;
            self.use_key(key, "");
        }
        Ok(self.resend_letter(id, at))
    }

    fn resend_letter(&mut self, id: i64, at: i64) -> bool {
        let Some(mail) = index(id).and_then(|place| self.letters.get_mut(place)).filter(|mail| is_open(mail)) else {
            return false;
        };
        if mail.state == "dead" {
            mail.attempts = 0;
            mail.failing_since = None;
        }
        mail.state = "due";
        mail.due_at = Some(at);
        mail.ended_at = None;
        true
    }

    pub(super) fn withdraw(&mut self, run: &str, at: i64) {
        let asked: Vec<bool> = self.outbox.iter().map(|notice| asks(&notice.notice)).collect();
        for (notice, asks) in self.outbox.iter_mut().zip(&asked) {
            if notice.run == run && *asks {
                notice.due_at = None;
            }
        }
        for mail in self.letters.iter_mut().filter(|mail| mail.run == run && mail.about.is_none() && is_open(mail)) {
            if index(mail.notice).and_then(|place| asked.get(place)) == Some(&true) {
                mail.state = "withdrawn";
                mail.due_at = None;
                mail.held_until = None;
                mail.ended_at = Some(at);
                mail.error = Some("the run has ended".to_owned());
            }
        }
    }

    pub(super) fn letter_row(&self, id: i64) -> Result<Option<LetterRow>, StoreError> {
        let place = index(id).filter(|place| *place < self.letters.len());
        place.map(|place| self.read_mail(place)).transpose()
    }

    pub(super) fn letters_page(&self, asked: LettersPage) -> Result<Page<LetterRow>, StoreError> {
        let before: i64 = match asked.cursor {
            None => i64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| StoreError::NotFound { what: "cursor", id: cursor })?,
        };
        let mut rows = Vec::new();
        for place in (0..self.letters.len()).rev() {
            rows.push(self.read_mail(place)?);
        }
        rows.retain(|row| {
            matches!(row.state, LetterState::Due | LetterState::Dead)
                && row.id < before
                && asked.state == row.state
                && asked.enterprise.as_ref().is_none_or(|enterprise| *enterprise == row.enterprise)
        });
        Ok(page(rows, asked.limit, |last: &LetterRow| last.id.to_string()))
    }

    pub(super) fn letters_of(&self, runs: &[String]) -> Result<Vec<LetterRow>, StoreError> {
        let places = self.letters.iter().enumerate().filter(|(_, mail)| is_open(mail) && runs.contains(&mail.run));
        places.take(200).map(|(place, _)| self.read_mail(place)).collect()
    }

    fn read_mail(&self, place: usize) -> Result<LetterRow, StoreError> {
        let missing = || StoreError::corrupt("letter", "it is not there");
        let mail = self.letters.get(place).ok_or_else(missing)?;
        let notice = index(mail.notice).and_then(|place| self.outbox.get(place)).ok_or_else(missing)?;
        Ok(LetterRow {
            id: i64::try_from(place).unwrap_or(i64::MAX).saturating_add(1),
            enterprise: self.enterprise_of(mail).to_owned(),
            run: mail.run.clone(),
            noticed_at: time(notice.created_at),
            notice: codec::decode_notice(&notice.notice, &self.bodies(std::iter::once(notice.notice.as_str())))?,
            reader: mail.reader.clone(),
            about: mail.about,
            state: LetterState::parse(mail.state)?,
            due_at: mail.due_at.map(time),
            attempts: mail.attempts,
            failing_since: mail.failing_since.map(time),
            address: mail.address.clone(),
            error: mail.error.clone(),
            ended_at: mail.ended_at.map(time),
        })
    }
}
