//! What holds for every body that a customer may upload; the fuzz target and the suite share it.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keyferry::keys::import::{RefusalKind, read_upload};

/// Every answer that reading a body may come to.
const CODES: [&str; 11] = [
    "body-missing",
    "body-not-utf8",
    "body-shape-wrong",
    "import-token-missing",
    "import-token-unknown",
    "json-cut-by-base64-lines",
    "json-malformed",
    "json-truncated",
    "key-material-missing",
    "key-material-not-base64",
    "key-material-not-wrapped",
];

/// Reads a body and panics if the answer breaks the law.
pub fn holds(body: &[u8]) {
    let parts = match read_upload(&mut body.to_vec()) {
        Ok(parts) => parts,
        Err(refusal) => {
            assert!(CODES.contains(&refusal.code), "an answer of its own: {}", refusal.code);
            assert!(matches!(refusal.kind, RefusalKind::Malformed | RefusalKind::Invalid), "{:?}", refusal.kind);
            assert!(!refusal.cure.is_empty(), "{} names no cure", refusal.code);
            return;
        }
    };
    assert!((1..=64).contains(&parts.len()), "{} parts", parts.len());
    for part in parts {
        assert!(!part.token.text().is_empty() && part.token.text().trim() == part.token.text());
        let material = part.material.bytes();
        assert!((128..=body.len()).contains(&material.len()), "{} bytes of material", material.len());
        let plain = serde_json::json!({ "importToken": "t", "keyMaterial": BASE64.encode(material) });
        let again = read_upload(&mut plain.to_string().into_bytes());
        assert!(again.is_ok_and(|again| again.len() == 1 && again[0].material.bytes() == material), "read otherwise");
    }
}
