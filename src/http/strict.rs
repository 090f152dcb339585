//! JSON as it was written, or refused: what a parser reads otherwise than it stands there.
//!
//! RFC 8259 leaves it to the parser what becomes of a member that is there twice and of numbers beyond a double. A run's input
//! or an answer would then be kept as something that nobody wrote, so such a text is refused with the place.

use std::collections::HashSet;

use serde::de::IgnoredAny;

/// Deeper nesting is refused: nothing that people or programs send has it, and a store could not read it back.
const DEEPEST: usize = 100;

/// Where a text would be read otherwise than it was written, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", if pointer.is_empty() { "the whole" } else { pointer })]
pub struct Inexact {
    /// A JSON pointer; empty for the whole.
    pub pointer: String,
    pub what: String,
}

/// What is open at a place of the text.
enum Open {
    Object { members: HashSet<String>, member: String, is_name: bool },
    Array { index: usize },
}

/// Whether `text` means what stands there. What is no JSON is left to whoever parses it.
///
/// # Errors
/// The first member that is there twice, number that would change, or value that is nested too deep.
pub fn check(text: &[u8]) -> Result<(), Inexact> {
    if serde_json::from_slice::<IgnoredAny>(text).is_err() {
        return Ok(());
    }
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let token = match byte {
            b'"' => string(&text[at..]),
            b'-' | b'0'..=b'9' => number(&text[at..]),
            _ => &text[at..=at],
        };
        match byte {
            b'"' => name(token, &mut open)?,
            b'-' | b'0'..=b'9' => {
                let literal = String::from_utf8_lossy(token);
                if !is_kept(&literal) {
                    let what = format!(
                        "the number {literal} would become {}: write a number that fits, or a text",
                        literal.parse::<f64>().map_or_else(|_| "another".to_owned(), |number| number.to_string())
                    );
                    return Err(Inexact { pointer: pointer(&open), what });
                }
            }
            b'{' | b'[' => {
                if open.len() == DEEPEST {
                    let what = format!("it is nested more than {DEEPEST} deep: keep it elsewhere and pass a reference");
                    return Err(Inexact { pointer: String::new(), what });
                }
                open.push(match byte {
                    b'{' => Open::Object { members: HashSet::new(), member: String::new(), is_name: true },
                    _ => Open::Array { index: 0 },
                });
            }
            b'}' | b']' => drop(open.pop()),
            b',' => match open.last_mut() {
                Some(Open::Object { is_name, .. }) => *is_name = true,
                Some(Open::Array { index }) => *index += 1,
                None => {}
            },
            _ => {}
        }
        at += token.len();
    }
    Ok(())
}

/// A string with its quotes, from the beginning of `rest`.
fn string(rest: &[u8]) -> &[u8] {
    let mut end = 1;
    while let Some(&byte) = rest.get(end) {
        match byte {
            b'"' => return &rest[..=end],
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    rest
}

fn number(rest: &[u8]) -> &[u8] {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    &rest[..rest.iter().take_while(|byte| is_part(byte)).count()]
}

/// Takes a string that may be a member's name.
fn name(token: &[u8], open: &mut [Open]) -> Result<(), Inexact> {
    let before = pointer(&open[..open.len().saturating_sub(1)]);
    let Some(Open::Object { members, member, is_name }) = open.last_mut() else { return Ok(()) };
    if !std::mem::take(is_name) {
        return Ok(());
    }
    *member = serde_json::from_slice(token).unwrap_or_default();
    if members.insert(member.clone()) {
        return Ok(());
    }
    Err(Inexact { pointer: before, what: format!("the member `{member}` is there twice: leave one out") })
}

fn pointer(open: &[Open]) -> String {
    let parts = open.iter().map(|open| match open {
        Open::Object { member, .. } => format!("/{}", member.replace('~', "~0").replace('/', "~1")),
        Open::Array { index } => format!("/{index}"),
    });
    parts.collect()
}

/// Whether a number is kept as it is written: a whole one in 64 bits, another one as the same decimal.
fn is_kept(literal: &str) -> bool {
    if !literal.contains(['.', 'e', 'E']) {
        return literal.parse::<i64>().is_ok() || literal.parse::<u64>().is_ok();
    }
    let Ok(number) = literal.parse::<f64>() else { return false };
    number.is_finite() && decimal(literal) == decimal(&format!("{number:?}"))
}

/// A decimal's digits without zeros at its ends, and the power of ten of the last one.
fn decimal(literal: &str) -> (String, i64) {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let exponent: i64 = exponent.parse().unwrap_or_default();
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let end = digits.trim_end_matches('0').len();
    let cut = i64::try_from(digits.len() - end).unwrap_or_default();
    let fraction = i64::try_from(fraction.len()).unwrap_or_default();
    let digits = digits[..end].trim_start_matches('0').to_owned();
    let power = if digits.is_empty() { 0 } else { exponent - fraction + cut };
    (digits, power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(String, String)> {
        check(text.as_bytes()).err().map(|found| (found.pointer, found.what))
    }

    #[test]
    fn what_means_what_it_says_is_taken() {
        for text in [
            r#"{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}], "A": "{\"a\": 1, \"a\": 2}"}"#,
            r#"[0, -0, -0.0, 1.50, 0.1, 1e3, 1E-7, 18446744073709551615, -9223372036854775808, 5e-324, 0e-400, 0.30000000000000004]"#,
            r#""\u0061 , [ { 99999999999999999999""#,
            "no JSON at all {",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(found(&format!("{}1{}", "[".repeat(100), "]".repeat(100))), None);
    }

    #[test]
    fn what_would_be_read_otherwise_is_refused_with_its_place() {
        for (text, pointer, says) in [
            (r#"{"a": 1, "a": 1}"#, "", "the member `a` is there twice"),
            (r#"{"a": 1, "\u0061": 2}"#, "", "the member `a` is there twice"),
            (r#"{"x": [0, {"k/~": {"b": 1, "c": 2, "b": 3}}]}"#, "/x/1/k~1~0", "the member `b` is there twice"),
            (
                r#"{"n": 18446744073709551616}"#,
                "/n",
                "the number 18446744073709551616 would become 18446744073709552000",
            ),
            (r#"[-9223372036854775809]"#, "/0", "would become"),
            (r#"{"n": [1, 1e-400]}"#, "/n/1", "the number 1e-400 would become 0"),
            (r#"1.00000000000000000001"#, "", "would become 1:"),
            (r#"{"n": 12345678901234567890.5}"#, "/n", "would become"),
        ] {
            let (at, what) = found(text).unwrap_or_else(|| panic!("{text} was taken"));
            assert_eq!(at, pointer, "{text}");
            assert!(what.contains(says), "{text}: {what}");
        }
        let deep = format!("{}1{}", "[".repeat(101), "]".repeat(101));
        assert!(found(&deep).unwrap().1.contains("nested more than 100 deep"));
        let deeper = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(found(&deeper).is_some());
    }
}
