//! Whether something that was sent is a key that was not wrapped, or may hold one: it has left the customer's systems
//! readable then, and they have to be told.

use super::upload::{BASE64_LINES, LONGEST_PLAIN, unpack};

/// What a text that is no wrapped key in base64 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Readable, and short enough to be a key: hex, numbers, base64, a passphrase, PEM.
    Plain,
    /// As long as a wrapped key, in hex.
    LongHex,
    /// Something else that is no key.
    Other,
}

/// Bytes of a run that may be a key: half of one in hex, or a 128-bit one in base64.
const SHORTEST_RUN: usize = 16;
/// Shorter texts are nobody's key.
const SHORTEST_TEXT: usize = 8;
/// Characters of base64 from which on something is as long as what RSA wraps.
const LONGEST_RUN: usize = LONGEST_PLAIN * 4 / 3;
/// Words of requests that are as long as a key may be.
const KNOWN: [&str; 6] =
    ["importkeyrequest", "rsaesoaepsha1", "rsaesoaepsha256", "wrappingalgorithm", "wrappingkeyspec", "applicationjson"];
/// What every secret of ours begins with: no key that encrypts data.
const OURS: [&str; 2] = ["kfi_", "kf_"];
const PUBLIC: [&str; 2] = ["-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"];

/// What `text` is, which is not the base64 of at least [`LONGEST_PLAIN`] bytes.
pub fn shape(text: &str) -> Shape {
    let text = text.trim();
    if text.starts_with("-----BEGIN") {
        return if text.contains("PRIVATE KEY") { Shape::Plain } else { Shape::Other };
    }
    if let Some(digits) = hex_digits(text) {
        return if digits <= LONGEST_PLAIN { Shape::Plain } else { Shape::LongHex };
    }
    if let Some(numbers) = numbers(text) {
        return if numbers < LONGEST_PLAIN { Shape::Plain } else { Shape::Other };
    }
    // What is longer was wrapped, and something was put into it on its way.
    if (SHORTEST_TEXT..=LONGEST_RUN).contains(&text.len()) { Shape::Plain } else { Shape::Other }
}

/// Whether what base64 stands for is readable: a key of another format, or base64 of a text. No ciphertext is.
pub fn is_readable(bytes: &[u8]) -> bool {
    let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    // PKCS#8 and PKCS#1: a sequence that begins with the version 0.
    let is_document = bytes.starts_with(&[0x30, 0x82]) && bytes.get(4..7) == Some(&[0x02, 0x01, 0x00]);
    is_document || (is_text && !std::str::from_utf8(bytes).is_ok_and(is_wrapped))
}

/// Whether a text is what was wrapped, encoded: once more than it should be.
fn is_wrapped(text: &str) -> bool {
    let long = unpack(text).is_some_and(|bytes| bytes.len() >= LONGEST_PLAIN && !is_readable(&bytes));
    long || shape(text) == Shape::LongHex
}

/// Whether a body that could not be taken may hold a key.
pub fn may_hold_a_key(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return true };
    if text.chars().any(|letter| letter.is_control() && !letter.is_whitespace()) {
        return true;
    }
    let text = whole_lines(&without_public_keys(&plain_letters(text)));
    text.contains("PRIVATE KEY") || holds_numbers(&text) || holds_hex_pairs(&text) || runs(&text).any(may_be_a_key)
}

/// The text with base64's letters as they are: forms and JSON may spell them otherwise.
fn plain_letters(text: &str) -> String {
    let spelt = [
        ("%2B", "+"),
        ("%2b", "+"),
        ("%2F", "/"),
        ("%2f", "/"),
        ("%3D", "="),
        ("%3d", "="),
        ("\\n", " "),
        ("\\/", "/"),
    ];
    spelt.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The text with lines of base64 put together: each by itself is as short as a key.
fn whole_lines(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let last = runs(&whole).last().unwrap_or_default();
        let is_line = BASE64_LINES.iter().any(|line| last.len().is_multiple_of(*line))
            && !last.bytes().all(|byte| byte.is_ascii_hexdigit());
        if last.is_empty() || !is_line {
            whole.push(' ');
        }
        whole.push_str(word);
    }
    whole
}

/// How many hex digits there are, if nothing else is but what people put between them.
fn hex_digits(text: &str) -> Option<usize> {
    let bare = text.replace("0x", "").replace("0X", "").replace("\\x", "");
    let digits = bare.chars().filter(|letter| !(letter.is_whitespace() || ":-,;[](){}".contains(*letter)));
    let mut count = 0;
    for digit in digits {
        count += usize::from(digit.is_ascii_hexdigit());
        if !digit.is_ascii_hexdigit() {
            return None;
        }
    }
    (count >= SHORTEST_TEXT).then_some(count)
}

/// How many numbers of a byte there are, if nothing else is.
fn numbers(text: &str) -> Option<usize> {
    let parts = text
        .split(|letter: char| letter.is_whitespace() || ",;[](){}".contains(letter))
        .filter(|part| !part.is_empty());
    let mut count = 0;
    for part in parts {
        part.parse::<i16>().ok().filter(|number| (-128..=255).contains(number))?;
        count += 1;
    }
    (count > 1).then_some(count)
}

fn without_public_keys(text: &str) -> String {
    let mut left = text.to_owned();
    while let Some(start) = left.find(PUBLIC[0]) {
        let end = left[start..].find(PUBLIC[1]).map_or(left.len(), |end| start + end + PUBLIC[1].len());
        left.replace_range(start..end, " ");
    }
    left
}

/// As many numbers of a byte in a row as a key has bytes.
fn holds_numbers(text: &str) -> bool {
    let mut row = 0;
    for part in
        text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-')).filter(|part| !part.is_empty())
    {
        row = if part.parse::<i16>().is_ok_and(|number| (-128..=255).contains(&number)) { row + 1 } else { 0 };
        if row >= SHORTEST_RUN {
            return true;
        }
    }
    false
}

/// As many pairs of hex digits in a row as a key has bytes, with something between them.
fn holds_hex_pairs(text: &str) -> bool {
    let is_pair = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut row = 0;
    for part in text.replace("0x", " ").replace("\\x", " ").split(|letter: char| !letter.is_ascii_alphanumeric()) {
        match part {
            "" => {}
            part if is_pair(part) => row += 1,
            _ => row = 0,
        }
        if row >= SHORTEST_RUN {
            return true;
        }
    }
    false
}

/// The longest pieces of letters that base64 and hex are written with.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "+/_-.:".contains(letter)))
}

fn may_be_a_key(run: &str) -> bool {
    let bare: String = run.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let is_known = KNOWN.iter().any(|word| bare == *word)
        || OURS.iter().any(|prefix| run.starts_with(prefix))
        || chrono::DateTime::parse_from_rfc3339(run).is_ok();
    match run.len() {
        _ if is_known => false,
        0..SHORTEST_RUN => false,
        SHORTEST_RUN..LONGEST_RUN => true,
        _ => unpack(run).is_some_and(|bytes| is_readable(&bytes)),
    }
}

/// Whether a text alone may be a key where something else belongs.
pub fn is_key_like(text: &str) -> bool {
    let is_plain = unpack(text).is_some_and(|bytes| bytes.len() < LONGEST_PLAIN || is_readable(&bytes));
    text.len() >= SHORTEST_RUN && (is_plain || shape(text) == Shape::Plain)
}
