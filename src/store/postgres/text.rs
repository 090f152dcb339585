//! Texts that other people or systems chose, as PostgreSQL can keep them: its text has no NUL, and JSON's, HTTP's and a step's
//! may. JSON that keyferry writes has none, because it escapes them.

use std::borrow::Cow;

use crate::store::StoreError;

/// No character, by Unicode's own word, so that it hardly ever stands in a text: before `0` it means a NUL, doubled itself.
const ESCAPE: char = '\u{ffff}';

/// A text as it is kept.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\0' => kept.extend([ESCAPE, '0']),
            ESCAPE => kept.extend([ESCAPE, ESCAPE]),
            letter => kept.push(letter),
        }
    }
    Cow::Owned(kept)
}

/// The text that was kept.
///
/// # Errors
/// It is none that [`kept`] makes.
pub(super) fn told(kept: String) -> Result<String, StoreError> {
    if !kept.contains(ESCAPE) {
        return Ok(kept);
    }
    let mut text = String::with_capacity(kept.len());
    let mut letters = kept.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == ESCAPE) {
            (letter, false) => text.push(letter),
            (_, true) => match letters.next() {
                Some('0') => text.push('\0'),
                Some(ESCAPE) => text.push(ESCAPE),
                Some(_) | None => return Err(StoreError::corrupt("text", "an escape is not whole")),
            },
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for text in ["", "plain", "\0", "a\0b\0", "\u{ffff}", "\u{ffff}0", "0\u{ffff}\0\u{ffff}"] {
            let kept = kept(text);
            assert!(!kept.contains('\0'), "{text:?}");
            assert_eq!(told(kept.into_owned()).as_deref(), Ok(text));
        }
        assert!(told("\u{ffff}x".to_owned()).is_err());
    }
}
