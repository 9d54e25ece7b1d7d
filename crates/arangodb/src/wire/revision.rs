//! The text form of a revision (`_rev`): a 64-bit hybrid logical clock in base 64.
//!
//! The most significant digit comes first and leading zeros are dropped. Old revisions are decimal: text that begins with
//! 1 to 9 is. Source: `spec/arangodb.md` 1, "Revisions".

const ALPHABET: &[u8; 64] = b"-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Values up to here are counters of old storage engines and written as decimals.
const LAST_DECIMAL: u64 = (2016 - 1970) * 1000 * 60 * 60 * 24 * 365;
/// Longest text in base 64.
const MAX_DIGITS: usize = 11;
/// Revisions are kept in signed 64-bit columns; the clock reaches this in the year 2248.
const MAX: u64 = i64::MAX as u64;

/// Text that is no revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a revision")]
pub struct NotARevision {
    /// The refused text, shortened to 40 characters.
    pub text: String,
}

/// The text of a revision.
pub fn encode(revision: u64) -> String {
    if revision <= LAST_DECIMAL {
        return revision.to_string();
    }
    let mut digits = [0; MAX_DIGITS];
    let mut at = MAX_DIGITS;
    let mut rest = revision;
    while rest > 0 {
        at -= 1;
        digits[at] = ALPHABET[(rest & 63) as usize];
        rest >>= 6;
    }
    // Would be read back as a decimal: revisions of before 1999, which no clock made.
    if (b'1'..=b'9').contains(&digits[at]) {
        return revision.to_string();
    }
    digits[at..]
        .iter()
        .map(|&digit| char::from(digit))
        .collect()
}

/// The revision of a text.
///
/// # Errors
/// [`NotARevision`] for other characters, and for values that no clock reaches.
pub fn decode(text: &str) -> Result<u64, NotARevision> {
    let refused = || NotARevision {
        text: text.chars().take(40).collect(),
    };
    let value = match text.as_bytes() {
        [] => None,
        [b'1'..=b'9', ..] => text.parse().ok(),
        b"0" => Some(0),
        digits if digits.len() > MAX_DIGITS => None,
        digits => digits.iter().try_fold(0_u64, |value, &digit| {
            let digit = ALPHABET.iter().position(|&known| known == digit)?;
            Some(value.checked_mul(64)? | digit as u64)
        }),
    };
    value.filter(|&value| value <= MAX).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reference_vectors_hold_both_ways() {
        for (text, revision) in [
            ("_ZAAHwuy---", 1_639_882_683_390_623_744),
            ("_bpq8a-----", 1_687_640_290_099_200_000),
            ("_k1ZYoFq--F", 1_853_070_350_874_574_855),
        ] {
            assert_eq!(decode(text), Ok(revision));
            assert_eq!(encode(revision), text);
        }
    }

    #[test]
    fn old_revisions_are_decimal() {
        assert_eq!(decode("12345"), Ok(12_345));
        assert_eq!(encode(12_345), "12345");
        assert_eq!(encode(LAST_DECIMAL), LAST_DECIMAL.to_string());
        assert!(!encode(LAST_DECIMAL + 1).starts_with(|c: char| ('1'..='9').contains(&c)));
    }

    #[test]
    fn what_is_no_revision_is_refused() {
        for text in [
            "",
            "_ZAAHwuy-- -",
            "_ZAAHwuy----",
            "z1111111111",
            "99999999999999999999",
            "9223372036854775808",
            "1x",
            "ä",
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_revision_reads_back(revision in 0..=MAX) {
            prop_assert_eq!(decode(&encode(revision)), Ok(revision));
        }

        #[test]
        fn small_revisions_read_back(revision in 0..LAST_DECIMAL * 4) {
            prop_assert_eq!(decode(&encode(revision)), Ok(revision));
        }
    }
}
