//! The statements, one file each: the same names as SQLite's, and some that only a shared database needs.

pub(super) const ABSENT: &str = include_str!("queries/absent.sql");
pub(super) const ADD_RECORD: &str = include_str!("queries/add_record.sql");
pub(super) const ATTENTION_BY_ERROR: &str = include_str!("queries/attention_by_error.sql");
pub(super) const CHANGE_ENTERPRISE: &str = include_str!("queries/change_enterprise.sql");
pub(super) const CHECK_KEYS: &str = include_str!("queries/check_keys.sql");
pub(super) const CHECK_RUNS: &str = include_str!("queries/check_runs.sql");
pub(super) const CHECK_WORK: &str = include_str!("queries/check_work.sql");
pub(super) const CHILDREN: &str = include_str!("queries/children.sql");
pub(super) const CLAIM: &str = include_str!("queries/claim.sql");
pub(super) const CLAIMED_BEFORE: &str = include_str!("queries/claimed_before.sql");
pub(super) const DEFINITION: &str = include_str!("queries/definition.sql");
pub(super) const DELETE_FRAMES: &str = include_str!("queries/delete_frames.sql");
pub(super) const DELETE_RECORD: &str = include_str!("queries/delete_record.sql");
pub(super) const DELETE_WORK: &str = include_str!("queries/delete_work.sql");
pub(super) const DELETE_WORK_OF_RUNS: &str = include_str!("queries/delete_work_of_runs.sql");
pub(super) const DUE_BY_AGE: &str = include_str!("queries/due_by_age.sql");
pub(super) const ENTERPRISE: &str = include_str!("queries/enterprise.sql");
pub(super) const ENTERPRISES_KNOWN: &str = include_str!("queries/enterprises_known.sql");
pub(super) const ENTERPRISES_PAGE: &str = include_str!("queries/enterprises_page.sql");
pub(super) const EXCLUSIVE_OPEN: &str = include_str!("queries/exclusive_open.sql");
pub(super) const EXPIRE_LEASES: &str = include_str!("queries/expire_leases.sql");
pub(super) const FATE: &str = include_str!("queries/fate.sql");
pub(super) const FIND_RECORD: &str = include_str!("queries/find_record.sql");
pub(super) const HINT: &str = include_str!("queries/hint.sql");
pub(super) const HISTORY_PAGE: &str = include_str!("queries/history_page.sql");
pub(super) const HOLD_WORK: &str = include_str!("queries/hold_work.sql");
pub(super) const INSERT_DEFINITION: &str = include_str!("queries/insert_definition.sql");
pub(super) const INSERT_ENTERPRISE: &str = include_str!("queries/insert_enterprise.sql");
pub(super) const INSERT_HISTORY: &str = include_str!("queries/insert_history.sql");
pub(super) const INSERT_KEYS: &str = include_str!("queries/insert_keys.sql");
pub(super) const INSERT_LETTERS: &str = include_str!("queries/insert_letters.sql");
pub(super) const INSERT_OUTBOX: &str = include_str!("queries/insert_outbox.sql");
pub(super) const INSERT_PAYLOADS: &str = include_str!("queries/insert_payloads.sql");
pub(super) const INSERT_RUNS: &str = include_str!("queries/insert_runs.sql");
pub(super) const LAST_RUN: &str = include_str!("queries/last_run.sql");
pub(super) const LETTER_DONE: &str = include_str!("queries/letter_done.sql");
pub(super) const LETTER_KEEP: &str = include_str!("queries/letter_keep.sql");
pub(super) const LETTER_RESEND: &str = include_str!("queries/letter_resend.sql");
pub(super) const LETTERS_BY_ID: &str = include_str!("queries/letters_by_id.sql");
pub(super) const LETTERS_HOLD: &str = include_str!("queries/letters_hold.sql");
pub(super) const LETTERS_OF_RUNS: &str = include_str!("queries/letters_of_runs.sql");
pub(super) const LETTERS_PAGE: &str = include_str!("queries/letters_page.sql");
pub(super) const LOAD_PAYLOADS: &str = include_str!("queries/load_payloads.sql");
pub(super) const LOAD_RUN: &str = include_str!("queries/load_run.sql");
pub(super) const MARK: &str = include_str!("queries/mark.sql");
pub(super) const NEXT_DUE: &str = include_str!("queries/next_due.sql");
pub(super) const NOW: &str = include_str!("queries/now.sql");
pub(super) const OUTBOX_DONE: &str = include_str!("queries/outbox_done.sql");
pub(super) const OUTBOX_FAILED: &str = include_str!("queries/outbox_failed.sql");
pub(super) const OUTBOX_NEXT: &str = include_str!("queries/outbox_next.sql");
pub(super) const PRESENCE: &str = include_str!("queries/presence.sql");
pub(super) const PROBE_DROP: &str = include_str!("queries/probe_drop.sql");
pub(super) const PROBE_MAKE: &str = include_str!("queries/probe_make.sql");
pub(super) const PROBE_TOUCH: &str = include_str!("queries/probe_touch.sql");
pub(super) const RECORD: &str = include_str!("queries/record.sql");
pub(super) const RECORDS_PAGE: &str = include_str!("queries/records_page.sql");
pub(super) const REMOVE_WORK: &str = include_str!("queries/remove_work.sql");
pub(super) const REPLACE_RECORD: &str = include_str!("queries/replace_record.sql");
pub(super) const REPLACE_WORK: &str = include_str!("queries/replace_work.sql");
pub(super) const RUNS_PAGE: &str = include_str!("queries/runs_page.sql");
pub(super) const RUNS_PAGE_BY_STATUS: &str = include_str!("queries/runs_page_by_status.sql");
pub(super) const RUNS_PAGE_OF_ENTERPRISE: &str = include_str!("queries/runs_page_of_enterprise.sql");
pub(super) const SIGNAL_CHILDREN: &str = include_str!("queries/signal_children.sql");
pub(super) const STATS: &str = include_str!("queries/stats.sql");
pub(super) const UPDATE_RUNS: &str = include_str!("queries/update_runs.sql");
pub(super) const UPDATE_WORK: &str = include_str!("queries/update_work.sql");
pub(super) const UPSERT_FRAMES: &str = include_str!("queries/upsert_frames.sql");
pub(super) const UPSERT_RECORDS: &str = include_str!("queries/upsert_records.sql");
pub(super) const UPSERT_WORK: &str = include_str!("queries/upsert_work.sql");
pub(super) const WAKE_PARENTS: &str = include_str!("queries/wake_parents.sql");
pub(super) const WITHDRAW_LETTERS: &str = include_str!("queries/withdraw_letters.sql");
pub(super) const WITHDRAW_NOTICES: &str = include_str!("queries/withdraw_notices.sql");
pub(super) const WORK_OF_RUN: &str = include_str!("queries/work_of_run.sql");

