//! Cursors: how far someone has seen a history, sealed by the server that says so.
//!
//! Owns: the text form that a server hands out and takes back. Does not own: keys and the check of a seal (the server).
//! Rule source: DESIGN 4, *History id*.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::{Generation, HistoryId};

/// A point in one history: all generations up to and including `generation` have been seen.
///
/// As text (JSON) a sealed one is opaque to whoever keeps it; one without a seal names its two parts.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// The history in which the generation counts.
    pub history: HistoryId,
    /// The last generation seen.
    pub generation: Generation,
    /// What proves that a server handed this out. Not part of the point: cursors are equal without it.
    pub seal: Option<Seal>,
}

/// A code that only the server can make which handed the cursor out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal(pub [u8; 16]);

/// The first byte of the text form.
const FORM: u8 = 1;
const BYTES: usize = 1 + 16 + 8 + 16;

impl Cursor {
    /// A point for which nobody vouches.
    pub fn bare(history: HistoryId, generation: Generation) -> Self {
        Self {
            history,
            generation,
            seal: None,
        }
    }

    /// The opaque text of a sealed cursor; `None` without a seal.
    pub fn token(&self) -> Option<String> {
        let seal = self.seal?;
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(FORM);
        bytes.extend(self.history.0.as_bytes());
        bytes.extend(self.generation.0.to_be_bytes());
        bytes.extend(seal.0);
        Some(to_hex(&bytes))
    }

    /// Reads [`Self::token`]. The seal is not checked here: only its maker can.
    pub fn from_token(text: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = from_hex(text)?;
        let (form, rest) = bytes.split_first()?;
        let (history, rest) = rest.split_first_chunk()?;
        let (generation, seal) = rest.split_first_chunk()?;
        (*form == FORM).then_some(Self {
            history: HistoryId(Uuid::from_bytes(*history)),
            generation: Generation(u64::from_be_bytes(*generation)),
            seal: Some(Seal(*seal.first_chunk()?)),
        })
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        (self.history, self.generation) == (other.history, other.generation)
    }
}
impl Eq for Cursor {}

impl Seal {
    /// As lower-case hex digits.
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }
    /// Reads [`Self::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Sealed(String),
    Bare {
        history: HistoryId,
        generation: Generation,
    },
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match self.token() {
            Some(token) => Form::Sealed(token),
            None => Form::Bare {
                history: self.history,
                generation: self.generation,
            },
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Sealed(text) => Self::from_token(&text)
                .ok_or_else(|| serde::de::Error::custom("this is not a cursor of a server")),
            Form::Bare {
                history,
                generation,
            } => Ok(Self::bare(history, generation)),
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Cursor {
        Cursor {
            history: HistoryId(Uuid::from_u128(7)),
            generation: Generation(1 << 40),
            seal: Some(Seal([9; 16])),
        }
    }

    #[test]
    fn a_sealed_cursor_survives_its_text() {
        let cursor = sealed();
        let back = Cursor::from_token(&cursor.token().unwrap()).unwrap();
        assert_eq!(back, cursor);
        assert_eq!(back.seal, cursor.seal);
        assert_eq!(Seal::from_hex(&Seal([9; 16]).to_hex()), cursor.seal);
        assert!(
            Cursor::bare(cursor.history, cursor.generation)
                .token()
                .is_none()
        );
    }

    #[test]
    fn a_text_of_another_shape_is_no_cursor() {
        let token = sealed().token().unwrap();
        let long = format!("{token}0");
        let other = format!("02{}", &token[2..]);
        let sign = format!("+{}", &token[1..]);
        for text in ["", "01", &token[1..], &long, &other, &sign, "é"] {
            assert!(Cursor::from_token(text).is_none(), "{text}");
        }
    }

    #[test]
    fn two_cursors_at_one_point_are_equal_whoever_vouches() {
        let cursor = sealed();
        assert_eq!(cursor, Cursor::bare(cursor.history, cursor.generation));
        assert_ne!(cursor, Cursor::bare(cursor.history, Generation(1)));
    }
}
