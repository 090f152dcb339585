//! Reads what a customer uploads, without leaving a copy of it: the body is changed in place, what is taken out of it is
//! zeroized when it is dropped, and no error repeats a character of it. It may hold a key that was not wrapped, by mistake.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{
    exposed::{self, Shape},
    refusal::Refusal,
    session::Realm,
};

/// What GNU `base64` and `openssl base64` write on a line.
pub(super) const BASE64_LINES: [usize; 2] = [76, 64];
/// Longer than any key that is imported and shorter than anything wrapped under RSA.
pub(super) const LONGEST_PLAIN: usize = 128;
/// Each target is one key of one region.
const MOST_TARGETS: usize = 64;

/// Bytes of an upload that are believed to be wrapped.
pub struct Material(Zeroizing<Vec<u8>>);

impl Material {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(..)")
    }
}

/// An import token as the customer sent it.
pub struct Token(Zeroizing<String>);

impl Token {
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// One token and what was wrapped under its public key.
#[derive(Debug)]
pub struct Part {
    /// The region that the customer named beside it.
    pub region: Option<String>,
    pub token: Token,
    pub material: Material,
}

/// Raw, so that no parser makes a copy of a text with escapes in it.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    region: Option<&'a RawValue>,
    #[serde(rename = "importToken", borrow)]
    token: Option<&'a RawValue>,
    #[serde(rename = "keyMaterial", borrow)]
    material: Option<&'a RawValue>,
    #[serde(borrow)]
    targets: Option<Vec<WirePart<'a>>>,
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow)]
    region: Option<&'a RawValue>,
    #[serde(rename = "importToken", borrow)]
    token: Option<&'a RawValue>,
    #[serde(rename = "keyMaterial", borrow)]
    material: Option<&'a RawValue>,
}

/// The parts of a body; one, unless it holds `targets`. Members that are not known are let pass, so that a target may be sent
/// back as it came, with its material added.
///
/// # Errors
/// What is wrong with the body, in the order in which it is looked at.
pub fn read(body: &mut [u8]) -> Result<Vec<Part>, Refusal> {
    // A shell puts the line breaks of its files into the text as they are, where JSON does not allow them. They mean nothing
    // in base64, and nothing between JSON's tokens.
    for byte in body.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r' | b'\t')) {
        *byte = b' ';
    }
    if body.iter().all(|byte| *byte == b' ') {
        return Err(Refusal::body_missing());
    }
    parts(body).map_err(|refusal| judged(refusal, body))
}

/// The refusal of a body, with what it may have held unless it speaks of that itself.
fn judged(refusal: Refusal, body: &[u8]) -> Refusal {
    if ["key-material-not-wrapped", "json-cut-by-base64-lines", "import-token-unknown"].contains(&refusal.code) {
        return refusal;
    }
    match encoding(body) {
        None => refusal.judging(body),
        Some(_) => {
            let letters = body.iter().copied().filter(|byte| byte.is_ascii() && *byte != 0);
            refusal.judging(&Zeroizing::new(letters.collect::<Vec<u8>>()))
        }
    }
}

fn parts(body: &[u8]) -> Result<Vec<Part>, Refusal> {
    if let Some(encoding) = encoding(body) {
        return Err(Refusal::body_not_utf8(encoding));
    }
    let wire: Wire<'_> = serde_json::from_slice(body).map_err(|error| unreadable(&error, body))?;
    let Some(targets) = wire.targets else {
        return Ok(vec![part(&WirePart { region: wire.region, token: wire.token, material: wire.material })?]);
    };
    let mixed = wire.token.is_some() || wire.material.is_some();
    if mixed || targets.is_empty() || targets.len() > MOST_TARGETS {
        return Err(Refusal::body_shape_wrong());
    }
    targets.iter().map(part).collect()
}

/// How a text is encoded that is not UTF-8 as JSON wants it.
fn encoding(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xEF, 0xBB, 0xBF, ..] => Some("UTF-8 with a byte order mark"),
        [0xFF, 0xFE, ..] | [b'{', 0, ..] | [0xFE, 0xFF, ..] | [0, b'{', ..] => Some("UTF-16"),
        _ => None,
    }
}

fn unreadable(error: &serde_json::Error, body: &[u8]) -> Refusal {
    match error.classify() {
        serde_json::error::Category::Eof if ends_with_a_line_of_base64(body) => Refusal::json_cut_by_base64_lines(),
        serde_json::error::Category::Eof => Refusal::json_truncated(),
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            Refusal::json_malformed(error.line(), error.column())
        }
        serde_json::error::Category::Data => Refusal::body_shape_wrong(),
    }
}

