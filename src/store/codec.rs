//! The texts of the rows. Values of more than 4 KB stand apart, under the hash of their text, so that a counter's update
//! never writes a big input again and history refers to the same row.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::engine::{
    Actor, ChildEnd, Event, EventKind, Frame, Header, Notice, Outcome, Payload, Phase, Snapshot, Standing,
};

/// Bytes of JSON above which a value stands apart.
const BIG: usize = 4_096;
/// Big values of one run whose hashes are remembered.
const REMEMBERED: usize = 16;

/// Big values on their way to the database, and the hashes of those that went before.
#[derive(Debug, Default)]
pub struct Blobs {
    /// By address. The payload kept here keeps the address from being used again.
    known: HashMap<usize, (Payload, String)>,
    new: Vec<(String, String)>,
}

impl Blobs {
    /// What has been put aside since the last call.
    pub(crate) fn take(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.new)
    }

    /// Forgets what was said to be stored, because its commit failed.
    pub fn forget(&mut self) {
        self.known.clear();
        self.new.clear();
    }

    /// Puts a big payload aside: leaves `null` and returns the hash.
    fn put_aside(&mut self, payload: &mut Payload) -> Result<Option<String>, serde_json::Error> {
        if !is_big(payload) {
            return Ok(None);
        }
        let address = std::ptr::from_ref::<Value>(payload).addr();
        let kept = std::mem::replace(payload, Payload::from(Value::Null));
        if let Some((_, hash)) = self.known.get(&address) {
            return Ok(Some(hash.clone()));
        }
        let body = serde_json::to_string(&kept)?;
        let hash = hex::encode(Sha256::digest(body.as_bytes()));
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(address, (kept, hash.clone()));
        self.new.push((hash.clone(), body));
        Ok(Some(hash))
    }
}

/// Whether the value's JSON has more than [`BIG`] bytes, by a count that stops there.
fn is_big(value: &Value) -> bool {
    fn count(value: &Value, left: usize) -> Option<usize> {
        match value {
            Value::Null | Value::Bool(_) => left.checked_sub(4),
            Value::Number(_) => left.checked_sub(8),
            Value::String(text) => left.checked_sub(text.len() + 2),
            Value::Array(items) => items.iter().try_fold(left, |left, item| count(item, left.checked_sub(1)?)),
            Value::Object(members) => {
                members.iter().try_fold(left, |left, (name, member)| count(member, left.checked_sub(name.len() + 4)?))
            }
        }
    }
    count(value, BIG).is_none()
}

#[derive(Serialize, Deserialize)]
struct StoredFrame {
    #[serde(flatten)]
    frame: Frame,
    #[serde(rename = "input@", default, skip_serializing_if = "Option::is_none")]
    input_at: Option<String>,
    #[serde(rename = "item@", default, skip_serializing_if = "Option::is_none")]
    item_at: Option<String>,
    #[serde(rename = "output@", default, skip_serializing_if = "Option::is_none")]
    output_at: Option<String>,
}

/// The header without what stands in columns, and the root frame.
#[derive(Serialize, Deserialize)]
struct StoredState {
    started_at: chrono::DateTime<chrono::Utc>,
    started_by: Actor,
    input: Payload,
    #[serde(rename = "input@", default, skip_serializing_if = "Option::is_none")]
    input_at: Option<String>,
    next_frame: u64,
    #[serde(default, skip_serializing_if = "is_none")]
    in_attention: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(rename = "output@", default, skip_serializing_if = "Option::is_none")]
    output_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<chrono::DateTime<chrono::Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<StoredFrame>,
}

// What most runs have in common is not written: of a hundred thousand that wait, each byte is a page more.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

