//! Identifiers and counters, each its own type: a bare integer that is a generation is a bug waiting.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Commit-ordered counter of a service. Every changed record gets its own; a transaction takes a
    /// contiguous block. Small and dense, because JavaScript clients read numbers as doubles. Always local.
    Generation(u64)
);
counter!(
    /// Hybrid logical clock of a record's content: `milliseconds << 20 | counter`. Travels with copies.
    Revision(u64)
);
counter!(
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64)
);
counter!(
    /// Number of a collection within its service. The layer or table id of a feature service. The hidden
    /// attachment collection of layer `n` is [`CollectionId::attachments`].
    CollectionId(u32)
);
counter!(
    /// Integer key of a row in its table (`OBJECTID`, GeoPackage `fid`). Local to one file.
    ObjectId(i64)
);
counter!(
    /// Number of a frozen upload batch of one replica; starts at 1 and grows by one.
    BatchNumber(u64)
);

impl Generation {
    /// The generation before any record existed.
    pub const ZERO: Self = Self(0);
    /// The next generation.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl CollectionId {
    const ATTACHMENTS: u32 = 0x4000_0000;

    /// The hidden collection that holds the attachments of this one.
    pub fn attachments(self) -> Self {
        Self(self.0 | Self::ATTACHMENTS)
    }
    /// The layer whose attachments this collection holds, if it is an attachment collection.
    pub fn attachments_of(self) -> Option<Self> {
        (self.0 & Self::ATTACHMENTS != 0).then_some(Self(self.0 & !Self::ATTACHMENTS))
    }
}

impl Revision {
    /// Number of bits that count revisions within one millisecond.
    pub const COUNTER_BITS: u32 = 20;

    /// The next local revision: never before `now`, after the service's `last` and after `own`, the
    /// record's present one.
    pub fn next(now: Timestamp, last: Self, own: Self) -> Self {
        Self(
            ((now.0.max(0) as u64) << Self::COUNTER_BITS)
                .max(last.0 + 1)
                .max(own.0 + 1),
        )
    }
    /// The wall-clock part, milliseconds since 1970.
    pub fn timestamp(self) -> Timestamp {
        Timestamp((self.0 >> Self::COUNTER_BITS) as i64)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_uuid(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// Random id of a service's history. A restore or a rewind starts a new one.
    HistoryId
);
uuid_id!(
    /// Identity of a checked-out replica.
    ReplicaId
);

/// An id that does not have the shape of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id of the expected shape")]
pub struct InvalidId {
    /// The refused text, shortened to 80 characters.
    pub text: String,
}

/// Accepts 32 hex digits, with or without hyphens and braces, in any case.
fn parse_uuid(text: &str) -> Result<Uuid, InvalidId> {
    let bare = text.trim().trim_start_matches('{').trim_end_matches('}');
    Uuid::try_parse(bare).map_err(|_not_a_uuid| InvalidId {
        text: text.chars().take(80).collect(),
    })
}

/// Identity of a record that survives copying: `GlobalID`, `_key` or DHIS2 `uid`.
///
/// Feature collections use UUIDs, compared without braces and case; documents and tracker objects use text.
/// One collection has one kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GlobalId {
    /// A UUID, the identity of features.
    Uuid(Uuid),
    /// A key as its maker wrote it, compared byte by byte.
    Text(Box<str>),
}

impl GlobalId {
    /// Parses the UUID forms that clients write: with or without braces and hyphens, any case.
    ///
    /// # Errors
    /// [`InvalidId`] if it is not 32 hex digits in one of these forms.
    pub fn parse_uuid(text: &str) -> Result<Self, InvalidId> {
        parse_uuid(text).map(Self::Uuid)
    }
    /// The form that feature services write: `{UPPERCASE}`.
    pub fn braced(&self) -> String {
        match self {
            Self::Uuid(uuid) => format!("{{{:X}}}", uuid.hyphenated()),
            Self::Text(text) => text.to_string(),
        }
    }
    /// The bytes under which stores keep it: 16 for a UUID, UTF-8 for text.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Uuid(uuid) => uuid.as_bytes(),
            Self::Text(text) => text.as_bytes(),
        }
    }
}

impl fmt::Display for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(_) => f.write_str(&self.braced()),
            Self::Text(text) => f.write_str(text),
        }
    }
}
impl fmt::Debug for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl From<Uuid> for GlobalId {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}
