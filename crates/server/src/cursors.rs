//! Cursors of the native API: sealed when they are handed out, checked when they come back.
//!
//! A seal is a keyed hash over the service, the replica, the history and the generation, with a key that is random per data
//! directory. So a generation above the head that comes back sealed proves that the service was rewound; anybody could
//! make up a bare one. Rule source: DESIGN 4, *History id*.

use haversack_model::{Cursor, ReplicaId, Seal};
use haversack_sqlite::replica::Sealer;
use uuid::Uuid;

use crate::db::Db;
use crate::error::Result;
use crate::secret;

/// What a keyed hash of ours is for; another use of the key gets another one.
const PURPOSE: &[u8] = b"haversack cursor 1";

/// The key of a data directory.
#[derive(Clone)]
pub(crate) struct Cursors {
    key: [u8; 32],
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursors").finish_non_exhaustive()
    }
}

/// What can be said of a cursor that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This server handed it out for this replica.
    Authentic,
    /// It has no seal: files of earlier versions and the beginning of a history have none. Good to continue from,
    /// proof of nothing.
    Bare,
    /// It has a seal that is not ours for this replica.
    Forged,
}

impl Cursors {
    /// The key in a database, made at the first call.
    pub(crate) fn new(db: &Db) -> Result<Self> {
        let key = db.value_or("cursor key", secret::random_bytes::<32>)?;
        Ok(Self { key })
    }

    /// Those of one service; the case of its name does not matter.
    pub(crate) fn of(&self, service: &str) -> OfService<'_> {
        OfService {
            all: self,
            service: service.to_ascii_lowercase(),
        }
    }
}

/// The cursors of one service.
#[derive(Clone, Debug)]
pub(crate) struct OfService<'a> {
    all: &'a Cursors,
    service: String,
}

impl OfService<'_> {
    /// A cursor that belongs to no replica.
    pub(crate) fn seal_for_nobody(&self, cursor: Cursor) -> Cursor {
        self.seal(ReplicaId(Uuid::nil()), cursor)
    }

    /// What can be said of a cursor that came in for a replica.
    pub(crate) fn standing(&self, replica: ReplicaId, cursor: Cursor) -> Standing {
        match cursor.seal {
            None => Standing::Bare,
            Some(seal) if secret::same_secret(&seal.0, &self.code(replica, cursor).0) => {
                Standing::Authentic
            }
            Some(_) => Standing::Forged,
        }
    }

    fn code(&self, replica: ReplicaId, cursor: Cursor) -> Seal {
        let mut hasher = blake3::Hasher::new_keyed(&self.all.key);
        hasher.update(PURPOSE);
        hasher.update(&(self.service.len() as u64).to_be_bytes());
        hasher.update(self.service.as_bytes());
        hasher.update(replica.0.as_bytes());
        hasher.update(cursor.history.0.as_bytes());
        hasher.update(&cursor.generation.0.to_be_bytes());
        let mut code = [0; 16];
        hasher.finalize_xof().fill(&mut code);
        Seal(code)
    }
}

impl Sealer for OfService<'_> {
    fn seal(&self, replica: ReplicaId, cursor: Cursor) -> Cursor {
        Cursor {
            seal: Some(self.code(replica, cursor)),
            ..cursor
        }
    }
}

#[cfg(test)]
mod tests {
    use haversack_model::{Generation, HistoryId};

    use super::*;

    #[test]
    fn a_seal_holds_for_one_service_one_replica_and_one_point() {
        let ours = Cursors { key: [1; 32] };
        let (one, two) = (ReplicaId(Uuid::from_u128(1)), ReplicaId(Uuid::from_u128(2)));
        let bare = Cursor::bare(HistoryId(Uuid::from_u128(3)), Generation(40));
        let sealed = ours.of("Parks").seal(one, bare);
        let standing = |key: u8, service: &str, replica, cursor| {
            Cursors { key: [key; 32] }
                .of(service)
                .standing(replica, cursor)
        };
        assert_eq!(standing(1, "Parks", one, sealed), Standing::Authentic);
        assert_eq!(standing(1, "pARKS", one, sealed), Standing::Authentic);
        assert_eq!(standing(1, "Parks", one, bare), Standing::Bare);
        assert_eq!(standing(2, "Parks", one, sealed), Standing::Forged);
        assert_eq!(standing(1, "Roads", one, sealed), Standing::Forged);
        assert_eq!(standing(1, "Parks", two, sealed), Standing::Forged);
        let altered = [
            Cursor {
                generation: Generation(41),
                ..sealed
            },
            Cursor {
                history: HistoryId(Uuid::from_u128(4)),
                ..sealed
            },
        ];
        for cursor in altered {
            assert_eq!(standing(1, "Parks", one, cursor), Standing::Forged);
        }
    }

    #[test]
    fn the_key_is_random_per_directory_and_kept() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = |dir: &tempfile::TempDir| {
            let db = Db::open(&dir.path().join("haversack.db")).unwrap();
            Cursors::new(&db).unwrap().key
        };
        assert_eq!(key(&a), key(&a));
        assert_ne!(key(&a), key(&b));
    }
}