/// Every statement by name, for the tests that prepare and explain them all.
#[cfg(test)]
pub(super) const ALL: &[(&str, &str)] = &[
    ("absent", ABSENT),
    ("add_record", ADD_RECORD),
    ("attention_by_error", ATTENTION_BY_ERROR),
    ("change_enterprise", CHANGE_ENTERPRISE),
    ("check_keys", CHECK_KEYS),
    ("check_runs", CHECK_RUNS),
    ("check_work", CHECK_WORK),
    ("children", CHILDREN),
    ("claim", CLAIM),
    ("claimed_before", CLAIMED_BEFORE),
    ("definition", DEFINITION),
    ("delete_frames", DELETE_FRAMES),
    ("delete_record", DELETE_RECORD),
    ("delete_work", DELETE_WORK),
    ("delete_work_of_runs", DELETE_WORK_OF_RUNS),
    ("due_by_age", DUE_BY_AGE),
    ("enterprise", ENTERPRISE),
    ("enterprises_known", ENTERPRISES_KNOWN),
    ("enterprises_page", ENTERPRISES_PAGE),
    ("exclusive_open", EXCLUSIVE_OPEN),
    ("expire_leases", EXPIRE_LEASES),
    ("fate", FATE),
    ("find_record", FIND_RECORD),
    ("hint", HINT),
    ("history_page", HISTORY_PAGE),
    ("hold_work", HOLD_WORK),
    ("insert_definition", INSERT_DEFINITION),
    ("insert_enterprise", INSERT_ENTERPRISE),
    ("insert_history", INSERT_HISTORY),
    ("insert_keys", INSERT_KEYS),
    ("insert_letters", INSERT_LETTERS),
    ("insert_outbox", INSERT_OUTBOX),
    ("insert_payloads", INSERT_PAYLOADS),
    ("insert_runs", INSERT_RUNS),
    ("last_run", LAST_RUN),
    ("letter_done", LETTER_DONE),
    ("letter_keep", LETTER_KEEP),
    ("letter_resend", LETTER_RESEND),
    ("letters_by_id", LETTERS_BY_ID),
    ("letters_hold", LETTERS_HOLD),
    ("letters_of_runs", LETTERS_OF_RUNS),
    ("letters_page", LETTERS_PAGE),
    ("load_payloads", LOAD_PAYLOADS),
    ("load_run", LOAD_RUN),
    ("mark", MARK),
    ("next_due", NEXT_DUE),
    ("now", NOW),
    ("outbox_done", OUTBOX_DONE),
    ("outbox_failed", OUTBOX_FAILED),
    ("outbox_next", OUTBOX_NEXT),
    ("presence", PRESENCE),
    ("probe_drop", PROBE_DROP),
    ("probe_make", PROBE_MAKE),
    ("probe_touch", PROBE_TOUCH),
    ("record", RECORD),
    ("records_page", RECORDS_PAGE),
    ("remove_work", REMOVE_WORK),
    ("replace_record", REPLACE_RECORD),
    ("replace_work", REPLACE_WORK),
    ("runs_page", RUNS_PAGE),
    ("runs_page_by_status", RUNS_PAGE_BY_STATUS),
    ("runs_page_of_enterprise", RUNS_PAGE_OF_ENTERPRISE),
    ("signal_children", SIGNAL_CHILDREN),
    ("stats", STATS),
    ("update_runs", UPDATE_RUNS),
    ("update_work", UPDATE_WORK),
    ("upsert_frames", UPSERT_FRAMES),
    ("upsert_records", UPSERT_RECORDS),
    ("upsert_work", UPSERT_WORK),
    ("wake_parents", WAKE_PARENTS),
    ("withdraw_letters", WITHDRAW_LETTERS),
    ("withdraw_notices", WITHDRAW_NOTICES),
    ("work_of_run", WORK_OF_RUN),
];