#[derive(Serialize, Deserialize)]
struct StoredEvent {
    #[serde(flatten)]
    event: Event,
    #[serde(rename = "payload@", default, skip_serializing_if = "Option::is_none")]
    payload_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredNotice {
    #[serde(flatten)]
    notice: Notice,
    #[serde(rename = "payload@", default, skip_serializing_if = "Option::is_none")]
    payload_at: Option<String>,
}

/// A value on its own: itself, or the hash of a big one.
#[derive(Serialize, Deserialize)]
enum StoredValue {
    #[serde(rename = "is")]
    Is(Payload),
    #[serde(rename = "at")]
    At(String),
}

fn phase_payload(phase: &mut Phase) -> Option<&mut Payload> {
    match phase {
        Phase::Done { output } => Some(output),
        _ => None,
    }
}

fn outcome_payload(outcome: &mut Option<Outcome>) -> Option<&mut Payload> {
    match outcome {
        Some(Outcome::Succeeded { output }) => Some(output),
        Some(Outcome::Failed { .. } | Outcome::Cancelled { .. }) | None => None,
    }
}

fn event_payload(kind: &mut EventKind) -> Option<&mut Payload> {
    match kind {
        EventKind::Started { input, .. } => Some(input),
        EventKind::StepSucceeded { output, .. } => Some(output),
        EventKind::FormAnswered { answer, .. } => Some(answer),
        EventKind::ChildEnded { end: ChildEnd::Succeeded { output }, .. } => Some(output),
        EventKind::Retried { input, .. } => input.as_mut(),
        EventKind::Skipped { output, .. } => output.as_mut(),
        _ => None,
    }
}

fn notice_payload(notice: &mut Notice) -> Option<&mut Payload> {
    match notice {
        Notice::FormOpened { input, .. } => Some(input),
        Notice::Told { about, .. } => Some(about),
        Notice::Ended { outcome: Outcome::Succeeded { output } } => Some(output),
        Notice::Ended { .. } | Notice::Attention { .. } => None,
    }
}

fn aside(payload: Option<&mut Payload>, blobs: &mut Blobs) -> Result<Option<String>, serde_json::Error> {
    payload.map_or(Ok(None), |payload| blobs.put_aside(payload))
}

fn stored_frame(frame: &Frame, blobs: &mut Blobs) -> Result<StoredFrame, serde_json::Error> {
    let mut frame = frame.clone();
    let input_at = blobs.put_aside(&mut frame.input)?;
    let item_at = aside(frame.item.as_mut(), blobs)?;
    let output_at = aside(phase_payload(&mut frame.phase), blobs)?;
    Ok(StoredFrame { frame, input_at, item_at, output_at })
}

pub(super) fn encode_frame(frame: &Frame, blobs: &mut Blobs) -> Result<String, serde_json::Error> {
    serde_json::to_string(&stored_frame(frame, blobs)?)
}

pub(super) fn encode_state(
    header: &Header,
    root: Option<&Frame>,
    blobs: &mut Blobs,
) -> Result<String, serde_json::Error> {
    let mut input = header.input.clone();
    let mut outcome = header.outcome.clone();
    let input_at = blobs.put_aside(&mut input)?;
    let output_at = aside(outcome_payload(&mut outcome), blobs)?;
    serde_json::to_string(&StoredState {
        started_at: header.started_at,
        started_by: header.started_by.clone(),
        input,
        input_at,
        next_frame: header.next_frame,
        in_attention: header.in_attention,
        paused: header.paused,
        outcome,
        output_at,
        ended_at: header.ended_at,
        root: root.map(|root| stored_frame(root, blobs)).transpose()?,
    })
}

pub(super) fn encode_event(event: &Event, blobs: &mut Blobs) -> Result<String, serde_json::Error> {
    let mut event = event.clone();
    let payload_at = aside(event_payload(&mut event.kind), blobs)?;
    serde_json::to_string(&StoredEvent { event, payload_at })
}

pub(super) fn encode_notice(notice: &Notice, blobs: &mut Blobs) -> Result<String, serde_json::Error> {
    let mut notice = notice.clone();
    let payload_at = aside(notice_payload(&mut notice), blobs)?;
    serde_json::to_string(&StoredNotice { notice, payload_at })
}

pub(super) fn encode_value(value: &Payload, blobs: &mut Blobs) -> Result<String, serde_json::Error> {
    let mut value = value.clone();
    serde_json::to_string(&match blobs.put_aside(&mut value)? {
        Some(hash) => StoredValue::At(hash),
        None => StoredValue::Is(value),
    })
}

/// The columns that a header is read from besides its state.
pub(super) struct Columns {
    pub(super) run: String,
    pub(super) enterprise: String,
    pub(super) workflow: String,
    pub(super) definition: String,
    pub(super) revision: u64,
}

/// Bodies of big values by hash.
pub(super) type Bodies = HashMap<String, Payload>;

fn parse<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt(what, error))
}