fn ends_with_a_line_of_base64(body: &[u8]) -> bool {
    let line = body.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte)).count();
    // A key in hex is as long as a line, and was not wrapped.
    let is_hex = body.iter().rev().take(line).all(u8::is_ascii_hexdigit);
    BASE64_LINES.contains(&line) && !is_hex && body.iter().rev().nth(line) == Some(&b'"')
}

fn part(wire: &WirePart<'_>) -> Result<Part, Refusal> {
    let token = wire.token.and_then(text).filter(|token| !token.trim().is_empty());
    let token = token.ok_or_else(Refusal::import_token_missing)?;
    if Realm::of_token(token.trim()).is_none() && exposed::is_key_like(&token) {
        return Err(Refusal::token_unknown().exposing());
    }
    let region = match wire.region {
        None => None,
        Some(region) => Some(text(region).ok_or_else(Refusal::body_shape_wrong)?.to_string()),
    };
    let material = wire.material.ok_or_else(Refusal::key_material_missing)?;
    let Some(material) = text(material) else {
        // Numbers, as programs write bytes when nobody tells them how.
        return Err(match exposed::may_hold_a_key(material.get().as_bytes()) {
            true => Refusal::key_material_not_wrapped(),
            false => Refusal::key_material_missing(),
        });
    };
    Ok(Part { region, token: Token(Zeroizing::new(token.trim().to_owned())), material: decode(&material)? })
}

/// The text of a JSON string; `None` for anything else. serde_json would leave a copy of it in memory.
fn text(raw: &RawValue) -> Option<Zeroizing<String>> {
    let inside = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Zeroizing::new(String::with_capacity(inside.len()));
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next()? {
            'n' | 'r' | 't' | 'b' | 'f' => out.push(' '),
            'u' => {
                let digits: Option<u32> = (0..4).try_fold(0, |code, _| Some(code * 16 + letters.next()?.to_digit(16)?));
                // No text here needs half of a pair.
                out.push(digits.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            escaped => out.push(escaped),
        }
    }
    Some(out)
}

const INDIFFERENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The bytes of a wrapped key. White space is let pass; so is base64's alphabet for URLs, and padding that is left out.
fn decode(text: &str) -> Result<Material, Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::key_material_missing());
    }
    let is_hex = exposed::shape(text) != Shape::Other && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit());
    match unpack(text).filter(|_| !is_hex) {
        Some(bytes) if bytes.len() >= LONGEST_PLAIN && !exposed::is_readable(&bytes) => Ok(Material(bytes)),
        Some(_) => Err(Refusal::key_material_not_wrapped()),
        None => Err(match exposed::shape(text) {
            Shape::Plain => Refusal::key_material_not_wrapped(),
            Shape::LongHex => Refusal::key_material_in_hex(),
            Shape::Other => Refusal::key_material_not_base64(),
        }),
    }
}

