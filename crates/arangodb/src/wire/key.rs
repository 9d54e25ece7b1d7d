//! Names: document keys, collections, databases; and their form within a URL.
//!
//! Source: `spec/arangodb.md` 1 and 10.

use std::fmt::Write as _;

/// Longest key in bytes.
pub const MAX_KEY: usize = 254;
/// Longest name of a collection in bytes.
pub const MAX_NAME: usize = 256;

/// Whether a text may be the key of a document.
pub fn is_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:.@()+,=;$!*'%".contains(&byte);
    (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a text may be the name of a collection; those of the system begin with `_`.
pub fn is_collection_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Whether a collection is one of the system.
pub fn is_system(name: &str) -> bool {
    name.starts_with('_')
}

/// Whether a collection of the primary is never copied.
pub fn is_never_replicated(name: &str, include_queues: bool) -> bool {
    matches!(
        name,
        "_fishbowl" | "_trx" | "_replication" | "_configuration" | "_apps" | "_sessions"
    ) || name.starts_with("_statistics")
        || (!include_queues && matches!(name, "_jobs" | "_queues"))
}

/// A text as one segment or value of a URL: everything but unreserved characters is encoded.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Reads what [`encode`] writes, and any other percent encoding. A query writes a space as `+`.
///
/// `None` for a broken encoding and for what is not UTF-8.
pub fn decode(text: &str, is_query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                bytes.push((high << 4 | low) as u8);
            }
            b'+' if is_query => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_characters_of_the_reference_and_no_others() {
        for key in ["a", "testi$!%20%44+abc=", "_:.@()+,=;*'%", &"k".repeat(254)] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "a/b", "a b", "ä", "a\"", "a\\", "a\0", &"k".repeat(255)] {
            assert!(!is_key(key), "{key}");
        }
    }

    #[test]
    fn a_key_with_a_percent_sign_survives_a_url() {
        let key = "testi$!%20%44+abc=";
        assert_eq!(encode(key), "testi%24%21%2520%2544%2Babc%3D");
        for is_query in [false, true] {
            assert_eq!(decode(&encode(key), is_query).as_deref(), Some(key));
        }
    }

    #[test]
    fn broken_encodings_are_seen() {
        for text in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode(text, true), None, "{text}");
        }
    }

    #[test]
    fn queues_are_copied_only_if_asked() {
        assert!(is_never_replicated("_jobs", false));
        assert!(!is_never_replicated("_jobs", true));
        assert!(is_never_replicated("_statistics15", true));
        assert!(!is_never_replicated("_users", false));
    }
}