fn put_back(payload: Option<&mut Payload>, hash: Option<&String>, bodies: &Bodies) -> Result<(), StoreError> {
    let (Some(payload), Some(hash)) = (payload, hash) else { return Ok(()) };
    *payload = bodies
        .get(hash)
        .cloned()
        .ok_or_else(|| StoreError::corrupt("payload", format!("{hash} is missing or is not what its hash says")))?;
    Ok(())
}

/// The hashes that a text refers to. Members whose name ends in `@` are keyferry's own at the places where they are read;
/// one more found inside a value costs a lookup and nothing else.
pub(super) fn references(text: &str) -> Vec<String> {
    ["\"input@\":\"", "\"item@\":\"", "\"output@\":\"", "\"payload@\":\"", "{\"at\":\""]
        .iter()
        .flat_map(|mark| text.match_indices(mark).map(|(start, mark)| start + mark.len()))
        .filter_map(|start| text.get(start..start + 64))
        .filter(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_owned)
        .collect()
}

fn restore_frame(mut stored: StoredFrame, bodies: &Bodies) -> Result<Frame, StoreError> {
    put_back(Some(&mut stored.frame.input), stored.input_at.as_ref(), bodies)?;
    put_back(stored.frame.item.as_mut(), stored.item_at.as_ref(), bodies)?;
    put_back(phase_payload(&mut stored.frame.phase), stored.output_at.as_ref(), bodies)?;
    Ok(stored.frame)
}

pub(super) fn decode_run(
    columns: Columns,
    state: &str,
    frames: &[String],
    bodies: &Bodies,
) -> Result<Snapshot, StoreError> {
    let mut stored: StoredState = parse("run", state)?;
    put_back(Some(&mut stored.input), stored.input_at.as_ref(), bodies)?;
    put_back(outcome_payload(&mut stored.outcome), stored.output_at.as_ref(), bodies)?;
    let mut all = std::collections::BTreeMap::new();
    if let Some(root) = stored.root {
        all.insert(0, restore_frame(root, bodies)?);
    }
    for text in frames {
        let frame = restore_frame(parse("frame", text)?, bodies)?;
        all.insert(frame.id, frame);
    }
    Ok(Snapshot {
        header: Header {
            run: columns.run,
            enterprise: columns.enterprise,
            workflow: columns.workflow,
            definition: columns.definition,
            revision: columns.revision,
            started_at: stored.started_at,
            started_by: stored.started_by,
            input: stored.input,
            next_frame: stored.next_frame,
            in_attention: stored.in_attention,
            paused: stored.paused,
            outcome: stored.outcome,
            ended_at: stored.ended_at,
        },
        frames: all,
    })
}

pub(super) fn restore_event(text: &str, bodies: &Bodies) -> Result<Event, StoreError> {
    let mut stored: StoredEvent = parse("event", text)?;
    put_back(event_payload(&mut stored.event.kind), stored.payload_at.as_ref(), bodies)?;
    Ok(stored.event)
}

/// An event from the text of its row, when its payload does not stand apart.
///
/// # Errors
/// The text is no event, or its payload stands apart.
pub fn decode_event(text: &str) -> Result<Event, StoreError> {
    restore_event(text, &Bodies::new())
}

pub(super) fn decode_notice(text: &str, bodies: &Bodies) -> Result<Notice, StoreError> {
    let mut stored: StoredNotice = parse("notice", text)?;
    put_back(notice_payload(&mut stored.notice), stored.payload_at.as_ref(), bodies)?;
    Ok(stored.notice)
}

pub(super) fn decode_value(text: &str, bodies: &Bodies) -> Result<Payload, StoreError> {
    match parse("value", text)? {
        StoredValue::Is(payload) => Ok(payload),
        StoredValue::At(hash) => {
            let mut payload = Payload::from(Value::Null);
            put_back(Some(&mut payload), Some(&hash), bodies)?;
            Ok(payload)
        }
    }
}

/// The hash of a history row: over the one before and the bytes that are stored.
pub fn chain(previous: &[u8], event: &str, entered: &str) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(event.as_bytes());
    digest.update(entered.as_bytes());
    digest.finalize().to_vec()
}

/// The word that a standing is stored and spoken as.
pub(super) fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Working => "working",
        Standing::Waiting => "waiting",
        Standing::Attention => "attention",
        Standing::Paused => "paused",
        Standing::Succeeded => "succeeded",
        Standing::Failed => "failed",
        Standing::Cancelled => "cancelled",
    }
}
