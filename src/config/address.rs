//! What may be written to: the one check of mail addresses, of the configuration's and of enterprises'.

use lettre::Address;

/// RFC 5321, 4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
const LONGEST: usize = 254;

/// Checks that a text is one mail address and nothing beside it: no name, no list, no comment, nothing that could begin
/// another header.
///
/// # Errors
/// What is wrong with it, for the person who wrote it; it quotes the text with its control characters escaped.
pub fn mail_address(text: &str) -> Result<Address, String> {
    let wrong = |reason: &str| format!("`{}` is not a mail address: {reason}", text.escape_debug());
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("it holds a line break or another control character"));
    }
    if text.chars().any(char::is_whitespace) {
        return Err(wrong("it holds a blank; write one address such as `name@example.com`"));
    }
    if text.contains(['<', '>', '(', ')']) {
        return Err(wrong("write the address alone, without a name and without brackets"));
    }
    if text.contains([',', ';']) {
        return Err(wrong("write one address, not a list"));
    }
    if text.len() > LONGEST {
        return Err(wrong(&format!("it has more than {LONGEST} octets")));
    }
    text.parse::<Address>().map_err(|error| wrong(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_taken_and_nothing_beside_it() {
        for good in ["eve@replicon.example", "e.v+e@mail.replicon.example", "o'neil@example.com", "eve@bücher.example"]
        {
            assert!(mail_address(good).is_ok(), "{good}: {:?}", mail_address(good));
        }
        for (bad, said) in [
            ("", "is empty"),
            ("eve", "mail address"),
            ("@example.com", "mail address"),
            ("eve@", "mail address"),
            ("eve@example.com\r\nBcc: thief@example.com", "line break"),
            ("eve@example.com\n", "line break"),
            (" eve@example.com", "a blank"),
            ("Eve <eve@example.com>", "a blank"),
            ("<eve@example.com>", "without a name"),
            ("eve@example.com(thief@example.com)", "without a name"),
            ("eve@example.com,thief@example.com", "not a list"),
            ("eve@example.com;thief@example.com", "not a list"),
            ("eve@thief.example@example.com", "mail address"),
            ("eve@exa mple.com", "a blank"),
            ("eve@-example-.com", "mail address"),
        ] {
            let reason = mail_address(bad).expect_err(bad);
            assert!(reason.contains(said) && !reason.contains(['\r', '\n']), "{bad:?}: {reason}");
        }
        let long = format!("{}@example.com", "e".repeat(260));
        assert!(mail_address(&long).expect_err("too long").contains("254 octets"));
    }
}
