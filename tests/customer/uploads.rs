//! The law of the fuzz target `upload` over bodies that look like those of customers, in every run of the suite.

#[path = "../../fuzz/upload_law.rs"]
mod law;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keyferry::keys::import::read_upload;
use proptest::{collection::vec, prelude::*};

/// What bodies are made of, whole and broken.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u00",
        "\\ud834",
        "\\n",
        "\n",
        " ",
        "null",
        "7",
        "1e999",
        "\"importToken\":",
        "\"keyMaterial\":",
        "\"targets\":[",
        "\"region\":",
        "\"tok\"",
        "-----BEGIN",
        "=",
        "-_",
        "+/",
    ];
    prop_oneof![
        6 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..520).prop_map(|bytes| BASE64.encode(bytes).into_bytes()),
        1 => vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_uploaded_the_law_holds(pieces in vec(piece(), 0..24)) {
        law::holds(&pieces.concat());
    }

    #[test]
    fn a_good_body_with_one_byte_changed_or_its_end_cut_off_keeps_the_law(
        material in vec(any::<u8>(), 120..520), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let body = serde_json::json!({ "importToken": "tok", "region": "us-west-2", "keyMaterial": BASE64.encode(material) });
        let mut body = body.to_string().into_bytes();
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        law::holds(&body);
    }

    #[test]
    fn no_refusal_repeats_a_key_that_was_sent_by_mistake(key in any::<[u8; 32]>(), pieces in vec(piece(), 0..6)) {
        let base64 = BASE64.encode(key);
        for text in [base64.clone(), hex::encode(key)] {
            let whole = format!(r#"{{"importToken":"tok","keyMaterial":"{text}"}}"#).into_bytes();
            for body in [whole, [pieces.concat(), text.clone().into_bytes()].concat()] {
                if let Err(refusal) = read_upload(&mut body.clone()) {
                    let said = format!("{refusal:?}");
                    prop_assert!(!said.contains(&text[..12]) && !said.contains(&text[text.len() - 12..]), "{}", refusal.code);
                }
            }
        }
    }
}

#[test]
fn the_kept_corpus_keeps_the_law() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/upload");
    let mut read = 0;
    let mut taken = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let body = std::fs::read(entry.unwrap().path()).unwrap();
        law::holds(&body);
        read += 1;
        taken += usize::from(read_upload(&mut body.clone()).is_ok());
    }
    assert!(read >= 20 && taken >= 2, "the corpus is poor: {read} bodies, {taken} of them good");
}
