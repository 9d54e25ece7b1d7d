//! Uids: a letter and ten letters or digits.
//!
//! The face refuses other shapes; what a server sends is opaque to a client (some hold odd ones).

const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ALL: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Length of a uid.
pub const LENGTH: usize = 11;

/// Whether a text has the shape of a uid.
pub fn is_uid(text: &str) -> bool {
    text.len() == LENGTH
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A uid from 128 random bits; 64 of them choose it.
pub fn from_random(bits: u128) -> String {
    let mut left = bits;
    let mut draw = |of: &[u8]| {
        let at = (left % of.len() as u128) as usize;
        left /= of.len() as u128;
        char::from(of[at])
    };
    let first = draw(LETTERS);
    let mut uid = String::with_capacity(LENGTH);
    uid.push(first);
    uid.extend((1..LENGTH).map(|_| draw(ALL)));
    uid
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_shapes_are_told_from_uids() {
        for good in ["hvOuRoot001", "aBcDeFgHiJk"] {
            assert!(is_uid(good), "{good}");
        }
        for bad in [
            "",
            "event1Id",
            "1vOuRoot001",
            "hvOuRoot0011",
            "hvOuRoot-01",
            "hvOuRooté1",
        ] {
            assert!(!is_uid(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_drawn_is_a_uid(bits in any::<u128>()) {
            prop_assert!(is_uid(&from_random(bits)));
        }
    }
}