/// What base64 in any layout stands for; none if the text is none.
pub(super) fn unpack(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut packed = Zeroizing::new(String::with_capacity(text.len()));
    packed.extend(text.chars().filter(|letter| !letter.is_ascii_whitespace()));
    // Armour is no base64, though the alphabet for URLs has its letters.
    if packed.starts_with("-----") {
        return None;
    }
    let alphabet = if packed.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let mut bytes = Zeroizing::new(vec![0; packed.len()]);
    let length = GeneralPurpose::new(&alphabet, INDIFFERENT).decode_slice(packed.as_bytes(), &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;

    fn wrapped() -> String {
        BASE64.encode([7; 512])
    }

    fn code(body: &str) -> &'static str {
        read(&mut body.as_bytes().to_vec()).expect_err("a refusal").code
    }

    fn good(body: &str) -> Vec<Part> {
        read(&mut body.as_bytes().to_vec()).expect("parts")
    }

    fn body(material: &str) -> String {
        format!(r#"{{"importToken":"tok","keyMaterial":"{material}"}}"#)
    }

    #[test]
    fn base64_is_taken_in_any_layout() {
        let lines: Vec<String> =
            wrapped().as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).expect("ASCII")).collect();
        let url = wrapped().replace('+', "-").replace('/', "_");
        for material in [
            wrapped(),
            lines.join("\n"),
            lines.join("\r\n") + "\n",
            lines.join(" "),
            lines.join("\\n"),
            wrapped().replace('/', "\\/").replace('B', "\\u0042"),
            wrapped().trim_end_matches('=').to_owned(),
            url,
        ] {
            let parts = good(&body(&material));
            assert_eq!(parts[0].material.bytes(), [7; 512], "{material}");
            assert_eq!(parts[0].token.text(), "tok");
        }
    }

    #[test]
    fn json_that_a_line_of_base64_ends_is_told_from_other_truncated_json() {
        let line = &wrapped()[..76];
        assert_eq!(code(&format!(r#"{{"importToken":"tok","keyMaterial":"{line}"#)), "json-cut-by-base64-lines");
        let line = &wrapped()[..64];
        assert_eq!(code(&format!(r#"{{"importToken":"tok","keyMaterial":"{line}"#)), "json-cut-by-base64-lines");
        assert_eq!(code(&format!(r#"{{"importToken":"tok","keyMaterial":"{}"#, &wrapped()[..75])), "json-truncated");
        assert_eq!(code(r#"{"importToken":"tok""#), "json-truncated");
        let key = "a7".repeat(32);
        assert_eq!(code(&format!(r#"{{"importToken":"tok","keyMaterial":"{key}"#)), "json-truncated");
    }

    #[test]
    fn each_mistake_has_its_code() {
        let plain = BASE64.encode([9; 32]);
        let hex = "a7".repeat(32);
        for (sent, wanted) in [
            ("", "body-missing"),
            (" \n", "body-missing"),
            ("importToken=tok", "json-malformed"),
            ("\u{feff}{}", "body-not-utf8"),
            ("{\0}\0", "body-not-utf8"),
            ("[]", "body-shape-wrong"),
            (r#""text""#, "body-shape-wrong"),
            ("{}", "import-token-missing"),
            (r#"{"importToken":7,"keyMaterial":"x"}"#, "import-token-missing"),
            (r#"{"importToken":"tok"}"#, "key-material-missing"),
            (r#"{"importToken":"tok","keyMaterial":""}"#, "key-material-missing"),
            (r#"{"importToken":"tok","keyMaterial":{"type":"Buffer"}}"#, "key-material-missing"),
            (r#"{"importToken":"tok","importToken":"tok","keyMaterial":"x"}"#, "body-shape-wrong"),
            (r#"{"targets":[]}"#, "body-shape-wrong"),
            (r#"{"importToken":"tok","targets":[{"importToken":"tok"}]}"#, "body-shape-wrong"),
            (&body("-----BEGIN PUBLIC KEY-----"), "key-material-not-base64"),
            (&body("%%%%"), "key-material-not-base64"),
            (&body(&hex::encode([7; 512])), "key-material-not-base64"),
            (&body(&wrapped().replacen('B', "%", 3)), "key-material-not-base64"),
            (&body(&plain), "key-material-not-wrapped"),
            (&body(&hex), "key-material-not-wrapped"),
        ] {
            assert_eq!(code(sent), wanted, "{sent}");
        }
    }

    /// A 256-bit key in every dress that customers were seen to send it in.
    fn dresses() -> Vec<String> {
        let key: Vec<u8> = (0..32).map(|number: u8| number.wrapping_mul(37).wrapping_add(150)).collect();
        let pairs = |between: &str| key.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between);
        let numbers = |between: &str| key.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
        let signed: Vec<String> = key.iter().map(|byte| byte.cast_signed().to_string()).collect();
        let document = [b"\x30\x82\x04\xbd\x02\x01\x00\x30\x0d".as_slice(), &[0x5a; 1204]].concat();
        vec![
            pairs(""),
            pairs("").to_uppercase(),
            pairs(":"),
            pairs(" "),
            pairs("-"),
            format!("0x{}", pairs("")),
            format!("0x{}", pairs(", 0x")),
            format!("\\\\x{}", pairs("\\\\x")),
            numbers(","),
            numbers(" "),
            format!("[{}]", numbers(", ")),
            format!("[{}]", signed.join(", ")),
            BASE64.encode(&key),
            BASE64.encode(pairs("")),
            BASE64.encode(format!("{}\n", BASE64.encode(&key))),
            BASE64.encode(&document),
            BASE64.encode(format!("-----BEGIN PRIVATE KEY-----\n{}", BASE64.encode(&document))),
            format!("-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----", &BASE64.encode(&document)[..64]),
            "correct horse battery staple".to_owned(),
            "Tr0ub4dor&3!x".to_owned(),
        ]
    }

    #[test]
    fn a_key_that_was_not_wrapped_is_called_exposed_in_whatever_dress() {
        for dress in dresses() {
            assert_eq!(code(&body(&dress)), "key-material-not-wrapped", "{dress}");
        }
        for raw in [
            "[150, 187, 224, 5, 42, 79, 116, 153, 190, 227, 8, 45, 82, 119, 156, 193, 230]",
            r#"{"type":"Buffer","data":[150,187,224,5,42,79,116,153,190,227,8,45,82,119,156,193,230]}"#,
        ] {
            let sent = format!(r#"{{"importToken":"tok","keyMaterial":{raw}}}"#);
            assert_eq!(code(&sent), "key-material-not-wrapped", "{sent}");
        }
    }

    #[test]
    fn what_cannot_be_taken_is_called_exposed_when_a_key_may_be_in_it() {
        let says =
            |sent: &[u8]| read(&mut sent.to_vec()).expect_err("a refusal").detail.contains("do not use this key");
        for dress in dresses().iter().filter(|dress| !dress.starts_with(['c', 'T'])) {
            for sent in [
                dress.clone(),
                format!("importToken=tok&keyMaterial={dress}"),
                format!(r#"{{"importToken":"tok","keyMaterial":"{dress}""#),
                format!(r#"{{"importToken":"tok",keyMaterial:"{dress}"}}"#),
                format!(r#"{{"key":"{dress}"}}"#),
                format!(r#"{{"importToken":"{dress}"}}"#),
                format!(r#"{{"importToken":"{dress}","keyMaterial":"{}"}}"#, wrapped()),
                format!(r#"{{"targets":["{dress}"]}}"#),
            ] {
                assert!(says(sent.as_bytes()), "{sent}");
            }
        }
        assert!(says(&[0x96, 0xbb, 0xe0, 0x05, 0x2a, 0x4f, 0x74, 0x99]), "raw bytes");
    }

    #[test]
    fn what_was_wrapped_is_not_called_exposed() {
        let says =
            |sent: &[u8]| read(&mut sent.to_vec()).expect_err("a refusal").detail.contains("do not use this key");
        let lines: Vec<String> =
            wrapped().as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).expect("ASCII")).collect();
        let token = Realm::Production.new_token().expect("random bits");
        let whole = format!(r#"{{"importToken":"{token}","keyMaterial":"{}"}}"#, wrapped());
        let wide: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!says(&[&[0xFF, 0xFE], wide.as_slice()].concat()), "UTF-16");
        for sent in [
            whole.replace("\"keyMaterial\"", "keyMaterial"),
            whole[..whole.len() - 2].to_owned(),
            whole.replace("keyMaterial", "material"),
            format!("\u{feff}{whole}"),
            format!(r#"{{"importToken":"{token}",keyMaterial:"{}"}}"#, lines.join("\n")),
            format!(r#"{{"importToken":"{token}",keyMaterial:"{}"}}"#, lines.join("\\n")),
            format!("importToken={token}&keyMaterial={}", wrapped().replace('+', "%2B").replace('/', "%2F")),
            format!(r#"{{"importToken":"{token}","validTo":"2026-12-01T10:00:00Z","region":"ap-southeast-2"}}"#),
            format!(r#"{{"publicKey":"-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----"}}"#, lines.join("\n")),
            r#"{"wrappingAlgorithm":"RSAES_OAEP_SHA_256","wrappingKeySpec":"RSA_4096"}"#.to_owned(),
            body("-----BEGIN PUBLIC KEY-----"),
        ] {
            assert!(!says(sent.as_bytes()), "{sent}");
        }
    }

    #[test]
    fn targets_are_taken_as_they_came_with_their_material_added() {
        let target = format!(
            r#"{{"region":"us-west-2","publicKey":"-----BEGIN","importToken":"tok","validTo":"2026","keyMaterial":"{}"}}"#,
            wrapped()
        );
        let parts = good(&format!(r#"{{"targets":[{target},{target}]}}"#));
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1].region.as_deref(), Some("us-west-2"));
    }

    #[test]
    fn no_refusal_repeats_what_was_sent() {
        let secret = BASE64.encode(b"a canary key of thirty-two bytes");
        for sent in [body(&secret), body(&secret)[..60].to_owned(), format!(r#"{{"importToken":["{secret}"]}}"#)] {
            let refusal = read(&mut sent.into_bytes()).expect_err("a refusal");
            assert!(!format!("{refusal:?}").contains(&secret[..12]), "{refusal:?}");
        }
        let parts = good(&body(&wrapped()));
        assert_eq!(format!("{parts:?}"), "[Part { region: None, token: Token(..), material: Material(..) }]");
    }
}
