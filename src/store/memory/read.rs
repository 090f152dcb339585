//! Reading the texts back into data.

use std::collections::HashMap;

use super::{Letter, Run, Tables, page};
use crate::{
    engine::Payload,
    store::{
        Child, HistoryPage, HistoryRecord, Loaded, OutboxRow, Page, RunsPage, StoreError, StoredWork,
        codec::{self, Bodies, Columns},
        time,
    },
};

impl Tables {
    /// The big values that the texts refer to.
    pub(super) fn bodies<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Bodies {
        let mut bodies = HashMap::new();
        for hash in texts.flat_map(codec::references) {
            if let Some(body) = self.payloads.get(&hash)
                && let Ok(value) = serde_json::from_str::<serde_json::Value>(body)
            {
                bodies.insert(hash, Payload::from(value));
            }
        }
        bodies
    }

    pub(super) fn value(&self, text: &str) -> Result<Payload, StoreError> {
        codec::decode_value(text, &self.bodies(std::iter::once(text)))
    }

    fn known(&self, id: &str) -> Result<&Run, StoreError> {
        self.run(id).ok_or_else(|| StoreError::NotFound { what: "run", id: id.to_owned() })
    }

    pub(crate) fn load(&self, id: &str) -> Result<Loaded, StoreError> {
        let run = self.known(id)?;
        let frames: Vec<String> = run.frames.values().cloned().collect();
        let bodies = self.bodies(frames.iter().map(String::as_str).chain([run.state.as_str()]));
        let columns = Columns {
            run: run.id.clone(),
            enterprise: run.enterprise.clone(),
            workflow: run.workflow.clone(),
            definition: run.definition.clone(),
            revision: run.revision,
        };
        Ok(Loaded {
            snapshot: codec::decode_run(columns, &run.state, &frames, &bodies)?,
            parent: run.start.parent.clone(),
            exclusive: run.start.exclusive,
            head: run.head.clone(),
        })
    }

    pub(super) fn work(&self, id: &str) -> Result<Vec<StoredWork>, StoreError> {
        let Some(run) = self.run(id) else { return Ok(Vec::new()) };
        run.work
            .iter()
            .map(|(frame, work)| {
                Ok(StoredWork {
                    frame: *frame,
                    visit: work.visit,
                    kind: work.kind,
                    name: work.name.clone(),
                    input: self.value(&work.input)?,
                    due_at: work.due_at.map(time),
                    held: work.held,
                    fence: work.fence,
                    attempt: work.attempt,
                    crashes: work.crashes,
                    owner: work.lease.as_ref().map(|lease| lease.owner.clone()),
                    lease_until: work.lease.as_ref().map(|lease| time(lease.until)),
                    deadline: work.deadline.map(time),
                    checkpoint: work.checkpoint.clone(),
                    waiting_for: work.waiting_for.clone(),
                    since: time(work.since),
                })
            })
            .collect()
    }

    pub(super) fn children(&self, id: &str) -> Vec<Child> {
        let of_parent = self.runs.iter().filter_map(|run| {
            let parent = run.start.parent.as_ref().filter(|parent| parent.run == id)?;
            Some(Child { run: run.id.clone(), frame: parent.frame, visit: parent.visit, open: run.ended_at.is_none() })
        });
        of_parent.collect()
    }

    pub(super) fn runs_page(&self, asked: RunsPage) -> Result<Page<String>, StoreError> {
        let before: usize = match asked.cursor {
            None => usize::MAX,
            Some(cursor) => cursor.parse().map_err(|_| StoreError::NotFound { what: "cursor", id: cursor })?,
        };
        let wanted = |run: &Run| {
            asked.enterprise.as_ref().is_none_or(|enterprise| *enterprise == run.enterprise)
                && asked.workflow.as_ref().is_none_or(|workflow| *workflow == run.workflow)
                && asked.status.as_ref().is_none_or(|status| status == run.status)
        };
        let newest_first = self.runs.iter().enumerate().rev().map(|(index, run)| (index + 1, run));
        let items = newest_first
            .filter(|(number, run)| *number < before && wanted(run))
            .map(|(number, run)| (number, run.id.clone()))
            .collect();
        let page = page(items, asked.limit, |(number, _)| number.to_string());
        Ok(Page { items: page.items.into_iter().map(|(_, id)| id).collect(), next: page.next })
    }

    pub(super) fn history(&self, asked: &HistoryPage) -> Result<Vec<HistoryRecord>, StoreError> {
        let Some(run) = self.run(&asked.run) else { return Ok(Vec::new()) };
        let rows = (1_u64..).zip(&run.history).filter(|(seq, _)| *seq > asked.after);
        let rows = rows.take(usize::try_from(asked.limit).unwrap_or(usize::MAX));
        let records = rows.map(|(seq, row)| HistoryRecord {
            seq,
            hash: row.hash.clone(),
            event_text: row.event.clone(),
            entered_text: row.entered.clone(),
            event: codec::restore_event(&row.event, &self.bodies(std::iter::once(row.event.as_str()))),
        });
        Ok(records.collect())
    }

    pub(super) fn letter(&mut self, id: i64) -> Option<&mut Letter> {
        self.outbox.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    pub(super) fn outbox(&self, now: i64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let mut due: Vec<(i64, i64, &Letter)> = (1_i64..)
            .zip(&self.outbox)
            .filter_map(|(id, letter)| Some((letter.due_at.filter(|due| *due <= now)?, id, letter)))
            .collect();
        due.sort_by_key(|(due, id, _)| (*due, *id));
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        due.into_iter()
            .map(|(_, id, letter)| {
                Ok(OutboxRow {
                    id,
                    created_at: time(letter.created_at),
                    enterprise: self.known(&letter.run)?.enterprise.clone(),
                    run: letter.run.clone(),
                    notice: codec::decode_notice(
                        &letter.notice,
                        &self.bodies(std::iter::once(letter.notice.as_str())),
                    )?,
                    attempts: letter.attempts,
                })
            })
            .collect()
    }
}
